/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When space or quota ends: the call that fails says so and leaves nothing
 * changed, what fits is written, and removing always works.
 */
#include <linux/falloc.h>
#include <sys/stat.h>

#include "daxfuse/base/bits.h"
#include "pool.h"

enum { UNITS = 10, PROJECT = 77 };

static char buf[4 << 20];

static int setup(void **state)
{
	memset(buf, 'x', sizeof(buf));
	*state = pool_new(UNITS);
	return 0;
}

/* Fill the pool but for `leave` blocks. */
static uint64_t fill(struct pool *pool, uint64_t leave)
{
	uint64_t ino = make_file(pool, "filler"), at = 0;
	ssize_t n;

	while ((n = fs_write(pool->fs, NULL, ino, buf, sizeof(buf), at, 0)) > 0)
		at += (uint64_t)n;
	assert_int_equal(n, -ENOSPC);
	assert_int_equal(free_space(pool), 0);
	while (free_space(pool) < leave) {
		struct fs_setattr set = { .valid = FS_SET_SIZE, .size = at -= DXF_UNIT_SIZE };

		assert_int_equal(fs_setattr(pool->fs, ino, &set, NULL), 0);
	}
	for (unsigned i = 0; free_space(pool) > leave; i++) {
		char name[16];

		snprintf(name, sizeof(name), "fill%u", i);
		fs_write(pool->fs, NULL, make_file(pool, name), buf, 1000, 0, 0);
	}
	return ino;
}

/* All of it can be written, to the last block, and all of it comes back. */
static void test_to_the_last_block(void **state)
{
	struct pool *pool = *state;
	struct fs_statfs statfs;
	uint64_t ino, before;

	make_file(pool, "first"); /* the root has its bucket */
	before = free_space(pool);
	ino = fill(pool, 0);
	assert_int_equal(fs_statfs(pool->fs, ROOT, &statfs), 0);
	assert_int_equal(statfs.free_blocks, 0);
	pool_remount(pool);
	remove_file(pool, ROOT, "filler", ino);
	assert_int_equal(free_space(pool), before);
}

/* Every call that needs a block fails, and the pool is as before. */
static void test_nothing_changes(void **state)
{
	struct pool *pool = *state;
	uint64_t small = make_file(pool, "small"), dir = make_dir(pool, ROOT, "dir");
	struct fs_setattr set = { .valid = FS_SET_SIZE, .size = 1 << 20 };
	struct fs_space before, after;
	struct fs_attr attr, old;
	char target[300];

	memset(target, 't', sizeof(target));
	target[299] = '\0';
	assert_int_equal(fs_write(pool->fs, NULL, small, buf, 100, 0, 0), 100);
	fill(pool, 0);
	assert_int_equal(fs_getattr(pool->fs, small, &old), 0);
	fs_get_space(pool->fs, &before);
	assert_int_equal(fs_write(pool->fs, NULL, small, buf, 100, 100, 0), -ENOSPC);
	assert_int_equal(fs_write(pool->fs, NULL, small, buf, 100, 1 << 30, 0), -ENOSPC);
	assert_int_equal(fs_setattr(pool->fs, small, &set, NULL), -ENOSPC);
	assert_int_equal(fs_fallocate(pool->fs, NULL, small, 0, 0, 1 << 20), -ENOSPC);
	assert_int_equal(fs_fallocate(pool->fs, NULL, small, 0, 0, UINT64_C(1) << 50), -ENOSPC);
	assert_int_equal(fs_fallocate(pool->fs, NULL, small, FALLOC_FL_INSERT_RANGE, 0, 4096),
			 -ENOSPC);
	assert_int_equal(fs_setxattr(pool->fs, NULL, small, "user.a", buf, 1000, 0), -ENOSPC);
	assert_int_equal(fs_mknod(pool->fs, &root_request, dir, "new", S_IFREG, 0, &attr), -ENOSPC);
	assert_int_equal(fs_mkdir(pool->fs, &root_request, dir, "new", 0755, &attr), -ENOSPC);
	assert_int_equal(fs_symlink(pool->fs, &root_request, ROOT, "link", target, &attr), -ENOSPC);
	assert_int_equal(fs_link(pool->fs, NULL, small, dir, "new", &attr), -ENOSPC);
	assert_int_equal(fs_rename(pool->fs, &root_request, ROOT, "small", dir, "new", 0), -ENOSPC);
	fs_get_space(pool->fs, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(fs_getattr(pool->fs, small, &attr), 0);
	assert_memory_equal(&attr, &old, offsetof(struct fs_attr, dax));
	assert_int_equal(fs_pread(pool->fs, small, target, 300, 0), 100);
	assert_int_equal(fs_lookup(pool->fs, dir, "new", &attr), -ENOENT);
	assert_int_equal(fs_setxattr(pool->fs, NULL, small, "user.a", buf, 100, 0),
			 0); /* in the inode */
}

/* As much as fits is written, whatever lies on either side of it. */
static void test_short_write(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "file"), end;
	char got[8192];
	ssize_t n;

	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, DXF_BLOCK_SIZE, 0, 0), DXF_BLOCK_SIZE);
	fill(pool, 5);
	/* a block that is there, and those that can be had */
	end = (1 + free_space(pool)) * DXF_BLOCK_SIZE;
	assert_in_range(end, 4 * DXF_BLOCK_SIZE, 6 * DXF_BLOCK_SIZE);
	n = fs_write(pool->fs, NULL, ino, memset(buf, 'y', 100 << 10), 100 << 10, 100, 0);
	assert_int_equal(n, end - 100);
	assert_int_equal(free_space(pool), 0);
	n = fs_write(pool->fs, NULL, ino, memset(buf, 'z', 8192), 8192, end - 50, 0);
	assert_int_equal(n, 50);
	assert_int_equal(fs_pread(pool->fs, ino, got, sizeof(got), end - 51), 51);
	assert_int_equal(got[0], 'y');
	assert_int_equal(got[1], 'z');
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 10, end, 0), -ENOSPC);
}

