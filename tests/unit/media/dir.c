/* SPDX-License-Identifier: BSD-3-Clause */
/* Directories: growing and shrinking, names of every length, cookies that hold
 * while the table changes, colliding keys, malformed buckets. */
#include <dirent.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/media/dir.h"
#include "daxfuse/media/table.h"
#include "pool.h"

enum { UNITS = 40, NAMES = 12000 };

struct dir {
	struct pool pool;
	struct dxf_inode *media;
	bool there[NAMES];
	unsigned count, slots;
};

static int setup(void **state)
{
	struct dir *d = calloc(1, sizeof(*d));

	pool_make(&d->pool, UNITS);
	d->media = make_inode(&d->pool, S_IFDIR | 0755);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	struct dir *d = *state;

	pool_free(&d->pool);
	free(d);
	return 0;
}

/* Name i; their lengths cover 1 to 255. */
static unsigned name_of(unsigned i, char *name)
{
	unsigned length = i % 4 ? 8 : 8 + i / 4 % 248;

	memset(name, 'n', 256);
	snprintf(name, 9, "%08u", i);
	name[8] = 'n';
	name[length] = '\0';
	return length;
}

static uint32_t ino_of(unsigned i)
{
	return i + 100;
}

static int add(struct dir *d, unsigned i)
{
	char name[257];
	unsigned length = name_of(i, name);
	struct tx *tx = begin(&d->pool);
	int err = dir_add(tx, tx_edit_inode(tx, d->media), name, length, ino_of(i), DT_REG);

	if (err) {
		tx_abort(tx);
		return err;
	}
	commit(tx);
	d->there[i] = true;
	d->count++;
	d->slots += bucket_slots(length);
	return 0;
}

static int find(struct dir *d, unsigned i, struct bucket_place *place, struct bucket_entry *entry)
{
	char name[257];
	unsigned length = name_of(i, name);

	return dir_find(d->pool.vol, NULL, d->media, name, length, place, entry);
}

static int take(struct dir *d, unsigned i)
{
	struct bucket_entry entry;
	struct bucket_place place;
	struct tx *tx;
	int err;

	assert_int_equal(find(d, i, &place, &entry), 0);
	assert_int_equal(entry.ino, ino_of(i));
	tx = begin(&d->pool);
	err = dir_remove(tx, tx_edit_inode(tx, d->media), &entry, &place);
	if (err) {
		tx_abort(tx);
		return err;
	}
	commit(tx);
	d->there[i] = false;
	d->count--;
	d->slots -= bucket_slots(entry.name_length);
	return 0;
}

static void check(struct dir *d)
{
	struct bucket_entry entry;
	struct bucket_place place;

	for (unsigned i = 0; i < NAMES; i++)
		assert_int_equal(find(d, i, &place, &entry), d->there[i] ? 0 : -ENOENT);
	assert_int_equal(d->media->entries, d->slots);
}

static void test_slots(void **state)
{
	assert_int_equal(bucket_slots(1), 1);
	assert_int_equal(bucket_slots(44), 1);
	assert_int_equal(bucket_slots(45), 2);
	assert_int_equal(bucket_slots(108), 2);
	assert_int_equal(bucket_slots(109), 3);
	assert_int_equal(bucket_slots(172), 3);
	assert_int_equal(bucket_slots(173), 4);
	assert_int_equal(bucket_slots(236), 4);
	assert_int_equal(bucket_slots(237), 5);
	assert_int_equal(bucket_slots(255), 5);
}

/* Up, past the point where it grows by units, and down to nothing again. */
static void test_grow_and_shrink(void **state)
{
	struct dir *d = *state;
	uint64_t before = free_space(&d->pool), most;

	for (unsigned i = 0; i < NAMES; i++)
		assert_int_equal(add(d, i), 0);
	check(d);
	most = d->media->size;
	assert_true(most >= d->slots * 64);
	assert_int_equal(d->media->blocks, before - free_space(&d->pool));
	pool_reopen(&d->pool);
	for (unsigned i = 0; i < NAMES; i++) {
		unsigned j = i * 7919 % NAMES;

		assert_int_equal(take(d, j), 0);
		if (i == NAMES / 2)
			check(d);
	}
	assert_true(d->media->size < most / 8);
	assert_int_equal(d->media->entries, 0);
	assert_int_equal(d->media->blocks, before - free_space(&d->pool));
	if (!d->media->size)
		assert_int_equal(free_space(&d->pool), before);
}

static void test_random(void **state)
{
	struct dir *d = *state;
	uint64_t rng = 3;

	for (unsigned i = 0; i < 20000; i++) {
		unsigned range = i < 10000 ? 3000 : 300, n = (unsigned)(next_random(&rng) % range);

		if (d->there[n])
			assert_int_equal(take(d, n), 0);
		else
			assert_int_equal(add(d, n), 0);
	}
	check(d);
}

/* Every name that is there all the time comes exactly once in a walk, however
 * many others come and go meanwhile; keys ascend. */
