/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading a directory: its buckets, one chain at a time. Malformed names are reported and left out;
 * rebuild.c then writes the directory anew from the others, so both must see the same names.
 */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "state.h"
#include "daxfuse/base/errint.h"

#define ALL_SLOTS ((UINT64_C(1) << DXF_BUCKET_SLOTS) - 1)
#define KEY_PROBE ((uint64_t)DXF_KEY_PROBES - 1)

uint64_t ck_name_hash(const struct check *c, const char *name, size_t length)
{
	uint64_t hash = XXH64(name, length, c->vol.super.hash_seed) >> 2 & ~KEY_PROBE;

	return MAX(hash, DXF_KEY_MIN);
}

/*
 * Linear hashing: of the key's upper bits, the topmost one first, as many as the
 * bucket's number has; one less where that bucket does not exist yet.
 */
uint64_t ck_name_bucket(uint64_t key, uint64_t count)
{
	unsigned bits = bits_last(count) + 1;
	uint64_t bucket = 0;

	for (unsigned i = 0; i < bits; i++)
		bucket |= (key >> (DXF_KEY_BITS - 1 - i) & 1) << i;
	if (bucket >= count)
		bucket &= (UINT64_C(1) << (bits - 1)) - 1;
	return bucket;
}

/* ---- blocks --------------------------------------------------------------- */

struct dir *ck_dir_add(struct check *c, uint32_t ino)
{
	struct dir *dir = VECTOR_ADD(&c->dirs);

	if (dir) {
		dir->ino = ino;
		dir->first = c->dir_block.count;
	}
	return dir;
}

struct dir *ck_dir_find(struct check *c, uint32_t ino)
{
	size_t low = 0, high = c->dirs.count - c->lost_found_made;

	if (c->lost_found_made && ino == c->lost_found)
		return &c->dirs.item[c->dirs.count - 1];
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (c->dirs.item[middle].ino < ino)
			low = middle + 1;
		else
			high = middle;
	}
	return low < c->dirs.count && c->dirs.item[low].ino == ino ? &c->dirs.item[low] : NULL;
}

errint_t ck_dir_add_block(struct check *c, struct dir *dir, uint64_t index, uint64_t offset)
{
	struct dir_block *block = VECTOR_ADD(&c->dir_block);

	if (!block)
		return -ENOMEM;
	block->index = index;
	block->offset = offset;
	dir->count++;
	return 0;
}

errint_t ck_dir_claim_chain(struct subject *s, uint64_t index, uint64_t offset)
{
	struct check *c = s->c;

	for (;;) {
		uint64_t head[2];
		enum claim claim;
		int err;

		/* a block that is no bucket is reported when names are read */
		if (check_read(c, head, offset, sizeof(head)) != 0 ||
		    (uint32_t)head[0] != DXF_BUCKET_MAGIC || !head[1])
			return 0;
		offset = head[1];
		claim = ck_space_claim_block(c, offset);
		if (claim != CLAIM_OK) {
			check_found(c, claim == CLAIM_WRONG ? CHECK_BUCKET : CHECK_SHARED, s->ino,
				    "bucket %" PRIu64 " continues where it can't (%" PRIu64 ")",
				    index, offset);
			s->dir->rebuild = true;
			return 0;
		}
		s->blocks++;
		err = ck_dir_add_block(c, s->dir, index | DIR_BLOCK_CHAIN, offset);
		if (err)
			return err;
	}
}

/* ---- names ---------------------------------------------------------------- */

/* The names of one chain of blocks. */
struct chain {
	struct check *c;
	struct dir *dir;
	bool loud;
	uint64_t index; /* of the bucket */
	uint64_t slots; /* in use, of the whole directory */
	VECTOR(struct name) name;
	VECTOR(struct chain_order) order;
};

struct chain_order {
	uint64_t key;
	size_t name;
};

static void malformed(struct chain *chain, enum check_problem problem, const char *what)
{
	if (!chain->loud)
		return;
	chain->dir->rebuild = true;
	check_found(chain->c, problem, chain->dir->ino, "bucket %" PRIu64 ": %s", chain->index,
		    what);
}

static bool text_is_name(const char *text, size_t length)
{
	return !memchr(text, '/', length) && !memchr(text, '\0', length) &&
	       !(length == 1 && text[0] == '.') && !(length == 2 && memcmp(text, "..", 2) == 0);
}

static errint_t take_name(struct chain *chain, const struct dxf_bucket *bucket, unsigned i)
{
	const struct dxf_slot *slot = &bucket->slot[i];
	const char *text = (const char *)slot + offsetof(struct dxf_slot, name);
	uint64_t hash = ck_name_hash(chain->c, text, slot->name_length);
	struct name *name;

	if (!text_is_name(text, slot->name_length)) {
		malformed(chain, CHECK_NAME, "an impossible name");
		return 0;
	}
	if ((slot->key & ~KEY_PROBE) != hash || bucket->tag[i] != (uint8_t)(slot->key >> 3))
		malformed(chain, CHECK_KEY, "a wrong key");
	else if (ck_name_bucket(slot->key, chain->dir->buckets) != chain->index)
		malformed(chain, CHECK_KEY, "a name of another bucket");
	name = VECTOR_ADD(&chain->name);
	if (!name)
		return -ENOMEM;
	name->key = slot->key;
	name->ino = slot->ino;
	name->type = slot->type;
	name->length = slot->name_length;
	memcpy(name->text, text, name->length);
	return 0;
}

