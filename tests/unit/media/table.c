/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables of data: every level, blocks and units, pruning, malformed entries. */
#include <sys/stat.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/media/table.h"
#include "pool.h"

enum { UNITS = 40 };
#define LAST_BLOCK (DXF_FILE_MAX / DXF_BLOCK_SIZE - 1)

static int setup(void **state)
{
	*state = pool_new(UNITS);
	return 0;
}

static struct dxf_inode *make_file(struct pool *pool)
{
	struct dxf_inode *media = make_inode(pool, S_IFREG | 0644);
	struct tx *tx = begin(pool);

	tx_edit_inode(tx, media)->data_format = DXF_DATA_DIRECT;
	commit(tx);
	return media;
}

static uint64_t map_block(struct pool *pool, struct dxf_inode *media, uint64_t block)
{
	struct tx *tx = begin(pool);
	struct dxf_inode *di = tx_edit_inode(tx, media);
	uint64_t *word, offset;

	assert_int_equal(table_word(tx, di, 0, block, &word), 0);
	assert_int_equal(*word, 0);
	assert_int_equal(alloc_blocks(tx, 1, &offset), 0);
	*word = offset | 1;
	di->blocks++;
	commit(tx);
	return offset;
}

static uint64_t map_unit(struct pool *pool, struct dxf_inode *media, uint64_t block,
			 unsigned written)
{
	struct tx *tx = begin(pool);
	struct dxf_inode *di = tx_edit_inode(tx, media);
	uint64_t *word, offset;

	assert_int_equal(table_word(tx, di, 1, block, &word), 0);
	assert_int_equal(alloc_unit(tx, DXF_UNIT_DATA, 0, 0, &offset), 0);
	*word = offset | DXF_ENTRY_UNIT | written;
	di->blocks += DXF_UNIT_BLOCKS;
	commit(tx);
	return offset;
}

/* In as many transactions of the given budget as it takes. */
static unsigned prune(struct pool *pool, struct dxf_inode *media, uint64_t from, uint64_t to,
		      unsigned budget)
{
	unsigned rounds = 0;
	bool done = false;

	for (; !done; rounds++) {
		struct tx *tx = begin(pool);

		assert_int_equal(table_prune(tx, tx_edit_inode(tx, media), from, to, budget, &done),
				 0);
		commit(tx);
		assert_true(rounds < 10000);
	}
	return rounds;
}

static struct run find(struct pool *pool, const struct dxf_inode *media, uint64_t block,
		       uint64_t max)
{
	struct run run;

	assert_int_equal(table_find(pool->vol, NULL, media, block, max, &run), 0);
	assert_in_range(run.count, 1, max);
	return run;
}

/* One block in the reach of each level, up to the last one of 2^60 bytes. */
static void test_levels(void **state)
{
	struct pool *pool = *state;
	struct dxf_inode *media = make_file(pool);
	uint64_t block[] = { 0,
			     15,
			     16,
			     511,
			     512,
			     262143,
			     262144,
			     UINT64_C(1) << 27,
			     UINT64_C(1) << 36,
			     UINT64_C(1) << 45,
			     LAST_BLOCK };
	static const int level[] = { -1, -1, 0, 0, 1, 1, 2, 3, 4, 5, 5 };
	uint64_t offset[ARRAY_SIZE(block)], before = free_space(pool);

	for (unsigned i = 0; i < ARRAY_SIZE(block); i++) {
		offset[i] = map_block(pool, media, block[i]);
		if (level[i] < 0)
			assert_int_equal(media->data_format, DXF_DATA_DIRECT);
		else
			assert_int_equal(media->table_level, level[i]);
		for (unsigned j = 0; j <= i; j++) {
			struct run run = find(pool, media, block[j], 1);

			assert_int_equal(run.offset, offset[j]);
			assert_true(run.written);
			assert_false(run.unit);
		}
		assert_int_equal(before - free_space(pool), media->blocks);
	}
	for (unsigned i = 0; i + 1 < ARRAY_SIZE(block); i++) /* holes lie between */
		if (block[i] + 1 < block[i + 1])
			assert_int_equal(find(pool, media, block[i] + 1, 1).offset, 0);
	prune(pool, media, 0, UINT64_MAX, 1024);
	assert_int_equal(media->blocks, 0);
	assert_int_equal(media->data_format, DXF_DATA_DIRECT);
	assert_int_equal(free_space(pool), before);
}

