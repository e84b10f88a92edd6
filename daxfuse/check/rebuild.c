/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing a directory anew: all names that may stay are collected, laid out in
 * new blocks, and the inode is switched over in one transaction. The old blocks
 * are free afterwards. So a crash shows the old directory or the new one, and a
 * name is in it once, in the right bucket, under the right key.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state.h"
#include "daxfuse/base/errint.h"

enum { FILL = 40 }; /* slots of a bucket, of 62, that are filled on average */

/* A directory being written. */
struct rebuild {
	struct check *c;
	struct dir *dir;
	VECTOR(struct name) name;
	uint64_t buckets, slots;
	uint64_t *entry; /* of buckets, then of the tables above */
	uint64_t held;   /* blocks */
	unsigned renamed;
};

/* ---- which names ---------------------------------------------------------- */

static errint_t keep(struct check *c, struct dir *dir, const struct name *name, void *arg)
{
	struct rebuild *r = arg;
	uint8_t *state = ck_inode_state(c, name->ino);
	struct name *kept;

	if (!state || !(*state & INODE_TYPE) || name->ino == DXF_ROOT_INO)
		return 0;
	if ((*state & INODE_TYPE) == DT_DIR) {
		if (ck_dir_find(c, name->ino)->parent != dir->ino || *state & INODE_ON_PATH)
			return 0;
		*state |= INODE_ON_PATH;
	}
	kept = VECTOR_ADD(&r->name);
	if (!kept)
		return -ENOMEM;
	*kept = *name;
	kept->type = *state & INODE_TYPE;
	kept->hash = ck_name_hash(c, name->text, name->length);
	return 0;
}

static errint_t keep_text(struct rebuild *r, uint32_t ino, const char *text)
{
	struct name name = { .ino = ino, .length = (uint8_t)strlen(text) };

	memcpy(name.text, text, name.length);
	return keep(r->c, r->dir, &name, r);
}

static errint_t collect(struct rebuild *r)
{
	struct check *c = r->c;
	uint64_t slots;
	char text[16];
	int err = 0;

	if (r->dir->ino == DXF_ROOT_INO && c->lost_found_made)
		err = keep_text(r, c->lost_found, "lost+found");
	for (size_t i = 0; !err && r->dir->ino == c->lost_found && i < c->lost.count; i++) {
		snprintf(text, sizeof(text), "#%" PRIu32, c->lost.item[i]);
		err = keep_text(r, c->lost.item[i], text);
	}
	return err ? err : ck_dir_for_each(c, r->dir, false, &slots, keep, r);
}

static int compare_name(const void *a, const void *b)
{
	const struct name *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	if (x->length != y->length)
		return x->length < y->length ? -1 : 1;
	return memcmp(x->text, y->text, x->length);
}

static bool same_name(const struct name *a, const struct name *b)
{
	return a->length == b->length && memcmp(a->text, b->text, a->length) == 0;
}

/* Another name for what can't have its own: its links are counted already. */
static void rename_apart(struct rebuild *r, struct name *name)
{
	char suffix[32];
	int length = snprintf(suffix, sizeof(suffix), "#%" PRIu32 ".%u", name->ino, r->renamed++);

	name->length = (uint8_t)MIN((int)name->length, DXF_NAME_MAX - length);
	memcpy(name->text + name->length, suffix, (size_t)length);
	name->length = (uint8_t)(name->length + length);
	name->hash = ck_name_hash(r->c, name->text, name->length);
}

/* Sort by hash, and give neighbours of one hash neighbouring keys. false: a name
 * was there twice, or too many of one hash; such names are others now. */
static bool try_keys(struct rebuild *r)
{
	struct name *name = r->name.item;
	uint64_t next = 0;
	bool done = true;

	qsort(name, r->name.count, sizeof(*name), compare_name);
	for (size_t i = 0; i < r->name.count; i++) {
		uint64_t key = MAX(next, name[i].hash);

		if ((i && same_name(&name[i - 1], &name[i])) ||
		    key - name[i].hash >= DXF_KEY_PROBES) {
			rename_apart(r, &name[i]);
			done = false;
		} else {
			next = key + 1;
			name[i].key = key;
		}
	}
	return done;
}

