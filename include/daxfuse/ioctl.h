/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ioctls on any file or directory of a daxfuse mount (beside the kernel's
 * FS_IOC_{GET,SET}FLAGS and FS_IOC_FS{GET,SET}XATTR). All integers are in host
 * order; lengths and offsets are in bytes.
 */
#ifndef DAXFUSE_IOCTL_H
#define DAXFUSE_IOCTL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define DXF_IOC_TYPE 0xdf

/* Where a file's bytes lie: in: start, count; out: count, extent[]. */
#define DXF_IOC_EXTENT_COUNT 128
#define DXF_EXTENT_UNWRITTEN 1 /* reads as zeroes */
#define DXF_EXTENT_UNIT 2      /* part of a whole 2 MiB unit */
struct dxf_ioc_extent {
	__u64 file_offset;
	__u64 device_offset;
	__u64 length;
	__u64 flags; /* DXF_EXTENT_* */
};
struct dxf_ioc_extents {
	__u64 start; /* in: file offset; out: where to go on, or ~0 at the end */
	__u64 count; /* out */
	struct dxf_ioc_extent extent[DXF_IOC_EXTENT_COUNT];
};
#define DXF_IOC_EXTENTS _IOWR(DXF_IOC_TYPE, 1, struct dxf_ioc_extents)

/* The state of the mount as one JSON object, NUL-terminated. */
struct dxf_ioc_status {
	char json[8192];
};
#define DXF_IOC_STATUS _IOR(DXF_IOC_TYPE, 2, struct dxf_ioc_status)

/* A project's limits and use; SET needs CAP_SYS_ADMIN (uid 0). -ENOENT */
struct dxf_ioc_quota {
	__u32 project;
	__u32 reserved;
	__u64 byte_limit; /* 0 = none; rounded up to 4 KiB */
	__u64 inode_limit;
	__u64 bytes; /* in use */
	__u64 inodes;
};
#define DXF_IOC_QUOTA_GET _IOWR(DXF_IOC_TYPE, 3, struct dxf_ioc_quota)
#define DXF_IOC_QUOTA_SET _IOW(DXF_IOC_TYPE, 4, struct dxf_ioc_quota)
/* The first project whose number is at least .project. -ENOENT at the end. */
#define DXF_IOC_QUOTA_NEXT _IOWR(DXF_IOC_TYPE, 5, struct dxf_ioc_quota)

/*
 * fallocate() modes that the kernel does not pass to FUSE. It learns of the new size when
 * it next asks for attributes: call fstat() on the descriptor before you write with
 * O_APPEND, or the bytes go to the old end.
 */
struct dxf_ioc_range {
	__u32 mode; /* FALLOC_FL_COLLAPSE_RANGE or FALLOC_FL_INSERT_RANGE */
	__u32 reserved;
	__u64 offset;
	__u64 length;
};
#define DXF_IOC_RANGE _IOW(DXF_IOC_TYPE, 6, struct dxf_ioc_range)

/* Set the pool's label (uid 0). */
struct dxf_ioc_label {
	char label[64];
};
#define DXF_IOC_SET_LABEL _IOW(DXF_IOC_TYPE, 7, struct dxf_ioc_label)

/* Replace the serving process by the installed binary, if that can take over (uid
 * 0). error: a positive errno, and why. */
struct dxf_ioc_restart {
	__u32 error;
	char reason[508];
};
#define DXF_IOC_RESTART _IOR(DXF_IOC_TYPE, 8, struct dxf_ioc_restart)

/*
 * Gather the next part of a file that lies in 4 KiB blocks, and should not, into a whole
 * 2 MiB unit; the file's bytes and times stay. Root, or a descriptor open for writing.
 * -ENOSPC, -EDQUOT: there is none for the part before .offset.
 */
struct dxf_ioc_realign {
	__u64 offset; /* in: where to look from; out: where to go on, ~0 at the end */
	__u32 moved;  /* out: 1 if a unit was gathered */
	__s32 error;  /* out: 0 or a negative errno */
};
#define DXF_IOC_REALIGN _IOWR(DXF_IOC_TYPE, 9, struct dxf_ioc_realign)

#endif
