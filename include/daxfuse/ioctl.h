/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ioctls on any file or directory of a daxfuse mount, beside the kernel's FS_IOC_{GET,SET}FLAGS and
 * FS_IOC_FS{GET,SET}XATTR. The first part is for everybody and for administration; the second,
 * together with direct.h, is the protocol of programs that map the memory of files themselves: a
 * client can be written from the two.
 *
 * Layout. Integers are in host order, offsets and lengths in bytes; every field lies at a multiple
 * of its size, so no struct has padding (the lengths are asserted at the end). A caller stores 0 in
 * reserved fields, and ignores what comes back in them. Text ends with a NUL.
 *
 * Result. 0, or -1 with errno; below, errors are written as -ENAME, and only those that need
 * saying. On failure the struct is as it was. Any call may also fail with -ENOMEM, -EIO (poison),
 * -EROFS if it changes something on a read-only mount, and -ENOTCONN or -ECONNABORTED if the mount
 * has no daemon any more. While a daemon is being replaced calls wait, and then have their effect
 * once.
 *
 * Versions. The number of an ioctl contains the length of its struct. The meaning of a number, and
 * the place of its fields, never change; a reserved field may get a meaning, but 0 in it always
 * means what it meant before. Anything else gets a new number. -ENOTTY: this daemon does not know
 * the number (or the file is on no daxfuse mount); a client goes on without. A client ignores
 * flags, reasons and members of JSON objects that it does not know.
 *
 * Who may call what, with a descriptor open for what, and what a directory answers:
 *
 *     EXTENTS                               anybody    anything           -EISDIR
 *     STATUS MAPPED                         anybody    anything           as a file
 *     QUOTA_GET of the file's own project   anybody    anything           as a file
 *     QUOTA_GET of others, QUOTA_NEXT       admin      anything           as a file
 *     QUOTA_SET SET_LABEL RESTART REMOUNT   admin      anything           as a file
 *     REQUESTS                              admin      anything           as a file
 *     EXPORT                                admin      anything           -ENOTDIR for files
 *     RANGE                                 anybody    writing            -EBADF
 *     REALIGN                               admin, or open for writing    -EBADF
 *     DIRECT                                anybody    anything           as a file
 *     MAP                                   anybody    reading            -EOPNOTSUPP
 *     PIN                                   clients    both               -EOPNOTSUPP
 *     PROMOTE                               anybody    both               -EOPNOTSUPP
 *     UNMAP UNPIN                           anybody    anything           -EBADF
 *     WATCH WATCH_READ                      admin      anything           -EBADF
 *
 * "admin" is a caller with CAP_SYS_ADMIN in the daemon's user namespace, which root in a container
 * has not; of a user's mount it is that user, in that namespace (-EPERM for others). "clients" are
 * those whom the daemon gives its device (-EACCES for others). A descriptor that is not open for
 * that: -EBADF for RANGE and REALIGN, -EACCES for the others.
 */
#ifndef DAXFUSE_IOCTL_H
#define DAXFUSE_IOCTL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define DXF_IOC_TYPE 0xdf

/*
 * Where a file's bytes lie, in ascending order; a part that is in no extent is a hole. A file that
 * has more extents than fit is asked again with .start as it came back. Each extent is as long as
 * can be: one that goes on in the file, on the device and with the same flags is no new one.
 */
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
	__u64 count; /* out: of extent[] */
	struct dxf_ioc_extent extent[DXF_IOC_EXTENT_COUNT];
};
#define DXF_IOC_EXTENTS _IOWR(DXF_IOC_TYPE, 1, struct dxf_ioc_extents)

/* The state of the mount as one JSON object: what `daxfuse status` prints. Of very long paths the
 * end, after "...". For others than administrators it lacks paths of the host ("mountpoint",
 * "device"), numbers of its processes, and the label. */
struct dxf_ioc_status {
	char json[8192];
};
#define DXF_IOC_STATUS _IOR(DXF_IOC_TYPE, 2, struct dxf_ioc_status)

