/* SPDX-License-Identifier: BSD-3-Clause */
/* Inodes: slots, chunks that come and go, orphans. */
#include "daxfuse/base/bits.h"
#include "pool.h"

enum { UNITS = 24, PER_CHUNK = DXF_CHUNK_INODES - DXF_CHUNK_FIRST };

static uint32_t get(struct pool *pool, bool orphan)
{
	struct tx *tx = begin(pool);
	uint32_t ino;

	assert_int_equal(ialloc_get(tx, orphan, &ino), 0);
	commit(tx);
	assert_true(inode_is_used(pool, ino));
	return ino;
}

static void put(struct pool *pool, uint32_t ino)
{
	struct tx *tx = begin(pool);

	ialloc_put(tx, ino);
	commit(tx);
	assert_false(inode_is_used(pool, ino));
}

static uint64_t used(struct pool *pool)
{
	uint64_t count, max;

	ialloc_count(pool->vol, &count, &max);
	return count;
}

static void test_chunks(void **state)
{
	enum { COUNT = 2 * PER_CHUNK + 10 };
	uint32_t *ino = calloc(COUNT, sizeof(*ino));
	struct pool pool;
	uint64_t before;

	pool_make(&pool, UNITS);
	before = free_space(&pool);
	assert_int_equal(used(&pool), 1);
	for (unsigned i = 0; i < COUNT; i++) {
		ino[i] = get(&pool, false);
		assert_int_not_equal(ino[i], DXF_ROOT_INO);
		assert_true(ino[i] % DXF_CHUNK_INODES >= DXF_CHUNK_FIRST);
	}
	assert_int_equal(used(&pool), COUNT + 1);
	assert_int_equal(free_space(&pool), before - 2 * DXF_UNIT_BLOCKS);
	pool_reopen(&pool);
	assert_int_equal(used(&pool), COUNT + 1);
	for (unsigned i = 0; i < COUNT; i++)
		put(&pool, ino[i]);
	assert_int_equal(used(&pool), 1);
	assert_int_equal(free_space(&pool), before);
	assert_null(ialloc_slot(pool.vol, 2 * DXF_CHUNK_INODES + 5));
	assert_int_equal(get(&pool, false) / DXF_CHUNK_INODES, 0);
	pool_free(&pool);
	free(ino);
}

/* A slot comes back only after all others had their turn. */
static void test_in_turn(void **state)
{
	struct pool pool;
	uint32_t first;

	pool_make(&pool, UNITS);
	first = get(&pool, false);
	put(&pool, first);
	for (unsigned i = 0; i < PER_CHUNK - 2; i++) {
		uint32_t ino = get(&pool, false);

		assert_int_not_equal(ino, first);
		put(&pool, ino);
	}
	assert_int_equal(get(&pool, false), first);
	pool_free(&pool);
}

static void test_no_space(void **state)
{
	struct pool pool;
	uint64_t offset;
	struct tx *tx;
	uint32_t ino;

	pool_make(&pool, UNITS);
	for (uint64_t i = free_space(&pool) / DXF_UNIT_BLOCKS; i; i--) {
		tx = begin(&pool);
		assert_int_equal(alloc_unit(tx, DXF_UNIT_DATA, 0, 0, &offset), 0);
		commit(tx);
	}
	for (unsigned i = 0; i < PER_CHUNK - 1; i++)
		ino = get(&pool, false);
	tx = begin(&pool);
	assert_int_equal(ialloc_get(tx, false, &ino), -ENOSPC);
	tx_abort(tx);
	tx = begin(&pool);
	free_unit(tx, offset);
	commit(tx);
	assert_int_equal(get(&pool, false) / DXF_CHUNK_INODES, 1);
	pool_free(&pool);
}

struct seen {
	uint32_t ino[8];
	unsigned count;
};

static int see(uint32_t ino, void *arg)
{
	struct seen *seen = arg;

	seen->ino[seen->count++] = ino;
	return seen->count == 3 ? 7 : 0;
}

static void test_orphans(void **state)
{
	struct pool pool;
	struct seen seen = { 0 };
	uint32_t a, b;
	struct tx *tx;

	pool_make(&pool, UNITS);
	get(&pool, false);
	a = get(&pool, true);
	b = get(&pool, false);
	tx = begin(&pool);
	ialloc_set_orphan(tx, b, true);
	commit(tx);
	pool_reopen(&pool);
	assert_int_equal(ialloc_for_each_orphan(pool.vol, see, &seen), 0);
	assert_int_equal(seen.count, 2);
	assert_int_equal(seen.ino[0], a);
	assert_int_equal(seen.ino[1], b);
	put(&pool, a);
	seen.count = 2;
	assert_int_equal(ialloc_for_each_orphan(pool.vol, see, &seen), 7);
	seen.count = 0;
	tx = begin(&pool);
	ialloc_set_orphan(tx, b, false);
	commit(tx);
	assert_int_equal(ialloc_for_each_orphan(pool.vol, see, &seen), 0);
	assert_int_equal(seen.count, 0);
	pool_free(&pool);
}

static void test_no_such(void **state)
{
	struct pool pool;

	pool_make(&pool, UNITS);
	for (uint32_t slot = 0; slot < DXF_CHUNK_FIRST; slot++)
		assert_null(ialloc_slot(pool.vol, slot));
	assert_true(inode_is_used(&pool, DXF_ROOT_INO));
	assert_false(inode_is_used(&pool, DXF_ROOT_INO + 1));
	assert_non_null(ialloc_slot(pool.vol, DXF_ROOT_INO + 1));
	assert_null(ialloc_slot(pool.vol, DXF_CHUNK_INODES + 5));
	assert_null(ialloc_slot(pool.vol, UINT32_MAX));
	pool_free(&pool);
}

/* A map that points anywhere but to a chunk of that number. */
static void test_hostile(void **state)
{
	struct pool pool;
	uint64_t *map, offset,
		bad[] = { DXF_UNIT_SIZE / 2,          0, 8, UNITS * DXF_UNIT_SIZE, UINT64_MAX << 21,
			  (UNITS - 2) * DXF_UNIT_SIZE };
	unsigned replayed;

	pool_make(&pool, UNITS);
	volume_close(pool.vol);
	map = pmem_at(pool.pm, pool.super.inode_map_offset);
	offset = map[0];
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		map[0] = bad[i];
		assert_int_equal(volume_open(pool.pm, &pool.super, NULL, &pool.vol, &replayed),
				 -EUCLEAN);
	}
	map[0] = map[1] = offset; /* the same chunk twice */
	assert_int_equal(volume_open(pool.pm, &pool.super, NULL, &pool.vol, &replayed), -EUCLEAN);
	map[1] = 0;
	pool_open(&pool);
	pool_free(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunks),   cmocka_unit_test(test_in_turn),
		cmocka_unit_test(test_no_space), cmocka_unit_test(test_orphans),
		cmocka_unit_test(test_no_such),  cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
