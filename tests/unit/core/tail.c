/* SPDX-License-Identifier: BSD-3-Clause */
/* Files that grow past the filesystem: what the holder gets, what is there when the tail has ended,
 * and what is freed. Each pool is checked when its test is over. */
#include <fcntl.h>
#include <linux/falloc.h>

#include "daxfuse/base/bits.h"
#include "tail.h"

enum { UNITS = 40 };

/* ---- where the end may lie ------------------------------------------------------------ */

static const uint64_t sizes[] = { 0,        1,           100,   128,      PAGE - 1,     PAGE,
				  PAGE + 1, 5 * PAGE,    60000, 65536,    70000,        300000,
				  UNIT - 1, UNIT - PAGE, UNIT,  UNIT + 1, UNIT + 70000, 3 * UNIT };

/* Append, in a new tail if there is no room in this one; the new end. */
static uint64_t append(struct holder *holder, uint64_t ino, uint64_t end, uint64_t length)
{
	if (!holder->given || end + length > holder->tail.end) {
		assert_int_equal(fs_tail_begin(holder->pool->fs, ino, end, length, holder), 0);
		assert_int_equal(holder->tail.size, end);
		assert_true(holder->tail.end > end);
		assert_int_equal(holder->tail.last_page != 0, end % PAGE != 0);
		length = MIN(length, holder->tail.end - end); /* not over the end of the 2 MiB */
	}
	holder_append(holder, end, length, 'a');
	assert_int_equal(size_of(holder->pool, ino), end + length);
	return end + length;
}

/* Appends of many lengths, on from where the last one ended; all is read afterwards, what lies behind
 * is zeroes when the file grows over it. */
static void append_and_read(struct pool *pool, uint64_t ino, uint64_t size)
{
	static const uint64_t steps[] = { 1, 7, 100, 4000, 1, 5000, 20000, 1, 300000 };
	uint64_t end = size;
	struct holder *holder = holder_set(pool);

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		end = append(holder, ino, end, steps[i]);
	assert_int_equal(fs_tail_end(pool->fs, ino), 0);
	assert_false(holder->given);
	assert_int_equal(size_of(pool, ino), end);
	assert_bytes(pool, ino, 0, size, 'w');
	assert_bytes(pool, ino, size, end, 'a');
	set_size(pool, ino, end + 9000);
	assert_bytes(pool, ino, end, end + 9000, 0);
}

static void test_appends(void **state)
{
	struct pool *pool = *state;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t ino = make_file(pool, "f");

		write_bytes(pool, ino, 0, sizes[i]);
		append_and_read(pool, ino, sizes[i]);
		pool_check(pool);
		remove_file(pool, ROOT, "f", ino);
	}
}

/* The end lies on what was never written. */
static void test_sparse_end(void **state)
{
	struct pool *pool = *state;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t ino = make_file(pool, "f"), end;
		struct holder *holder = holder_set(pool);

		if (sizes[i] % 2)
			assert_int_equal(fs_fallocate(pool->fs, NULL, ino, 0, 0, 4 * UNIT), 0);
		set_size(pool, ino, sizes[i]);
		end = append(holder, ino, sizes[i], 50);
		assert_int_equal(fs_tail_end(pool->fs, ino), 0);
		assert_bytes(pool, ino, 0, sizes[i], 0);
		assert_bytes(pool, ino, sizes[i], end, 'a');
		pool_check(pool);
		remove_file(pool, ROOT, "f", ino);
	}
}

/* What was cut off, or stored by a mapping behind the end, does not come back. */
static void test_stale_end(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f");
	struct holder *holder = holder_set(pool);

	write_bytes(pool, ino, 0, 3 * PAGE);
	set_size(pool, ino, 2 * PAGE + 100);
	assert_int_equal(fs_tail_begin(pool->fs, ino, 2 * PAGE + 100, 1, holder), 0);
	holder_append(holder, 2 * PAGE + 1000, 10, 'a');
	assert_bytes(pool, ino, 2 * PAGE + 100, 2 * PAGE + 1000, 0);
	assert_bytes(pool, ino, 2 * PAGE + 1000, 2 * PAGE + 1010, 'a');
}

