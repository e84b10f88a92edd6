/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ioctls on any file or directory of a daxfuse mount (beside the kernel's
 * FS_IOC_{GET,SET}FLAGS and FS_IOC_FS{GET,SET}XATTR). All integers are in host
 * order; lengths and offsets are in bytes. On a directory those that are about a file's
 * bytes or mappings are refused: -EBADF, -EISDIR, -EOPNOTSUPP.
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

/* The state of the mount as one JSON object, NUL-terminated. Of very long paths the end, after
 * "...". */
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
 * fallocate() modes that the kernel does not pass to FUSE. It knows the new size when the call
 * returns, so appends go to the new end. (One exception: a user's mount, and a program that
 * this user may not look at in /proc, as after setuid(). It calls fstat() first.)
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

/* ---- direct mappings: what libdaxmap is made of ----------------------------- */

/*
 * A program maps the memory of a file's extents itself, from a descriptor of the device.
 * It asks here which pieces; what it is told is pinned by the open file it asks with,
 * until it says otherwise (DXF_IOC_UNMAP) or that file is closed, in the end by the
 * kernel, when the program is dead. So it opens the file anew for that: a descriptor
 * shared with a child would keep the pins as long as the child lives.
 *
 * Where to get the descriptor: connect to .socket (include/daxfuse/direct.h). Empty: there
 * is none (-o direct=off).
 */
struct dxf_ioc_direct {
	char socket[108]; /* NUL-terminated path */
	char reserved[20];
};
#define DXF_IOC_DIRECT _IOR(DXF_IOC_TYPE, 10, struct dxf_ioc_direct)

enum {
	DXF_ACCESS_READ = 0,  /* a load; or a mapping that is only read */
	DXF_ACCESS_WRITE = 1, /* a store: what is a hole is allocated */
	/* Neither, but stores will come without asking: what is there is given writable,
	 * holes stay holes. While somebody watches (DXF_IOC_WATCH) it is READ. */
	DXF_ACCESS_EAGER = 2,
};

enum {
	DXF_PIECE_ZERO = 1,     /* a hole: map zeroes, read-only; there is no device offset */
	DXF_PIECE_WRITABLE = 2, /* else it must be mapped read-only */
	DXF_PIECE_HUGE = 4,     /* whole aligned units */
};

/* Why a piece is not huge. */
enum dxf_reason {
	DXF_REASON_NONE,
	DXF_REASON_START,   /* the mapping starts inside the unit */
	DXF_REASON_END,     /* it ends inside the unit */
	DXF_REASON_EOF,     /* the unit reaches beyond the end of the file */
	DXF_REASON_SHORT,   /* the extent does not fill the unit */
	DXF_REASON_ALIGN,   /* it is not aligned on the device */
	DXF_REASON_DEVICE,  /* the device can't: poison */
	DXF_REASON_PTES,    /* part of the unit is mapped in pages */
	DXF_REASON_PUD,
	DXF_REASON_ADDRESS, /* the virtual address is not aligned as the file is */
};

struct dxf_ioc_piece {
	__u64 file_offset;
	__u64 length;
	__u64 device_offset;
	/* What was granted up to a number is void once DIRECT_UNMAP came with that number or
	 * a higher one: a piece that was on its way then must not be mapped. Of a piece that
	 * was granted in several parts this is the lowest number: see last_grant below. */
	__u64 grant;
	/* Zeroes around the piece that must be unmapped before it is mapped; 0 bytes: none. */
	__u64 drop_offset;
	__u64 drop_length;
	__u32 flags;  /* DXF_PIECE_* */
	__u32 reason; /* enum dxf_reason */
};

/*
 * Pin, and say where the memory is, the part of a file that is at [offset, offset + length),
 * or the first DXF_MAP_PIECES pieces of it; they may begin before offset, and they may end
 * earlier. One call for a file that is contiguous, and not very large. The file must be open
 * for reading, and for WRITE and EAGER for writing, too. -EOPNOTSUPP: the file goes through
 * the page cache (no DAX flag), or is none; or the device is mapped in whole units only
 * (DIRECT_UNITS), and none is free for this part; -ENOTCONN: no such session (the daemon was
 * replaced: connect again, then ask again); -ENXIO: offset is behind the end; -EBUSY: another
 * holder of a part of the unit does not let go (again later); -EIO: poison; -EACCES, also for
 * stores to an append-only file; -ENOSPC, -EDQUOT; -EUSERS: too many pieces are pinned.
 */
#define DXF_MAP_PIECES 127
struct dxf_ioc_map {
	__u64 session;    /* in: of DIRECT_WELCOME */
	__u64 cookie;     /* in: the caller's name of this file, in messages to it */
	__u64 offset;     /* in: multiple of 4 KiB */
	__u64 length;     /* in */
	__u64 start, end; /* in: of the whole mapping, file offsets */
	__u32 access;     /* in: DXF_ACCESS_* */
	__u32 pages;      /* in: 1: no huge pieces, virtual addresses don't line up */
	__u64 size;       /* out: of the file */
	__u32 count;      /* out */
	__u32 reserved;
	struct dxf_ioc_piece piece[DXF_MAP_PIECES];
	/*
	 * out: the highest number that the open file was granted so far, by whichever call. With
	 * it in DXF_IOC_UNMAP all of a range is let go of, also what was granted and did not
	 * fit the answer; other answers that are still on their way are void then.
	 */
	__u64 last_grant;
	__u64 reserved2[6];
};
#define DXF_IOC_MAP _IOWR(DXF_IOC_TYPE, 11, struct dxf_ioc_map)

