/* SPDX-License-Identifier: BSD-3-Clause */
/* Transactions and their journals: all or nothing, replay, and what is refused. */
#include "daxfuse/base/bits.h"
#include "pool.h"

enum { UNITS = 8 };

static int setup(void **state)
{
	*state = pool_new(UNITS);
	return 0;
}

/* Words that nothing else uses: of slots in the first inode chunk. */
static uint64_t *word_at(struct pool *pool, unsigned slot)
{
	return pmem_at(pool->pm, pool->super.data_offset + (100 + slot) * DXF_INODE_SIZE);
}

static void set_word(struct pool *pool, unsigned slot, uint64_t value)
{
	struct tx *tx = begin(pool);

	*(uint64_t *)tx_edit(tx, word_at(pool, slot), 8) = value;
	commit(tx);
}

static unsigned live_records(struct pool *pool)
{
	unsigned live = 0;

	for (uint32_t i = 0; i < pool->super.journal_count; i++)
		live += pool->vol->journals[i].header->sequence != 0;
	return live;
}

static void test_commit(void **state)
{
	struct pool *pool = *state;
	struct tx *tx = begin(pool);
	uint64_t *a = tx_edit(tx, word_at(pool, 0), 64), *b = tx_edit(tx, word_at(pool, 1), 64);

	assert_ptr_equal(tx_edit(tx, word_at(pool, 0) + 3, 8), a + 3);
	assert_ptr_equal(tx_view(tx, word_at(pool, 1) + 1), b + 1);
	assert_ptr_equal(tx_view(NULL, word_at(pool, 1)), word_at(pool, 1));
	a[0] = 1;
	a[7] = 2;
	b[3] = 3;
	tx_set_bits(tx, word_at(pool, 2), 0xf0);
	tx_clear_bits(tx, word_at(pool, 2), 0x10);
	assert_int_equal(*word_at(pool, 0), 0);
	commit(tx);
	assert_int_equal(word_at(pool, 0)[0], 1);
	assert_int_equal(word_at(pool, 0)[7], 2);
	assert_int_equal(word_at(pool, 1)[3], 3);
	assert_int_equal(*word_at(pool, 2), 0xe0);
	assert_int_equal(live_records(pool), 0);
}

/* Times that others have stored since we read them stay; ours are set. */
static void test_times(void **state)
{
	struct pool *pool = *state;
	struct dxf_inode *media = (void *)word_at(pool, 0), *shadow;
	struct tx *tx = begin(pool);

	media->mtime = media->ctime = 1;
	shadow = tx_edit_inode(tx, media);
	media->mtime = media->ctime = 2;
	tx_edit_inode(tx, media)->atime = 5;
	shadow->ctime = 3;
	shadow->size = 4;
	shadow->btime = 4;
	commit(tx);
	assert_int_equal(media->mtime, 2);
	assert_int_equal(media->ctime, 3);
	assert_int_equal(media->btime, 4);
}

/* A word of an inode that others store is in no record, though its neighbours are. */
static void test_tail_size(void **state)
{
	struct pool *pool = *state;
	struct dxf_inode *media = (void *)word_at(pool, 0), *shadow;
	struct tx *tx = begin(pool);

	media->tail_size = 1;
	shadow = tx_edit_inode(tx, media);
	media->tail_size = 2;
	shadow->tail_size = 3;
	shadow->tail_first = 4;
	shadow->data[0] = 5;
	commit(tx);
	assert_int_equal(media->tail_size, 2);
	assert_int_equal(media->tail_first, 4);
	assert_int_equal(media->data[0], 5);
	assert_int_equal(media->crc, inode_crc(media));
	media->tail_size = 6;
	assert_int_equal(media->crc, inode_crc(media));
	/* of an inode that has none it is what it was when these bytes were reserved */
	media->tail_size = 0;
	assert_int_equal(media->crc, crc32c(crc32c(crc32c(0, media, 4), (char *)media + 8, 56),
					    (char *)media + 88, sizeof(*media) - 88));
}

static void test_abort(void **state)
{
	struct pool *pool = *state;
	uint64_t before = free_space(pool), offset;
	struct tx *tx = begin(pool);
	uint32_t ino;

	*(uint64_t *)tx_edit(tx, word_at(pool, 0), 8) = 1;
	assert_int_equal(alloc_blocks(tx, 1, &offset), 0);
	assert_int_equal(alloc_unit(tx, DXF_UNIT_DATA, 0, 0, &offset), 0);
	assert_int_equal(ialloc_get(tx, true, &ino), 0);
	tx_abort(tx);
	assert_int_equal(*word_at(pool, 0), 0);
	assert_int_equal(free_space(pool), before);
	assert_false(inode_is_used(pool, ino));
}

