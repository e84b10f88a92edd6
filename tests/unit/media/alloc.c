/* SPDX-License-Identifier: BSD-3-Clause */
/* The extent allocator: what is given out, given back, and kept whole. */
#include "daxfuse/base/bits.h"
#include "pool.h"

enum { UNITS = 40 };

/* Blocks of one split unit until it is full; then one more unit is split. */
static void test_units_stay_whole(void **state)
{
	struct alloc_space before, after;
	struct pool pool;
	uint64_t offset;

	pool_make(&pool, UNITS);
	alloc_space(pool.vol, &before);
	assert_int_equal(before.split_units, 0);
	for (unsigned i = 0; i < DXF_UNIT_BLOCKS + 1; i++) {
		offset = take_block(&pool);
		assert_true(alloc_is_block(pool.vol, offset));
		assert_true(alloc_is_taken(pool.vol, offset));
		alloc_space(pool.vol, &after);
		assert_int_equal(after.split_units, i < DXF_UNIT_BLOCKS ? 1 : 2);
	}
	assert_int_equal(after.free_units, before.free_units - 2);
	pool_free(&pool);
}

/* Freed blocks become units again, all but the one that is kept at hand. */
static void test_coalesce(void **state)
{
	enum { COUNT = 5 * DXF_UNIT_BLOCKS };
	uint64_t *offset = calloc(COUNT, 8), rng = 1;
	struct alloc_space before, after;
	struct pool pool;

	pool_make(&pool, UNITS);
	alloc_space(pool.vol, &before);
	for (unsigned i = 0; i < COUNT; i++)
		offset[i] = take_block(&pool);
	for (unsigned i = COUNT; i-- > 0;) {
		unsigned j = (unsigned)(next_random(&rng) % (i + 1));

		give_block(&pool, offset[j]);
		assert_false(alloc_is_block(pool.vol, offset[j]) &&
			     alloc_is_taken(pool.vol, offset[j]));
		offset[j] = offset[i];
	}
	alloc_space(pool.vol, &after);
	assert_in_range(after.split_units, 0, 16);
	assert_int_equal(after.free_blocks, after.split_units * DXF_UNIT_BLOCKS);
	assert_int_equal(after.free_units + after.split_units, before.free_units);
	pool_reopen(&pool);
	alloc_space(pool.vol, &before);
	assert_memory_equal(&before, &after, sizeof(before));
	pool_free(&pool);
	free(offset);
}

/* New blocks fill the fullest unit, so that the emptier one drains. */
static void test_fullest_first(void **state)
{
	enum { COUNT = 2 * DXF_UNIT_BLOCKS };
	uint64_t offset[COUNT], fuller, one;
	struct pool pool;

	pool_make(&pool, UNITS);
	for (unsigned i = 0; i < COUNT; i++)
		offset[i] = take_block(&pool);
	fuller = offset[COUNT - 1] / DXF_UNIT_SIZE;
	for (unsigned i = 0; i < COUNT; i++)
		if (i % 8 == 0 || (offset[i] / DXF_UNIT_SIZE != fuller && i % 8 < 6))
			give_block(&pool, offset[i]);
	for (unsigned i = 0; i < DXF_UNIT_BLOCKS / 8; i++) {
		one = take_block(&pool);
		assert_int_equal(one / DXF_UNIT_SIZE, fuller);
	}
	assert_int_not_equal(take_block(&pool) / DXF_UNIT_SIZE, fuller);
	pool_free(&pool);
}

/* Until nothing is left: exactly what statfs says is given out, each once. */
static void test_no_space(void **state)
{
	struct pool pool;
	uint64_t left, offset, *seen, blocks[8];
	struct tx *tx;

	pool_make(&pool, UNITS);
	left = free_space(&pool);
	seen = calloc(UNITS * DXF_UNIT_BLOCKS / 64, 8);
	tx = begin(&pool);
	assert_int_equal(alloc_unit(tx, DXF_UNIT_DATA, 0, 0, &offset), 0);
	commit(tx);
	assert_true(alloc_is_unit(pool.vol, offset));
	left -= DXF_UNIT_BLOCKS;
	assert_int_equal(free_space(&pool), left);
	for (; left > 5; left--) {
		uint64_t block;

		offset = take_block(&pool);
		block = offset / DXF_BLOCK_SIZE;
		assert_false(seen[block / 64] >> block % 64 & 1);
		seen[block / 64] |= UINT64_C(1) << block % 64;
		assert_int_equal(free_space(&pool), left - 1);
	}
	tx = begin(&pool);
	assert_int_equal(alloc_unit(tx, DXF_UNIT_DATA, 0, 0, &offset), -ENOSPC);
	assert_int_equal(alloc_blocks(tx, 6, blocks), -ENOSPC);
	assert_int_equal(alloc_blocks(tx, 5, blocks), 0);
	assert_int_equal(alloc_blocks(tx, 1, blocks), -ENOSPC);
	tx_abort(tx);
	assert_int_equal(free_space(&pool), 5);
	free(seen);
	pool_free(&pool);
}

