/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Directories as linear hash tables (Litwin, VLDB'80): bucket b is block b of
 * the directory's data, so the number of buckets (size / 4096) is all the state
 * there is. Growing splits one bucket, shrinking joins one, in the transaction
 * of the entry that caused it; no operation ever touches the whole directory.
 *
 * With n buckets, 2^d <= n < 2^(d+1), a key belongs to the bucket that is named
 * by the d + 1 upper bits of the key, reversed, or if there is none yet by the
 * d upper ones. Reversed, because then a bucket holds one contiguous range of
 * keys, and a split halves that range: a walk in the order of keys meets every
 * entry once, however the table changes meanwhile (as Redis' SCAN does).
 *
 * Up to 2 MiB a directory grows by blocks, beyond by whole units.
 */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "daxfuse/base/bits.h"
#include "alloc.h"
#include "dir.h"
#include "table.h"
#include "daxfuse/base/errint.h"

/* Split above, join below this many slots a bucket, of 62. */
enum { FULL = 44, SPARSE = 16 };
/* A directory that lost its last name gives back up to this many at once. */
enum { EMPTY_AT_ONCE = 256 };

static uint64_t hash_of(const struct volume *vol, const char *name, unsigned length)
{
	uint64_t hash = XXH64(name, length, vol->super.hash_seed) >> 2 & ~UINT64_C(7);

	return MAX(hash, DXF_KEY_MIN);
}

static uint64_t reverse(uint64_t key) /* of DXF_KEY_BITS bits */
{
	key = (key & UINT64_C(0x5555555555555555)) << 1 | (key >> 1 & UINT64_C(0x5555555555555555));
	key = (key & UINT64_C(0x3333333333333333)) << 2 | (key >> 2 & UINT64_C(0x3333333333333333));
	key = (key & UINT64_C(0x0f0f0f0f0f0f0f0f)) << 4 | (key >> 4 & UINT64_C(0x0f0f0f0f0f0f0f0f));
	return __builtin_bswap64(key) >> (64 - DXF_KEY_BITS);
}

static uint64_t bucket_count(const struct dxf_inode *dir)
{
	return dir->size / DXF_BLOCK_SIZE;
}

/* The bucket of key among n, and how many of the key's upper bits name it. */
static uint64_t bucket_of(uint64_t key, uint64_t n, unsigned *ret_depth)
{
	unsigned d = bits_last(n);
	uint64_t reversed = reverse(key), b = reversed & ((UINT64_C(2) << d) - 1);

	*ret_depth = d + 1;
	if (b >= n) {
		b &= (UINT64_C(1) << d) - 1;
		*ret_depth = d;
	} else if (b < (UINT64_C(1) << d) && b + (UINT64_C(1) << d) >= n) {
		*ret_depth = d; /* not split yet */
	}
	return b;
}

static errint_t chain_at(const struct volume *vol, struct tx *tx, const struct dxf_inode *dir,
			 uint64_t bucket, struct dxf_bucket **ret_chain)
{
	struct run run;
	int err = dir->data_format == DXF_DATA_INLINE ? -EUCLEAN
						      : table_find(vol, tx, dir, bucket, 1, &run);

	if (err)
		return err;
	if (!run.offset || !run.written)
		return -EUCLEAN;
	*ret_chain = pmem_at(vol->pm, run.offset);
	return 0;
}

static errint_t chain_of(const struct volume *vol, struct tx *tx, const struct dxf_inode *dir,
			 uint64_t key, struct dxf_bucket **ret_chain)
{
	unsigned depth;

	return chain_at(vol, tx, dir, bucket_of(key, bucket_count(dir), &depth), ret_chain);
}

/* As dir_find(), and which keys of the name's hash are in use. */
static errint_t find(const struct volume *vol, struct tx *tx, const struct dxf_inode *dir,
		     uint64_t hash, const char *name, unsigned length, struct bucket_place *place,
		     struct bucket_entry *entry, unsigned *ret_keys)
{
	struct dxf_bucket *chain;
	int err;

	*ret_keys = 0;
	if (!dir->size)
		return -ENOENT;
	err = chain_of(vol, tx, dir, hash, &chain);
	return err ? err : bucket_find(vol, tx, chain, hash, name, length, place, entry, ret_keys);
}

errint_t dir_find(const struct volume *vol, struct tx *tx, const struct dxf_inode *dir,
		  const char *name, unsigned name_length, struct bucket_place *ret_place,
		  struct bucket_entry *ret_entry)
{
	unsigned keys;

	if (name_length > DXF_NAME_MAX)
		return -ENAMETOOLONG;
	return find(vol, tx, dir, hash_of(vol, name, name_length), name, name_length, ret_place,
		    ret_entry, &keys);
}

/* ---- growing and shrinking ------------------------------------------------ */

/* Map block n, the first past the end, to new space: its media address. */
static errint_t append_block(struct tx *tx, struct dxf_inode *dir, uint64_t n, uint64_t *ret_offset)
{
	uint64_t *word, entry;
	int err = table_region(tx_volume(tx), tx, dir, n, &entry);

	if (err)
		return err;
	if ((entry & DXF_ENTRY_UNIT) || (n && n % DXF_UNIT_BLOCKS == 0)) {
		err = table_word(tx, dir, 1, n, &word);
		if (!err && !*word) {
			err = alloc_unit(tx, DXF_UNIT_DATA, 0, 0, word);
			if (!err) {
				*word |= DXF_ENTRY_UNIT;
				dir->blocks += DXF_UNIT_BLOCKS;
			}
		}
		if (!err && (!(*word & DXF_ENTRY_UNIT) ||
			     (*word & DXF_ENTRY_WRITTEN) != n % DXF_UNIT_BLOCKS))
			err = -EUCLEAN;
		if (!err) {
			++*word;
			*ret_offset = (*word & DXF_ENTRY_OFFSET) +
				      n % DXF_UNIT_BLOCKS * DXF_BLOCK_SIZE;
		}
		if (err != -ENOSPC)
			return err;
	}
	err = table_word(tx, dir, 0, n, &word);
	if (!err)
		err = alloc_blocks(tx, 1, ret_offset);
	if (err)
		return err;
	*word = *ret_offset | 1;
	dir->blocks++;
	return 0;
}

static errint_t append_bucket(struct tx *tx, struct dxf_inode *dir, struct dxf_bucket **ret_bucket)
{
	uint64_t offset = 0;
	int err;

	if (dir->data_format == DXF_DATA_INLINE)
		dir->data_format = DXF_DATA_DIRECT;
	err = append_block(tx, dir, bucket_count(dir), &offset);
	if (err)
		return err;
	*ret_bucket = pmem_at(tx_volume(tx)->pm, offset);
	bucket_init(tx_edit_fresh(tx, *ret_bucket, sizeof(**ret_bucket)));
	dir->size += DXF_BLOCK_SIZE;
	return 0;
}

/* Entries of one chain, collected so that they can be moved. */
struct moving {
	struct bucket_entry *entry;
	unsigned count, max;
};

static errint_t collect(const struct bucket_entry *entry, const struct bucket_place *place,
			void *arg)
{
	struct moving *m = arg;

	if (m->count == m->max) {
		unsigned max = m->max ? m->max * 2 : DXF_BUCKET_SLOTS;
		void *more = realloc(m->entry, max * sizeof(*m->entry));

		if (!more)
			return -ENOMEM;
		m->entry = more;
		m->max = max;
	}
	m->entry[m->count++] = *entry;
	return 0;
}

/* Empty a chain in the transaction: its first block starts anew. */
static errint_t empty_chain(struct tx *tx, struct dxf_inode *dir, struct dxf_bucket *chain)
{
	struct dxf_bucket *shadow;
	int err = bucket_drop_rest(tx, chain, &dir->blocks);

	if (err)
		return err;
	shadow = tx_edit(tx, chain, sizeof(*chain));
	memset(shadow, 0, sizeof(*shadow));
	bucket_init(shadow);
	return 0;
}

/* Put the collected entries back, each where it belongs now. */
static errint_t put_back(struct tx *tx, struct dxf_inode *dir, const struct moving *m)
{
	int err = 0;

	for (unsigned i = 0; !err && i < m->count; i++) {
		struct dxf_bucket *chain;

		err = chain_of(tx_volume(tx), tx, dir, m->entry[i].key, &chain);
		if (!err)
			err = bucket_add(tx, chain, &m->entry[i], &dir->blocks);
	}
	return err;
}

static errint_t split(struct tx *tx, struct dxf_inode *dir)
{
	struct volume *vol = tx_volume(tx);
	uint64_t n = bucket_count(dir), half = UINT64_C(1) << bits_last(n);
	struct dxf_bucket *chain, *added;
	struct moving m = { 0 };
	int err = chain_at(vol, tx, dir, n - half, &chain);

	if (!err)
		err = bucket_for_each(vol, tx, chain, collect, &m);
	if (!err)
		err = append_bucket(tx, dir, &added);
	if (!err)
		err = empty_chain(tx, dir, chain);
	if (!err)
		err = put_back(tx, dir, &m);
	free(m.entry);
	return err;
}

/*
 * Move the last bucket's entries to where they came from, and drop it. The
 * bucket that takes them is written anew, without gaps: can_join() has seen that
 * all of them fit into its one block, so removing a name never needs space.
 */
static errint_t join(struct tx *tx, struct dxf_inode *dir)
{
	struct volume *vol = tx_volume(tx);
	uint64_t last = bucket_count(dir) - 1;
	struct dxf_bucket *chain, *into;
	struct moving m = { 0 };
	bool done;
	int err = chain_at(vol, tx, dir, last, &chain);

	if (!err)
		err = chain_at(vol, tx, dir, last - (UINT64_C(1) << bits_last(last)), &into);
	if (!err)
		err = bucket_for_each(vol, tx, chain, collect, &m);
	if (!err)
		err = bucket_for_each(vol, tx, into, collect, &m);
	if (!err)
		err = bucket_drop_rest(tx, chain, &dir->blocks);
	if (!err)
		err = empty_chain(tx, dir, into);
	if (!err) {
		tx_drop(tx, chain);
		dir->size -= DXF_BLOCK_SIZE;
		err = table_prune(tx, dir, last, UINT64_MAX, 1024, &done);
	}
	if (!err)
		err = put_back(tx, dir, &m);
	free(m.entry);
	return err;
}

/* Whether joining the last bucket leaves both halves room in one block. */
static bool can_join(struct tx *tx, const struct dxf_inode *dir)
{
	const struct volume *vol = tx_volume(tx);
	uint64_t last = bucket_count(dir) - 1;
	struct dxf_bucket *a, *b;
	unsigned used_a, used_b;

	if (!last || dir->entries >= bucket_count(dir) * SPARSE)
		return false;
	return chain_at(vol, tx, dir, last, &a) == 0 &&
	       chain_at(vol, tx, dir, last - (UINT64_C(1) << bits_last(last)), &b) == 0 &&
	       bucket_used(vol, tx, a, &used_a) == 0 && bucket_used(vol, tx, b, &used_b) == 0 &&
	       used_a + used_b <= FULL;
}

/* ---- entries -------------------------------------------------------------- */

errint_t dir_add(struct tx *tx, struct dxf_inode *dir, const char *name, unsigned name_length,
		 uint32_t ino, uint8_t type)
{
	struct volume *vol = tx_volume(tx);
	struct bucket_entry entry = { .ino = ino,
				      .type = type,
				      .name_length = (uint8_t)name_length };
	uint64_t hash = hash_of(vol, name, name_length);
	struct dxf_bucket *chain;
	struct bucket_place place;
	unsigned keys;
	int err;

	if (!dir->size) {
		err = append_bucket(tx, dir, &chain);
		if (err)
			return err;
	}
	err = find(vol, tx, dir, hash, name, name_length, &place, &entry, &keys);
	if (err != -ENOENT)
		return err ? err : -EEXIST;
	if (keys == (1u << DXF_KEY_PROBES) - 1)
		return -ENOSPC; /* eight names of one 59-bit hash */
	entry.key = hash + bits_first(~(uint64_t)keys);
	memcpy(entry.name, name, name_length);
	err = chain_of(vol, tx, dir, hash, &chain);
	if (!err)
		err = bucket_add(tx, chain, &entry, &dir->blocks);
	if (err)
		return err;
	dir->entries += bucket_slots(name_length);
	return dir->entries > bucket_count(dir) * FULL ? split(tx, dir) : 0;
}

errint_t dir_remove(struct tx *tx, struct dxf_inode *dir, const struct bucket_entry *entry,
		    const struct bucket_place *place)
{
	struct volume *vol = tx_volume(tx);
	struct dxf_bucket *chain;
	bool done;
	int err = chain_of(vol, tx, dir, entry->key, &chain);

	if (!err)
		err = bucket_remove(tx, chain, place, &dir->blocks);
	if (err)
		return err;
	dir->entries -= bucket_slots(entry->name_length);
	if (!dir->entries && bucket_count(dir) <= EMPTY_AT_ONCE) {
		tx_drop(tx, chain);
		dir->size = 0;
		return table_prune(tx, dir, 0, UINT64_MAX, 1024, &done);
	}
	return can_join(tx, dir) ? join(tx, dir) : 0;
}

/* ---- listing -------------------------------------------------------------- */

struct listing {
	uint64_t from;
	struct bucket_entry *entries;
	unsigned count, max;
	bool full;
};

/* Keep the max lowest keys, ascending. */
static int list_entry(const struct bucket_entry *entry, const struct bucket_place *place, void *arg)
{
	struct listing *l = arg;
	unsigned at = l->count;

	if (entry->key < l->from)
		return 0;
	while (at && l->entries[at - 1].key > entry->key)
		at--;
	if (l->count == l->max)
		l->full = true;
	if (at == l->max)
		return 0;
	if (l->count < l->max)
		l->count++;
	memmove(&l->entries[at + 1], &l->entries[at], (l->count - 1 - at) * sizeof(*entry));
	l->entries[at] = *entry;
	return 0;
}

int dir_list(const struct volume *vol, const struct dxf_inode *dir, uint64_t from,
	     struct bucket_entry *entries, unsigned max, uint64_t *ret_next)
{
	struct listing l = { .from = from, .entries = entries, .max = max };
	struct dxf_bucket *chain;
	unsigned depth;
	uint64_t end;
	int err;

	if (!dir->size || from >> DXF_KEY_BITS) {
		*ret_next = 0;
		return 0;
	}
	err = chain_at(vol, NULL, dir, bucket_of(from, bucket_count(dir), &depth), &chain);
	if (!err)
		err = bucket_for_each(vol, NULL, chain, list_entry, &l);
	if (err)
		return err;
	end = ((from >> (DXF_KEY_BITS - depth)) + 1) << (DXF_KEY_BITS - depth);
	if (l.full)
		*ret_next = l.entries[l.count - 1].key + 1;
	else
		*ret_next = end >> DXF_KEY_BITS ? 0 : end;
	return (int)l.count;
}