/*
 * How many requests of the kernel the serving process has served since it began, of each kind (the
 * index is the opcode in <linux/fuse.h>; kinds that have no room are not counted), and how long
 * that took, from when they were read until they were answered or put off. bucket[i] counts those
 * of less than 4096 * 4^i ns that are in no bucket before, the last one all that took longer. All
 * are 0 on mounts without a keeper, or with io_uring. The numbers are read while they change.
 */
#define DXF_IOC_REQUEST_KINDS 64
#define DXF_IOC_REQUEST_BUCKETS 12
struct dxf_ioc_request_kind {
	__u64 ns; /* of all together */
	__u64 bucket[DXF_IOC_REQUEST_BUCKETS];
};
struct dxf_ioc_requests {
	struct dxf_ioc_request_kind kind[DXF_IOC_REQUEST_KINDS];
};
#define DXF_IOC_REQUESTS _IOR(DXF_IOC_TYPE, 20, struct dxf_ioc_requests)

/* A project's limits and use. GET, SET: of .project; GET: -ENOENT, nothing is known of it. */
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
/* Of the first project whose number is at least .project, which it becomes. -ENOENT: the end. */
#define DXF_IOC_QUOTA_NEXT _IOWR(DXF_IOC_TYPE, 5, struct dxf_ioc_quota)

/*
 * fallocate() modes that the kernel does not pass to FUSE. It knows the new size when the call
 * returns, so appends go to the new end. (One exception: a user's mount, and a program that this
 * user may not look at in /proc, as after setuid(). It calls fstat() first.) Offset and length must
 * be multiples of 4 KiB. All of it is one transaction. -EINVAL: they are not, or a collapse reaches
 * the end of the file, or an insertion does not begin before it; -EBUSY: a program that has some of
 * the file mapped does not let go; -EFBIG, -ENOSPC, -EDQUOT; -EPERM: immutable, or append-only;
 * -EOPNOTSUPP: another mode.
 */
struct dxf_ioc_range {
	__u32 mode; /* FALLOC_FL_COLLAPSE_RANGE or FALLOC_FL_INSERT_RANGE */
	__u32 reserved;
	__u64 offset;
	__u64 length;
};
#define DXF_IOC_RANGE _IOW(DXF_IOC_TYPE, 6, struct dxf_ioc_range)

/* Set the pool's label. -EINVAL: no NUL in it. */
struct dxf_ioc_label {
	char label[64];
};
#define DXF_IOC_SET_LABEL _IOW(DXF_IOC_TYPE, 7, struct dxf_ioc_label)

/*
 * Replace the serving process by the installed binary, if that can take over. The call succeeds in
 * any case; .error says what comes of it. The answer comes before the end of the process begins.
 */
struct dxf_ioc_restart {
	__u32 error;      /* out: 0, it is being replaced; or a positive errno, */
	char reason[508]; /* out: and why not, one line */
};
#define DXF_IOC_RESTART _IOR(DXF_IOC_TYPE, 8, struct dxf_ioc_restart)

/*
 * Gather the next part of a file that lies in 4 KiB blocks, and should not, into a whole
 * 2 MiB unit; the file's bytes and times stay. One call does a part, so it is repeated with
 * .offset as it came back, until that is ~0. The call succeeds in any case; .error is of the part
 * before .offset, and the next one may be better off: -ENOSPC, -EDQUOT: there is no unit for it;
 * -EBUSY: a program that has it mapped does not let go.
 */
struct dxf_ioc_realign {
	__u64 offset; /* in: where to look from; out: where to go on, ~0 at the end */
	__u32 moved;  /* out: 1 if a unit was gathered */
	__s32 error;  /* out: 0 or a negative errno */
};
#define DXF_IOC_REALIGN _IOWR(DXF_IOC_TYPE, 9, struct dxf_ioc_realign)

/* ---- direct mappings: what libdaxmap is made of ----------------------------- */