static void test_removing_works(void **state)
{
	struct pool *pool = *state;
	uint64_t dir = make_dir(pool, ROOT, "dir"), ino[300];
	struct fs_attr attr;
	char name[200];

	for (unsigned i = 0; i < ARRAY_SIZE(ino); i++) {
		memset(name, 'n', sizeof(name));
		snprintf(name + 190, 10, "%u", i);
		assert_int_equal(
			fs_mknod(pool->fs, &root_request, dir, name, S_IFREG | 0600, 0, &attr), 0);
		ino[i] = attr.ino;
	}
	fill(pool, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(ino); i++) {
		memset(name, 'n', sizeof(name));
		snprintf(name + 190, 10, "%u", i);
		remove_file(pool, dir, name, ino[i]);
	}
	assert_int_equal(fs_rmdir(pool->fs, NULL, ROOT, "dir"), 0);
	fs_forget(pool->fs, dir);
}

/* ---- quota ---------------------------------------------------------------- */

static uint64_t make_tree(struct pool *pool, uint64_t blocks, uint64_t inodes)
{
	struct fs_xflags xflags = { .flags = DXF_FLAG_PROJINHERIT, .project = PROJECT };
	uint64_t dir = make_dir(pool, ROOT, "tree");

	assert_int_equal(fs_set_xflags(pool->fs, dir, &xflags), 0);
	assert_int_equal(fs_quota_set(pool->fs, PROJECT, blocks, inodes), 0);
	return dir;
}

static void check_used(struct pool *pool, uint64_t blocks, uint64_t inodes)
{
	struct fs_quota quota;

	assert_int_equal(fs_quota_get(pool->fs, PROJECT, &quota), 0);
	assert_int_equal(quota.blocks, blocks);
	assert_int_equal(quota.inodes, inodes);
}