static void assign_keys(struct rebuild *r)
{
	while (r->name.count && !try_keys(r))
		;
	for (size_t i = 0; i < r->name.count; i++)
		r->slots += ck_name_slots(r->name.item[i].length);
}

/* ---- blocks --------------------------------------------------------------- */

static errint_t new_block(struct rebuild *r, uint64_t index, uint64_t *ret_offset)
{
	int err = ck_space_take_block(r->c, ret_offset);

	if (!err)
		err = ck_dir_add_block(r->c, r->dir, index, *ret_offset);
	r->held += !err;
	return err;
}

static void fill_slot(struct dxf_bucket *bucket, unsigned at, const struct name *name)
{
	unsigned slots = ck_name_slots(name->length);
	struct dxf_slot *slot = &bucket->slot[at];

	slot->key = name->key;
	slot->ino = name->ino;
	slot->type = name->type;
	slot->name_length = name->length;
	slot->slots = (uint8_t)slots;
	memcpy((char *)slot + offsetof(struct dxf_slot, name), name->text, name->length);
	bucket->used |= bits_mask(at, slots);
	bucket->first |= UINT64_C(1) << at;
	bucket->tag[at] = (uint8_t)(name->key >> 3);
}

/* One block with as many of the names [from, to) as fit; where it stopped. */
static size_t fill_bucket(const struct rebuild *r, struct dxf_bucket *bucket, size_t from,
			  size_t to)
{
	unsigned at = 0;

	for (; from < to; from++) {
		unsigned slots = ck_name_slots(r->name.item[from].length);

		if (at + slots > DXF_BUCKET_SLOTS)
			break;
		fill_slot(bucket, at, &r->name.item[from]);
		at += slots;
	}
	return from;
}

/* Names [from, to) of a bucket, in the block at offset and others behind it. */
static errint_t write_chain(struct rebuild *r, uint64_t index, size_t from, size_t to,
			    uint64_t offset)
{
	int err = 0;

	while (!err && offset) {
		struct dxf_bucket bucket = { .magic = DXF_BUCKET_MAGIC };

		from = fill_bucket(r, &bucket, from, to);
		if (from < to)
			err = new_block(r, index | DIR_BLOCK_CHAIN, &bucket.next);
		if (!err)
			check_overwrite(r->c, offset, &bucket, sizeof(bucket));
		offset = bucket.next;
	}
	return err;
}

static int compare_bucket(const void *a, const void *b, void *arg)
{
	const struct name *x = a, *y = b;
	const struct rebuild *r = arg;
	uint64_t in_x = ck_name_bucket(x->key, r->buckets),
		 in_y = ck_name_bucket(y->key, r->buckets);

	if (in_x != in_y)
		return in_x < in_y ? -1 : 1;
	return x->key < y->key ? -1 : x->key > y->key;
}

static errint_t write_buckets(struct rebuild *r)
{
	size_t from = 0, to;
	int err = 0;

	r->buckets = div_round_up(r->slots, FILL);
	r->entry = calloc(MAX(r->buckets, UINT64_C(1)), sizeof(*r->entry));
	if (!r->entry)
		return -ENOMEM;
	if (r->buckets)
		qsort_r(r->name.item, r->name.count, sizeof(*r->name.item), compare_bucket, r);
	for (uint64_t b = 0; !err && b < r->buckets; b++, from = to) {
		uint64_t offset = 0;

		for (to = from; to < r->name.count; to++)
			if (ck_name_bucket(r->name.item[to].key, r->buckets) != b)
				break;
		err = new_block(r, b, &offset);
		if (!err)
			err = write_chain(r, b, from, to, offset);
		r->entry[b] = offset | 1;
	}
	return err;
}