/* Nothing of [offset, offset + length) that was granted up to `grant` is mapped any more, nor
 * will be from an answer that is still on its way: these pins end. */
struct dxf_ioc_unmap {
	__u64 offset;
	__u64 length;
	__u64 grant;
};
#define DXF_IOC_UNMAP _IOW(DXF_IOC_TYPE, 12, struct dxf_ioc_unmap)

/*
 * A long-term pin: the extents beneath a range (allocated if need be) are not given to
 * anybody else, whatever happens to the file, until DXF_IOC_UNPIN of the same range, or the
 * file is closed. Nobody is asked to let go of them. What is cut off of the file stays
 * readable and writable to who has it mapped, as a piece of no file. Each pin is one of its own,
 * also on a range that has others. -EINVAL: not whole 4 KiB, or no such pin; -EACCES: only who
 * would be given the device may pin.
 */
struct dxf_ioc_pin {
	__u64 offset;
	__u64 length;
};
#define DXF_IOC_PIN _IOW(DXF_IOC_TYPE, 13, struct dxf_ioc_pin)
#define DXF_IOC_UNPIN _IOW(DXF_IOC_TYPE, 14, struct dxf_ioc_pin)

/* Make whole units of what a range touches, mapped or not. -EBUSY, -ENOSPC: of the first
 * one that can't be. Needs a file open for reading and writing. */
struct dxf_ioc_promote {
	__u64 offset;
	__u64 length;
};
#define DXF_IOC_PROMOTE _IOW(DXF_IOC_TYPE, 15, struct dxf_ioc_promote)

/* How a file is mapped, and the counters of its faults, as one JSON object. */
struct dxf_ioc_mapped {
	char json[4096];
};
#define DXF_IOC_MAPPED _IOR(DXF_IOC_TYPE, 16, struct dxf_ioc_mapped)

/*
 * What was written, for backup and replication (uid 0, or the owner of the mount). WATCH makes
 * the open file a watcher, until it is closed. WATCH_READ takes what has changed since the last
 * one: read the ranges after it. Whatever changes later, even in the same range, comes with a
 * later one; what does not fit is widened, at worst to one event DXF_WATCH_ALL.
 * Neither waits, but for a program that does not answer a PROTECT, for a second, once.
 * WATCH: -EBUSY: it is one already; -EBADF: a directory. WATCH_READ: -ENODEV: not a watcher
 * (the daemon was replaced).
 */
enum {
	/* bytes of [offset, offset + length); with them times, the mode's suid and sgid, and file
	 * capabilities */
	DXF_WATCH_DATA = 1,
	DXF_WATCH_SIZE = 2, /* of the file, and what lies behind it: the same range */
	DXF_WATCH_ATTR = 4, /* mode, owner, times (of access: if they were set), xattrs, links */
	DXF_WATCH_NAMES = 8, /* entries of a directory */
	DXF_WATCH_ALL = 16, /* anything anywhere: events were lost; ino is 0 */
};
struct dxf_ioc_event {
	__u64 ino;
	__u32 generation; /* of the inode; 0: it is gone */
	__u32 what;       /* DXF_WATCH_*, any of them together */
	__u64 offset;
	__u64 length;     /* ~0: to the end */
};
#define DXF_WATCH_EVENTS 256
struct dxf_ioc_watch {
	__u64 generation; /* out: grows by one with each call */
	__u32 count;      /* out */
	__u32 more;       /* out: 1: not yet all that there was at the first of these calls */
	struct dxf_ioc_event event[DXF_WATCH_EVENTS];
};
#define DXF_IOC_WATCH _IO(DXF_IOC_TYPE, 17)
#define DXF_IOC_WATCH_READ _IOR(DXF_IOC_TYPE, 18, struct dxf_ioc_watch)

/*
 * The daemon's part of `mount -o remount` (uid 0, or the owner of the mount). The kernel's part
 * is the caller's: it comes before where the mount becomes read-only, so that nobody has a file
 * open for writing, and after where it becomes writable. A daemon with a keeper is replaced
 * for it, so that the device is open for no more than is needed; the status says when that is
 * done.
 */
enum { DXF_REMOUNT_READ_ONLY = 1, DXF_REMOUNT_ATIME = 2 };
enum { DXF_ATIME_RELATIVE, DXF_ATIME_STRICT, DXF_ATIME_NEVER };
struct dxf_ioc_remount {
	__u32 what;       /* DXF_REMOUNT_*: which of these two change */
	__u32 read_only;
	__u32 atime;      /* DXF_ATIME_* */
	__s32 error;      /* out: 0 or a negative errno */
	char reason[496]; /* out: why not, one line */
};
#define DXF_IOC_REMOUNT _IOWR(DXF_IOC_TYPE, 19, struct dxf_ioc_remount)

#endif
