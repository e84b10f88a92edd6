/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Of the room: what one mount consists of.
 *
 * Locks (base/lockrank.h): LOCK_ORPHANS (open.c), LOCK_GATE (gate.c; held shared by an operation
 * that changes a file which nobody maps, and then over core's locks only), LOCK_GROW, the engine's,
 * and with it core's. LOCK_WATCH is a leaf.
 */
#ifndef DAXFUSE_VFS_INTERNAL_H
#define DAXFUSE_VFS_INTERNAL_H

#include <errno.h>
#include <stdatomic.h>

#include "daxfuse/base/bits.h"
#include "mapped.h"
#include "daxfuse/base/errint.h"

enum { GATES = 1024, FILE_BUCKETS = 1024, FLUSHED_SLOTS = 1024 };

struct vfs {
	struct vfs_config config;
	struct map_engine *engine;
	_Atomic uint64_t next_handle; /* if it outlives nobody */
	pthread_rwlock_t orphans;     /* read: one may be made; write: one is freed */
	pthread_rwlock_t gate[GATES];
	struct vfs_file *files[FILE_BUCKETS];
	_Atomic uint64_t flushed[FLUSHED_SLOTS]; /* inodes: flush_once() in modify.c */
	void (*released)(void *arg, uint64_t handle);
	void *released_arg;
	struct vfs_sharer sharer; /* arg NULL: none */
	atomic_uint watchers;
	struct opens *opens;        /* opens.c */
	bool may_cache;             /* vfs_allow_auto() */
	pthread_mutex_t watch_lock; /* a leaf: watcher_list */
	struct watcher *watcher_list;
	struct map_hook hook;
};

/* ---- answers.c -------------------------------------------------------------- */

/*
 * Whether an earlier process has executed the request, and died before it could answer: then the
 * operation returns that result, and does nothing.
 */
bool answer_is_known(const struct vfs_request *request, int64_t *ret_result);
/* Of one that has made an inode: *ret_err and ret_attr as of the call that makes it. */
bool answer_of_made(struct vfs *v, const struct vfs_request *request, int *ret_err,
		    struct fs_attr *ret_attr);

/* ---- backend.c -------------------------------------------------------------- */

/* Core, as the engine wants it: `file` is a struct vfs_file, `pool` a struct vfs. */
extern const struct map_backend vfs_backend;

/* ---- attributes.c ------------------------------------------------------------ */

/* As of struct vfs_sharer. */
void share_cut(struct vfs *v, uint64_t ino, uint64_t size);
void share_change(struct vfs *v, uint64_t ino, uint64_t end);
void share_mode(struct vfs *v, uint64_t ino);
void share_times(struct vfs *v, uint64_t ino);

/* ---- gate.c ----------------------------------------------------------------- */

/*
 * Begin an operation on an inode that may change its extents or bytes: the file if it is
 * mapped, referenced; or NULL, and then nobody can begin to map it before vfs_file_leave().
 */
struct vfs_file *vfs_file_enter(struct vfs *v, uint64_t ino);
void vfs_file_leave(struct vfs *v, uint64_t ino, struct vfs_file *file);
/* Call fn for each, referenced. */
void vfs_files_for_each(struct vfs *v, void (*fn)(struct vfs_file *file, void *arg), void *arg);

/* ---- opens.c ---------------------------------------------------------------- */

errint_t opens_open(struct vfs *v);
/* Also after opens_open() has failed. */
void opens_close(struct vfs *v);

enum {
	OPEN_READS = 1,   /* it may be read from, and mapped */
	OPEN_WRITES = 2,  /* it may be written to */
	OPEN_DIRECT = 4,  /* past the transport's cache in any case */
	OPEN_FOLLOWS = 8, /* past it if others are */
	OPEN_EMPTY = 16,  /* there is nothing to cache yet */
	OPEN_DROPS = 32,  /* its first read is to come here: the cache must have nothing */
	OPEN_YIELDS = 64, /* past it if writers through it and opens that drop it would meet */
};

struct open_way {
	uint64_t handle;
	bool direct;
	bool keep_cache; /* what the cache has is not to be dropped now */
};

/* A file is about to be open, until open_leave(). */
void open_enter(struct vfs *v, struct vfs_answer *answer, uint64_t ino, unsigned how,
		struct open_way *ret_way);
/* The transport has not heard that it is open, and so has not dropped anything: before
 * open_leave(). */
void open_was_in_vain(struct vfs *v, uint64_t handle);
/* One that is not open any more is fine. */
void open_leave(struct vfs *v, uint64_t handle);
/* Open files that read it through the transport's cache. */
unsigned vfs_cached_readers(struct vfs *v, uint64_t ino);
/* Whether others are kept away from the cache by it, or know that it is one of its readers. */
bool vfs_is_recorded(struct vfs *v, uint64_t handle);

/* ---- privileges.c ------------------------------------------------------------ */

/* FS_WRITE_KILL_*: what a caller without privilege takes away from a file that it changes. */
unsigned kills_of(const struct vfs_request *request, const struct fs_attr *attr);
/* The caller is about to change a file's bytes by other means than writing and truncating:
 * privileges that this takes away go, and the transport knows. */
errint_t drop_privileges(struct vfs *v, const struct vfs_request *request, uint64_t ino);

/* ---- watch.c ---------------------------------------------------------------- */

/* A struct map_hook's; arg is the struct vfs. */
void watch_first_write(void *arg, void *file, uint64_t offset, uint64_t length);
/* The handle may have been a watcher. */
void watch_release(struct vfs *v, uint64_t handle);
/* No handle is one any more. */
void watch_end(struct vfs *v);

#endif
