/* SPDX-License-Identifier: BSD-3-Clause */
/* Busy space: freed, free, whole or in blocks, it is given out only when nobody holds it. */
#include "daxfuse/base/bits.h"
#include "pool.h"

enum { UNITS = 24 };

static int setup(void **state)
{
	*state = pool_new(UNITS);
	return 0;
}

static uint64_t take_unit(struct pool *pool)
{
	struct tx *tx = begin(pool);
	uint64_t offset;

	assert_int_equal(alloc_unit(tx, DXF_UNIT_DATA, 0, 0, &offset), 0);
	commit(tx);
	return offset;
}

static void give_unit(struct pool *pool, uint64_t offset)
{
	struct tx *tx = begin(pool);

	free_unit(tx, offset);
	commit(tx);
}

static uint64_t busy_blocks(struct pool *pool)
{
	struct alloc_space space;

	alloc_space(pool->vol, &space);
	return space.busy_blocks;
}

/* Whether any block of [offset, offset + length) is given out when all there is is. */
static bool is_given_out(struct pool *pool, uint64_t offset, uint64_t length)
{
	struct tx *tx = begin(pool);
	uint64_t got;
	bool found = false;

	while (alloc_unit(tx, DXF_UNIT_DATA, 0, 0, &got) == 0)
		found |= got < offset + length && got + DXF_UNIT_SIZE > offset;
	while (alloc_blocks(tx, 1, &got) == 0)
		found |= got >= offset && got < offset + length;
	tx_abort(tx);
	return found;
}

static void hold(struct pool *pool, uint64_t offset, uint64_t length)
{
	assert_int_equal(alloc_busy_insert(pool->vol, offset, length), 0);
}

static void test_block(void **state)
{
	struct pool *pool = *state;
	uint64_t offset = take_block(pool), left = free_space(pool);

	hold(pool, offset, DXF_BLOCK_SIZE);
	hold(pool, offset, DXF_BLOCK_SIZE);
	assert_int_equal(busy_blocks(pool), 0);
	give_block(pool, offset);
	assert_false(alloc_is_taken(pool->vol, offset));
	assert_int_equal(free_space(pool), left);
	assert_int_equal(busy_blocks(pool), 1);
	assert_false(is_given_out(pool, offset, DXF_BLOCK_SIZE));
	alloc_busy_clear(pool->vol, offset, DXF_BLOCK_SIZE);
	assert_false(is_given_out(pool, offset, DXF_BLOCK_SIZE));
	alloc_busy_clear(pool->vol, offset, DXF_BLOCK_SIZE);
	assert_int_equal(free_space(pool), left + 1);
	assert_int_equal(busy_blocks(pool), 0);
	assert_true(is_given_out(pool, offset, DXF_BLOCK_SIZE));
	/* once more, of what nobody holds */
	alloc_busy_clear(pool->vol, offset, DXF_BLOCK_SIZE);
	assert_int_equal(free_space(pool), left + 1);
}

static void test_unit(void **state)
{
	struct pool *pool = *state;
	uint64_t offset = take_unit(pool), left = free_space(pool);

	hold(pool, offset, DXF_UNIT_SIZE);
	hold(pool, offset + 5 * DXF_BLOCK_SIZE, 2 * DXF_BLOCK_SIZE);
	give_unit(pool, offset);
	assert_int_equal(busy_blocks(pool), DXF_UNIT_BLOCKS);
	alloc_busy_clear(pool->vol, offset, DXF_UNIT_SIZE);
	/* a block of it is enough */
	assert_false(is_given_out(pool, offset, DXF_UNIT_SIZE));
	alloc_busy_clear(pool->vol, offset + 5 * DXF_BLOCK_SIZE, DXF_BLOCK_SIZE);
	assert_false(is_given_out(pool, offset, DXF_UNIT_SIZE));
	assert_int_equal(free_space(pool), left);
	alloc_busy_clear(pool->vol, offset + 6 * DXF_BLOCK_SIZE, DXF_BLOCK_SIZE);
	assert_int_equal(free_space(pool), left + DXF_UNIT_BLOCKS);
	assert_true(is_given_out(pool, offset, DXF_UNIT_SIZE));
}

/* What was held and was not freed is as it was. */
static void test_never_freed(void **state)
{
	struct pool *pool = *state;
	uint64_t block = take_block(pool), unit = take_unit(pool), left = free_space(pool);

	hold(pool, block, DXF_BLOCK_SIZE);
	hold(pool, unit, DXF_UNIT_SIZE);
	alloc_busy_clear(pool->vol, unit, DXF_UNIT_SIZE);
	alloc_busy_clear(pool->vol, block, DXF_BLOCK_SIZE);
	assert_int_equal(free_space(pool), left);
	assert_false(is_given_out(pool, unit, DXF_UNIT_SIZE));
	assert_false(is_given_out(pool, block, DXF_BLOCK_SIZE));
	give_unit(pool, unit);
	give_block(pool, block);
	assert_int_equal(free_space(pool), left + DXF_UNIT_BLOCKS + 1);
}