/* What is taken and freed in one transaction is free, whatever came between. */
static void test_take_and_free(void **state)
{
	struct pool *pool = *state;
	uint64_t before = free_space(pool), old, new;
	struct tx *tx = begin(pool);

	assert_int_equal(alloc_blocks(tx, 1, &old), 0);
	commit(tx);
	tx = begin(pool);
	free_block(tx, old);
	assert_int_equal(alloc_blocks(tx, 1, &new), 0);
	assert_int_not_equal(old, new);
	free_block(tx, new);
	commit(tx);
	pool_reopen(pool);
	assert_int_equal(free_space(pool), before);
}

static void test_overflow(void **state)
{
	struct pool *pool = *state;
	uint64_t offsets[40], before = free_space(pool);
	struct tx *tx = begin(pool);

	assert_int_equal(alloc_blocks(tx, 40, offsets), 0);
	for (unsigned i = 0; i < 40; i++) /* more than a record holds */
		memset(tx_edit(tx, pmem_at(pool->pm, offsets[i]), DXF_BLOCK_SIZE), 0x5a,
		       DXF_BLOCK_SIZE);
	assert_int_equal(tx_commit(tx), -EOVERFLOW);
	assert_int_equal(free_space(pool), before);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(*(char *)pmem_at(pool->pm, offsets[i]), 0);

	tx = begin(pool);
	for (unsigned i = 0; i < 2000; i++) { /* more edits than a transaction has */
		uint64_t *word = tx_edit(tx, word_at(pool, i), 8);

		assert_int_equal(*word, *word_at(pool, i));
		*word = 1;
	}
	assert_int_equal(tx_commit(tx), -EOVERFLOW);
	assert_int_equal(*word_at(pool, 0), 0);
}

static void test_fresh(void **state)
{
	struct pool *pool = *state;
	struct tx *tx = begin(pool);
	uint64_t offset;
	char *shadow;

	assert_int_equal(alloc_blocks(tx, 1, &offset), 0);
	shadow = tx_edit_fresh(tx, pmem_at(pool->pm, offset), DXF_BLOCK_SIZE);
	assert_int_equal(shadow[77], 0);
	shadow[77] = 7;
	commit(tx);
	assert_int_equal(((char *)pmem_at(pool->pm, offset))[77], 7);

	tx = begin(pool); /* an edit that is dropped leaves the media alone */
	*(char *)tx_edit(tx, pmem_at(pool->pm, offset), DXF_BLOCK_SIZE) = 1;
	tx_drop(tx, pmem_at(pool->pm, offset));
	free_block(tx, offset);
	commit(tx);
	assert_int_equal(*(char *)pmem_at(pool->pm, offset), 0);
}

/* ---- records -------------------------------------------------------------- */

static uint32_t crc_of(const struct journal_record *record)
{
	struct dxf_journal_header header = record->header;

	header.crc = 0;
	return crc32c(crc32c(0, &header, sizeof(header)), record->ops, header.bytes);
}

/* A live record that stores value at offset. */
static void make_record(struct journal_record *record, uint64_t sequence, uint64_t offset,
			uint32_t type, uint32_t length, uint64_t value)
{
	struct dxf_journal_op op = { .offset = offset, .length = length, .type = type };

	memset(record, 0, sizeof(*record));
	record->header.sequence = sequence;
	record->header.magic = DXF_JOURNAL_MAGIC;
	record->header.bytes = sizeof(op) + 8;
	memcpy(record->ops, &op, sizeof(op));
	memcpy(record->ops + sizeof(op), &value, 8);
	record->header.crc = crc_of(record);
}

static void put_record(struct pool *pool, unsigned journal, const struct journal_record *record)
{
	memcpy(pmem_at(pool->pm, pool->super.journal_offset + journal * DXF_JOURNAL_SIZE), record,
	       sizeof(record->header) + 64);
}

/* Close, put the record into a journal, open again. */
static int replay(struct pool *pool, const struct journal_record *record, bool read_only,
		  unsigned *ret_replayed)
{
	int err;

	volume_close(pool->vol);
	pool->vol = NULL;
	put_record(pool, 2, record);
	err = volume_open(pool->pm, &pool->super,
			  &(struct volume_options){ .read_only = read_only }, &pool->vol,
			  ret_replayed);
	if (err) {
		memset(pmem_at(pool->pm, pool->super.journal_offset + 2 * DXF_JOURNAL_SIZE), 0, 64);
		pool_open(pool);
	}
	return err;
}

