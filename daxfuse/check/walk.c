/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An inode's data: every entry well formed, in its place, claimed once.
 *
 * The tree can't be followed in circles nor take long: the level falls with each step, and a table
 * is followed only by the inode that claimed it first.
 *
 * An entry that can't be is made a hole. One that points to somebody else's
 * block or unit gets a copy later, when it is known what space is free; a table
 * that is somebody else's is dropped. A directory is left as it is, and written
 * anew by rebuild.c.
 */
#include <string.h>

#include "state.h"
#include "daxfuse/base/errint.h"

#define BLOCK_END (DXF_FILE_MAX / DXF_BLOCK_SIZE)

static uint64_t offset_of(uint64_t entry)
{
	return entry & DXF_ENTRY_OFFSET;
}

static uint64_t written_of(uint64_t entry)
{
	return entry & DXF_ENTRY_WRITTEN;
}

/* Whether a table of that level may hold the entry. */
static bool is_well_formed(uint64_t entry, int level, uint64_t block)
{
	if (block >= BLOCK_END)
		return false;
	switch (entry & (DXF_ENTRY_TABLE | DXF_ENTRY_UNIT)) {
	case 0:
		return level == 0 && written_of(entry) <= 1;
	case DXF_ENTRY_TABLE:
		return level > 0 && !written_of(entry);
	case DXF_ENTRY_UNIT:
		return level == 1 && written_of(entry) <= DXF_UNIT_BLOCKS &&
		       is_aligned(offset_of(entry), DXF_UNIT_SIZE);
	}
	return false;
}

/* Report damage; what the entry is to become. */
static uint64_t damaged(struct subject *s, enum check_problem problem, uint64_t entry,
			uint64_t block, const char *what)
{
	bool repair = check_found(s->c, problem, s->ino, "block %" PRIu64 ": %s (%#" PRIx64 ")",
				  block, what, entry);

	if (s->dir) {
		s->dir->rebuild = true;
		return entry;
	}
	return repair ? 0 : entry;
}

/* Blocks past the end of file must not count as written. */
static uint64_t check_written(struct subject *s, uint64_t entry, uint64_t block)
{
	uint64_t allowed = block < s->end ? s->end - block : 0;

	if (s->truncating || written_of(entry) <= allowed)
		return entry;
	if (check_found(s->c, CHECK_WRITTEN, s->ino,
			"block %" PRIu64 ": written past the end of the file", block))
		return (entry & ~DXF_ENTRY_WRITTEN) | allowed;
	return entry;
}

/* Note that the word at `at` must point to a copy. */
static errint_t share(struct subject *s, uint64_t at, uint64_t entry, uint64_t block)
{
	struct shared_space *shared;
	bool repair = check_found(s->c, CHECK_SHARED, s->ino,
				  "block %" PRIu64 " (at %" PRIu64 ") is used by another, too",
				  block, offset_of(entry));

	if (s->dir) {
		s->dir->rebuild = true;
		return 0;
	}
	if (!repair)
		return 0;
	shared = VECTOR_ADD(&s->c->shared);
	if (!shared)
		return -ENOMEM;
	shared->ino = s->ino;
	shared->at = at;
	return 0;
}

/* Hand a directory's buckets on, and all else that it holds. */
static errint_t note_buckets(struct subject *s, uint64_t entry, uint64_t block, uint64_t flags)
{
	uint64_t count = block < s->end ? MIN(written_of(entry), s->end - block) : 0;
	int err = 0;

	if (!count)
		return ck_dir_add_block(s->c, s->dir, flags | DIR_BLOCK_TABLE, offset_of(entry));
	for (uint64_t i = 0; !err && i < count; i++) {
		uint64_t offset = offset_of(entry) + i * DXF_BLOCK_SIZE;

		err = ck_dir_add_block(s->c, s->dir, (block + i) | flags, offset);
		if (!err)
			err = ck_dir_claim_chain(s, block + i, offset);
	}
	return err;
}

static void count_tail(struct subject *s, uint64_t block, uint64_t count)
{
	uint64_t from = MAX(block, s->end), to = MIN(block + count, s->tail_end);

	if (from < to)
		s->tail_blocks += to - from;
}

/* A block or a unit. *entry gets its right value. */
static errint_t walk_leaf(struct subject *s, uint64_t at, uint64_t *entry, uint64_t block)
{
	bool unit = *entry & DXF_ENTRY_UNIT;
	enum claim claim = unit ? ck_space_claim_unit(s->c, offset_of(*entry), DXF_UNIT_DATA)
				: ck_space_claim_block(s->c, offset_of(*entry));
	uint64_t flags = unit ? DIR_BLOCK_UNIT : 0;
	int err = 0;

	if (claim == CLAIM_WRONG) {
		*entry = damaged(s, CHECK_ENTRY, *entry, block, "no place for data");
		return 0;
	}
	s->blocks += unit ? DXF_UNIT_BLOCKS : 1;
	count_tail(s, block, unit ? DXF_UNIT_BLOCKS : 1);
	if (claim == CLAIM_SHARED) {
		flags |= DIR_BLOCK_SHARED;
		err = share(s, at, *entry, block);
	}
	*entry = check_written(s, *entry, block);
	return !err && s->dir ? note_buckets(s, *entry, block, flags) : err;
}

