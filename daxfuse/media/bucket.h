/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One bucket of a directory: a block of slots, and the blocks it continues in.
 * A chain is named by its first block; looking takes a transaction that may be
 * NULL, and sees what that has edited.
 */
#ifndef DAXFUSE_MEDIA_BUCKET_H
#define DAXFUSE_MEDIA_BUCKET_H

#include "tx.h"
#include "daxfuse/base/errint.h"

/* A name found: where it stands. */
struct bucket_place {
	struct dxf_bucket *bucket; /* on media */
	unsigned slot;
};

/* An entry, copied. */
struct bucket_entry {
	uint64_t key;
	uint32_t ino;
	uint8_t type; /* DT_* */
	uint8_t name_length;
	char name[DXF_NAME_MAX + 1];
};

static inline unsigned bucket_slots(unsigned name_length)
{
	return name_length <= DXF_SLOT_NAME
		       ? 1
		       : 1 + (name_length - DXF_SLOT_NAME + sizeof(struct dxf_slot) - 1) /
					 sizeof(struct dxf_slot);
}

/* Find name among the keys hash .. hash + 7; *ret_keys: bit i: hash + i is in
 * use (filled in on -ENOENT, too). -ENOENT, -EUCLEAN, -EIO. */
errint_t bucket_find(const struct volume *vol, struct tx *tx, struct dxf_bucket *chain,
		     uint64_t hash, const char *name, unsigned name_length,
		     struct bucket_place *ret_place, struct bucket_entry *ret_entry,
		     unsigned *ret_keys);

/* Call fn for each entry until it returns non-zero, which is returned. */
errint_t bucket_for_each(const struct volume *vol, struct tx *tx, struct dxf_bucket *chain,
			 errint_t (*fn)(const struct bucket_entry *entry,
					const struct bucket_place *place, void *arg),
			 void *arg);

/* Add an entry; a new block at the end of the chain if need be, counted in
 * *blocks. -ENOSPC, -EUCLEAN, -EIO. */
errint_t bucket_add(struct tx *tx, struct dxf_bucket *chain, const struct bucket_entry *entry,
		    uint64_t *blocks);
/* Remove the entry at place; a continuing block that becomes empty is freed. */
errint_t bucket_remove(struct tx *tx, struct dxf_bucket *chain, const struct bucket_place *place,
		       uint64_t *blocks);
/* Let the entry at place name another inode. */
errint_t bucket_set(struct tx *tx, const struct bucket_place *place, uint32_t ino, uint8_t type);

/* Write the header of a new first block (a fresh shadow). */
void bucket_init(struct dxf_bucket *shadow);
/* Free the continuing blocks of a chain; for joining buckets. */
errint_t bucket_drop_rest(struct tx *tx, struct dxf_bucket *chain, uint64_t *blocks);
/* Slots in use in the chain. */
errint_t bucket_used(const struct volume *vol, struct tx *tx, struct dxf_bucket *chain,
		     unsigned *ret_slots);

#endif