/* A gap is the holder's to fill, over whole pages, too. */
static void test_gap(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f"), at = 5 * PAGE + 77;
	struct holder *holder = holder_set(pool);

	write_bytes(pool, ino, 0, 500);
	assert_int_equal(fs_tail_begin(pool->fs, ino, at, 10, holder), 0);
	holder_append(holder, at, 10, 'a');
	assert_int_equal(size_of(pool, ino), at + 10);
	assert_bytes(pool, ino, 0, 500, 'w');
	assert_bytes(pool, ino, 500, at, 0);
	assert_bytes(pool, ino, at, at + 10, 'a');
}

/* ---- space ------------------------------------------------------------------------------ */

/* What is used stays, what is not is free again, and the user's reservation is the user's. */
static void test_unused_is_freed(void **state)
{
	static const uint64_t reserved[] = { 0, 1, 3, 20, 512, 600 }; /* blocks, behind the end */
	struct pool *pool = *state;

	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++) {
		uint64_t ino = make_file(pool, "f"), free, held;
		struct holder *holder = holder_set(pool);

		write_bytes(pool, ino, 0, 10 * PAGE);
		if (reserved[i])
			assert_int_equal(fs_fallocate(pool->fs, NULL, ino, FALLOC_FL_KEEP_SIZE,
						      10 * PAGE, reserved[i] * PAGE),
					 0);
		held = blocks_held(pool, ino);
		free = free_space(pool);
		assert_int_equal(fs_tail_begin(pool->fs, ino, 10 * PAGE, 30 * PAGE, holder), 0);
		assert_int_equal(fs_tail_end(pool->fs, ino), 0);
		/* a table may have come, and stay, or its blocks have become a unit */
		assert_in_range(blocks_held(pool, ino), held - 1, held + 11);
		assert_true(free_space(pool) + 11 >= free);
		remove_file(pool, ROOT, "f", ino);
	}
}

static void test_empty_file_is_empty_again(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f"), free = free_space(pool);
	struct holder *holder = holder_set(pool);

	for (unsigned length = 1; length <= UNIT; length *= 8) {
		assert_int_equal(fs_tail_begin(pool->fs, ino, 0, length, holder), 0);
		assert_int_equal(fs_tail_end(pool->fs, ino), 0);
		assert_int_equal(blocks_held(pool, ino), 0);
		assert_int_equal(free_space(pool), free);
	}
	assert_int_equal(fs_write(pool->fs, NULL, ino, "inline", 6, 0, 0), 6);
	assert_int_equal(blocks_held(pool, ino), 0);
}

/* Little becomes blocks, much a unit; a file of units whose layout is kept goes on in units. */
static void test_units(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f");
	struct holder *holder = holder_set(pool);

	assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 100, holder), 0);
	assert_int_equal(holder->tail.end, 16 * PAGE);
	assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 1 << 20, holder), 0);
	assert_int_equal(holder->tail.end, UNIT);
	assert_int_equal(holder->tail.count, 1);
	assert_int_equal(holder->tail.extent[0].device_offset % UNIT, 0);
	holder_append(holder, 0, UNIT, 'a');
	assert_int_equal(fs_tail_begin(pool->fs, ino, UNIT, 100, holder), 0);
	assert_int_equal(holder->tail.end, UNIT + 16 * PAGE);
	assert_int_equal(fs_keep_layout(pool->fs, ino, true), 0);
	assert_int_equal(fs_tail_begin(pool->fs, ino, UNIT, 100, holder), 0);
	assert_int_equal(holder->tail.end, 2 * UNIT);
	holder_append(holder, UNIT, 100, 'a');
	assert_int_equal(fs_keep_layout(pool->fs, ino, false), 0);
	assert_bytes(pool, ino, 0, UNIT + 100, 'a');
}

/* The last one that has it open gives back what a unit holds too much. */
static void test_last_close(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f");
	struct holder *holder = holder_set(pool);
	struct fs_attr attr;

	assert_int_equal(fs_open(pool->fs, ino, O_RDWR, &attr), 0);
	assert_int_equal(fs_open(pool->fs, ino, O_RDWR, &attr), 0);
	assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 1 << 20, holder), 0);
	holder_append(holder, 0, 3 * PAGE, 'a');
	fs_release(pool->fs, ino);
	assert_true(holder->given);
	assert_int_equal(blocks_held(pool, ino), 512);
	fs_release(pool->fs, ino);
	assert_false(holder->given);
	assert_int_equal(blocks_held(pool, ino), 3);
	assert_bytes(pool, ino, 0, 3 * PAGE, 'a');
}

/* A pool with less and less room: what was asked for, in scattered blocks at last, or an error that
 * changes nothing. */
