/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files that are mapped, for those who map them: programs (clients/), guests and kernel views. A
 * mapper gets the file of an inode, opens a view of it in the engine (map/map.h), and puts the file
 * when it has closed the view.
 */
#ifndef DAXFUSE_VFS_MAPPED_H
#define DAXFUSE_VFS_MAPPED_H

#include <pthread.h>
#include <stdatomic.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/map/map.h"
#include "vfs.h"

struct vfs_file {
	uint64_t ino; /* first: probes show it */
	struct vfs *vfs;
	struct map_file *map;
	struct vfs_file *next; /* in its bucket; under the gate */
	atomic_uint refs;      /* mappers, and operations under way */
	atomic_uint mappers;  /* of them: programs' and guests' views; the last to go writes back */
	pthread_mutex_t grow; /* over every change of the size, and what belongs to it */
};

/* Somebody beside the engine who says of a file what core does; called with locks held. */
struct vfs_sharer {
	void *arg;
	/* The file is about to be cut to that size, and nobody has it mapped behind that any more:
	 * it is not to be longer, until changed() is called with UINT64_MAX. */
	void (*cut)(void *arg, uint64_t ino, uint64_t size);
	/* Its size may have changed; `end`: it has grown up to there, at most. Before anybody is
	 * answered. */
	void (*changed)(void *arg, uint64_t ino, uint64_t end);
	/* It may have become one that a write takes privileges from, or be none any more. Before
	 * anybody is answered. */
	void (*mode)(void *arg, uint64_t ino);
	/* Its times are about to be said, or set. */
	void (*asked)(void *arg, uint64_t ino);
};
/* NULL: nobody any more. Not while in use. */
void vfs_set_sharer(struct vfs *v, const struct vfs_sharer *sharer);

/* The file of an inode, referenced, made if need be: it is mapped from now on. -ENODEV: no regular
 * file; -ENOMEM */
errint_t vfs_file_get(struct vfs *v, uint64_t ino, struct vfs_file **ret_file);
/* Only if it is mapped; else NULL. */
struct vfs_file *vfs_file_find(struct vfs *v, uint64_t ino);
void vfs_file_put(struct vfs_file *file);

/* A number that no open file, and no other caller of this, gets during this mount. */
uint64_t vfs_new_handle(struct vfs *v);
/* Whether somebody wants to hear of each first write. One that comes later sees what was changed
 * before. */
bool vfs_is_watched(const struct vfs *v);
/* Something was changed (DXF_WATCH_*). After it was, before it is answered. */
void vfs_note(struct vfs *v, uint64_t ino, unsigned what, uint64_t offset, uint64_t length);
/* fs_getattr(), with the file's grow lock held: until that is let go of nobody makes it longer, nor
 * does anybody who appends past us: a tail begins below that lock only, and this one has ended. */
errint_t vfs_still_locked(struct vfs_file *file, struct fs_attr *ret_attr);
/* The file is that long at least afterwards, with zeroes; its grow lock is held. */
errint_t vfs_grow_locked(struct vfs_file *file, uint64_t size);
/* The transport must drop what it has cached of an inode (struct vfs_config). */
void vfs_forget_cached(struct vfs *v, uint64_t ino, bool data);
/* Of one operation, all false at first. */
struct vfs_retry {
	bool ended_tails;
};
/* Whether a failed operation is worth another try, as space was freed meanwhile. */
bool vfs_reclaims(struct vfs *v, struct vfs_retry *retry, ssize_t err);
/*
 * Whether the memory of a file may be mapped by this open file, so that nobody gets stale bytes.
 * -EOPNOTSUPP: by none (the mode of the mount, no DAX flag); -ETXTBSY: not while others that have
 * had the file open since before read it through the transport's cache, or while this one does. If
 * it may once it may until it is released.
 */
errint_t vfs_may_map(struct vfs *v, const struct vfs_open_file *file, const struct fs_attr *attr);
struct fs *vfs_fs(const struct vfs *v);
bool vfs_is_read_only(const struct vfs *v);
/* As vfs_config.waiting(), for a thread that waits for a program outside of the engine. */
bool vfs_waiting(const struct vfs *v, bool begins);
/* Whether enough of a unit is used to gather it. */
bool vfs_is_worth_a_unit(struct vfs_file *file, uint64_t unit);

#endif