static void test_too_far(void **state)
{
	struct pool *pool = *state;
	struct dxf_inode *media = make_file(pool);
	struct tx *tx = begin(pool);
	uint64_t *word;

	assert_int_equal(table_word(tx, tx_edit_inode(tx, media), 0, UINT64_C(1) << 54, &word),
			 -EFBIG);
	tx_abort(tx);
	assert_int_equal(find(pool, media, UINT64_MAX / 2, 5).count, 5);
}

static void test_units(void **state)
{
	struct pool *pool = *state;
	struct dxf_inode *media = make_file(pool);
	uint64_t before = free_space(pool), unit = map_unit(pool, media, 5, 100), entry, *word;
	uint64_t far = map_unit(pool, media, 512 * 600, 512), entries[DXF_TABLE_COUNT];
	struct run run = find(pool, media, 10, 1000);
	struct tx *tx;

	assert_int_equal(run.count, 90);
	assert_int_equal(run.offset, unit + 10 * DXF_BLOCK_SIZE);
	assert_true(run.written && run.unit);
	run = find(pool, media, 100, 1000);
	assert_int_equal(run.count, 412);
	assert_true(!run.written && run.offset);
	run = find(pool, media, 512, UINT64_C(1) << 40);
	assert_int_equal(run.offset, 0);
	run = find(pool, media, 512 * 600 + 511, 10);
	assert_int_equal(run.offset, far + 511 * DXF_BLOCK_SIZE);
	assert_int_equal(table_region(pool->vol, NULL, media, 77, &entry), 0);
	assert_int_equal(entry, unit | DXF_ENTRY_UNIT | 100);
	assert_int_equal(table_region_blocks(pool->vol, NULL, media, 77, entries), -EEXIST);
	tx = begin(pool);
	assert_int_equal(table_word(tx, tx_edit_inode(tx, media), 0, 77, &word), -EUCLEAN);
	tx_abort(tx);
	/* a unit is cut when its rest goes, and left when something behind stays */
	prune(pool, media, 50, 500, 1024);
	assert_int_equal(find(pool, media, 0, 1000).count, 100);
	prune(pool, media, 50, 512, 1024);
	assert_int_equal(find(pool, media, 0, 1000).count, 50);
	prune(pool, media, 0, 512, 1024);
	assert_int_equal(find(pool, media, 0, 1).offset, 0);
	assert_int_equal(media->blocks, before - free_space(pool));
	prune(pool, media, 0, UINT64_MAX, 1024);
	assert_int_equal(free_space(pool), before);
}

/* A budget bounds each transaction, from the end on; nothing before goes. */
static void test_budget(void **state)
{
	struct pool *pool = *state;
	struct dxf_inode *media = make_file(pool);
	uint64_t before = free_space(pool), rng = 5;
	unsigned rounds;

	for (unsigned i = 0; i < 3000; i++) {
		uint64_t block = next_random(&rng) % (512 * 40);

		if (!find(pool, media, block, 1).offset)
			map_block(pool, media, block);
	}
	map_block(pool, media, 512 * 40);
	rounds = prune(pool, media, 512 * 20, UINT64_MAX, 200);
	assert_true(rounds > 5);
	for (uint64_t block = 512 * 20; block < 512 * 41; block++)
		assert_int_equal(find(pool, media, block, 1).offset, 0);
	assert_int_equal(media->blocks, before - free_space(pool));
	assert_true(media->blocks > 1000);
	prune(pool, media, 0, UINT64_MAX, 200);
	assert_int_equal(media->blocks, 0);
	assert_int_equal(free_space(pool), before);
}

/* ---- malformed ------------------------------------------------------------ */

/* Every way in refuses. */
static void check_refused(struct pool *pool, struct dxf_inode *media, uint64_t block)
{
	uint64_t entry, entries[DXF_TABLE_COUNT], *word;
	struct tx *tx = begin(pool);
	struct dxf_inode *di = tx_edit_inode(tx, media);
	struct run run;
	bool done;
	int err;

	assert_int_equal(table_find(pool->vol, NULL, media, block, 1, &run), -EUCLEAN);
	assert_int_equal(table_find(pool->vol, tx, di, block, 1, &run), -EUCLEAN);
	if (media->data_format == DXF_DATA_TABLE) {
		err = table_region(pool->vol, NULL, media, block, &entry);
		assert_true(err == -EUCLEAN || (entry & DXF_ENTRY_TABLE));
	}
	assert_int_equal(table_region_blocks(pool->vol, tx, di, block, entries), -EUCLEAN);
	err = table_word(tx, di, 0, block, &word);
	assert_true(err == -EUCLEAN || !table_entry_is_right(pool->vol, tx, *word, 0));
	tx_abort(tx);
	tx = begin(pool);
	assert_int_equal(table_prune(tx, tx_edit_inode(tx, media), 0, UINT64_MAX, 1024, &done),
			 -EUCLEAN);
	tx_abort(tx);
}