static void test_walk(void **state)
{
	enum { STEADY = 1000, MAX = 40 };
	struct dir *d = *state;
	struct bucket_entry *entries = calloc(MAX, sizeof(*entries));
	unsigned seen[STEADY];
	uint64_t rng = 9;

	for (unsigned i = 0; i < STEADY; i++)
		add(d, i);
	for (unsigned walk = 0; walk < 12; walk++) {
		uint64_t from = DXF_KEY_MIN, last = 0;
		unsigned changes = walk % 3 * 20;

		memset(seen, 0, sizeof(seen));
		while (from) {
			int n = dir_list(d->pool.vol, d->media, from, entries, walk % 2 ? MAX : 3,
					 &from);

			assert_true(n >= 0);
			for (int i = 0; i < n; i++) {
				assert_true(entries[i].key > last);
				last = entries[i].key;
				if (entries[i].ino - 100 < STEADY)
					seen[entries[i].ino - 100]++;
			}
			for (unsigned i = 0; i < changes; i++) {
				/* now growing, now shrinking */
				unsigned n2 = STEADY + (unsigned)(next_random(&rng) % 6000);

				if (d->there[n2] && walk % 4 < 2)
					assert_int_equal(take(d, n2), 0);
				else if (!d->there[n2] && walk % 4 >= 2)
					assert_int_equal(add(d, n2), 0);
			}
		}
		for (unsigned i = 0; i < STEADY; i++)
			assert_int_equal(seen[i], 1);
	}
	free(entries);
}

/* Eight names of one hash get eight keys; the ninth is refused. */
static void test_collisions(void **state)
{
	struct dir *d = *state;
	struct dxf_bucket *bucket;
	struct bucket_entry entry;
	struct bucket_place place;
	uint64_t hash = UINT64_C(0x123456789abcdef8);
	unsigned keys;
	struct run run;
	struct tx *tx;

	hash &= (UINT64_C(1) << DXF_KEY_BITS) - 8;
	assert_int_equal(add(d, 0), 0);
	assert_int_equal(table_find(d->pool.vol, NULL, d->media, 0, 1, &run), 0);
	bucket = pmem_at(d->pool.pm, run.offset);
	for (unsigned i = 0; i < DXF_KEY_PROBES; i++) {
		uint64_t blocks = 0;
		int err;

		memset(&entry, 0, sizeof(entry));
		entry.key = hash + i;
		entry.ino = 5;
		entry.name_length = 1;
		entry.name[0] = (char)('a' + i);
		tx = begin(&d->pool);
		assert_int_equal(bucket_add(tx, bucket, &entry, &blocks), 0);
		commit(tx);
		err = bucket_find(d->pool.vol, NULL, bucket, hash, "zz", 2, &place, &entry, &keys);
		assert_int_equal(err, -ENOENT);
		assert_int_equal(keys, (2u << i) - 1);
		assert_int_equal(bucket_find(d->pool.vol, NULL, bucket, hash, "a", 1, &place,
					     &entry, &keys),
				 0);
		assert_int_equal(entry.key, hash);
	}
}

/* On a pool without a free block names can be removed, although slots are torn
 * apart by names of every length. */
static void test_remove_when_full(void **state)
{
	struct dir *d = *state;
	uint64_t offset;
	struct tx *tx;

	for (unsigned i = 0; i < 4000; i++)
		assert_int_equal(add(d, i), 0);
	while (free_space(&d->pool)) {
		tx = begin(&d->pool);
		assert_int_equal(alloc_blocks(tx, 1, &offset), 0);
		commit(tx);
	}
	for (unsigned i = 0; i < 4000; i++) {
		assert_int_equal(take(d, i * 2999 % 4000), 0);
		while (free_space(&d->pool)) {
			tx = begin(&d->pool);
			assert_int_equal(alloc_blocks(tx, 1, &offset), 0);
			commit(tx);
		}
	}
	assert_int_equal(d->media->entries, 0);
}

static int add_name(struct dir *d, const char *name)
{
	struct tx *tx = begin(&d->pool);
	int err = dir_add(tx, tx_edit_inode(tx, d->media), name, (unsigned)strlen(name), 5, DT_REG);

	if (err)
		tx_abort(tx);
	else
		commit(tx);
	return err;
}

static int take_name(struct dir *d, const char *name)
{
	struct bucket_entry entry;
	struct bucket_place place;
	struct tx *tx = begin(&d->pool);
	int err = dir_find(d->pool.vol, tx, d->media, name, (unsigned)strlen(name), &place, &entry);

	if (!err)
		err = dir_remove(tx, tx_edit_inode(tx, d->media), &entry, &place);
	if (err)
		tx_abort(tx);
	else
		commit(tx);
	return err;
}

/* Which of two buckets a name belongs to: the upper bit of its hash says it. */
static unsigned half_of(struct dir *d, const char *name)
{
	return (unsigned)(XXH64(name, strlen(name), d->pool.super.hash_seed) >> 63);
}

/*
 * Two buckets are joined, and the slots that are free in the one that stays are
 * nowhere five in a row, as a long name of the other one would need them.
 */
