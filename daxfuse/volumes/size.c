/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether the pool can keep what it promises: the sizes of all volumes together. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/size.h"
#include "internal.h"

struct counting {
	const char *except;
	struct census *census;
};

static errint_t note_project(struct census *c, uint32_t project)
{
	if (c->count == c->room) {
		size_t room = MAX(2 * c->room, (size_t)64);
		uint32_t *more = reallocarray(c->project, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		c->project = more;
		c->room = room;
	}
	c->project[c->count++] = project;
	return 0;
}

/* As little as is needed of each: there may be thousands. */
static errint_t count_volume(const struct volume_pool *pool, const char *name, void *arg)
{
	const struct counting *counting = arg;
	struct census *census = counting->census;
	struct dxf_ioc_quota quota;
	uint32_t project;
	CLEANUP_FD int fd = -1;

	if (counting->except && !strcmp(name, counting->except))
		return 0;
	fd = openat(pool->folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || volumes_project(fd, &project) || project < VOLUME_FIRST_PROJECT ||
	    volumes_get_quota(fd, project, &quota))
		return 0;
	if (__builtin_add_overflow(census->bytes, quota.byte_limit, &census->bytes))
		census->bytes = UINT64_MAX;
	return note_project(census, project);
}

void census_free(struct census *census)
{
	free(census->project);
}

static int by_number(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

errint_t volumes_count(const struct volume_pool *pool, const char *except,
		       struct census *ret_census, struct volume_error *error)
{
	struct counting counting = { .except = except, .census = ret_census };
	int err = volumes_each(pool, count_volume, &counting);

	if (err)
		return volumes_fail(error, err, "%.256s: %s", pool->path, strerror(-err));
	if (ret_census->count)
		qsort(ret_census->project, ret_census->count, sizeof(ret_census->project[0]),
		      by_number);
	return 0;
}

errint_t volumes_check_size(const struct volume_pool *pool, const struct volume_options *options,
			    const struct census *others_have, struct volume_error *error)
{
	char wanted[HUMAN_SIZE], all[HUMAN_SIZE], others[HUMAN_SIZE];
	struct statvfs space;
	uint64_t bytes;

	if (!options->size || options->overcommit)
		return 0;
	if (fstatvfs(pool->fd, &space))
		return volumes_fail(error, -errno, "%.256s: %s", pool->path, strerror(errno));
	bytes = (uint64_t)space.f_blocks * space.f_frsize;
	if (options->size <= bytes && others_have->bytes <= bytes - options->size)
		return 0;
	return volumes_fail(error, -ENOSPC,
			    "size=%s is more than the pool has: %s, of which other volumes have %s "
			    "(overcommit=yes allows it)",
			    human_size(options->size, wanted, sizeof(wanted)),
			    human_size(bytes, all, sizeof(all)),
			    human_size(others_have->bytes, others, sizeof(others)));
}
