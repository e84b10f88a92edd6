/* SPDX-License-Identifier: BSD-3-Clause */
/* A pool in memory, mounted, for the tests of this room; and small numbers that
 * look random and are the same in each run. */
#ifndef DAXFUSE_TESTS_UNIT_CORE_POOL_H
#define DAXFUSE_TESTS_UNIT_CORE_POOL_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daxfuse/check/check.h"
#include "daxfuse/core/fs.h"
#include "daxfuse/pmem/memory.h"

#define ROOT DXF_ROOT_INO

struct pool {
	struct pmem *pm;
	struct fs *fs;
};

static const struct fs_request root_request = { .uid = 0, .gid = 0 };

static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * UINT64_C(0x2545f4914f6cdd1d) >> 16;
}

static inline void pool_mount(struct pool *pool, bool read_only)
{
	struct fs_options options = { .read_only = read_only };

	assert_int_equal(fs_mount(pool->pm, &options, &pool->fs, NULL), 0);
}

static inline void pool_make(struct pool *pool, unsigned units)
{
	struct fs_format format = { .hash_seed = 7 };

	assert_int_equal(pmem_memory_new(units * DXF_UNIT_SIZE, 0, &pool->pm), 0);
	assert_int_equal(fs_mkfs(pool->pm, &format), 0);
	pool_mount(pool, false);
}

static inline void print_finding(const struct check_finding *finding, void *arg)
{
	fprintf(stderr, "check: ino %llu: %s\n", (unsigned long long)finding->ino, finding->text);
}

/* The checker finds nothing wrong, and nothing left for a mount. */
static inline void pool_check(struct pool *pool)
{
	struct check_options options = { .found = print_finding };
	struct check_result result;

	assert_int_equal(check_pool(pool->pm, &options, &result), 0);
	assert_int_equal(result.found, 0);
}

static inline void pool_remount(struct pool *pool)
{
	fs_unmount(pool->fs);
	pool_check(pool);
	pool_mount(pool, false);
}

static inline void pool_free(struct pool *pool)
{
	fs_unmount(pool->fs);
	pool_check(pool);
	pmem_memory_free(pool->pm);
}

/* For tests that each begin with a pool of their own. */
static inline struct pool *pool_new(unsigned units)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	assert_non_null(pool);
	pool_make(pool, units);
	return pool;
}

static inline int pool_teardown(void **state)
{
	pool_free(*state);
	free(*state);
	return 0;
}

static inline uint64_t free_space(struct pool *pool)
{
	struct fs_space space;

	fs_get_space(pool->fs, &space);
	return space.free_units * DXF_UNIT_BLOCKS + space.free_blocks;
}

static inline uint64_t make_file(struct pool *pool, const char *name)
{
	struct fs_attr attr;

	assert_int_equal(fs_mknod(pool->fs, &root_request, ROOT, name, 0100644, 0, &attr), 0);
	return attr.ino;
}

static inline uint64_t make_dir(struct pool *pool, uint64_t parent, const char *name)
{
	struct fs_attr attr;

	assert_int_equal(fs_mkdir(pool->fs, &root_request, parent, name, 0755, &attr), 0);
	return attr.ino;
}

static inline void remove_file(struct pool *pool, uint64_t parent, const char *name, uint64_t ino)
{
	assert_int_equal(fs_unlink(pool->fs, NULL, parent, name), 0);
	fs_forget(pool->fs, ino);
}

#endif