static void test_join_into_gaps(void **state)
{
	enum { COUNT = 60 };
	struct dir *d = *state;
	char names[COUNT][16], long_name[251];
	struct dxf_bucket *bucket;
	uint64_t offset;
	struct run run;
	struct tx *tx;

	for (unsigned i = 0, n = 0; n < COUNT; i++) {
		snprintf(names[n], sizeof(names[n]), "%u", i);
		if (half_of(d, names[n]) == 0)
			assert_int_equal(add_name(d, names[n++]), 0);
	}
	memset(long_name, 'l', 250);
	long_name[250] = '\0';
	while (half_of(d, long_name) == 0)
		long_name[0]++;
	assert_int_equal(add_name(d, long_name), 0);
	assert_int_equal(d->media->size, 2 * DXF_BLOCK_SIZE);
	assert_int_equal(table_find(d->pool.vol, NULL, d->media, 0, 1, &run), 0);
	bucket = pmem_at(d->pool.pm, run.offset);
	while (free_space(&d->pool)) {
		tx = begin(&d->pool);
		assert_int_equal(alloc_blocks(tx, 1, &offset), 0);
		commit(tx);
	}
	for (unsigned gap = 1; gap < 4; gap++) {
		for (unsigned slot = gap; slot < COUNT && d->media->size > DXF_BLOCK_SIZE;
		     slot += 5) {
			char name[16] = "";

			assert_true(bucket->first >> slot & 1);
			memcpy(name, bucket->slot[slot].name, bucket->slot[slot].name_length);
			assert_int_equal(take_name(d, name), 0);
		}
	}
	assert_int_equal(d->media->size, DXF_BLOCK_SIZE);
	assert_int_equal(take_name(d, long_name), 0);
}

static void test_no_space(void **state)
{
	struct dir *d = *state;
	uint64_t offset;
	struct tx *tx;
	unsigned i = 0;

	while (free_space(&d->pool) > 3) {
		tx = begin(&d->pool);
		assert_int_equal(alloc_blocks(tx, 1, &offset), 0);
		commit(tx);
	}
	while (i < NAMES && add(d, i) == 0)
		i++;
	assert_in_range(i, 50, 1000);
	assert_int_equal(add(d, i), -ENOSPC);
	check(d);
}

/* ---- malformed ------------------------------------------------------------ */

static int list(struct dir *d)
{
	struct bucket_entry *entries = calloc(64, sizeof(*entries));
	uint64_t from = DXF_KEY_MIN;
	int n = 0;

	for (unsigned rounds = 0; from && n >= 0; rounds++) {
		assert_true(rounds < 1000);
		n = dir_list(d->pool.vol, d->media, from, entries, 64, &from);
	}
	free(entries);
	return n < 0 ? n : 0;
}

static void check_refused(struct dir *d)
{
	struct bucket_entry entry;
	struct bucket_place place;

	assert_int_equal(list(d), -EUCLEAN);
	find(d, 8, &place, &entry); /* whatever it says */
	find(d, 5, &place, &entry);
}

static void test_hostile(void **state)
{
	struct dir *d = *state;
	struct dxf_bucket *bucket, good;
	struct run run;
	unsigned at;

	for (unsigned i = 0; i < 12; i++)
		assert_int_equal(add(d, i), 0);
	assert_int_equal(table_find(d->pool.vol, NULL, d->media, 0, 1, &run), 0);
	bucket = pmem_at(d->pool.pm, run.offset);
	good = *bucket;
	at = bits_first(good.first);
	assert_int_equal(list(d), 0);

#define BREAK(change)             \
	do {                      \
		change;           \
		check_refused(d); \
		*bucket = good;   \
	} while (0)
	BREAK(bucket->magic++);
	BREAK(bucket->used |= UINT64_C(1) << 63);
	BREAK(bucket->used = 0);
	BREAK(bucket->first |= UINT64_C(1) << 61);
	BREAK(bucket->next = run.offset); /* a circle */
	BREAK(bucket->next = run.offset + 1);
	BREAK(bucket->next = UINT64_MAX);
	BREAK(bucket->next = d->pool.super.data_offset);
	BREAK(bucket->slot[at].name_length = 0);
	BREAK(bucket->slot[at].name_length = 255);
	BREAK(bucket->slot[at].slots = 0);
	BREAK(bucket->slot[at].slots = 200);
	BREAK(bucket->slot[at].key = 3);
	BREAK(bucket->slot[at].key = UINT64_MAX);
	BREAK(bucket->slot[at].name[2] = '/');
	BREAK(bucket->slot[at].name[2] = '\0');
#undef BREAK
	d->media->size *= 1000; /* buckets that are not there */
	assert_int_equal(list(d), -EUCLEAN);
	d->media->size /= 1000;
	d->media->data_format = DXF_DATA_INLINE;
	assert_int_equal(list(d), -EUCLEAN);
	d->media->data_format = DXF_DATA_DIRECT;
	assert_int_equal(list(d), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slots),
		cmocka_unit_test_setup_teardown(test_grow_and_shrink, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_walk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_collisions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_remove_when_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_join_into_gaps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_space, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
