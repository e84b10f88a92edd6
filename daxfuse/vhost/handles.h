/* SPDX-License-Identifier: BSD-3-Clause */
/* The files that a guest has open. A handle that it was not given, or of another node, is none. */
#ifndef DAXFUSE_VHOST_HANDLES_H
#define DAXFUSE_VHOST_HANDLES_H

#include <pthread.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/vfs/vfs.h"

#define HANDLES_MAX 65536u /* of a guest */

struct handle {
	struct vfs_open_file file; /* file.ino 0: it is free */
	uint32_t turn;             /* how often it was taken: the upper half of the number */
	uint32_t next_free;
};

struct handles {
	struct vfs *vfs;
	pthread_mutex_t lock; /* a leaf, LOCK_GUEST: all below */
	struct handle *table;
	uint32_t room, free, used; /* entries; the first that is free, or room; in use */
};

void handles_open(struct handles *h, struct vfs *vfs);
void handles_close(struct handles *h);
/* Close all. */
void handles_clear(struct handles *h);

/* -ENFILE: too many; -ENOMEM */
errint_t handles_add(struct handles *h, const struct vfs_open_file *file, uint64_t *ret_number);
/* -EBADF: not open. */
errint_t handles_find(struct handles *h, uint64_t number, uint64_t ino,
		      struct vfs_open_file *ret_file);
/* It is closed: the caller releases it. -EBADF */
errint_t handles_take(struct handles *h, uint64_t number, uint64_t ino,
		      struct vfs_open_file *ret_file);
unsigned handles_count(struct handles *h);

#endif