/* One level of tables over count entries: entry[] becomes that of the tables. */
static errint_t write_tables(struct rebuild *r, uint64_t *count)
{
	uint64_t tables = div_round_up(*count, DXF_TABLE_COUNT);
	int err = 0;

	for (uint64_t t = 0; !err && t < tables; t++) {
		uint64_t table[DXF_TABLE_COUNT] = { 0 }, offset = 0;
		uint64_t first = t * DXF_TABLE_COUNT,
			 n = MIN(*count - first, (uint64_t)DXF_TABLE_COUNT);

		memcpy(table, &r->entry[first], n * sizeof(table[0]));
		err = new_block(r, DIR_BLOCK_TABLE, &offset);
		if (!err)
			check_overwrite(r->c, offset, table, sizeof(table));
		r->entry[t] = offset | DXF_ENTRY_TABLE;
	}
	*count = tables;
	return err;
}

static errint_t write_map(struct rebuild *r, struct dxf_inode *inode)
{
	uint64_t count = r->buckets;
	uint8_t levels = 0;
	int err = 0;

	memset(inode->data, 0, sizeof(inode->data));
	inode->table_level = 0;
	inode->data_format = r->buckets ? DXF_DATA_DIRECT : DXF_DATA_INLINE;
	if (count > DXF_DIRECT_COUNT) {
		for (; !err && (count > 1 || !levels); levels++)
			err = write_tables(r, &count);
		inode->data_format = DXF_DATA_TABLE;
		inode->table_level = levels - 1;
	}
	memcpy(inode->data, r->entry, count * sizeof(*r->entry));
	return err;
}

/* ---- the switch ----------------------------------------------------------- */

static void release(struct check *c, size_t first, size_t count)
{
	for (size_t i = first; i < first + count; i++) {
		struct dir_block block = c->dir_block.item[i];

		if (block.index & DIR_BLOCK_SHARED)
			continue;
		if (block.index & DIR_BLOCK_UNIT)
			ck_space_release_unit(c, block.offset);
		else
			ck_space_release_block(c, block.offset);
	}
}

static errint_t switch_over(struct rebuild *r)
{
	struct dxf_inode inode;
	int err = ck_inode_load(r->c, r->dir->ino, &inode);

	if (!err)
		err = write_map(r, &inode);
	if (err)
		return err;
	inode.size = r->buckets * DXF_BLOCK_SIZE;
	inode.entries = r->slots;
	inode.blocks = inode.blocks - r->dir->held + r->held;
	return ck_inode_store(r->c, &inode);
}

/* The old blocks are not released yet: another directory may read them, too. */
static errint_t rebuild(struct check *c, struct dir *dir)
{
	struct rebuild r = { .c = c, .dir = dir };
	int err = collect(&r);

	dir->old_first = dir->first;
	dir->old_count = dir->count;
	dir->first = c->dir_block.count;
	dir->count = 0;
	if (!err) {
		assign_keys(&r);
		err = write_buckets(&r);
	}
	if (!err)
		err = switch_over(&r);
	if (!err) {
		err = ck_usage_add(c, dir->project, (int64_t)(r.held - dir->held), 0);
	} else if (err == -ENOSPC) {
		release(c, dir->first, dir->count);
		dir->old_count = 0;
		check_not_repaired(c);
		err = 0;
	}
	free(r.name.item);
	free(r.entry);
	return err;
}

errint_t ck_rebuild_pass(struct check *c)
{
	int err = 0;

	for (size_t i = 0; !err && check_may_repair(c) && i < c->dirs.count; i++)
		if (c->dirs.item[i].rebuild)
			err = rebuild(c, &c->dirs.item[i]);
	for (size_t i = 0; i < c->dirs.count; i++)
		release(c, c->dirs.item[i].old_first, c->dirs.item[i].old_count);
	return err;
}