static void test_little_space(void **state)
{
	struct pool *pool = *state;
	uint64_t filler = make_file(pool, "filler"), ino = make_file(pool, "f"), left;
	struct holder *holder = holder_set(pool);

	write_bytes(pool, ino, 0, 5 * PAGE);
	while (free_space(pool) > 40)
		assert_int_equal(fs_fallocate(pool->fs, NULL, filler, 0, size_of(pool, filler),
					      free_space(pool) > 1100 ? UNIT : PAGE),
				 0);
	left = free_space(pool);
	assert_int_equal(fs_tail_begin(pool->fs, ino, 5 * PAGE, 2 * left * PAGE, holder), -ENOSPC);
	assert_false(holder->given);
	assert_int_equal(free_space(pool), left);
	assert_int_equal(fs_tail_begin(pool->fs, ino, 5 * PAGE, (left - 1) * PAGE, holder), 0);
	holder_append(holder, 5 * PAGE, (left - 1) * PAGE, 'a');
	assert_bytes(pool, ino, 5 * PAGE, (left + 4) * PAGE, 'a');
}

static void test_quota(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f");
	const struct fs_xflags xflags = { .project = 7 };
	struct holder *holder = holder_set(pool);
	struct fs_quota quota;

	assert_int_equal(fs_set_xflags(pool->fs, ino, &xflags), 0);
	assert_int_equal(fs_quota_set(pool->fs, 7, 8, 0), 0);
	assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 9 * PAGE, holder), -EDQUOT);
	assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 5 * PAGE, holder), 0);
	assert_int_equal(holder->tail.end, 5 * PAGE);
	assert_int_equal(fs_quota_get(pool->fs, 7, &quota), 0);
	assert_int_equal(quota.blocks, 5);
	holder_append(holder, 0, 100, 'a');
	assert_int_equal(fs_tail_end(pool->fs, ino), 0);
	assert_int_equal(fs_quota_get(pool->fs, 7, &quota), 0);
	assert_int_equal(quota.blocks, 1);
}

/* ---- refused -------------------------------------------------------------------------------- */

static void test_refused(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f"), dir = make_dir(pool, ROOT, "d");
	struct fs_xflags xflags = { .flags = DXF_FLAG_IMMUTABLE };
	struct holder *holder;

	assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 1, NULL), -ENODEV);
	holder = holder_set(pool);
	assert_int_equal(fs_tail_begin(pool->fs, dir, 0, 1, holder), -ENODEV);
	assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 0, holder), -EINVAL);
	assert_int_equal(fs_tail_begin(pool->fs, ino, UNIT, 1, holder), -ERANGE);
	assert_int_equal(fs_tail_begin(pool->fs, ino, DXF_FILE_MAX, 1, holder), -EFBIG);
	assert_int_equal(fs_tail_begin(pool->fs, ino, 5, DXF_FILE_MAX, holder), -EFBIG);
	assert_int_equal(fs_tail_begin(pool->fs, 77777, 0, 1, holder), -ESTALE);
	assert_int_equal(fs_set_xflags(pool->fs, ino, &xflags), 0);
	assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 1, holder), -EPERM);
	xflags.flags = 0;
	assert_int_equal(fs_set_xflags(pool->fs, ino, &xflags), 0);
	assert_int_equal(fs_set_mode(pool->fs, true, FS_ATIME_NEVER), 0);
	assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 1, holder), -EROFS);
	assert_int_equal(fs_set_mode(pool->fs, false, FS_ATIME_NEVER), 0);
	holder->refuses = -EIO;
	assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 1, holder), -EIO);
	assert_int_equal(blocks_held(pool, ino), 0);
	assert_int_equal(holder->taken, 0);
	holder->refuses = 0;
	assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 1, holder), 0);
}

/* A guest's unit behind the end is not for others. */
static void test_behind_a_stay(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f");
	struct holder *holder = holder_set(pool);

	set_size(pool, ino, UNIT);
	assert_int_equal(fs_map_allocate(pool->fs, ino, 0, UNIT), 0);
	assert_int_equal(fs_keep_layout(pool->fs, ino, true), 0);
	assert_int_equal(fs_stay(pool->fs, ino, 0, true), 0);
	set_size(pool, ino, 0);
	assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 1, holder), -EBUSY);
	assert_int_equal(fs_stay(pool->fs, ino, 0, false), 0);
	assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 1, holder), 0);
	assert_int_equal(fs_keep_layout(pool->fs, ino, false), 0);
}

