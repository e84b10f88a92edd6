/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Volumes: folders POOL/volumes/NAME of a mounted pool, each a project of its own with its limits.
 * The pool is all the state there is: what was asked for lies in an xattr of the folder, limits and
 * use are the project's. docs/design/volumes.md.
 *
 * Functions return 0 or a negative errno, and say in *error, in one line, what is wrong; ret_* are
 * untouched then. Any thread may call them, and several processes at once: changes are made under
 * a lock of the folder POOL/volumes.
 */
#ifndef DAXFUSE_VOLUMES_VOLUMES_H
#define DAXFUSE_VOLUMES_VOLUMES_H

#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"

struct json_object;
struct volume_pool;

struct volume_error {
	char text[400];
};

/* POOL: a folder of a mount of daxfuse, in most cases its root. -ENXIO: nothing is mounted there;
 * it is not written to then. */
errint_t volumes_pool_open(const char *path, struct volume_pool **ret_pool,
			   struct volume_error *error);
void volumes_pool_close(struct volume_pool *pool); /* NULL is fine */
/* Of the pool, as in `daxfuse status`. */
const char *volumes_pool_uuid(const struct volume_pool *pool);

/* [a-zA-Z0-9][a-zA-Z0-9_.-]*, 255 bytes at most: no path leads out of the pool. */
bool volumes_name_is_valid(const char *name);

/*
 * options: an object of strings, or NULL; the table is in options.c. A volume that is there with
 * the same options is fine. -EEXIST: with others; -EINVAL: a name or option; -ENOSPC: more than the
 * pool has; -EPERM: needs an administrator.
 */
errint_t volumes_create(struct volume_pool *pool, const char *name, struct json_object *options,
			struct volume_error *error);
/* Of the options, size, inodes and overcommit only. -EBUSY: more is in use than it is to have. */
errint_t volumes_resize(struct volume_pool *pool, const char *name, struct json_object *options,
			struct volume_error *error);
/* It is gone at once; its space comes back by volumes_sweep(). -EBUSY: it is mounted somewhere. */
errint_t volumes_remove(struct volume_pool *pool, const char *name, struct volume_error *error);

/* {"name", "mountpoint", "created", "project", "options", "size", "used", "inodes",
 * "inodes_used"} */
errint_t volumes_describe(const struct volume_pool *pool, const char *name,
			  struct json_object **ret_object, struct volume_error *error);
/* An array of those, by name. */
errint_t volumes_list(const struct volume_pool *pool, struct json_object **ret_array,
		      struct volume_error *error);

/*
 * Delete what was removed, and what a crash has left of volumes that were being made. Of several
 * processes one does it, and others return at once, or wait for it. progress, which may be NULL, is
 * called now and then. A tree that can't be deleted is passed over: -EIO and the like, of the last
 * one.
 */
int volumes_sweep(struct volume_pool *pool, bool wait, void (*progress)(uint64_t deleted));

/* The options, for help texts: name and what it is; NULL at the end. */
const char *volumes_option_help(unsigned i, const char **ret_name);

#endif
