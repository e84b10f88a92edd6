/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Buckets, see bucket.h. A lookup touches the two lines of the header (the tags
 * say which slots can hold the name) and the slots of the name itself.
 */
#include <string.h>

#include "daxfuse/base/bits.h"
#include "alloc.h"
#include "bucket.h"
#include "daxfuse/base/errint.h"

enum { HEADER_BYTES = offsetof(struct dxf_bucket, slot), CHAIN_MAX = 4096 };
#define ALL_SLOTS ((UINT64_C(1) << DXF_BUCKET_SLOTS) - 1)

static uint8_t tag_of(uint64_t key)
{
	return (uint8_t)(key >> 3);
}

static uint64_t run_mask(unsigned slot, unsigned slots)
{
	return ((UINT64_C(1) << slots) - 1) << slot;
}

/* The view of a bucket whose header may be used. */
static errint_t view(const struct volume *vol, struct tx *tx, const struct dxf_bucket *bucket,
		     const struct dxf_bucket **ret_view)
{
	const struct dxf_bucket *v = tx_view(tx, bucket);

	if (v == bucket) {
		int err = pmem_probe(vol->pm, v, HEADER_BYTES);

		if (err)
			return err;
	}
	if (v->magic != DXF_BUCKET_MAGIC || (v->used & ~ALL_SLOTS) || (v->first & ~v->used) ||
	    (v->next && v == bucket && !alloc_is_block(vol, v->next)))
		return -EUCLEAN;
	*ret_view = v;
	return 0;
}

/* Whether the first slot of a name may be used: it and its continuation lie inside the bucket and
 * belong to it. */
static errint_t check_slot(const struct volume *vol, const struct dxf_bucket *v, bool on_media,
			   unsigned i)
{
	const struct dxf_slot *slot = &v->slot[i];
	unsigned slots;

	if (on_media) {
		int err = pmem_probe(vol->pm, slot, sizeof(*slot));

		if (err)
			return err;
	}
	slots = slot->slots;
	if (!slot->name_length || slots != bucket_slots(slot->name_length) ||
	    i + slots > DXF_BUCKET_SLOTS || (v->used & run_mask(i, slots)) != run_mask(i, slots) ||
	    (slots > 1 && v->first & run_mask(i + 1, slots - 1)))
		return -EUCLEAN;
	return slots > 1 && on_media ? pmem_probe(vol->pm, slot, slots * sizeof(*slot)) : 0;
}

/* Whether the entry may be shown: a cookie that readdir can give out, and a name
 * that is one. */
static bool entry_is_right(const struct dxf_slot *slot)
{
	const char *name = (const char *)slot + offsetof(struct dxf_slot, name);

	return slot->key >= DXF_KEY_MIN && !(slot->key >> DXF_KEY_BITS) &&
	       !memchr(name, '/', slot->name_length) && !memchr(name, '\0', slot->name_length);
}

static void copy_entry(const struct dxf_slot *slot, struct bucket_entry *entry)
{
	entry->key = slot->key;
	entry->ino = slot->ino;
	entry->type = slot->type;
	entry->name_length = slot->name_length;
	/* a name runs on through the slots behind its first one */
	memcpy(entry->name, (const char *)slot + offsetof(struct dxf_slot, name),
	       slot->name_length);
	entry->name[slot->name_length] = '\0';
}

static struct dxf_bucket *next_of(const struct volume *vol, const struct dxf_bucket *v)
{
	return v->next ? pmem_at(vol->pm, v->next) : NULL;
}

static errint_t find_in(const struct volume *vol, struct dxf_bucket *bucket,
			const struct dxf_bucket *v, uint64_t hash, const char *name,
			unsigned length, struct bucket_place *ret_place,
			struct bucket_entry *ret_entry, unsigned *keys)
{
	uint8_t tag = tag_of(hash);

	for (uint64_t left = v->first; left; left &= left - 1) {
		unsigned i = bits_first(left);
		const struct dxf_slot *slot = &v->slot[i];
		int err;

		if (v->tag[i] != tag)
			continue;
		err = check_slot(vol, v, v == bucket, i);
		if (err)
			return err;
		if (slot->key - hash >= DXF_KEY_PROBES)
			continue;
		*keys |= 1u << (slot->key - hash);
		if (slot->name_length == length &&
		    memcmp((const char *)slot + offsetof(struct dxf_slot, name), name, length) ==
			    0) {
			*ret_place = (struct bucket_place){ bucket, i };
			copy_entry(slot, ret_entry);
			return 0;
		}
	}
	return -ENOENT;
}