/* ---- the holder ------------------------------------------------------------------------------ */

/* Another holder, none, an unmount, a mode that only reads: the tails end, with the holder that has
 * them. */
static void test_holders(void **state)
{
	struct pool *pool = *state;
	uint64_t ino[3];
	struct holder *holder = holder_set(pool);
	static const char *const names[] = { "a", "b", "c" };

	for (unsigned i = 0; i < 3; i++)
		ino[i] = make_file(pool, names[i]);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(fs_tail_begin(pool->fs, ino[i], round, 1, holder), 0);
		holder_append(holder, round, 1, 'a'); /* of the last one */
		assert_int_equal(holder->taken, 3 * round);
		if (round == 0)
			fs_set_tail_holder(pool->fs, NULL);
		else if (round == 1)
			assert_int_equal(fs_set_mode(pool->fs, true, FS_ATIME_NEVER), 0);
		else
			fs_unmount(pool->fs);
		assert_int_equal(holder->taken, 3 * (round + 1));
		if (round == 1)
			assert_int_equal(fs_set_mode(pool->fs, false, FS_ATIME_NEVER), 0);
		if (round == 2)
			pool_mount(pool, false);
		assert_int_equal(size_of(pool, ino[2]), round + 1);
		if (round == 0)
			fs_set_tail_holder(pool->fs, &holder->calls);
	}
}

/* A size that was not lent is not believed. */
static void test_word_out_of_range(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f");
	struct holder *holder = holder_set(pool);
	const uint64_t words[] = { 99, 0, 16 * PAGE + 1, UNIT, UINT64_MAX, UINT64_MAX / 2 };

	write_bytes(pool, ino, 0, 100);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		assert_int_equal(fs_tail_begin(pool->fs, ino, 100, 1, holder), 0);
		pmem_store64(pool->pm, pmem_at(pool->pm, holder->tail.size_word), words[i]);
		assert_int_equal(size_of(pool, ino), 100);
		assert_int_equal(fs_tail_end(pool->fs, ino), 0);
		assert_int_equal(size_of(pool, ino), 100);
	}
}

static void test_times(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f");
	struct holder *holder = holder_set(pool);
	struct fs_attr attr;

	assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 1, holder), 0);
	holder_append(holder, 0, 1, 'a');
	for (int ended = 0; ended < 2; ended++) {
		assert_int_equal(fs_getattr(pool->fs, ino, &attr), 0);
		assert_int_equal(attr.mtime, holder->time);
		assert_int_equal(attr.ctime, holder->time + 1);
		assert_int_equal(attr.flags, 0);
		assert_int_equal(fs_tail_end(pool->fs, ino), 0);
	}
}

/* The first one changes what versions may use the pool, and only that one. */
static void test_feature(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f"), generation = fs_super(pool->fs)->generation;
	struct holder *holder = holder_set(pool);

	assert_int_equal(fs_super(pool->fs)->incompat, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 1, holder), 0);
		assert_int_equal(fs_tail_end(pool->fs, ino), 0);
		assert_int_equal(fs_super(pool->fs)->incompat, DXF_INCOMPAT_TAIL);
		assert_int_equal(fs_super(pool->fs)->generation, generation + 1);
	}
	pool_remount(pool);
	assert_int_equal(fs_super(pool->fs)->incompat, DXF_INCOMPAT_TAIL);
}

/* The capabilities of a program go before its first byte changes. */
static void test_capabilities(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f");
	struct holder *holder = holder_set(pool);

	assert_int_equal(fs_setxattr(pool->fs, NULL, ino, "security.capability", "x", 1, 0), 0);
	assert_int_equal(fs_tail_begin(pool->fs, ino, 0, 1, holder), 0);
	assert_int_equal(fs_getxattr(pool->fs, ino, "security.capability", NULL, 0), -ENODATA);
	assert_true(holder->given);
}

static int new_pool(void **state)
{
	*state = pool_new(UNITS);
	return 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, new_pool, tail_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_appends),         TEST(test_sparse_end),
		TEST(test_stale_end),       TEST(test_gap),
		TEST(test_unused_is_freed), TEST(test_empty_file_is_empty_again),
		TEST(test_units),           TEST(test_last_close),
		TEST(test_little_space),    TEST(test_quota),
		TEST(test_refused),         TEST(test_behind_a_stay),
		TEST(test_holders),         TEST(test_word_out_of_range),
		TEST(test_times),           TEST(test_feature),
		TEST(test_capabilities),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