static errint_t walk_entry(struct subject *s, uint64_t at, uint64_t *entry, int level,
			   uint64_t block);

static errint_t walk_table(struct subject *s, uint64_t *entry, int level, uint64_t block)
{
	uint64_t word[DXF_TABLE_COUNT], offset = offset_of(*entry);
	enum claim claim = ck_space_claim_block(s->c, offset);
	int err = 0;

	if (claim != CLAIM_OK) {
		*entry = damaged(s, claim == CLAIM_WRONG ? CHECK_ENTRY : CHECK_SHARED, *entry,
				 block,
				 claim == CLAIM_WRONG ? "no place for a table"
						      : "a table that another uses");
		return 0;
	}
	s->blocks++;
	if (s->dir)
		err = ck_dir_add_block(s->c, s->dir, DIR_BLOCK_TABLE, offset);
	if (!err && check_read(s->c, word, offset, sizeof(word)) != 0) {
		*entry = damaged(s, CHECK_POISON, *entry, block, "a poisoned table");
		if (!*entry) {
			ck_space_release_block(s->c, offset);
			s->blocks--;
		}
		return 0;
	}
	for (unsigned i = 0; !err && i < DXF_TABLE_COUNT; i++) {
		uint64_t at = offset + i * sizeof(word[0]), old = word[i];

		err = walk_entry(s, at, &word[i], level, block + ((uint64_t)i << 9 * level));
		if (word[i] != old)
			check_store64(s->c, at, word[i]);
	}
	return err;
}

/* The entry, of a table of that level, that maps the file from block on. */
static errint_t walk_entry(struct subject *s, uint64_t at, uint64_t *entry, int level,
			   uint64_t block)
{
	if (!*entry)
		return 0;
	if (!is_well_formed(*entry, level, block)) {
		*entry = damaged(s, CHECK_ENTRY, *entry, block, "malformed entry");
		return 0;
	}
	if (*entry & DXF_ENTRY_TABLE)
		return walk_table(s, entry, level - 1, block);
	return walk_leaf(s, at, entry, block);
}

static errint_t walk_word(struct subject *s, unsigned i, int level, uint64_t block)
{
	uint64_t entry, old, at;
	int err;

	memcpy(&entry, s->inode.data + i * sizeof(entry), sizeof(entry));
	old = entry;
	at = ck_inode_offset(s->c, s->ino) + offsetof(struct dxf_inode, data) + i * sizeof(entry);
	err = walk_entry(s, at, &entry, level, block);
	if (entry != old) {
		memcpy(s->inode.data + i * sizeof(entry), &entry, sizeof(entry));
		s->changed = true;
	}
	return err;
}

errint_t ck_walk_data(struct subject *s)
{
	int err = 0;

	if (s->inode.data_format == DXF_DATA_TABLE)
		return walk_word(s, 0, s->inode.table_level + 1, 0);
	for (unsigned i = 0;
	     s->inode.data_format == DXF_DATA_DIRECT && !err && i < DXF_DIRECT_COUNT; i++)
		err = walk_word(s, i, 0, i);
	return err;
}

/* ---- copies --------------------------------------------------------------- */

static errint_t copy(struct check *c, uint64_t entry, uint64_t *ret_entry)
{
	bool unit = entry & DXF_ENTRY_UNIT;
	size_t bytes = unit ? DXF_UNIT_SIZE : DXF_BLOCK_SIZE;
	const char *from = pmem_at(c->pm, offset_of(entry));
	uint64_t to;
	int err = pmem_probe(c->pm, from, bytes);

	if (!err)
		err = unit ? ck_space_take_unit(c, DXF_UNIT_DATA, &to)
			   : ck_space_take_block(c, &to);
	if (err)
		return err;
	check_overwrite(c, to, from, bytes);
	*ret_entry = to | (entry & ~DXF_ENTRY_OFFSET);
	return 0;
}

/* A word in an inode changes with the inode's checksum. */
static errint_t store_word(struct check *c, struct dxf_inode *inode, uint64_t at, uint64_t entry)
{
	uint64_t from = ck_inode_offset(c, inode->ino);

	if (at >= from && at < from + sizeof(*inode))
		memcpy((char *)inode + (at - from), &entry, sizeof(entry));
	else
		check_store64(c, at, entry);
	return ck_inode_store(c, inode);
}

static errint_t end_sharing(struct check *c, const struct shared_space *shared)
{
	struct dxf_inode inode;
	uint64_t entry, fresh = 0, lost;
	int err = ck_inode_load(c, shared->ino, &inode);

	if (!err)
		err = check_read(c, &entry, shared->at, sizeof(entry));
	if (err)
		return err;
	if (copy(c, entry, &fresh) != 0) {
		lost = entry & DXF_ENTRY_UNIT ? DXF_UNIT_BLOCKS : 1;
		inode.blocks -= lost;
		err = ck_usage_add(c, inode.project, -(int64_t)lost, 0);
	}
	return err ? err : store_word(c, &inode, shared->at, fresh);
}

errint_t ck_walk_shared_pass(struct check *c)
{
	int err = 0;

	for (size_t i = 0; !err && check_may_repair(c) && i < c->shared.count; i++)
		err = end_sharing(c, &c->shared.item[i]);
	return err;
}