static void check_bad_words(struct pool *pool, struct dxf_inode *media, uint64_t *word,
			    uint64_t block, int level)
{
	uint64_t old = *word, offset = old & DXF_ENTRY_OFFSET, chunk = pool->super.data_offset;
	uint64_t bad[] = {
		1,
		DXF_ENTRY_TABLE,
		DXF_ENTRY_UNIT,
		DXF_BLOCK_SIZE, /* the system's */
		offset | DXF_ENTRY_TABLE | DXF_ENTRY_UNIT,
		offset | 2,
		offset | DXF_ENTRY_UNIT | 1,
		offset | DXF_ENTRY_UNIT | 513,
		level ? offset | DXF_ENTRY_TABLE | 1 : offset | DXF_ENTRY_TABLE,
		chunk | 1,
		chunk | DXF_ENTRY_TABLE,
		chunk | DXF_ENTRY_UNIT | 1,
		UINT64_MAX,
		UINT64_MAX << 12,
		(UNITS * DXF_UNIT_SIZE) | DXF_ENTRY_UNIT,
		((UNITS - 1) * DXF_UNIT_SIZE) | 1,
		UINT64_C(1) << 50 | 1,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		*word = bad[i];
		check_refused(pool, media, block);
	}
	*word = old;
}

static void test_hostile(void **state)
{
	struct pool *pool = *state;
	struct dxf_inode *direct = make_file(pool), *deep = make_file(pool);
	uint64_t *table;

	map_block(pool, direct, 0);
	check_bad_words(pool, direct, (uint64_t *)(void *)direct->data, 0, 0);
	map_block(pool, deep, 512 * 512 + 3);
	check_bad_words(pool, deep, (uint64_t *)(void *)deep->data, 512 * 512 + 3, 3);
	table = pmem_at(pool->pm, *(uint64_t *)(void *)deep->data & DXF_ENTRY_OFFSET);
	check_bad_words(pool, deep, &table[1], 512 * 512 + 3, 2);
	table = pmem_at(pool->pm, table[1] & DXF_ENTRY_OFFSET);
	check_bad_words(pool, deep, &table[0], 512 * 512 + 3, 1);
	table = pmem_at(pool->pm, table[0] & DXF_ENTRY_OFFSET);
	check_bad_words(pool, deep, &table[3], 512 * 512 + 3, 0);
}

/* All entries of each table point to the same one below, so that a walk meets
 * 512 times as much at each level: all walks end, with an error. */
static void test_repeated(void **state)
{
	struct pool *pool = *state;
	struct dxf_inode *media = make_file(pool);
	uint64_t entry;
	uint32_t extents;
	bool done = false;
	int err = 0;

	map_block(pool, make_file(pool), 0); /* keeps the unit of the tables split */
	map_block(pool, media, LAST_BLOCK);
	memcpy(&entry, media->data, 8);
	while (entry & DXF_ENTRY_TABLE) {
		uint64_t *table = pmem_at(pool->pm, entry & DXF_ENTRY_OFFSET);

		entry = 0;
		for (unsigned i = 0; i < DXF_TABLE_COUNT; i++)
			entry |= table[i]; /* there is but one */
		for (unsigned i = 0; i < DXF_TABLE_COUNT; i++)
			table[i] = entry;
	}
	media->size = DXF_FILE_MAX;
	assert_int_equal(table_count_extents(pool->vol, media, &extents), -EUCLEAN);
	for (unsigned i = 0; !err && !done; i++) {
		struct tx *tx = begin(pool);

		assert_true(i < 100);
		err = table_prune(tx, tx_edit_inode(tx, media), 0, UINT64_MAX, 1024, &done);
		if (err)
			tx_abort(tx);
		else
			commit(tx);
	}
	assert_int_equal(err, -EUCLEAN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_levels, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_too_far, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_units, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_budget, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_repeated, setup, pool_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
