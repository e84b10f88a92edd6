/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mounted pool: every operation of the filesystem, for any transport.
 * Transports only translate; nothing here knows FUSE.
 *
 * All functions return 0 (or a count) or a negative errno, may be called from
 * any thread, and are durable when they return: a crash afterwards loses
 * nothing, a crash before shows all of the effect or none (docs/design/
 * journal.md lists the exceptions: overwrites in place are torn at 8 bytes,
 * ranges of several units are atomic unit by unit). ret_* are untouched on
 * error.
 *
 * Permission checks on modes, owners, sticky bits and ACLs are the caller's
 * (the kernel's default_permissions); immutable and append-only flags, quotas,
 * limits, and the suid, sgid and ACL inheritance rules are enforced here.
 *
 * Objects are named by inode number; an inode number together with its
 * generation never means another object. Nothing depends on lookup counts: an
 * object that lost its last link lives until fs_forget() says that nobody can
 * reach it any more, or until the next mount.
 */
#ifndef DAXFUSE_CORE_FS_H
#define DAXFUSE_CORE_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/format.h"
#include "daxfuse/media/request.h"
#include "daxfuse/pmem/pmem.h"

struct fs;

/* Of which files the memory is mapped: FS_DAX_INODE, those with the flag; FS_DAX_AUTO, all, but
 * only those with the flag are never cached. */
enum fs_dax_mode { FS_DAX_AUTO, FS_DAX_INODE, FS_DAX_ALWAYS, FS_DAX_NEVER };
enum fs_atime_mode { FS_ATIME_RELATIVE, FS_ATIME_STRICT, FS_ATIME_NEVER };

/* A range of the pool's space, in bytes. */
struct fs_busy {
	uint64_t device_offset, length;
};

struct fs_options {
	bool read_only;
	enum fs_dax_mode dax;
	enum fs_atime_mode atime;
	/* Inodes without a name are not freed by the mount: somebody may still use
	 * them. Their caller goes through fs_for_each_orphan() later. */
	bool keep_orphans;
	/* By fs_mount(): recovery has completed a request of an earlier mount, whose
	 * executed() may not have been called. NULL: nobody wants to know. */
	void (*replayed)(void *arg, uint64_t unique, uint32_t opcode, int64_t result);
	void *replayed_arg;
	/* An inode has other attributes now (its blocks), and no operation on it says so: it was
	 * trimmed. From any thread, with the inode locked: it must not call the fs. NULL:
	 * nobody wants to know. */
	void (*trimmed)(void *arg, uint64_t ino);
	void *trimmed_arg;
	/* As if fs_busy_insert() had been called for each, before anything can be allocated: the
	 * space that programs have mapped which have outlived an earlier mount. Not kept. */
	const struct fs_busy *busy;
	unsigned busy_count;
};

/* ---- life -------------------------------------------------------------- */

/* What mkfs may choose. Zeroes mean: defaults. */
struct fs_format {
	uint8_t uuid[16]; /* all 0: a random one */
	char label[64];
	uint64_t hash_seed; /* 0: a random one */
	bool dax;           /* the root has DXF_FLAG_DAX, all below inherit it */
	uint32_t root_uid, root_gid;
	int64_t now;    /* ns; 0: the clock's */
	bool fill_free; /* fill free space with 0xDB (crash tests) */
	void (*progress)(uint64_t done, uint64_t total, void *arg); /* bytes; may be NULL */
	void *progress_arg;
};

/* Make an empty pool. -EINVAL: size out of range. Both superblocks are written
 * last, the first one last of all. */
errint_t fs_mkfs(const struct pmem *pm, const struct fs_format *format);

/* Why a mount was refused or what it repaired, for people. */
struct fs_report {
	char what[256];    /* on error: what is wrong, one line */
	char advice[256];  /* on error: what to do, one line */
	unsigned replayed; /* journal records */
	uint64_t orphans;  /* inodes freed, truncations completed, tails ended */
	bool spare_super;  /* the first superblock is damaged */
};

/*
 * Check both superblocks, replay the journals, complete orphans, load the
 * allocator. Tails that a crash has left are ended: nobody may store to them any
 * more. -EINVAL: no pool, or not the one that options->busy is of; -EUCLEAN:
 * damaged; -EOPNOTSUPP: newer format; -EFBIG: pool larger than the device;
 * -EROFS: it must not be written, but has to be recovered. ret_report may be NULL
 * and is always filled. pm must outlive the fs.
 */
errint_t fs_mount(const struct pmem *pm, const struct fs_options *options, struct fs **ret_fs,
		  struct fs_report *ret_report);
/* Ends all tails and frees memory. Orphans that are still open wait for the next mount. */
void fs_unmount(struct fs *fs);
/* Of a mount that goes on. Nobody writes while it is made read-only: the kernel sees to that.
 * -EROFS: the pool was mapped for reading. */
errint_t fs_set_mode(struct fs *fs, bool read_only, enum fs_atime_mode atime);
bool fs_is_read_only(const struct fs *fs);
enum fs_atime_mode fs_atime(const struct fs *fs);
enum fs_dax_mode fs_dax(const struct fs *fs);
const struct dxf_super *fs_super(const struct fs *fs);
const struct pmem *fs_pmem(const struct fs *fs);
errint_t fs_set_label(struct fs *fs, const char *label);

/* ---- who and what ------------------------------------------------------ */

/*
 * On whose behalf, and as which request. Where a function takes one, NULL means that nobody asks
 * again; a function that makes an inode needs to know whose it is.
 *
 * A request that must not be executed twice - one that makes, links, renames or removes a name,
 * changes an xattr, collapses or inserts a range, writes - has a number (once.unique). It goes into
 * the record of the transaction that carries the request out, and once.executed() is called while
 * that record is live: with FS_RESULT of the inode if it has made one, the bytes of a write, else
 * 0. (A write is told of before anybody else can see its bytes.)
 */
struct fs_request {
	uint32_t uid;
	uint32_t gid;
	uint32_t umask; /* applied where there is no default ACL */
	bool in_group;  /* may keep sgid on a file of another group */
	struct tx_request once;
};
#define FS_RESULT(ino, generation) ((int64_t)((uint64_t)(generation) << 32 | (uint32_t)(ino)))
#define FS_RESULT_INO(result) ((uint64_t)(uint32_t)(result))
#define FS_RESULT_GENERATION(result) ((uint32_t)((uint64_t)(result) >> 32))

struct fs_attr {
	uint64_t ino;
	uint64_t size;                      /* bytes */
	uint64_t blocks;                    /* of 512 bytes, as st_blocks */
	int64_t atime, mtime, ctime, btime; /* ns since the epoch */
	uint32_t generation;
	uint32_t mode;
	uint32_t nlink;
	uint32_t uid, gid;
	uint32_t rdev;  /* (major << 20) | minor */
	uint32_t flags; /* DXF_FLAG_* */
	uint32_t project;
	uint32_t extsize;
	bool dax; /* reads and writes go past the page cache */
};

enum {
	FS_SET_MODE = 1,
	FS_SET_UID = 2,
	FS_SET_GID = 4,
	FS_SET_SIZE = 8,
	FS_SET_ATIME = 16,
	FS_SET_MTIME = 32,
	FS_SET_CTIME = 64,
	FS_SET_KILL_SUIDGID = 128, /* drop suid, and sgid if group-executable */
	FS_SET_KILL_SGID = 256,    /* with it: sgid in any case, the caller is not in the group */
	FS_SET_TOUCH = 512, /* both times are now, as by utime(NULL): append-only files, too */
};

struct fs_setattr {
	unsigned valid; /* FS_SET_* */
	uint32_t mode;  /* permission bits */
	uint32_t uid, gid;
	uint64_t size;
	int64_t atime, mtime, ctime;
};

/* ---- namespace --------------------------------------------------------- */

/* ".." is looked up, too, and "." of any parent, also of one that is no directory: so the kernel
 * finds an inode by its number, for file handles and NFS. -ESTALE: there is no such parent;
 * -ENOENT, -ENOTDIR, -ENAMETOOLONG. */
errint_t fs_lookup(struct fs *fs, uint64_t parent, const char *name, struct fs_attr *ret_attr);
errint_t fs_getattr(struct fs *fs, uint64_t ino, struct fs_attr *ret_attr);
/* Where mtime lies on the device, and ctime behind it, in ns: somebody who changes the file's bytes
 * past us may store both there, durably, as long as the inode is not freed. */
errint_t fs_find_times(struct fs *fs, uint64_t ino, uint64_t *ret_device_offset);
errint_t fs_setattr(struct fs *fs, uint64_t ino, const struct fs_setattr *set,
		    struct fs_attr *ret_attr);
/* The error with which fs_setattr() would refuse now; does nothing else. */
errint_t fs_may_setattr(struct fs *fs, uint64_t ino, const struct fs_setattr *set);

/* Regular files, fifos, sockets, devices: mode says which. */
errint_t fs_mknod(struct fs *fs, const struct fs_request *request, uint64_t parent,
		  const char *name, uint32_t mode, uint32_t rdev, struct fs_attr *ret_attr);
errint_t fs_mkdir(struct fs *fs, const struct fs_request *request, uint64_t parent,
		  const char *name, uint32_t mode, struct fs_attr *ret_attr);
errint_t fs_symlink(struct fs *fs, const struct fs_request *request, uint64_t parent,
		    const char *name, const char *target, struct fs_attr *ret_attr);
/* A regular file without a name, as open(O_TMPFILE); fs_link() may name it. */
errint_t fs_tmpfile(struct fs *fs, const struct fs_request *request, uint64_t parent, uint32_t mode,
		    struct fs_attr *ret_attr);
errint_t fs_link(struct fs *fs, const struct fs_request *request, uint64_t ino, uint64_t parent,
		 const char *name, struct fs_attr *ret_attr);
errint_t fs_unlink(struct fs *fs, const struct fs_request *request, uint64_t parent,
		   const char *name);
errint_t fs_rmdir(struct fs *fs, const struct fs_request *request, uint64_t parent,
		  const char *name);
/* flags: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT of <linux/fs.h>. */
errint_t fs_rename(struct fs *fs, const struct fs_request *request, uint64_t parent,
		   const char *name, uint64_t new_parent, const char *new_name, unsigned flags);
/* Up to size bytes of the target, without NUL; returns the count. */
ssize_t fs_readlink(struct fs *fs, uint64_t ino, char *buf, size_t size);

struct fs_dirent {
	const char *name; /* NUL-terminated, valid during the call */
	uint64_t ino;
	uint64_t next; /* cookie that continues behind this entry */
	uint8_t type;  /* DT_* */
};
/*
 * Call emit for "." , ".." and each entry from cookie on (0 = start), until it
 * returns non-zero (that entry counts as not taken). No lock is held in emit.
 * Every entry that exists during the whole walk comes exactly once.
 */
int fs_readdir(struct fs *fs, uint64_t ino, uint64_t cookie,
	       int (*emit)(const struct fs_dirent *entry, void *arg), void *arg);

/* ---- open objects ------------------------------------------------------ */

/* Counts an open description; open_flags as in open(2) (O_TRUNC is the
 * caller's). Only says no for immutable, append-only, read-only. */
errint_t fs_open(struct fs *fs, uint64_t ino, int open_flags, struct fs_attr *ret_attr);
/* The last one ends the tail, and trims what growth reserved. */
void fs_release(struct fs *fs, uint64_t ino);
/* Somebody knows ino by its number: it is not freed, and so remains the same object, until
 * fs_unhold() has been called as often. It may lose its names. -ESTALE */
errint_t fs_hold(struct fs *fs, uint64_t ino, struct fs_attr *ret_attr);
void fs_unhold(struct fs *fs, uint64_t ino);
/* Nobody can reach ino but by its names: free it if it has none, now or when the
 * last one releases it, unholds it, and lets its layout go. */
void fs_forget(struct fs *fs, uint64_t ino);
/* Call fn for each inode without a name, until it returns non-zero. It may free
 * it. -EIO: poison, some were not found. */
errint_t fs_for_each_orphan(struct fs *fs, errint_t (*fn)(uint64_t ino, void *arg), void *arg);
/* Whether ino has no name left and waits for fs_forget(). */
bool fs_is_orphan(struct fs *fs, uint64_t ino);

/* ---- data -------------------------------------------------------------- */

/*
 * Hand out up to length bytes at offset as pieces of the pool itself (holes:
 * of a shared page of zeroes); emit is called once, with the inode locked
 * against change, and its result is returned. Poison anywhere: -EIO, no emit.
 */
typedef ssize_t (*fs_emit)(const struct iovec *iov, int count, size_t bytes, void *arg);
ssize_t fs_read(struct fs *fs, uint64_t ino, uint64_t offset, size_t length, fs_emit emit,
		void *arg);
/* The same, but as of a reader with O_NOATIME. */
ssize_t fs_read_noatime(struct fs *fs, uint64_t ino, uint64_t offset, size_t length, fs_emit emit,
			void *arg);
/* Somebody has read it past us, at that time: what fs_read() makes of that. */
void fs_was_read(struct fs *fs, uint64_t ino, int64_t when);
/* fs_read() into a buffer. */
ssize_t fs_pread(struct fs *fs, uint64_t ino, void *buf, size_t length, uint64_t offset);

enum {
	FS_WRITE_APPEND = 1,       /* offset is ignored: at the end of the file */
	FS_WRITE_KILL_SUIDGID = 2, /* as those of FS_SET_ */
	FS_WRITE_KILL_SGID = 4,
};
/* File capabilities go with the first byte, root's writes included. Short only when space or quota
 * ends midway. */
ssize_t fs_write(struct fs *fs, const struct fs_request *request, uint64_t ino, const void *buf,
		 size_t length, uint64_t offset, unsigned flags);
/* Before a file's bytes are changed by any other means: file capabilities go, and the bits that
 * kill says (FS_WRITE_KILL_*). *ret_dropped: there was something. */
errint_t fs_drop_privileges(struct fs *fs, uint64_t ino, unsigned kill, bool *ret_dropped);
/* mode: FALLOC_FL_* of <linux/falloc.h>: 0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE,
 * ZERO_RANGE, COLLAPSE_RANGE, INSERT_RANGE. */
errint_t fs_fallocate(struct fs *fs, const struct fs_request *request, uint64_t ino, int mode,
		      uint64_t offset, uint64_t length);
/* The error with which fs_fallocate() would refuse now; does nothing else. */
errint_t fs_may_fallocate(struct fs *fs, uint64_t ino, int mode, uint64_t offset, uint64_t length);
/* whence: SEEK_DATA or SEEK_HOLE. -ENXIO. */
off_t fs_seek(struct fs *fs, uint64_t ino, uint64_t offset, int whence);
ssize_t fs_copy_range(struct fs *fs, const struct fs_request *request, uint64_t in,
		      uint64_t in_offset, uint64_t out, uint64_t out_offset, size_t length);

/* Where a file range lies. */
enum fs_iomap_kind { FS_IOMAP_HOLE, FS_IOMAP_UNWRITTEN, FS_IOMAP_MAPPED };
struct fs_iomap {
	enum fs_iomap_kind kind;
	bool unit;              /* part of a whole 2 MiB unit */
	uint64_t file_offset;   /* bytes, as asked */
	uint64_t length;        /* bytes, contiguous on the device */
	uint64_t device_offset; /* 0 for a hole */
};
/* The iomap at offset, at most length bytes of it (more than 0). */
errint_t fs_iomap(struct fs *fs, uint64_t ino, uint64_t offset, uint64_t length,
		  struct fs_iomap *ret_iomap);
/* How many calls a walk over all of a file takes at most: one that takes more goes round in a
 * damaged table. */
errint_t fs_iomap_steps(struct fs *fs, uint64_t ino, uint64_t *ret_steps);

/* ---- what a mapping needs ---------------------------------------------- */

/*
 * Make the page (length 4 KiB) or the unit (2 MiB) at offset, a multiple of length, lie
 * on blocks that may be mapped: all of it that is in the file is MAPPED afterwards, and
 * reads as before. A unit becomes a whole one if there is one free, with zeroes behind
 * the end of the file. -ENXIO: it begins behind the end; -ENODEV: no regular file;
 * -EINVAL, -ENOSPC, -EDQUOT.
 */
errint_t fs_map_allocate(struct fs *fs, uint64_t ino, uint64_t offset, uint64_t length);
/* The same for the unit around offset; -ENOSPC if it can't be a whole one. */
errint_t fs_map_promote(struct fs *fs, uint64_t ino, uint64_t offset);
/*
 * Go through a file's 2 MiB regions from *offset on, until one that is held as blocks,
 * and used enough to be a unit, has been made one (*ret_moved), or for a while.
 * *offset: where to go on, UINT64_MAX at the end. -ENOSPC, -EDQUOT: that region could
 * not be moved, the next ones may. A file of less than a unit is left as it is.
 */
errint_t fs_realign(struct fs *fs, uint64_t ino, uint64_t *offset, bool *ret_moved);
/* The first half of it: from *offset on, the next region that should be a unit and is not
 * (*ret_found: *offset is its), looked for only so far; or where to go on. */
errint_t fs_find_scattered(struct fs *fs, uint64_t ino, uint64_t *offset, bool *ret_found);
/*
 * While this is on, the file's extents stay where they are, as programs may have them mapped: none
 * is moved, none is freed but by a caller that names its range (truncating, punching, collapsing,
 * inserting, fs_map_promote(), fs_map_allocate(), fs_realign()). Writing and reserving fill holes;
 * only a hole of a whole region becomes a unit by the way. The part of the file that a unit holds
 * counts as written, also where the file grows over it (with zeroes there when the new size is
 * seen), and punching a part of it stores zeroes. Counted; the inode is not freed meanwhile.
 * -ENODEV: no regular file.
 */
errint_t fs_keep_layout(struct fs *fs, uint64_t ino, bool on);
/*
 * While this is on, the unit at an offset stays in the file, and where it is, as somebody has it
 * mapped who can't be told: punched, it is zeroed; truncated away, it lies behind the end, and
 * counts as written again when the file grows over it. The caller, who keeps the layout and grows
 * the file by its rules, zeroes it once it was truncated away (fs_map_zero()). Counted. -EINVAL:
 * the layout is not kept; -ENOMEM.
 */
errint_t fs_stay(struct fs *fs, uint64_t ino, uint64_t offset, bool on);
/* Zero in place all that lies beneath a range, also behind the end of the file; holes stay.
 * UINT64_MAX: to the end of all that there is. */
errint_t fs_map_zero(struct fs *fs, uint64_t ino, uint64_t offset, uint64_t length);
/*
 * The file has grown from old_size, over a unit that is mapped: the part of it that is in the file
 * now counts as written, as it is, for mappers may have stored there since. The caller has zeroed
 * all behind old_size before the file grew (fs_map_zero()). Nothing is left to do if the layout was
 * kept when it grew, or where there is no unit.
 */
errint_t fs_map_grown(struct fs *fs, uint64_t ino, uint64_t old_size);
/* Its data is about to be changed through a mapping: mtime and ctime. */
errint_t fs_map_touch(struct fs *fs, uint64_t ino);

/* ---- tails: files that grow past us ------------------------------------- */

/*
 * A tail is the space behind the end of a file, lent to somebody else: the holder, who appends to
 * the file in place, without a call. There is one holder, which is told with each tail where its
 * parts lie on the device; it stores, and keeps the order,
 *
 *   1. the bytes, and zeroes from the new end of the file to the end of its page of 4 KiB; if they
 *      do not begin at the old end, zeroes in between. Fence
 *   2. mtime and ctime, and then the new size, one word each; flushed. Fence
 *
 * From then on the bytes are in the file, whatever happens. All of it is about file offsets below
 * fs_tail.end. It must not make the size smaller.
 *
 * Whatever operation needs the file's size or data, or changes the inode, ends the tail first, and
 * what was not used is freed; those that only look at attributes do not (fs_getattr(),
 * fs_find_times(), fs_lookup(), fs_open(), fs_hold(), fs_may_setattr(), fs_getxattr(),
 * fs_listxattr(), fs_was_read(), fs_statfs(), fs_is_orphan()), and say the size and the times as
 * the holder has stored them.
 */
#define FS_TAIL_EXTENTS 16
struct fs_tail_extent {
	uint64_t file_offset, length, device_offset; /* whole pages of 4 KiB */
};
struct fs_tail {
	uint64_t size;      /* the file's, now */
	uint64_t end;       /* it may grow up to here */
	uint64_t size_word; /* device offset of 8 bytes: the new size is stored there */
	uint64_t times;     /* device offset of 16 bytes: mtime, then ctime, ns since the epoch */
	/* Device offset of the page that the end of the file lies in, which holds zeroes behind it
	 * and is MAPPED (fs_iomap()); 0: the end lies between two pages. */
	uint64_t last_page;
	unsigned count;
	/* the pages from the first one wholly behind the end of the file up to `end` */
	struct fs_tail_extent extent[FS_TAIL_EXTENTS];
};
struct fs_tail_holder {
	void *arg;
	/* Both with the inode locked: they must not call the fs, nor wait for a thread that does.
	 * give() that fails has given nothing. */
	errint_t (*give)(void *arg, void *cookie, const struct fs_tail *tail);
	/* After it nobody stores to the tail, nor to the three words. */
	void (*take)(void *arg, void *cookie);
};
/* Copied; NULL: there is none. The tails of the one before have ended when it returns. */
void fs_set_tail_holder(struct fs *fs, const struct fs_tail_holder *holder);
/*
 * Let the holder append to ino: [offset, offset + length) may be stored to afterwards, as far as it
 * lies behind the end of the file and in the same 2 MiB of it as the end, and the gap before it;
 * likely more. An earlier tail is ended before. The file's capabilities go, as with a write; the
 * caller sees to its mode (fs_drop_privileges(), before).
 *
 * -ERANGE: offset lies in 2 MiB behind those of the end: the file must grow otherwise; -ENODEV:
 * no regular file, or there is no holder; -EPERM: immutable; -EBUSY: the unit at
 * the end is to stay (fs_stay()); -EINVAL: no length; -EFBIG, -ENOSPC, -EDQUOT, -EROFS; what give()
 * says.
 */
errint_t fs_tail_begin(struct fs *fs, uint64_t ino, uint64_t offset, uint64_t length, void *cookie);
/* End it, if there is one. */
errint_t fs_tail_end(struct fs *fs, uint64_t ino);
/* End all: space that they have and do not use is free then. Whether there were any. */
bool fs_tail_end_all(struct fs *fs);

/* ---- attributes -------------------------------------------------------- */

/* size 0: only the length. -ENODATA, -ERANGE, -E2BIG, -ENOSPC, -EEXIST. */
ssize_t fs_getxattr(struct fs *fs, uint64_t ino, const char *name, void *value, size_t size);
ssize_t fs_listxattr(struct fs *fs, uint64_t ino, char *list, size_t size);
/* flags: XATTR_CREATE, XATTR_REPLACE. Setting system.posix_acl_access moves the
 * mode's group bits; an ACL that the mode expresses is stored as the mode. */
errint_t fs_setxattr(struct fs *fs, const struct fs_request *request, uint64_t ino,
		     const char *name, const void *value, size_t size, int flags);
errint_t fs_removexattr(struct fs *fs, const struct fs_request *request, uint64_t ino,
			const char *name);

/* The user's part of flags, with project and extsize (as FS_IOC_FSSETXATTR). */
struct fs_xflags {
	uint32_t flags; /* DXF_FLAG_*, without TRUNCATING */
	uint32_t project;
	uint32_t extsize; /* bytes */
	uint32_t extents; /* fs_get_xflags only */
	/* fs_set_xflags only: the caller may change neither the project nor whether a folder
	 * hands it on; nor these flags: -EPERM */
	bool same_project;
	uint32_t fixed;
};
errint_t fs_get_xflags(struct fs *fs, uint64_t ino, struct fs_xflags *ret_xflags);
errint_t fs_set_xflags(struct fs *fs, uint64_t ino, const struct fs_xflags *xflags);

/* ---- space ------------------------------------------------------------- */

struct fs_space {
	uint64_t units;      /* for data and inodes */
	uint64_t free_units; /* whole ones */
	uint64_t split_units;
	uint64_t free_blocks; /* 4 KiB, in split units only */
	uint64_t bad_blocks;  /* free but never allocated */
	uint64_t busy_blocks; /* free on media, but mapped still: fs_busy_insert() */
	uint64_t inodes;      /* in use */
	uint64_t inodes_max;
};
void fs_get_space(struct fs *fs, struct fs_space *ret_space);

/*
 * Somebody has a range of the pool's space mapped, whole blocks of it: when it is freed, or if it
 * is free, it is not allocated again until fs_busy_clear(). Counted, block by block; in memory
 * only, as a crash of the machine ends the programs that map it. -EINVAL: not of the data area, or
 * no whole blocks; -ENOMEM. Both take no lock that their caller could hold but an allocator's.
 */
errint_t fs_busy_insert(struct fs *fs, uint64_t device_offset, uint64_t length);
void fs_busy_clear(struct fs *fs, uint64_t device_offset, uint64_t length);

struct fs_statfs {
	uint64_t blocks, free_blocks; /* 4 KiB */
	uint64_t inodes, free_inodes;
};
/* Of the project's limits if ino belongs to one that has them. */
errint_t fs_statfs(struct fs *fs, uint64_t ino, struct fs_statfs *ret_statfs);

struct fs_quota {
	uint32_t project;
	uint64_t block_limit, inode_limit; /* 4 KiB blocks; 0 = none */
	uint64_t blocks, inodes;           /* in use */
};
errint_t fs_quota_set(struct fs *fs, uint32_t project, uint64_t block_limit, uint64_t inode_limit);
errint_t fs_quota_get(struct fs *fs, uint32_t project, struct fs_quota *ret_quota);
/* Call fn for each project known, until it returns non-zero. */
errint_t fs_quota_list(struct fs *fs, errint_t (*fn)(const struct fs_quota *quota, void *arg),
		       void *arg);

/* Since the mount, for tests and status. */
struct fs_counters {
	uint64_t transactions;
	uint64_t transaction_bytes;
	uint64_t units_promoted; /* blocks gathered into a unit */
	uint64_t units_trimmed;  /* a unit given back for blocks */
};
void fs_get_counters(struct fs *fs, struct fs_counters *ret_counters);

/* The clock, replaceable by tests: ns since the epoch. */
extern int64_t (*fs_clock)(void);

#endif
