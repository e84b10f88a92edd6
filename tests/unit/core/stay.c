/* SPDX-License-Identifier: BSD-3-Clause */
/* Units that stay in their file, punched, cut off and grown over, for somebody who goes on using
 * them. Each pool is checked when its test is over. */
#include <linux/falloc.h>

#include "daxfuse/base/bits.h"
#include "pool.h"

enum { UNITS = 40, UNIT = 2 << 20, PAGE = 4096 };

static char page[PAGE];

static uint64_t new_file(struct pool *pool, unsigned units)
{
	uint64_t ino = make_file(pool, "f");

	for (unsigned i = 0; i < units * (UNIT / PAGE); i++) {
		memset(page, 'x', sizeof(page));
		assert_int_equal(fs_write(pool->fs, NULL, ino, page, PAGE, (uint64_t)i * PAGE, 0),
				 PAGE);
	}
	assert_int_equal(fs_keep_layout(pool->fs, ino, true), 0);
	return ino;
}

static char *unit_of(struct pool *pool, uint64_t ino, unsigned unit)
{
	struct fs_iomap map;

	assert_int_equal(fs_iomap(pool->fs, ino, (uint64_t)unit * UNIT, UNIT, &map), 0);
	return map.kind == FS_IOMAP_HOLE ? NULL : pmem_at(pool->pm, map.device_offset);
}

static char *stay(struct pool *pool, uint64_t ino, unsigned unit)
{
	assert_int_equal(fs_stay(pool->fs, ino, (uint64_t)unit * UNIT, true), 0);
	return unit_of(pool, ino, unit);
}

static void leave(struct pool *pool, uint64_t ino, unsigned unit)
{
	assert_int_equal(fs_stay(pool->fs, ino, (uint64_t)unit * UNIT, false), 0);
}

/* As the vfs does: what was cut off is zeroed, and once more before it grows. */
static void set_size(struct pool *pool, uint64_t ino, uint64_t size)
{
	const struct fs_setattr set = { .valid = FS_SET_SIZE, .size = size };
	struct fs_attr attr;

	assert_int_equal(fs_getattr(pool->fs, ino, &attr), 0);
	if (size > attr.size)
		assert_int_equal(fs_map_zero(pool->fs, ino, attr.size, UINT64_MAX), 0);
	assert_int_equal(fs_setattr(pool->fs, ino, &set, NULL), 0);
	if (size < attr.size)
		assert_int_equal(fs_map_zero(pool->fs, ino, size, UINT64_MAX), 0);
	pool_check(pool);
}

static char byte_at(struct pool *pool, uint64_t ino, uint64_t offset)
{
	char byte;

	assert_int_equal(fs_pread(pool->fs, ino, &byte, 1, offset), 1);
	return byte;
}

static void test_punched(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = new_file(pool, 3), free = free_space(pool);
	char *unit = stay(pool, ino, 1);

	assert_int_equal(fs_fallocate(pool->fs, NULL, ino,
				      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 3 * UNIT),
			 0);
	assert_null(unit_of(pool, ino, 0));
	assert_ptr_equal(unit_of(pool, ino, 1), unit);
	assert_null(unit_of(pool, ino, 2));
	assert_int_equal(unit[0] | unit[UNIT - 1], 0);
	unit[5] = 'y';
	assert_int_equal(byte_at(pool, ino, UNIT + 5), 'y');
	assert_int_equal(free_space(pool), free + 2 * DXF_UNIT_BLOCKS);
	leave(pool, ino, 1);
	assert_ptr_equal(unit_of(pool, ino, 1), unit);
	fs_keep_layout(pool->fs, ino, false);
}

/* To all sizes, and back over it: the same units, zeroes in them, and what is stored there is
 * read. */
static void test_truncated(void **state)
{
	static const uint64_t sizes[] = { 0, 1, PAGE, UNIT - 1, UNIT, UNIT + 100, 3 * UNIT };
	struct pool *pool = *state;
	uint64_t ino = new_file(pool, 6);
	char *first = stay(pool, ino, 0), *third = stay(pool, ino, 2), *last = stay(pool, ino, 5);

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		set_size(pool, ino, sizes[i]);
		assert_int_equal(last[0] | last[UNIT - 1], 0);
		last[7] = 'b'; /* behind the end */
		set_size(pool, ino, 6 * UNIT - 5);
		assert_ptr_equal(unit_of(pool, ino, 0), first);
		assert_ptr_equal(unit_of(pool, ino, 2), third);
		assert_ptr_equal(unit_of(pool, ino, 5), last);
		assert_int_equal(byte_at(pool, ino, 5 * UNIT + 7), 0);
		first[UNIT - 1] = third[9] = last[9] = 'y';
		assert_int_equal(byte_at(pool, ino, UNIT - 1), 'y');
		assert_int_equal(byte_at(pool, ino, 2 * UNIT + 9), 'y');
		assert_int_equal(byte_at(pool, ino, 5 * UNIT + 9), 'y');
		assert_int_equal(byte_at(pool, ino, 4 * UNIT), 0);
	}
	leave(pool, ino, 0);
	leave(pool, ino, 2);
	leave(pool, ino, 5);
	fs_keep_layout(pool->fs, ino, false);
}

