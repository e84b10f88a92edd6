/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether the pool can keep what it promises: the sizes of all volumes together. */
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#include "daxfuse/base/size.h"
#include "internal.h"

struct promises {
	const char *except;
	uint64_t bytes;
};

static int add_promise(const struct volume_pool *pool, const char *name, void *arg)
{
	CLEANUP_JSON struct json_object *record = NULL;
	CLEANUP_FD int fd = -1;
	struct promises *promises = arg;
	struct dxf_ioc_quota quota;
	struct volume_error error;
	uint32_t project;

	if (promises->except && !strcmp(name, promises->except))
		return 0;
	if (!volumes_open(pool, name, &fd, &record, &error) && !volumes_project(fd, &project) &&
	    !volumes_get_quota(fd, project, &quota) &&
	    __builtin_add_overflow(promises->bytes, quota.byte_limit, &promises->bytes))
		promises->bytes = UINT64_MAX;
	return 0;
}

errint_t volumes_check_size(const struct volume_pool *pool, const struct volume_options *options,
			    const char *except, struct volume_error *error)
{
	struct promises promises = { .except = except };
	char wanted[HUMAN_SIZE], all[HUMAN_SIZE], others[HUMAN_SIZE];
	struct statvfs space;
	uint64_t bytes;
	int err;

	if (!options->size || options->overcommit)
		return 0;
	if (fstatvfs(pool->fd, &space))
		return volumes_fail(error, -errno, "%.256s: %s", pool->path, strerror(errno));
	bytes = (uint64_t)space.f_blocks * space.f_frsize;
	err = volumes_each(pool, add_promise, &promises);
	if (err)
		return volumes_fail(error, err, "%.256s: %s", pool->path, strerror(-err));
	if (options->size <= bytes && promises.bytes <= bytes - options->size)
		return 0;
	return volumes_fail(error, -ENOSPC,
			    "size=%s is more than the pool has: %s, of which other volumes have %s "
			    "(overcommit=yes allows it)",
			    human_size(options->size, wanted, sizeof(wanted)),
			    human_size(bytes, all, sizeof(all)),
			    human_size(promises.bytes, others, sizeof(others)));
}