static void test_replay(void **state)
{
	struct pool *pool = *state;
	struct journal_record *record = malloc(sizeof(*record));
	uint64_t at = pmem_offset(pool->pm, word_at(pool, 0));
	unsigned replayed = 9;

	make_record(record, 5, at, DXF_JOURNAL_WRITE, 8, 42);
	assert_int_equal(replay(pool, record, true, &replayed), -EROFS);
	assert_int_equal(*word_at(pool, 0), 0);
	assert_int_equal(replay(pool, record, false, &replayed), 0);
	assert_int_equal(replayed, 1);
	assert_int_equal(*word_at(pool, 0), 42);
	assert_int_equal(live_records(pool), 0);
	make_record(record, 5, at, DXF_JOURNAL_SET, 8, 0x81);
	assert_int_equal(replay(pool, record, false, &replayed), 0);
	assert_int_equal(*word_at(pool, 0), 42 | 0x81);
	make_record(record, 5, at, DXF_JOURNAL_CLEAR, 8, 0x81);
	assert_int_equal(replay(pool, record, false, &replayed), 0);
	assert_int_equal(*word_at(pool, 0), 42 & ~0x81);
	free(record);
}

static void test_torn(void **state)
{
	struct pool *pool = *state;
	struct journal_record *record = malloc(sizeof(*record));
	uint64_t at = pmem_offset(pool->pm, word_at(pool, 0));
	unsigned replayed;

	for (unsigned byte = 0; byte < sizeof(record->header) + 24; byte++) {
		char *bytes = (char *)record;

		make_record(record, 5, at, DXF_JOURNAL_WRITE, 8, 42);
		bytes[byte] ^= 0x10;
		assert_int_equal(replay(pool, record, false, &replayed), 0);
		assert_int_equal(replayed, 0);
		assert_int_equal(*word_at(pool, 0), 0);
	}
	free(record);
}

/* A CRC that is right does not make the rest right. */
static void test_hostile(void **state)
{
	struct pool *pool = *state;
	struct journal_record *record = malloc(sizeof(*record));
	uint64_t at = pmem_offset(pool->pm, word_at(pool, 0)), unit = pool->super.unit_offset;
	const struct {
		uint64_t offset;
		uint32_t type, length;
	} bad[] = {
		{ 0, DXF_JOURNAL_WRITE, 8 },                         /* the superblock */
		{ unit - 8, DXF_JOURNAL_WRITE, 8 },                  /* a journal */
		{ UNITS * DXF_UNIT_SIZE - 8, DXF_JOURNAL_WRITE, 8 }, /* the spare one's unit */
		{ UNITS * DXF_UNIT_SIZE, DXF_JOURNAL_SET, 8 },
		{ UINT64_MAX - 7, DXF_JOURNAL_WRITE, 8 },
		{ at + 4, DXF_JOURNAL_WRITE, 8 },
		{ at, DXF_JOURNAL_WRITE, 4 },
		{ at, DXF_JOURNAL_WRITE, 16 },
		{ at, DXF_JOURNAL_WRITE, 0xfffffff8 },
		{ at, DXF_JOURNAL_SET, 0 },
		{ at, 0, 8 },
		{ at, 4, 8 },
	};
	unsigned replayed;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		make_record(record, 5, bad[i].offset, bad[i].type, bad[i].length, 42);
		assert_int_equal(replay(pool, record, false, &replayed), -EUCLEAN);
	}
	make_record(record, 5, at, DXF_JOURNAL_WRITE, 8, 42);
	record->header.bytes = 8; /* ends within an operation */
	record->header.crc = crc_of(record);
	assert_int_equal(replay(pool, record, false, &replayed), -EUCLEAN);
	assert_int_equal(*word_at(pool, 0), 0);
	free(record);
}

/*
 * Sequence numbers begin anew at each mount. A crash that has brought nothing of
 * a new record to the media but its sequence must not revive the old record of
 * the same number that lies there.
 */
static void test_stale(void **state)
{
	struct pool *pool = *state;
	uint32_t journals = pool->super.journal_count;
	uint64_t sequence[64];

	set_word(pool, 0, 1);
	for (uint32_t i = 0; i < journals; i++)
		sequence[i] = pool->vol->journals[i].sequence;
	pool_reopen(pool);
	*word_at(pool, 0) = 2;
	volume_close(pool->vol);
	for (uint32_t i = 0; i < journals; i++) {
		struct dxf_journal_header *header =
			pmem_at(pool->pm, pool->super.journal_offset + i * DXF_JOURNAL_SIZE);

		header->sequence = sequence[i];
	}
	pool_open(pool);
	assert_int_equal(*word_at(pool, 0), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_commit, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_tail_size, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_times, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_abort, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_take_and_free, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_overflow, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_fresh, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_replay, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_torn, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_stale, setup, pool_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