/*
 * A program maps the memory of a file's extents itself, from a descriptor of the device. It asks
 * here for pieces of the file; a piece that it is told of is pinned: neither moved nor given to
 * another file, until the program returns it. (pNFS: layout segments, recalled and returned.)
 *
 * A client does this:
 *
 *   1. It opens the file anew (/proc/self/fd/N), close-on-exec, and asks with that descriptor. Pins
 *      belong to this open file, and end when the last descriptor of it is closed, in the end by
 *      the kernel when the program is dead. A descriptor that is shared with a child would keep
 *      them as long as the child lives; so the child of a fork opens its files anew, too, and has
 *      none of the mappings (MADV_DONTFORK).
 *   2. DXF_IOC_DIRECT says where the daemon's socket is. There it gets a session and the device's
 *      descriptor (direct.h), once for each mount, and a thread answers what the daemon asks. It
 *      is used only if that daemon says that it serves the file's mount (DIRECT_MOUNT).
 *   3. DXF_IOC_MAP gives pieces. Each is mapped with MAP_SHARED from the device's descriptor at
 *      .device_offset, or as zeroes (DXF_PIECE_ZERO), read-only unless DXF_PIECE_WRITABLE. A huge
 *      one needs an address that is as far from a multiple of 2 MiB as its file offset.
 *   4. Between the answer and the mmap() the daemon may recall the piece already. So the client
 *      holds a lock while it looks whether that is so and maps, and its answering thread takes the
 *      same one. If UNMAP has come for the piece's range with its .grant or a higher number, at any
 *      time since the ioctl was called, it is not mapped, and the client asks again; if PROTECT
 *      has, it is mapped read-only.
 *   5. A store to zeroes, or to a read-only piece, asks with DXF_ACCESS_WRITE. The new piece is
 *      mapped over the old one.
 *   6. A part that it has unmapped itself it returns by DXF_IOC_UNMAP, with the highest .last_grant
 *      that it has seen of this open file.
 *   7. For durability it flushes the CPU's lines over what it has stored (if DIRECT_FLUSH), or
 *      calls fsync() on the descriptor, which does so for all that anybody has stored.
 *   8. -ENOTCONN from DXF_IOC_MAP: the daemon was replaced. Mappings stay good. The client connects
 *      again with the number of its session, and repeats the call. The next daemon does not know
 *      who has zeroes mapped, as they are nobody's: so the client unmaps all of them, and maps none
 *      that are on their way, as soon as the connection has ended, and once more after WELCOME. (If
 *      statfs() fails, too, the mount has ended.)
 */

/*
 * The path of the daemon's socket (direct.h). Empty: it gives its device to nobody
 * (-o direct=off).
 */
struct dxf_ioc_direct {
	char socket[108]; /* out */
	char reserved[20];
};
#define DXF_IOC_DIRECT _IOR(DXF_IOC_TYPE, 10, struct dxf_ioc_direct)

enum {
	DXF_ACCESS_READ = 0,  /* a load; or a mapping that is only read */
	DXF_ACCESS_WRITE = 1, /* a store: a hole is allocated, and zeroed */
	/* For a mapping that will be stored to: data is given writable, a hole is given as zeroes.
	 * While somebody watches (DXF_IOC_WATCH) it is the same as READ. */
	DXF_ACCESS_EAGER = 2,
};

enum {
	DXF_PIECE_ZERO = 1,     /* a hole: map zeroes, read-only; there is no device offset */
	DXF_PIECE_WRITABLE = 2, /* else it must be mapped read-only */
	DXF_PIECE_HUGE = 4,     /* whole aligned units */
};

/* Why a piece is not huge; for people. */
enum dxf_reason {
	DXF_REASON_NONE,
	DXF_REASON_START,   /* the mapping starts inside the unit */
	DXF_REASON_END,     /* it ends inside the unit */
	DXF_REASON_EOF,     /* the unit reaches beyond the end of the file */
	DXF_REASON_SHORT,   /* the extent does not fill the unit */
	DXF_REASON_ALIGN,   /* it is not aligned on the device */
	DXF_REASON_DEVICE,  /* the device can't: poison */
	DXF_REASON_PTES,    /* part of the unit is mapped in pages */
	DXF_REASON_PUD,     /* not used: there are no mappings of 1 GiB */
	DXF_REASON_ADDRESS, /* the virtual address is not aligned as the file is */
};

