/* SPDX-License-Identifier: BSD-3-Clause */
/* Space that a program has mapped: no other file gets it while it is busy, by this mount
 * or from its beginning. Each pool is checked when its test is over. */
#include <sys/stat.h>

#include "daxfuse/base/bits.h"
#include "pool.h"

enum { UNITS = 16 };

static char data[DXF_UNIT_SIZE];

static int setup(void **state)
{
	*state = pool_new(UNITS);
	return 0;
}

static uint64_t lies_at(struct pool *pool, uint64_t ino, uint64_t offset)
{
	struct fs_iomap map;

	assert_int_equal(fs_iomap(pool->fs, ino, offset, 1, &map), 0);
	assert_int_equal(map.kind, FS_IOMAP_MAPPED);
	return map.device_offset;
}

static uint64_t write_file(struct pool *pool, const char *name, size_t bytes)
{
	uint64_t ino = make_file(pool, name);

	assert_int_equal(fs_write(pool->fs, NULL, ino, data, bytes, 0, 0), bytes);
	return ino;
}

/* Fill the pool; whether that file got anything of the range. */
static bool filler_gets(struct pool *pool, uint64_t device_offset, uint64_t length)
{
	uint64_t ino = make_file(pool, "filler"), at = 0;
	bool found = false;
	ssize_t n;

	while ((n = fs_write(pool->fs, NULL, ino, data, sizeof(data), at, 0)) > 0)
		at += (uint64_t)n;
	for (at = 0; at < UNITS * DXF_UNIT_SIZE; at += DXF_BLOCK_SIZE) {
		struct fs_iomap map;

		assert_int_equal(fs_iomap(pool->fs, ino, at, DXF_BLOCK_SIZE, &map), 0);
		found |= map.kind == FS_IOMAP_MAPPED && map.device_offset >= device_offset &&
			 map.device_offset < device_offset + length;
	}
	remove_file(pool, ROOT, "filler", ino);
	return found;
}

static void test_removed_file(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = write_file(pool, "f", DXF_UNIT_SIZE), small = write_file(pool, "g", 9000);
	uint64_t unit = lies_at(pool, ino, 0), block = lies_at(pool, small, 4096), left;
	struct fs_statfs statfs;
	struct fs_space space;

	make_file(pool, "keeps the directory's block");
	assert_int_equal(fs_busy_insert(pool->fs, unit, DXF_UNIT_SIZE), 0);
	assert_int_equal(fs_busy_insert(pool->fs, block, DXF_BLOCK_SIZE), 0);
	left = free_space(pool);
	remove_file(pool, ROOT, "f", ino);
	remove_file(pool, ROOT, "g", small);
	fs_get_space(pool->fs, &space);
	assert_int_equal(space.busy_blocks, DXF_UNIT_BLOCKS + 1);
	assert_int_equal(free_space(pool), left + 2);
	assert_int_equal(fs_statfs(pool->fs, ROOT, &statfs), 0);
	assert_int_equal(statfs.free_blocks, left + 2);
	assert_false(filler_gets(pool, unit, DXF_UNIT_SIZE));
	assert_false(filler_gets(pool, block, DXF_BLOCK_SIZE));
	fs_busy_clear(pool->fs, unit, DXF_UNIT_SIZE);
	assert_true(filler_gets(pool, unit, DXF_UNIT_SIZE));
	assert_false(filler_gets(pool, block, DXF_BLOCK_SIZE));
	left = free_space(pool);
	fs_busy_clear(pool->fs, block, DXF_BLOCK_SIZE);
	assert_int_equal(free_space(pool), left + 1);
}

/* Remounted, in place: what is let go of while nothing may be written is free afterwards. */
static void test_let_go_while_read_only(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = write_file(pool, "f", DXF_UNIT_SIZE), unit = lies_at(pool, ino, 0);
	struct fs_space space;

	assert_int_equal(fs_busy_insert(pool->fs, unit, DXF_UNIT_SIZE), 0);
	remove_file(pool, ROOT, "f", ino);
	assert_int_equal(fs_set_mode(pool->fs, true, FS_ATIME_RELATIVE), 0);
	fs_busy_clear(pool->fs, unit, DXF_UNIT_SIZE);
	assert_int_equal(fs_set_mode(pool->fs, false, FS_ATIME_RELATIVE), 0);
	fs_get_space(pool->fs, &space);
	assert_int_equal(space.busy_blocks, 0);
	assert_true(filler_gets(pool, unit, DXF_UNIT_SIZE));
}

/* The daemon dies, its programs live on; what they have mapped was freed, or recovery frees
 * it. */
static void test_next_mount(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = write_file(pool, "f", DXF_UNIT_SIZE),
		 orphan = write_file(pool, "g", DXF_UNIT_SIZE);
	struct fs_busy busy[] = {
		{ lies_at(pool, ino, 0), DXF_UNIT_SIZE },
		{ lies_at(pool, orphan, 0), DXF_UNIT_SIZE },
	};
	struct fs_options options = { .busy = busy, .busy_count = ARRAY_SIZE(busy) };
	struct fs_report report;

	remove_file(pool, ROOT, "f", ino);
	assert_int_equal(fs_unlink(pool->fs, NULL, ROOT, "g"), 0);
	fs_unmount(pool->fs);
	assert_int_equal(fs_mount(pool->pm, &options, &pool->fs, &report), 0);
	assert_int_equal(report.orphans, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(busy); i++) {
		assert_false(filler_gets(pool, busy[i].device_offset, busy[i].length));
		fs_busy_clear(pool->fs, busy[i].device_offset, busy[i].length);
		assert_true(filler_gets(pool, busy[i].device_offset, busy[i].length));
	}
}

static void test_refused(void **state)
{
	struct pool *pool = *state;
	struct fs_busy busy = { 4096, 4096 };
	struct fs_options options = { .busy = &busy, .busy_count = 1 };
	struct fs_report report;

	assert_int_equal(fs_busy_insert(pool->fs, 4096, 4096), -EINVAL);
	fs_unmount(pool->fs);
	assert_int_equal(fs_mount(pool->pm, &options, &pool->fs, &report), -EINVAL);
	assert_non_null(strstr(report.what, "mapped"));
	assert_true(report.advice[0]);
	pool_mount(pool, false);
}

/* Nothing is stored by a mount for reading, whatever is busy. */
static void test_read_only(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = write_file(pool, "f", DXF_UNIT_SIZE), unit = lies_at(pool, ino, 0);
	struct fs_busy busy = { unit, DXF_UNIT_SIZE };
	struct fs_options options = { .read_only = true, .busy = &busy, .busy_count = 1 };

	fs_unmount(pool->fs);
	assert_int_equal(fs_mount(pool->pm, &options, &pool->fs, NULL), 0);
	fs_busy_clear(pool->fs, unit, DXF_UNIT_SIZE);
	assert_int_equal(lies_at(pool, ino, 0), unit);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, pool_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_removed_file), TEST(test_let_go_while_read_only),
		TEST(test_next_mount),   TEST(test_refused),
		TEST(test_read_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