/* A split unit with a busy block is not coalesced; it is once that is gone. */
static void test_not_mended(void **state)
{
	uint64_t offset[2 * DXF_UNIT_BLOCKS], held;
	struct alloc_space before, after;
	struct pool *pool = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(offset); i++)
		offset[i] = take_block(pool);
	held = offset[7];
	alloc_space(pool->vol, &before);
	hold(pool, held, DXF_BLOCK_SIZE);
	for (unsigned i = 0; i < ARRAY_SIZE(offset); i++)
		give_block(pool, offset[i]);
	alloc_space(pool->vol, &after);
	assert_int_equal(after.free_units, before.free_units);
	assert_int_equal(after.split_units, 2);
	assert_int_equal(after.free_blocks, 2 * DXF_UNIT_BLOCKS - 1);
	assert_false(is_given_out(pool, held, DXF_BLOCK_SIZE));
	alloc_busy_clear(pool->vol, held, DXF_BLOCK_SIZE);
	assert_int_equal(free_space(pool),
			 UNITS * DXF_UNIT_BLOCKS -
				 (pool->super.data_offset / DXF_UNIT_SIZE + 2) * DXF_UNIT_BLOCKS);
	assert_true(is_given_out(pool, held, DXF_BLOCK_SIZE));
}

/* A new daemon is told of what is mapped: a free unit, a part of one, free blocks. */
static void test_free_already(void **state)
{
	struct pool *pool = *state;
	uint64_t unit = take_unit(pool), other = take_unit(pool), block = take_block(pool), left;

	take_block(pool);
	give_unit(pool, unit);
	give_unit(pool, other);
	give_block(pool, block);
	pool_reopen(pool);
	left = free_space(pool);
	hold(pool, unit, DXF_UNIT_SIZE);
	hold(pool, other + DXF_BLOCK_SIZE, DXF_BLOCK_SIZE);
	hold(pool, block, DXF_BLOCK_SIZE);
	assert_int_equal(free_space(pool), left - 2 * DXF_UNIT_BLOCKS - 1);
	assert_int_equal(busy_blocks(pool), 2 * DXF_UNIT_BLOCKS + 1);
	assert_false(is_given_out(pool, unit, DXF_UNIT_SIZE));
	assert_false(is_given_out(pool, other, DXF_UNIT_SIZE));
	assert_false(is_given_out(pool, block, DXF_BLOCK_SIZE));
	alloc_busy_clear(pool->vol, block, DXF_BLOCK_SIZE);
	alloc_busy_clear(pool->vol, other + DXF_BLOCK_SIZE, DXF_BLOCK_SIZE);
	alloc_busy_clear(pool->vol, unit, DXF_UNIT_SIZE);
	assert_int_equal(free_space(pool), left);
	assert_int_equal(busy_blocks(pool), 0);
	assert_true(is_given_out(pool, unit, DXF_UNIT_SIZE));
	assert_true(is_given_out(pool, other, DXF_UNIT_SIZE));
	assert_true(is_given_out(pool, block, DXF_BLOCK_SIZE));
}

/* What a transaction took and gives up is freed like all else. */
static void test_abort(void **state)
{
	struct pool *pool = *state;
	uint64_t left = free_space(pool), unit, block;
	struct tx *tx = begin(pool);

	assert_int_equal(alloc_unit(tx, DXF_UNIT_DATA, 0, 0, &unit), 0);
	assert_int_equal(alloc_blocks(tx, 1, &block), 0);
	hold(pool, unit, DXF_UNIT_SIZE);
	hold(pool, block, DXF_BLOCK_SIZE);
	tx_abort(tx);
	assert_int_equal(free_space(pool), left - DXF_UNIT_BLOCKS - 1);
	alloc_busy_clear(pool->vol, unit, DXF_UNIT_SIZE);
	alloc_busy_clear(pool->vol, block, DXF_BLOCK_SIZE);
	assert_int_equal(free_space(pool), left);
}

/* Media knows nothing of it. */
static void test_gone_with_the_mount(void **state)
{
	struct pool *pool = *state;
	uint64_t left = free_space(pool), unit = take_unit(pool);

	hold(pool, unit, DXF_UNIT_SIZE);
	give_unit(pool, unit);
	assert_int_equal(free_space(pool), left - DXF_UNIT_BLOCKS);
	pool_reopen(pool);
	assert_int_equal(free_space(pool), left);
	assert_int_equal(busy_blocks(pool), 0);
}