/* A whole unit is found although every free one was split and emptied. */
static void test_mend_on_demand(void **state)
{
	struct pool pool;
	uint64_t offset, units, *taken;
	struct tx *tx;

	pool_make(&pool, UNITS);
	units = free_space(&pool) / DXF_UNIT_BLOCKS;
	taken = calloc(units * DXF_UNIT_BLOCKS, 8);
	for (uint64_t i = 0; i < units * DXF_UNIT_BLOCKS; i++)
		taken[i] = take_block(&pool);
	for (uint64_t i = 0; i < units * DXF_UNIT_BLOCKS; i++)
		give_block(&pool, taken[i]);
	tx = begin(&pool);
	for (uint64_t i = 0; i < units; i++)
		assert_int_equal(alloc_unit(tx, DXF_UNIT_DATA, 0, 0, &offset), 0);
	assert_int_equal(alloc_unit(tx, DXF_UNIT_DATA, 0, 0, &offset), -ENOSPC);
	tx_abort(tx);
	assert_int_equal(free_space(&pool), units * DXF_UNIT_BLOCKS);
	free(taken);
	pool_free(&pool);
}

/* Freed space is nobody's until its transaction is over. */
/* More than a transaction can give back: what it has taken is nobody else's all the same, as it
 * may be storing there. */
static void test_too_much_in_one_transaction(void **state)
{
	enum { ROUNDS = 17, COUNT = ROUNDS * DXF_UNIT_BLOCKS }; /* it has room for 8192 */
	uint64_t *offset = calloc(COUNT, sizeof(*offset)), other[DXF_UNIT_BLOCKS];
	struct pool pool;
	struct tx *tx;

	pool_make(&pool, UNITS);
	tx = begin(&pool);
	for (unsigned i = 0; i < ROUNDS; i++)
		assert_int_equal(alloc_blocks(tx, DXF_UNIT_BLOCKS, &offset[i * DXF_UNIT_BLOCKS]),
				 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct tx *next = begin(&pool);

		assert_int_equal(alloc_blocks(next, DXF_UNIT_BLOCKS, other), 0);
		for (unsigned i = 0; i < COUNT; i++)
			assert_true(offset[i] != other[0] &&
				    offset[i] != other[DXF_UNIT_BLOCKS - 1]);
		commit(next);
	}
	assert_int_equal(tx_commit(tx), -EOVERFLOW);
	free(offset);
	pool_free(&pool);
}

static void test_free_is_late(void **state)
{
	struct pool pool;
	uint64_t left, offset, other;
	struct tx *tx;

	pool_make(&pool, UNITS);
	offset = take_block(&pool);
	left = free_space(&pool);
	tx = begin(&pool);
	free_block(tx, offset);
	for (; left; left--)
		take_block(&pool);
	assert_int_equal(alloc_blocks(tx, 1, &other), -ENOSPC);
	commit(tx);
	assert_int_equal(free_space(&pool), 1);
	assert_int_equal(take_block(&pool), offset);
	pool_free(&pool);
}

/* Known bad ranges are never given out, neither in free units nor in split ones. */
static void test_bad_ranges(void **state)
{
	struct pool pool;
	struct pmem_range bad[2];
	struct alloc_space space;
	uint64_t left, offset;

	pool_make(&pool, UNITS);
	offset = take_block(&pool);
	bad[0] = (struct pmem_range){ offset + 3 * DXF_BLOCK_SIZE + 512, 5000 }; /* two blocks */
	bad[1] = (struct pmem_range){ (UNITS - 3) * DXF_UNIT_SIZE + 12345, 1 };
	volume_close(pool.vol);
	pool.pm->bad = bad;
	pool.pm->bad_count = ARRAY_SIZE(bad);
	pool_open(&pool);
	alloc_space(pool.vol, &space);
	assert_int_equal(space.bad_blocks, 2 + DXF_UNIT_BLOCKS);
	for (left = free_space(&pool); left; left--) {
		offset = take_block(&pool);
		for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
			assert_true(bad[i].offset >= offset + DXF_BLOCK_SIZE ||
				    bad[i].offset + bad[i].length <= offset);
	}
	pool.pm->bad_count = 0;
	pool_free(&pool);
}

static void test_hostile(void **state)
{
	struct pool pool;
	unsigned replayed;
	uint64_t *word;

	pool_make(&pool, UNITS);
	assert_false(alloc_is_block(pool.vol, 0));
	assert_false(alloc_is_block(pool.vol, pool.super.data_offset));
	assert_false(alloc_is_unit(pool.vol, pool.super.data_offset));
	assert_false(alloc_is_unit(pool.vol, UNITS * DXF_UNIT_SIZE));
	assert_false(alloc_is_block(pool.vol, UINT64_MAX - 4095));
	volume_close(pool.vol);
	word = pmem_at(pool.pm, pool.super.unit_offset + (UNITS - 2) * 8);
	for (uint64_t value = DXF_UNIT_SYSTEM; value < 7; value++) {
		*word = value;
		assert_int_equal(volume_open(pool.pm, &pool.super, NULL, &pool.vol, &replayed),
				 -EUCLEAN);
	}
	*word = UINT64_C(1) << 32;
	assert_int_equal(volume_open(pool.pm, &pool.super, NULL, &pool.vol, &replayed), -EUCLEAN);
	*word = DXF_UNIT_FREE;
	pool_open(&pool);
	pool_free(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_units_stay_whole),
		cmocka_unit_test(test_coalesce),
		cmocka_unit_test(test_fullest_first),
		cmocka_unit_test(test_no_space),
		cmocka_unit_test(test_mend_on_demand),
		cmocka_unit_test(test_too_much_in_one_transaction),
		cmocka_unit_test(test_free_is_late),
		cmocka_unit_test(test_bad_ranges),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