struct dxf_ioc_piece {
	__u64 file_offset; /* these three: multiples of 4 KiB, of 2 MiB if it is huge */
	__u64 length;
	__u64 device_offset; /* 0 for zeroes */
	/*
	 * Grants of an open file are numbered, upwards. A piece is void once DIRECT_UNMAP came for
	 * it with this number or a higher one: if it was on its way then it must not be mapped. Of
	 * a piece that was granted in several parts this is the lowest number: see last_grant
	 * below.
	 */
	__u64 grant;
	/* Zeroes around the piece that must be unmapped before it is mapped; 0 bytes: none. */
	__u64 drop_offset;
	__u64 drop_length;
	__u32 flags;  /* DXF_PIECE_* */
	__u32 reason; /* enum dxf_reason */
};

/*
 * Ask for [offset, offset + length) of a file. The answer is up to DXF_MAP_PIECES pieces in
 * ascending order without gaps. The first contains .offset and may begin before it, the last may
 * reach beyond the range; they may also end before it, as the answer was full, the file ends, or
 * something can't be had: go on behind the last one. A file that is contiguous, and not very large,
 * takes one call. All of them are pinned, with the order of mappings that their flags say, until
 * returned or recalled; a piece that replaces one of this open file replaces its pin.
 *
 * .start and .end are those of the whole mapping, as file offsets: a unit that reaches beyond them
 * is given in pages. .cookie is how DIRECT_UNMAP and DIRECT_PROTECT name the file: one for each
 * open file, always the same, and never that of another open file of the session.
 *
 * WRITE and EAGER need a descriptor open for writing, too. At least one piece comes, or an error:
 * -EOPNOTSUPP: the file is not to be mapped directly (dax= of the mount, no DAX flag), or is no
 * regular one; or the device is mapped in whole units only (DIRECT_UNITS), and none is free for
 * this part: the kernel maps the file; -ETXTBSY: it is read through the page cache, by this open
 * file or by others that are open since before it: the kernel maps the file (an open file that was
 * given a piece does not get this later); -ENOTCONN: no such session, or it is not connected (8
 * above); -ENXIO: .offset is behind the end; -EBUSY: another holder of a part of the unit does not
 * let go (again later); -EIO: poison; -EACCES: not open for that, or a store to an append-only
 * file; -ENOSPC, -EDQUOT; -EUSERS: too many pieces are pinned, by all programs; -EINVAL: .offset is
 * no multiple of 4 KiB, .length is 0, .offset is outside of the mapping, or the open file has
 * another session or cookie.
 */
#define DXF_MAP_PIECES 127
struct dxf_ioc_map {
	__u64 session;    /* in: of DIRECT_WELCOME */
	__u64 cookie;     /* in: the caller's name of this file, in messages to it */
	__u64 offset;     /* in: multiple of 4 KiB */
	__u64 length;     /* in */
	__u64 start, end; /* in: of the whole mapping, file offsets; start <= offset < end */
	__u32 access;     /* in: DXF_ACCESS_* */
	__u32 pages;      /* in: 1: no huge pieces, virtual addresses don't line up */
	__u64 size;       /* out: of the file, when it was asked */
	__u32 count;      /* out: of piece[] */
	__u32 reserved;
	struct dxf_ioc_piece piece[DXF_MAP_PIECES];
	/*
	 * out: the highest number that the open file was granted so far, by whichever call. With it
	 * in DXF_IOC_UNMAP all of a range is let go of, also pieces that were granted and did not
	 * fit the answer; other answers that are still on their way are void then.
	 */
	__u64 last_grant;
	__u64 reserved2[6];
};
#define DXF_IOC_MAP _IOWR(DXF_IOC_TYPE, 11, struct dxf_ioc_map)

/*
 * Return a range: nothing of [offset, offset + length) that was granted up to `grant` is mapped any
 * more, nor will be from an answer that is still on its way. These pins end; of pages that lie in
 * the range in part nothing is said. length ~0: to the end. Succeeds if there are none.
 */