/* Writing goes into it, not into the inode or into blocks. */
static void test_written_anew(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = new_file(pool, 2);
	char *first = stay(pool, ino, 0), *second = stay(pool, ino, 1);

	set_size(pool, ino, 0);
	assert_int_equal(fs_write(pool->fs, NULL, ino, "bytes", 5, 0, 0), 5);
	assert_memory_equal(first, "bytes\0", 7);
	assert_int_equal(fs_write(pool->fs, NULL, ino, "bytes", 5, UNIT + 100, 0), 5);
	assert_memory_equal(second + 99, "\0bytes\0", 7);
	assert_ptr_equal(unit_of(pool, ino, 1), second);
	first[PAGE * 3] = 'y'; /* it counts as written: nobody zeroes it */
	assert_int_equal(fs_write(pool->fs, NULL, ino, "z", 1, PAGE * 4, 0), 1);
	assert_int_equal(byte_at(pool, ino, PAGE * 3), 'y');
	leave(pool, ino, 0);
	leave(pool, ino, 1);
	fs_keep_layout(pool->fs, ino, false);
}

/* What was cut off is free when nobody has it any more; not while anybody has. */
static void test_freed_at_last(void **state)
{
	struct pool *pool = *state;
	uint64_t before, ino, full;

	make_file(pool, "g"); /* the directory has its block */
	before = free_space(pool);
	ino = new_file(pool, 4);
	full = free_space(pool);
	stay(pool, ino, 3);
	stay(pool, ino, 3);
	stay(pool, ino, 1);
	set_size(pool, ino, 0);
	assert_int_equal(free_space(pool), full + 2 * DXF_UNIT_BLOCKS);
	leave(pool, ino, 3);
	assert_int_equal(free_space(pool), full + 2 * DXF_UNIT_BLOCKS);
	leave(pool, ino, 3);
	assert_int_equal(free_space(pool), full + 3 * DXF_UNIT_BLOCKS);
	pool_check(pool);
	leave(pool, ino, 1);
	fs_keep_layout(pool->fs, ino, false);
	assert_int_equal(free_space(pool), before);
}

/* Blocks and tables around it, more than one transaction frees. */
static void test_far_apart(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f"), far = UINT64_C(1) << 40;
	uint64_t before;

	assert_int_equal(fs_keep_layout(pool->fs, ino, true), 0);
	before = free_space(pool);
	for (unsigned i = 0; i < 12; i++) {
		assert_int_equal(fs_write(pool->fs, NULL, ino, "x", 1, i * far, 0), 1);
		assert_int_equal(fs_write(pool->fs, NULL, ino, "x", 1, i * far + UNIT + PAGE, 0),
				 1);
		assert_int_equal(fs_write(pool->fs, NULL, ino, "x", 1, i * far + 3 * UNIT, 0), 1);
		assert_int_equal(fs_map_promote(pool->fs, ino, i * far + UNIT), 0);
		assert_int_equal(fs_stay(pool->fs, ino, i * far + UNIT, true), 0);
	}
	set_size(pool, ino, 10);
	set_size(pool, ino, 12 * far);
	for (unsigned i = 0; i < 12; i++) {
		struct fs_iomap map;

		assert_int_equal(byte_at(pool, ino, i * far + UNIT + PAGE), 0);
		assert_int_equal(fs_iomap(pool->fs, ino, i * far + 3 * UNIT, 1, &map), 0);
		assert_int_equal(map.kind, FS_IOMAP_HOLE);
		assert_int_equal(fs_stay(pool->fs, ino, i * far + UNIT, false), 0);
	}
	set_size(pool, ino, 0);
	fs_keep_layout(pool->fs, ino, false);
	assert_int_equal(free_space(pool), before);
}

/* What was reserved behind the end by others, with whatever in it, is not taken for zeroed. */
static void test_reserved(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f");
	struct fs_iomap map;
	char *unit;

	assert_int_equal(fs_keep_layout(pool->fs, ino, true), 0);
	assert_int_equal(fs_fallocate(pool->fs, NULL, ino, FALLOC_FL_KEEP_SIZE, 0, 2 * UNIT), 0);
	assert_int_equal(fs_write(pool->fs, NULL, ino, "x", 1, 0, 0), 1);
	unit = stay(pool, ino, 1);
	memset(unit, 'o', UNIT);
	assert_int_equal(fs_setattr(pool->fs, ino,
				    &(struct fs_setattr){ .valid = FS_SET_SIZE, .size = 2 * UNIT },
				    NULL),
			 0);
	assert_int_equal(byte_at(pool, ino, UNIT + 5), 0);
	leave(pool, ino, 1);
	fs_keep_layout(pool->fs, ino, false);
	assert_int_equal(fs_iomap(pool->fs, ino, UNIT, UNIT, &map), 0);
	assert_int_equal(map.kind, FS_IOMAP_UNWRITTEN);
}

/* A file without a layout that is kept has none; one that was made twice ends twice. */
static void test_refused(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f");

	assert_int_equal(fs_stay(pool->fs, ino, 0, true), -EINVAL);
	assert_int_equal(fs_stay(pool->fs, 12345, 0, true), -ESTALE);
	assert_int_equal(fs_keep_layout(pool->fs, ino, true), 0);
	leave(pool, ino, 3); /* it was not there */
	fs_keep_layout(pool->fs, ino, false);
}

static int setup(void **state)
{
	*state = pool_new(UNITS);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, pool_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_punched),       TEST(test_truncated), TEST(test_written_anew),
		TEST(test_freed_at_last), TEST(test_far_apart), TEST(test_reserved),
		TEST(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