errint_t bucket_find(const struct volume *vol, struct tx *tx, struct dxf_bucket *chain,
		     uint64_t hash, const char *name, unsigned name_length,
		     struct bucket_place *ret_place, struct bucket_entry *ret_entry,
		     unsigned *ret_keys)
{
	*ret_keys = 0;
	for (unsigned n = 0; chain; n++) {
		const struct dxf_bucket *v;
		int err = n < CHAIN_MAX ? view(vol, tx, chain, &v) : -EUCLEAN;

		if (!err)
			err = find_in(vol, chain, v, hash, name, name_length, ret_place, ret_entry,
				      ret_keys);
		if (err != -ENOENT)
			return err;
		chain = next_of(vol, v);
	}
	return -ENOENT;
}

errint_t bucket_for_each(const struct volume *vol, struct tx *tx, struct dxf_bucket *chain,
			 errint_t (*fn)(const struct bucket_entry *entry,
					const struct bucket_place *place, void *arg),
			 void *arg)
{
	struct bucket_entry entry;

	for (unsigned n = 0; chain; n++) {
		const struct dxf_bucket *v;
		int err = n < CHAIN_MAX ? view(vol, tx, chain, &v) : -EUCLEAN;

		if (err)
			return err;
		for (uint64_t left = v->first; left; left &= left - 1) {
			struct bucket_place place = { chain, bits_first(left) };

			err = check_slot(vol, v, v == chain, place.slot);
			if (!err && !entry_is_right(&v->slot[place.slot]))
				err = -EUCLEAN;
			if (err)
				return err;
			copy_entry(&v->slot[place.slot], &entry);
			err = fn(&entry, &place, arg);
			if (err)
				return err;
		}
		chain = next_of(vol, v);
	}
	return 0;
}

errint_t bucket_used(const struct volume *vol, struct tx *tx, struct dxf_bucket *chain,
		     unsigned *ret_slots)
{
	unsigned slots = 0;

	for (unsigned n = 0; chain; n++) {
		const struct dxf_bucket *v;
		int err = n < CHAIN_MAX ? view(vol, tx, chain, &v) : -EUCLEAN;

		if (err)
			return err;
		slots += bits_count(v->used);
		chain = next_of(vol, v);
	}
	*ret_slots = slots;
	return 0;
}

/* ---- changing ------------------------------------------------------------- */

void bucket_init(struct dxf_bucket *shadow)
{
	shadow->magic = DXF_BUCKET_MAGIC;
}

static errint_t edit_bucket(struct tx *tx, struct dxf_bucket *bucket,
			    struct dxf_bucket **ret_shadow)
{
	const struct dxf_bucket *v;
	int err = view(tx_volume(tx), tx, bucket, &v);

	if (!err && v == bucket)
		err = pmem_probe(tx_volume(tx)->pm, bucket, sizeof(*bucket));
	if (!err)
		*ret_shadow = tx_edit(tx, bucket, sizeof(*bucket));
	return err;
}

/* The first of `slots` free slots in a row, or -1. */
static int find_room(const struct dxf_bucket *v, unsigned slots)
{
	uint64_t room = ~v->used & ALL_SLOTS;

	for (unsigned i = 1; i < slots; i++)
		room &= room >> 1;
	return room ? (int)bits_first(room) : -1;
}

static void fill_slots(struct dxf_bucket *shadow, unsigned at, const struct bucket_entry *entry)
{
	unsigned slots = bucket_slots(entry->name_length);
	struct dxf_slot *slot = &shadow->slot[at];

	memset(slot, 0, slots * sizeof(*slot));
	slot->key = entry->key;
	slot->ino = entry->ino;
	slot->type = entry->type;
	slot->name_length = entry->name_length;
	slot->slots = (uint8_t)slots;
	memcpy((char *)slot + offsetof(struct dxf_slot, name), entry->name, entry->name_length);
	shadow->used |= run_mask(at, slots);
	shadow->first |= UINT64_C(1) << at;
	shadow->tag[at] = tag_of(entry->key);
}

