/* SPDX-License-Identifier: BSD-3-Clause */
/* Of the room. */
#ifndef DAXFUSE_VOLUMES_INTERNAL_H
#define DAXFUSE_VOLUMES_INTERNAL_H

#include <json-c/json.h>
#include <limits.h>
#include <linux/fs.h>
#include <stddef.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/ioctl.h"
#include "volumes.h"

#define VOLUMES_FOLDER "volumes"
#define VOLUMES_NEW ".new"         /* in it: volumes that are being made */
#define VOLUMES_REMOVED ".removed" /* in it: trees that are being deleted */
/* Of its folder; trusted: root in a container neither sees nor changes it. */
#define VOLUME_XATTR "trusted.daxfuse.volume"
/* What people number themselves is below. */
#define VOLUME_FIRST_PROJECT UINT32_C(2000000000)

struct volume_pool {
	int fd;     /* of the folder POOL: while it is open the pool is mounted */
	int folder; /* POOL/volumes; -1: there is none yet */
	char path[PATH_MAX];
	char uuid[40];
};

static inline void cleanup_json(struct json_object **object)
{
	json_object_put(*object);
}
#define CLEANUP_JSON CLEANUP(cleanup_json)

/* ---- error.c ------------------------------------------------------------------ */

/* What is wrong; returns err. */
__attribute__((format(printf, 3, 4))) errint_t volumes_fail(struct volume_error *error, int err,
							    const char *format, ...);

/* ---- name.c ------------------------------------------------------------------- */

errint_t volumes_check_name(const char *name, struct volume_error *error);
/* For folders that are no volumes. */
errint_t volumes_random_name(char *ret_name, size_t size);

/* ---- options.c ---------------------------------------------------------------- */

struct volume_options {
	uint64_t size, inodes; /* 0: no limit */
	uint32_t uid, gid, mode;
	uint64_t extsize; /* 0: none */
	bool dax;
	bool overcommit;
	bool has_size, has_inodes; /* they were said */
};

errint_t volumes_parse_options(struct json_object *object, struct volume_options *ret_options,
			       struct volume_error *error);
/* Whether two objects ask for the same. */
bool volumes_same_options(struct json_object *a, struct json_object *b);

/* ---- pool.c ------------------------------------------------------------------- */

/* POOL/volumes and its folders are there. */
errint_t pool_make_folders(struct volume_pool *pool, struct volume_error *error);
/* Of POOL/volumes, until the descriptor is closed. */
errint_t pool_lock(const struct volume_pool *pool, int *ret_fd, struct volume_error *error);

/* ---- volume.c ------------------------------------------------------------------ */

/* -ENOENT: no such volume, also if it is a folder that was not made by us. */
errint_t volumes_open(const struct volume_pool *pool, const char *name, int *ret_fd,
		      struct json_object **ret_record, struct volume_error *error);
errint_t volumes_project(int fd, uint32_t *ret_project);
/* And what it uses and may use. */
errint_t volumes_open_counted(const struct volume_pool *pool, const char *name, int *ret_fd,
			      struct json_object **ret_record, uint32_t *ret_project,
			      struct dxf_ioc_quota *ret_quota, struct volume_error *error);
/* Of a project of which nothing is known: zeroes. */
errint_t volumes_get_quota(int fd, uint32_t project, struct dxf_ioc_quota *ret_quota);
errint_t volumes_set_limits(int fd, uint32_t project, uint64_t size, uint64_t inodes);
/* Call fn for each volume until it returns non-zero. */
int volumes_each(const struct volume_pool *pool,
		 int (*fn)(const struct volume_pool *pool, const char *name, void *arg), void *arg);

/* ---- size.c -------------------------------------------------------------------- */

/* What all volumes together have: one pass over them. */
struct census {
	uint64_t bytes;    /* of their sizes */
	uint32_t *project; /* of each */
	size_t count, room;
};

/* except: a volume that is not counted, or NULL. */
errint_t volumes_count(const struct volume_pool *pool, const char *except,
		       struct census *ret_census, struct volume_error *error);
void census_free(struct census *census);
#define CLEANUP_CENSUS CLEANUP(census_free)
/* -ENOSPC: with the sizes of all others it is more than the pool has. */
errint_t volumes_check_size(const struct volume_pool *pool, const struct volume_options *options,
			    const struct census *others, struct volume_error *error);

/* ---- users.c ------------------------------------------------------------------- */

/*
 * Whether any process sees a mount that begins in it, as containers that have it do. An error where
 * that cannot be told: without /proc, or if we do not see the pool's own mount there (-ENOENT).
 */
errint_t volumes_look_for_users(const struct volume_pool *pool, const char *name, bool *ret_used);

#endif