static errint_t take_block(struct chain *chain, uint64_t offset)
{
	struct dxf_bucket bucket;
	uint64_t covered = 0;
	int err = 0;

	if (check_read(chain->c, &bucket, offset, sizeof(bucket)) != 0) {
		malformed(chain, CHECK_POISON, "poisoned");
		return 0;
	}
	if (bucket.magic != DXF_BUCKET_MAGIC) {
		malformed(chain, CHECK_BUCKET, "no magic");
		return 0;
	}
	if (bucket.used & ~ALL_SLOTS || bucket.first & ~bucket.used)
		malformed(chain, CHECK_BUCKET, "impossible bitmaps");
	for (uint64_t left = bucket.first & ALL_SLOTS; !err && left; left &= left - 1) {
		unsigned i = bits_first(left), length = bucket.slot[i].name_length;
		unsigned slots = ck_name_slots(length);
		uint64_t run = bits_mask(i, MIN(slots, 64 - i));

		if (!length || bucket.slot[i].slots != slots || i + slots > DXF_BUCKET_SLOTS ||
		    (bucket.used & run) != run || (bucket.first & run) != UINT64_C(1) << i) {
			malformed(chain, CHECK_BUCKET, "a malformed slot");
			continue;
		}
		covered |= run;
		err = take_name(chain, &bucket, i);
	}
	if (bucket.used & ALL_SLOTS & ~covered)
		malformed(chain, CHECK_BUCKET, "slots of no name");
	chain->slots += bits_count(bucket.used & ALL_SLOTS);
	return err;
}

static int compare_order(const void *a, const void *b)
{
	const struct chain_order *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->name < y->name ? -1 : x->name > y->name;
}

static bool same_text(const struct name *a, const struct name *b)
{
	return a->length == b->length && memcmp(a->text, b->text, a->length) == 0;
}

/* Whether an earlier one in order has the same key, or the same name. */
static bool is_duplicate(const struct chain *chain, size_t at)
{
	const struct chain_order *order = chain->order.item;

	for (size_t i = at; i-- > 0 && (order[i].key ^ order[at].key) <= KEY_PROBE;)
		if (order[i].key == order[at].key ||
		    same_text(&chain->name.item[order[i].name], &chain->name.item[order[at].name]))
			return true;
	return false;
}

/* Hand on the names of the chain, and empty it. */
static errint_t end_chain(struct chain *chain, name_fn fn, void *arg)
{
	int err = 0;

	chain->order.count = 0;
	for (size_t i = 0; i < chain->name.count; i++) {
		struct chain_order *order = VECTOR_ADD(&chain->order);

		if (!order)
			return -ENOMEM;
		order->key = chain->name.item[i].key;
		order->name = i;
	}
	if (chain->order.count)
		qsort(chain->order.item, chain->order.count, sizeof(*chain->order.item),
		      compare_order);
	for (size_t i = 0; !err && i < chain->order.count; i++) {
		if (is_duplicate(chain, i))
			malformed(chain, CHECK_DUPLICATE, "a name or key that is there twice");
		else
			err = fn(chain->c, chain->dir, &chain->name.item[chain->order.item[i].name],
				 arg);
	}
	chain->name.count = 0;
	return err;
}

static errint_t walk_chains(struct chain *chain, name_fn fn, void *arg)
{
	struct dir *dir = chain->dir;
	uint64_t heads = 0;
	int err = 0;

	for (size_t i = 0; !err && i < dir->count; i++) {
		struct dir_block block = chain->c->dir_block.item[dir->first + i];

		if (block.index & DIR_BLOCK_TABLE)
			continue;
		if (!(block.index & DIR_BLOCK_CHAIN)) {
			err = end_chain(chain, fn, arg);
			chain->index = block.index & DIR_BLOCK_INDEX;
			heads++;
		}
		if (!err)
			err = take_block(chain, block.offset);
	}
	if (!err)
		err = end_chain(chain, fn, arg);
	if (heads != dir->buckets)
		malformed(chain, CHECK_BUCKET, "the last one that is there, others are missing");
	return err;
}

errint_t ck_dir_for_each(struct check *c, struct dir *dir, bool loud, uint64_t *ret_slots,
			 name_fn fn, void *arg)
{
	struct chain chain = { .c = c, .dir = dir, .loud = loud };
	int err = walk_chains(&chain, fn, arg);

	free(chain.name.item);
	free(chain.order.item);
	if (!err)
		*ret_slots = chain.slots;
	return err;
}