static void test_block_quota(void **state)
{
	struct pool *pool = *state;
	uint64_t dir = make_tree(pool, 20, 0), before = free_space(pool);
	struct fs_statfs statfs;
	struct fs_attr attr;

	assert_int_equal(fs_mknod(pool->fs, &root_request, dir, "a", S_IFREG | 0600, 0, &attr), 0);
	check_used(pool, 1, 2); /* the directory has a bucket */
	assert_int_equal(fs_write(pool->fs, NULL, attr.ino, buf, 15 * DXF_BLOCK_SIZE, 0, 0),
			 15 * DXF_BLOCK_SIZE);
	check_used(pool, 16, 2);
	assert_int_equal(fs_statfs(pool->fs, dir, &statfs), 0);
	assert_int_equal(statfs.blocks, 20);
	assert_int_equal(statfs.free_blocks, 4);
	/* a table comes with the 17th block */
	assert_int_equal(fs_write(pool->fs, NULL, attr.ino, buf, 1 << 20, 15 * DXF_BLOCK_SIZE, 0),
			 2 * DXF_BLOCK_SIZE);
	assert_int_equal(fs_write(pool->fs, NULL, attr.ino, buf, 1 << 20, 17 * DXF_BLOCK_SIZE, 0),
			 DXF_BLOCK_SIZE);
	check_used(pool, 20, 2);
	assert_int_equal(fs_write(pool->fs, NULL, attr.ino, buf, 1, 18 * DXF_BLOCK_SIZE, 0),
			 -EDQUOT);
	assert_int_equal(fs_write(pool->fs, NULL, attr.ino, buf, 10, 0, 0), 10);
	assert_int_equal(fs_setxattr(pool->fs, NULL, attr.ino, "user.a", buf, 1000, 0), -EDQUOT);
	assert_int_equal(fs_fallocate(pool->fs, NULL, attr.ino, 0, 0, DXF_UNIT_SIZE), -EDQUOT);
	assert_int_equal(fs_fallocate(pool->fs, NULL, attr.ino, 0, 0, UINT64_C(3) << 20), -EDQUOT);
	check_used(pool, 20, 2);
	assert_int_equal(fs_mknod(pool->fs, &root_request, dir, "b", S_IFREG | 0600, 0, &attr), 0);
	assert_int_equal(before - free_space(pool), 20);
	assert_int_equal(fs_lookup(pool->fs, dir, "a", &attr), 0);
	remove_file(pool, dir, "a", attr.ino);
	check_used(pool, 1, 2);
}

static void test_inode_quota(void **state)
{
	struct pool *pool = *state;
	uint64_t dir = make_tree(pool, 0, 3), free_blocks;
	struct fs_attr attr, other;

	assert_int_equal(fs_mknod(pool->fs, &root_request, dir, "a", S_IFREG | 0600, 0, &attr), 0);
	assert_int_equal(fs_mkdir(pool->fs, &root_request, dir, "b", 0755, &attr), 0);
	assert_int_equal(attr.project, PROJECT);
	free_blocks = free_space(pool);
	assert_int_equal(fs_mknod(pool->fs, &root_request, dir, "c", S_IFREG | 0600, 0, &attr),
			 -EDQUOT);
	assert_int_equal(fs_mknod(pool->fs, &root_request, attr.ino, "c", S_IFREG | 0600, 0,
				  &other),
			 -EDQUOT);
	assert_int_equal(fs_symlink(pool->fs, &root_request, dir, "c", "to", &other), -EDQUOT);
	assert_int_equal(fs_tmpfile(pool->fs, &root_request, dir, 0600, &other), -EDQUOT);
	assert_int_equal(free_space(pool), free_blocks);
	check_used(pool, 1, 3);
	assert_int_equal(fs_rmdir(pool->fs, NULL, dir, "b"), 0);
	fs_forget(pool->fs, attr.ino);
	assert_int_equal(fs_mknod(pool->fs, &root_request, dir, "c", S_IFREG | 0600, 0, &attr), 0);
}

/* From project to project: only what fits; links and renames stay inside. */
static void test_projects(void **state)
{
	struct pool *pool = *state;
	struct fs_xflags xflags = { .project = PROJECT };
	uint64_t dir = make_tree(pool, 10, 0), ino = make_file(pool, "out");
	struct fs_attr attr;

	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 12 * DXF_BLOCK_SIZE, 0, 0),
			 12 * DXF_BLOCK_SIZE);
	assert_int_equal(fs_link(pool->fs, NULL, ino, dir, "in", &attr), -EXDEV);
	assert_int_equal(fs_rename(pool->fs, &root_request, ROOT, "out", dir, "in", 0), -EXDEV);
	assert_int_equal(fs_set_xflags(pool->fs, ino, &xflags), -EDQUOT);
	assert_int_equal(fs_quota_set(pool->fs, PROJECT, 13, 0), 0);
	assert_int_equal(fs_set_xflags(pool->fs, ino, &xflags), 0);
	check_used(pool, 12, 2);
	assert_int_equal(fs_rename(pool->fs, &root_request, ROOT, "out", dir, "in", 0), 0);
	check_used(pool, 13, 2);
	xflags.project = 0;
	assert_int_equal(fs_set_xflags(pool->fs, ino, &xflags), 0);
	check_used(pool, 1, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_to_the_last_block, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_nothing_changes, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_short_write, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_removing_works, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_block_quota, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_inode_quota, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_projects, setup, pool_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
