/* SPDX-License-Identifier: BSD-3-Clause */
/* Where units lie: behind each other if that is asked for, and apart from what else grows. */
#include "daxfuse/base/bits.h"
#include "pool.h"

enum { UNITS = 256 };

static uint64_t take(struct pool *pool, uint64_t goal, uint64_t room)
{
	struct tx *tx = begin(pool);
	uint64_t offset;

	assert_int_equal(alloc_unit(tx, DXF_UNIT_DATA, goal, room, &offset), 0);
	commit(tx);
	assert_true(alloc_is_unit(pool->vol, offset));
	return offset;
}

static void give(struct pool *pool, uint64_t offset)
{
	struct tx *tx = begin(pool);

	free_unit(tx, offset);
	commit(tx);
}

/* A file that grows. */
struct file {
	uint64_t last, units, pieces;
};

static void grow(struct pool *pool, struct file *f)
{
	uint64_t room = f->units ? 4 * (f->units + 1) : 1;
	uint64_t unit = take(pool, f->units ? f->last + DXF_UNIT_SIZE : 0, room);

	f->pieces += !f->units || unit != f->last + DXF_UNIT_SIZE;
	f->units++;
	f->last = unit;
}

static int setup(void **state)
{
	*state = pool_new(UNITS);
	return 0;
}

/* Up to the end of the last arena. */
static void test_one_piece(void **state)
{
	struct pool *pool = *state;
	struct file f = { 0 };
	uint64_t first;

	grow(pool, &f);
	first = f.last;
	while (f.last + DXF_UNIT_SIZE < (UNITS - 1) * DXF_UNIT_SIZE)
		grow(pool, &f);
	assert_int_equal(f.pieces, 1);
	assert_int_equal(f.last, first + (f.units - 1) * DXF_UNIT_SIZE);
	/* the pool's last unit is its own */
	while (free_space(pool))
		grow(pool, &f);
	assert_in_range(f.pieces, 1, 20);
}

static void test_at_the_same_time(void **state)
{
	struct pool *pool = *state;
	struct file file[3] = { 0 };

	for (unsigned i = 0; i < 60; i++)
		for (unsigned j = 0; j < ARRAY_SIZE(file); j++)
			grow(pool, &file[j]);
	for (unsigned j = 0; j < ARRAY_SIZE(file); j++)
		assert_in_range(file[j].pieces, 1, 12);
}

/* Files of one unit that come meanwhile keep off, and lie together, too. */
static void test_small_ones_beside(void **state)
{
	struct pool *pool = *state;
	uint64_t least = UINT64_MAX, most = 0;
	struct file f = { 0 };

	grow(pool, &f);
	for (unsigned i = 0; i < 60; i++) {
		uint64_t one = take(pool, 0, 1);

		least = MIN(least, one);
		most = MAX(most, one);
		grow(pool, &f);
	}
	assert_in_range(f.pieces, 1, 12);
	assert_in_range((most - least) / DXF_UNIT_SIZE, 59, 200);
}

/* A goal that is taken, held, or no unit of files is not given out. */
static void test_goal_is_taken(void **state)
{
	struct pool *pool = *state;
	uint64_t first = take(pool, 0, 1), held = first + DXF_UNIT_SIZE;
	uint64_t wrong[] = { first,
			     held,
			     DXF_UNIT_SIZE,
			     pool->super.data_offset,
			     (UNITS - 1) * DXF_UNIT_SIZE,
			     UNITS * DXF_UNIT_SIZE,
			     UINT64_MAX - DXF_UNIT_SIZE + 1 };

	assert_int_equal(alloc_busy_insert(pool->vol, held, DXF_BLOCK_SIZE), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_not_equal(take(pool, wrong[i], i), wrong[i]);
	alloc_busy_clear(pool->vol, held, DXF_BLOCK_SIZE);
	assert_int_equal(take(pool, held, 1), held);
}

/* One unit goes into a hole of one; more that will follow, where they fit. */
static void test_fits(void **state)
{
	struct pool *pool = *state;
	uint64_t unit[12];

	for (unsigned i = 0; i < ARRAY_SIZE(unit); i++)
		unit[i] = take(pool, i ? unit[i - 1] + DXF_UNIT_SIZE : 0, 1);
	give(pool, unit[2]);
	for (unsigned i = 5; i < 9; i++)
		give(pool, unit[i]);
	assert_int_equal(take(pool, 0, 4), unit[5]);
	assert_int_equal(take(pool, 0, 1), unit[2]);
	assert_int_equal(take(pool, unit[5] + DXF_UNIT_SIZE, 3), unit[6]);
}

/* What stands alone does not pin what lies between files. */
static void test_alone(void **state)
{
	struct pool *pool = *state;
	uint64_t top = take(pool, 0, 0), block;
	struct tx *tx = begin(pool);
	struct file f = { 0 };

	assert_int_equal(alloc_blocks(tx, 1, &block), 0);
	commit(tx);
	assert_int_equal(block / DXF_UNIT_SIZE, top / DXF_UNIT_SIZE - 1);
	for (unsigned i = 0; i < 8; i++) {
		grow(pool, &f);
		assert_true(f.last < block);
	}
	assert_int_equal(take(pool, 0, 0), top - 2 * DXF_UNIT_SIZE);
}

/* The last units are found, whichever file was expected to want them. */
static void test_all_of_them(void **state)
{
	static const uint64_t rooms[] = { 1, 8, 0, 512 };
	struct pool *pool = *state;
	uint64_t units = free_space(pool) / DXF_UNIT_BLOCKS, offset;
	struct tx *tx;

	for (uint64_t i = 0; i < units; i++)
		take(pool, 0, rooms[i % ARRAY_SIZE(rooms)]);
	tx = begin(pool);
	for (unsigned i = 0; i < ARRAY_SIZE(rooms); i++)
		assert_int_equal(alloc_unit(tx, DXF_UNIT_DATA, 0, rooms[i], &offset), -ENOSPC);
	tx_abort(tx);
	assert_int_equal(free_space(pool), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_piece, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_at_the_same_time, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_small_ones_beside, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_goal_is_taken, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_fits, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_alone, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_all_of_them, setup, pool_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