struct dxf_ioc_unmap {
	__u64 offset;
	__u64 length;
	__u64 grant;
};
#define DXF_IOC_UNMAP _IOW(DXF_IOC_TYPE, 12, struct dxf_ioc_unmap)

/*
 * A long-term pin, for memory that a device or the kernel uses by its physical address: the extents
 * beneath a range (allocated if need be) are not given to anybody else, whatever happens to the
 * file, until DXF_IOC_UNPIN of the same range, or the file is closed. They are never recalled:
 * UNMAP for such a range is answered all the same, but the mapping stays. A part that is cut off of
 * the file stays readable and writable where it is mapped, as a piece of no file. Each pin is one
 * of its own, also on a range that has others; UNPIN of a part of a range shrinks the pin. It maps
 * nothing: that is DXF_IOC_MAP's, afterwards. -EINVAL: not whole 4 KiB, or no such pin; -ENXIO: the
 * range reaches behind the end of the file; -ENOSPC: its holes can't be filled; errors of
 * DXF_IOC_MAP.
 */
struct dxf_ioc_pin {
	__u64 offset;
	__u64 length;
};
#define DXF_IOC_PIN _IOW(DXF_IOC_TYPE, 13, struct dxf_ioc_pin)
#define DXF_IOC_UNPIN _IOW(DXF_IOC_TYPE, 14, struct dxf_ioc_pin)

/*
 * Make whole units of what a range touches, mapped or not. A unit that another program does not
 * return is passed over. -EBUSY, -ENOSPC: of the first one that can't be; those before it are done.
 */
struct dxf_ioc_promote {
	__u64 offset;
	__u64 length;
};
#define DXF_IOC_PROMOTE _IOW(DXF_IOC_TYPE, 15, struct dxf_ioc_promote)

/* How a file is mapped, and the counters of its faults, as one JSON object: "mapped" of
 * `daxfuse map`. */
struct dxf_ioc_mapped {
	char json[4096];
};
#define DXF_IOC_MAPPED _IOR(DXF_IOC_TYPE, 16, struct dxf_ioc_mapped)

/*
 * What was written, for backup and replication. WATCH makes the open file a watcher, until it is
 * closed: of the whole mount, whichever file it is. WATCH_READ takes what has changed since the
 * last one: read the ranges after it. A later change, even in the same range, comes with a later
 * one; events that do not fit are widened, at worst to one event DXF_WATCH_ALL. Neither waits, but
 * for a program that does not answer a PROTECT, for a second, once. WATCH: -EBUSY: it is one
 * already. WATCH_READ: -ENODEV: not a watcher (the daemon was replaced): become one again, then
 * look at all. docs/guide/watch.md has what is promised.
 */
