/* SPDX-License-Identifier: BSD-3-Clause */
/* The files that a guest has open. A handle that it was not given, or of another node, is none. */
#ifndef DAXFUSE_VHOST_HANDLES_H
#define DAXFUSE_VHOST_HANDLES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/vfs/vfs.h"

#define HANDLES_MAX 65536u /* of a guest */

/* It outlives the serving process. */
struct handle {
	_Atomic uint64_t ino; /* 0: it is free; stored last */
	struct vfs_open_file file;
	uint32_t turn; /* how often it was taken: the upper half of the number */
	uint32_t next_free;
};

struct handle_table {
	_Atomic uint32_t used; /* entries above have never been used */
	struct handle entry[HANDLES_MAX];
};

struct handles {
	struct vfs *vfs;
	pthread_mutex_t lock; /* a leaf, LOCK_GUEST: all below */
	struct handle_table *table;
	uint32_t free; /* the first entry that is; counted from 1, 0: none */
	unsigned count;
};

/* With what the table has, which stays the caller's. */
void handles_open(struct handles *h, struct vfs *vfs, struct handle_table *table);
/* All are closed. */
void handles_close(struct handles *h);
/* Close all. */
void handles_clear(struct handles *h);

/* -ENFILE: too many */
errint_t handles_add(struct handles *h, const struct vfs_open_file *file, uint64_t *ret_number);
/* One that was added for an open that is made once more is of that file from now on. -EBADF: there
 * is none */
errint_t handles_replace(struct handles *h, uint64_t old_handle, const struct vfs_open_file *file,
			 uint64_t *ret_number);
/* -EBADF: not open. */
errint_t handles_find(struct handles *h, uint64_t number, uint64_t ino,
		      struct vfs_open_file *ret_file);
/* It is closed: the caller releases it. -EBADF */
errint_t handles_take(struct handles *h, uint64_t number, uint64_t ino,
		      struct vfs_open_file *ret_file);
unsigned handles_count(struct handles *h);

#endif