static void test_refused(void **state)
{
	struct pool *pool = *state;
	uint64_t from = pool->super.data_offset, end = (UNITS - 1) * DXF_UNIT_SIZE;
	const struct {
		uint64_t offset, length;
	} bad[] = {
		{ from - DXF_BLOCK_SIZE, DXF_BLOCK_SIZE },
		{ 0, DXF_BLOCK_SIZE },
		{ end, DXF_BLOCK_SIZE },
		{ end - DXF_BLOCK_SIZE, 2 * DXF_BLOCK_SIZE },
		{ from, end - from + DXF_BLOCK_SIZE },
		{ from + 1, DXF_BLOCK_SIZE },
		{ from, 4095 },
		{ from, 0 },
		{ UINT64_MAX - 4095, DXF_BLOCK_SIZE },
		{ from, UINT64_MAX - 4095 },
	};
	uint64_t left = free_space(pool);

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(alloc_busy_insert(pool->vol, bad[i].offset, bad[i].length),
				 -EINVAL);
		alloc_busy_clear(pool->vol, bad[i].offset, bad[i].length);
	}
	assert_int_equal(free_space(pool), left);
	hold(pool, from, end - from);
	assert_int_equal(free_space(pool), 0);
	alloc_busy_clear(pool->vol, from, end - from);
	assert_int_equal(free_space(pool), left);
}

/* ---- at random ------------------------------------------------------------- */

enum { RANGES = 40, STEPS = 6000, BLOCKS = UNITS * DXF_UNIT_BLOCKS };

struct range {
	uint64_t block, count; /* 0: not in use */
};

struct random {
	struct pool *pool;
	uint64_t rng;
	struct range held[RANGES], used[RANGES]; /* used: whole units, or single blocks */
	unsigned holds[BLOCKS];
};

static void count_range(struct random *r, const struct range *range, int delta)
{
	for (uint64_t i = 0; i < range->count; i++)
		r->holds[range->block + i] += (unsigned)delta;
}

static void step_hold(struct random *r, struct range *range)
{
	uint64_t first = r->pool->super.data_offset / DXF_BLOCK_SIZE,
		 n = BLOCKS - DXF_UNIT_BLOCKS - first;
	struct volume *vol = r->pool->vol;

	if (range->count) {
		alloc_busy_clear(vol, range->block * DXF_BLOCK_SIZE, range->count * DXF_BLOCK_SIZE);
		count_range(r, range, -1);
		range->count = 0;
		return;
	}
	range->block = first + next_random(&r->rng) % n;
	range->count = 1 + next_random(&r->rng) % (2 * DXF_UNIT_BLOCKS);
	if (next_random(&r->rng) % 2)
		*range = (struct range){ round_down(range->block, DXF_UNIT_BLOCKS),
					 DXF_UNIT_BLOCKS };
	range->count = MIN(range->count, first + n - range->block);
	hold(r->pool, range->block * DXF_BLOCK_SIZE, range->count * DXF_BLOCK_SIZE);
	count_range(r, range, 1);
}

/* Nothing that is held is ever given out. */
static void step_use(struct random *r, struct range *range)
{
	bool unit = range->count ? range->count > 1 : next_random(&r->rng) % 2;
	struct tx *tx = begin(r->pool);
	uint64_t offset;
	int err = 0;

	if (range->count) {
		offset = range->block * DXF_BLOCK_SIZE;
		if (unit)
			free_unit(tx, offset);
		else
			free_block(tx, offset);
		range->count = 0;
	} else {
		err = unit ? alloc_unit(tx, DXF_UNIT_DATA, 0, 0, &offset)
			   : alloc_blocks(tx, 1, &offset);
		if (!err)
			*range = (struct range){ offset / DXF_BLOCK_SIZE,
						 unit ? DXF_UNIT_BLOCKS : 1 };
		for (uint64_t i = 0; i < range->count; i++)
			assert_int_equal(r->holds[range->block + i], 0);
	}
	if (next_random(&r->rng) % 4 || range->count == 0) {
		commit(tx);
	} else {
		tx_abort(tx);
		range->count = 0;
	}
}

static void test_random(void **state)
{
	struct random *r = calloc(1, sizeof(*r));
	struct pool *pool = *state;
	struct alloc_space before, after;
	uint64_t left = free_space(pool);

	r->pool = pool;
	r->rng = 11;
	for (unsigned i = 0; i < STEPS; i++) {
		unsigned which = (unsigned)(next_random(&r->rng) % RANGES);

		if (next_random(&r->rng) % 3)
			step_use(r, &r->used[which]);
		else
			step_hold(r, &r->held[which % (1 + i * RANGES / STEPS)]);
	}
	for (unsigned i = 0; i < RANGES; i++) {
		if (r->held[i].count)
			step_hold(r, &r->held[i]);
		if (r->used[i].count)
			step_use(r, &r->used[i]);
	}
	assert_int_equal(free_space(pool), left);
	assert_int_equal(busy_blocks(pool), 0);
	alloc_space(pool->vol, &before);
	pool_reopen(pool);
	alloc_space(pool->vol, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	free(r);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, pool_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_block),
		TEST(test_unit),
		TEST(test_never_freed),
		TEST(test_not_mended),
		TEST(test_free_already),
		TEST(test_abort),
		TEST(test_gone_with_the_mount),
		TEST(test_refused),
		TEST(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