enum {
	/* bytes of [offset, offset + length); with them times, the mode's suid and sgid, and file
	 * capabilities */
	DXF_WATCH_DATA = 1,
	DXF_WATCH_SIZE = 2,  /* of the file, and what lies behind it: the same range */
	DXF_WATCH_ATTR = 4,  /* mode, owner, times (of access: if they were set), xattrs, links */
	DXF_WATCH_NAMES = 8, /* entries of a directory */
	DXF_WATCH_ALL = 16,  /* anything anywhere: events were lost; ino is 0 */
};
struct dxf_ioc_event {
	__u64 ino;
	__u32 generation; /* of the inode; 0: it is gone */
	__u32 what;       /* DXF_WATCH_*, any of them together */
	__u64 offset;
	__u64 length; /* ~0: to the end */
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
 * The daemon's part of `mount -o remount`. The call succeeds in any case, .error says what came of
 * it. The kernel's part is the caller's: it comes before where the mount becomes read-only, so that
 * nobody has a file open for writing, and after where it becomes writable. A daemon with a keeper
 * is replaced for it, so that the device is open for no more than is needed; the status says when
 * that is done.
 */
enum { DXF_REMOUNT_READ_ONLY = 1, DXF_REMOUNT_ATIME = 2 };
enum { DXF_ATIME_RELATIVE, DXF_ATIME_STRICT, DXF_ATIME_NEVER };
struct dxf_ioc_remount {
	__u32 what; /* DXF_REMOUNT_*: which of these two change */
	__u32 read_only;
	__u32 atime;      /* DXF_ATIME_* */
	__s32 error;      /* out: 0 or a negative errno */
	char reason[496]; /* out: why not, one line */
};
#define DXF_IOC_REMOUNT _IOWR(DXF_IOC_TYPE, 19, struct dxf_ioc_remount)

/*
 * A directory, the one whose descriptor this is, as a virtiofs device of virtual machines: a VMM
 * connects to the socket (vhost-user). ADD: -EEXIST: the socket or the tag has an export already;
 * -EADDRINUSE: something else lies at that path; -ENOTDIR; -EINVAL: a path that does not begin at
 * the root, or control characters; -EMFILE: too many; what bind(2) says. Of a window, which hands
 * the whole device to the VMM: -EINVAL: no multiple of 2 MiB; -ERANGE: this VMM takes no such size;
 * -EROFS: read-only, and this VMM maps all for writing, or the mount is. REMOVE, on any file of the
 * mount: of the export with that socket, whose guest gets no answers any more; -ENOENT. Exports are
 * listed in the status. They end with the mount; while there are any, DXF_IOC_REMOUNT to read-only
 * is refused.
 */
enum { DXF_EXPORT_ADD, DXF_EXPORT_REMOVE };
enum { DXF_EXPORT_CACHE_AUTO, DXF_EXPORT_CACHE_NONE, DXF_EXPORT_CACHE_ALWAYS };
enum { DXF_EXPORT_QEMU, DXF_EXPORT_CROSVM, DXF_EXPORT_ALIOTH };
struct dxf_ioc_export {
	__u32 what;       /* DXF_EXPORT_ADD, REMOVE */
	__u32 read_only;  /* 0 or 1 */
	__u32 cache;      /* DXF_EXPORT_CACHE_*: what the guest may believe without asking */
	__u32 vmm;        /* DXF_EXPORT_QEMU or another: what the window is mapped by */
	char socket[112]; /* a path in the daemon's mount namespace, 107 bytes at most */
	char tag[40];     /* the device's name in the guest, 36 bytes at most */
	__u64 window;     /* bytes of the DAX window; 0: none */
	__u64 reserved[3];
};
#define DXF_IOC_EXPORT _IOW(DXF_IOC_TYPE, 21, struct dxf_ioc_export)

/* ---- lengths ---------------------------------------------------------------- */

#ifdef __cplusplus
#define DXF_LENGTH(type, bytes) static_assert(sizeof(struct type) == (bytes), #type)
#else
#define DXF_LENGTH(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type)
#endif
DXF_LENGTH(dxf_ioc_extent, 32);
DXF_LENGTH(dxf_ioc_extents, 4112);
DXF_LENGTH(dxf_ioc_status, 8192);
DXF_LENGTH(dxf_ioc_request_kind, 104);
DXF_LENGTH(dxf_ioc_requests, 6656);
DXF_LENGTH(dxf_ioc_quota, 40);
DXF_LENGTH(dxf_ioc_range, 24);
DXF_LENGTH(dxf_ioc_label, 64);
DXF_LENGTH(dxf_ioc_restart, 512);
DXF_LENGTH(dxf_ioc_realign, 16);
DXF_LENGTH(dxf_ioc_direct, 128);
DXF_LENGTH(dxf_ioc_piece, 56);
DXF_LENGTH(dxf_ioc_map, 7240);
DXF_LENGTH(dxf_ioc_unmap, 24);
DXF_LENGTH(dxf_ioc_pin, 16);
DXF_LENGTH(dxf_ioc_promote, 16);
DXF_LENGTH(dxf_ioc_mapped, 4096);
DXF_LENGTH(dxf_ioc_event, 32);
DXF_LENGTH(dxf_ioc_watch, 8208);
DXF_LENGTH(dxf_ioc_remount, 512);
DXF_LENGTH(dxf_ioc_export, 200);

#endif