/* Put a new block behind the bucket, which is edited. */
static errint_t continue_chain(struct tx *tx, struct dxf_bucket *bucket, uint64_t *blocks,
			       struct dxf_bucket **ret_shadow)
{
	struct dxf_bucket *shadow;
	uint64_t offset;
	int err = edit_bucket(tx, bucket, &shadow);

	if (!err)
		err = alloc_blocks(tx, 1, &offset);
	if (err)
		return err;
	++*blocks;
	shadow->next = offset;
	*ret_shadow = tx_edit_fresh(tx, pmem_at(tx_volume(tx)->pm, offset), sizeof(*shadow));
	bucket_init(*ret_shadow);
	return 0;
}

errint_t bucket_add(struct tx *tx, struct dxf_bucket *chain, const struct bucket_entry *entry,
		    uint64_t *blocks)
{
	struct volume *vol = tx_volume(tx);
	unsigned slots = bucket_slots(entry->name_length);
	struct dxf_bucket *shadow;

	for (unsigned n = 0;; n++) {
		const struct dxf_bucket *v;
		struct dxf_bucket *next;
		int err = n < CHAIN_MAX ? view(vol, tx, chain, &v) : -EUCLEAN, at;

		if (err)
			return err;
		at = find_room(v, slots);
		next = next_of(vol, v);
		if (at >= 0)
			err = edit_bucket(tx, chain, &shadow);
		else if (!next)
			err = continue_chain(tx, chain, blocks, &shadow);
		if (err)
			return err;
		if (at >= 0 || !next) {
			fill_slots(shadow, at >= 0 ? (unsigned)at : 0, entry);
			return 0;
		}
		chain = next;
	}
}

/* Take the empty block `gone` out of the chain. */
static errint_t unlink_block(struct tx *tx, struct dxf_bucket *chain, struct dxf_bucket *gone,
			     uint64_t next, uint64_t *blocks)
{
	struct volume *vol = tx_volume(tx);
	struct dxf_bucket *shadow;

	for (unsigned n = 0; chain && n < CHAIN_MAX; n++) {
		const struct dxf_bucket *v;
		int err = view(vol, tx, chain, &v);

		if (err)
			return err;
		if (next_of(vol, v) == gone) {
			err = edit_bucket(tx, chain, &shadow);
			if (err)
				return err;
			shadow->next = next;
			tx_drop(tx, gone);
			free_block(tx, pmem_offset(vol->pm, gone));
			--*blocks;
			return 0;
		}
		chain = next_of(vol, v);
	}
	return -EUCLEAN;
}

errint_t bucket_remove(struct tx *tx, struct dxf_bucket *chain, const struct bucket_place *place,
		       uint64_t *blocks)
{
	struct dxf_bucket *shadow;
	unsigned slots;
	int err = edit_bucket(tx, place->bucket, &shadow);

	if (err)
		return err;
	slots = shadow->slot[place->slot].slots;
	memset(&shadow->slot[place->slot], 0, slots * sizeof(struct dxf_slot));
	shadow->used &= ~run_mask(place->slot, slots);
	shadow->first &= ~(UINT64_C(1) << place->slot);
	shadow->tag[place->slot] = 0;
	if (!shadow->used && place->bucket != chain)
		return unlink_block(tx, chain, place->bucket, shadow->next, blocks);
	return 0;
}

errint_t bucket_set(struct tx *tx, const struct bucket_place *place, uint32_t ino, uint8_t type)
{
	struct dxf_bucket *shadow;
	int err = edit_bucket(tx, place->bucket, &shadow);

	if (err)
		return err;
	shadow->slot[place->slot].ino = ino;
	shadow->slot[place->slot].type = type;
	return 0;
}

errint_t bucket_drop_rest(struct tx *tx, struct dxf_bucket *chain, uint64_t *blocks)
{
	struct volume *vol = tx_volume(tx);
	const struct dxf_bucket *v;
	int err = view(vol, tx, chain, &v);

	for (unsigned n = 0; !err && v->next; n++) {
		struct dxf_bucket *rest = next_of(vol, v);

		err = n < CHAIN_MAX ? view(vol, tx, rest, &v) : -EUCLEAN;
		if (!err) {
			free_block(tx, pmem_offset(vol->pm, rest));
			tx_drop(tx, rest);
			--*blocks;
		}
	}
	return err;
}
