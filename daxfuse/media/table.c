/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tables of data, see table.h and the format. The root is the word data[0..7]
 * of the inode: what a table of level table_level + 1 would hold in its first
 * entry. So a file of one unit needs no table, and a taller tree puts the old
 * root into the first entry of a new table.
 *
 * Every entry is checked before it is followed: right kind for its level,
 * inside the data area, in a unit of the right state.
 */
#include <string.h>

#include "daxfuse/base/bits.h"
#include "alloc.h"
#include "table.h"
#include "daxfuse/base/errint.h"

#define INDEX_BITS 9

static uint64_t span_of(int level) /* blocks that an entry of a table of that level covers */
{
	return UINT64_C(1) << INDEX_BITS * level;
}

static unsigned index_at(uint64_t block, int level)
{
	return block >> INDEX_BITS * level & (DXF_TABLE_COUNT - 1);
}

static uint64_t written(uint64_t entry)
{
	return entry & DXF_ENTRY_WRITTEN;
}

/* A unit that the transaction has taken itself is not yet marked on media, nor is
 * one that it frees: its shadow counts. (Blocks lie in units that are split.) */
static bool is_unit(const struct volume *vol, struct tx *tx, uint64_t offset)
{
	const uint64_t *word, *view;

	if (!tx || offset % DXF_UNIT_SIZE || offset >= vol->super.pool_size)
		return alloc_is_unit(vol, offset);
	word = &vol->unit_word[offset / DXF_UNIT_SIZE];
	view = tx_view(tx, word);
	return view == word ? alloc_is_unit(vol, offset) : *view == DXF_UNIT_DATA;
}

bool table_entry_is_right(const struct volume *vol, struct tx *tx, uint64_t entry, int level)
{
	uint64_t offset = entry & DXF_ENTRY_OFFSET;

	switch (entry & (DXF_ENTRY_TABLE | DXF_ENTRY_UNIT)) {
	case 0:
		return level == 0 && written(entry) <= 1 && alloc_is_block(vol, offset);
	case DXF_ENTRY_TABLE:
		return level > 0 && !written(entry) && alloc_is_block(vol, offset);
	case DXF_ENTRY_UNIT:
		return level == 1 && written(entry) <= DXF_UNIT_BLOCKS && is_unit(vol, tx, offset);
	}
	return false;
}

/* Read a word of media or of a shadow and check it; 0 is fine. */
static errint_t load_entry(const struct volume *vol, struct tx *tx, const uint64_t *word, int level,
			   uint64_t *ret_entry)
{
	const uint64_t *view = tx_view(tx, word);
	int err = 0;

	if (view == word)
		err = pmem_load64(vol->pm, word, ret_entry);
	else
		*ret_entry = *view;
	if (err)
		return err;
	if (*ret_entry && !table_entry_is_right(vol, tx, *ret_entry, level))
		return -EUCLEAN;
	return 0;
}

static const uint64_t *root_word(const struct dxf_inode *inode)
{
	return (const uint64_t *)(const void *)inode->data;
}

static uint64_t *table_at(const struct volume *vol, uint64_t entry)
{
	return pmem_at(vol->pm, entry & DXF_ENTRY_OFFSET);
}

/* The root lies in an inode that was verified, or in its shadow: no guard. */
static errint_t load_root(const struct volume *vol, struct tx *tx, const struct dxf_inode *inode,
			  uint64_t *ret_entry)
{
	uint64_t entry = *root_word(inode);

	if (entry && !table_entry_is_right(vol, tx, entry, inode->table_level + 1))
		return -EUCLEAN;
	*ret_entry = entry;
	return 0;
}

static bool beyond_root(const struct dxf_inode *inode, uint64_t block)
{
	return block >> INDEX_BITS * (inode->table_level + 1) != 0;
}

/* ---- looking -------------------------------------------------------------- */

static void run_of_unit(uint64_t entry, uint64_t block, uint64_t max, struct run *run)
{
	uint64_t at = block % DXF_UNIT_BLOCKS;

	run->unit = true;
	run->written = at < written(entry);
	run->offset = (entry & DXF_ENTRY_OFFSET) + at * DXF_BLOCK_SIZE;
	run->count = MIN(max, (run->written ? written(entry) : DXF_UNIT_BLOCKS) - at);
}

/* entries[first..end) are of level 0, and there is at least one. */
static errint_t run_of_blocks(const struct volume *vol, struct tx *tx, const uint64_t *entries,
			      unsigned first, unsigned end, uint64_t max, bool in_inode,
			      struct run *run)
{
	uint64_t entry = 0, next;
	unsigned i;

	for (i = first; i < end && i - first < max; i++) {
		int err = 0;

		if (in_inode) {
			next = entries[i];
			if (next && !table_entry_is_right(vol, tx, next, 0))
				err = -EUCLEAN;
		} else {
			err = load_entry(vol, tx, &entries[i], 0, &next);
		}
		if (err)
			return err;
		if (i == first)
			entry = next;
		else if (next != (entry ? entry + (i - first) * DXF_BLOCK_SIZE : 0))
			break;
	}
	run->count = i - first;
	run->offset = entry & DXF_ENTRY_OFFSET;
	run->written = written(entry) != 0;
	run->unit = false;
	return 0;
}

static void run_of_hole(uint64_t count, uint64_t max, struct run *run)
{
	*run = (struct run){ .count = MIN(count, max) };
}

errint_t table_find(const struct volume *vol, struct tx *tx, const struct dxf_inode *inode,
		    uint64_t block, uint64_t max, struct run *ret_run)
{
	int level = inode->table_level, err;
	uint64_t entry;

	if (inode->data_format == DXF_DATA_DIRECT) {
		if (block < DXF_DIRECT_COUNT)
			return run_of_blocks(vol, tx, root_word(inode), (unsigned)block,
					     DXF_DIRECT_COUNT, max, true, ret_run);
		run_of_hole(max, max, ret_run);
		return 0;
	}
	if (beyond_root(inode, block)) {
		run_of_hole(max, max, ret_run);
		return 0;
	}
	err = load_root(vol, tx, inode, &entry);
	for (; !err; level--) {
		const uint64_t *table;

		if (!entry) {
			run_of_hole(span_of(level + 1) - block % span_of(level + 1), max, ret_run);
			return 0;
		}
		if (entry & DXF_ENTRY_UNIT) {
			run_of_unit(entry, block, max, ret_run);
			return 0;
		}
		table = table_at(vol, entry);
		if (level == 0)
			return run_of_blocks(vol, tx, table, index_at(block, 0), DXF_TABLE_COUNT,
					     max, false, ret_run);
		err = load_entry(vol, tx, &table[index_at(block, level)], level, &entry);
	}
	return err;
}

errint_t table_region(const struct volume *vol, struct tx *tx, const struct dxf_inode *inode,
		      uint64_t block, uint64_t *ret_entry)
{
	int level = inode->table_level, err;
	uint64_t entry = 0;

	if (inode->data_format == DXF_DATA_DIRECT || beyond_root(inode, block)) {
		*ret_entry = 0;
		return 0;
	}
	err = load_root(vol, tx, inode, &entry);
	for (; !err && entry && level > 0; level--)
		err = load_entry(vol, tx, &table_at(vol, entry)[index_at(block, level)], level,
				 &entry);
	if (!err)
		*ret_entry = entry;
	return err;
}

errint_t table_region_blocks(const struct volume *vol, struct tx *tx, const struct dxf_inode *inode,
			     uint64_t block, uint64_t *ret_entries)
{
	const uint64_t *table;
	uint64_t entry;
	int err;

	memset(ret_entries, 0, DXF_TABLE_COUNT * 8);
	if (inode->data_format == DXF_DATA_DIRECT) {
		if (block < DXF_UNIT_BLOCKS)
			memcpy(ret_entries, inode->data, sizeof(inode->data));
		for (unsigned i = 0; i < DXF_DIRECT_COUNT; i++)
			if (ret_entries[i] && !table_entry_is_right(vol, tx, ret_entries[i], 0))
				return -EUCLEAN;
		return 0;
	}
	err = table_region(vol, tx, inode, block, &entry);
	if (err || !entry)
		return err;
	if (entry & DXF_ENTRY_UNIT)
		return -EEXIST;
	table = table_at(vol, entry);
	for (unsigned i = 0; !err && i < DXF_TABLE_COUNT; i++)
		err = load_entry(vol, tx, &table[i], 0, &ret_entries[i]);
	return err;
}

uint64_t table_steps_max(const struct volume *vol, const struct dxf_inode *inode)
{
	return (MIN(inode->blocks, vol->units * DXF_UNIT_BLOCKS) + 8) * 2 * DXF_TABLE_COUNT;
}

errint_t table_count_extents(const struct volume *vol, const struct dxf_inode *inode,
			     uint32_t *ret_count)
{
	uint64_t steps = table_steps_max(vol, inode);
	uint64_t end = (inode->size + DXF_BLOCK_SIZE - 1) / DXF_BLOCK_SIZE, last = 0;
	uint32_t count = 0;
	struct run run;

	if (inode->data_format == DXF_DATA_INLINE)
		end = 0;
	for (uint64_t block = 0; block < end; block += run.count) {
		int err = steps-- ? table_find(vol, NULL, inode, block, end - block, &run)
				  : -EUCLEAN;

		if (err)
			return err;
		if (run.offset && run.offset != last)
			count++;
		last = run.offset ? run.offset + run.count * DXF_BLOCK_SIZE : 0;
	}
	*ret_count = count;
	return 0;
}

/* ---- changing ------------------------------------------------------------- */

/* The shadow of the table behind an entry. */
static errint_t edit_table(struct tx *tx, uint64_t entry, uint64_t **ret_table)
{
	struct volume *vol = tx_volume(tx);
	uint64_t *table = table_at(vol, entry);

	if (tx_view(tx, table) == table) {
		int err = pmem_probe(vol->pm, table, DXF_BLOCK_SIZE);

		if (err)
			return err;
	}
	*ret_table = tx_edit(tx, table, DXF_BLOCK_SIZE);
	return 0;
}

static errint_t make_table(struct tx *tx, struct dxf_inode *inode, uint64_t *ret_entry,
			   uint64_t **ret_table)
{
	uint64_t offset;
	int err = alloc_blocks(tx, 1, &offset);

	if (err)
		return err;
	inode->blocks++;
	*ret_table = tx_edit_fresh(tx, pmem_at(tx_volume(tx)->pm, offset), DXF_BLOCK_SIZE);
	*ret_entry = offset | DXF_ENTRY_TABLE;
	return 0;
}

/* DIRECT becomes TABLE: the entries move into a table of blocks. */
static errint_t leave_direct(struct tx *tx, struct dxf_inode *inode)
{
	uint64_t *root = (uint64_t *)root_word(inode), *table, entry = 0;
	bool any = false;
	int err;

	for (unsigned i = 0; i < DXF_DIRECT_COUNT; i++)
		any |= root[i] != 0;
	if (any) {
		err = make_table(tx, inode, &entry, &table);
		if (err)
			return err;
		memcpy(table, root, sizeof(inode->data));
	}
	memset(inode->data, 0, sizeof(inode->data));
	*root = entry;
	inode->data_format = DXF_DATA_TABLE;
	inode->table_level = 0;
	return 0;
}

/* A taller tree: the root moves into the first entry of a new table. */
static errint_t raise_root(struct tx *tx, struct dxf_inode *inode)
{
	uint64_t *root = (uint64_t *)root_word(inode), *table, entry;

	if (inode->table_level == DXF_LEVEL_MAX)
		return -EFBIG;
	if (*root) {
		int err = make_table(tx, inode, &entry, &table);

		if (err)
			return err;
		table[0] = *root;
		*root = entry;
	}
	inode->table_level++;
	return 0;
}

errint_t table_word(struct tx *tx, struct dxf_inode *inode, unsigned level, uint64_t block,
		    uint64_t **ret_word)
{
	const struct volume *vol = tx_volume(tx);
	uint64_t *word, *table;
	int err = 0, at;

	if (inode->data_format == DXF_DATA_DIRECT) {
		if (level == 0 && block < DXF_DIRECT_COUNT) {
			*ret_word = (uint64_t *)root_word(inode) + block;
			return 0;
		}
		err = leave_direct(tx, inode);
	}
	while (!err && beyond_root(inode, block))
		err = raise_root(tx, inode);
	if (err)
		return err;
	word = (uint64_t *)root_word(inode);
	for (at = inode->table_level; at >= (int)level; at--) {
		if (!*word) {
			err = make_table(tx, inode, word, &table);
		} else if (!(*word & DXF_ENTRY_TABLE) ||
			   !table_entry_is_right(vol, tx, *word, at + 1)) {
			err = -EUCLEAN;
		} else {
			err = edit_table(tx, *word, &table);
		}
		if (err)
			return err;
		word = &table[index_at(block, at)];
	}
	if (*word && level && !table_entry_is_right(vol, tx, *word, (int)level))
		return -EUCLEAN;
	*ret_word = word;
	return 0;
}

void table_drop_leaf(struct tx *tx, struct dxf_inode *inode, uint64_t *word)
{
	uint64_t offset = *word & DXF_ENTRY_OFFSET;

	tx_drop(tx, pmem_at(tx_volume(tx)->pm, offset));
	free_block(tx, offset);
	inode->blocks--;
	*word = 0;
}

/* ---- pruning -------------------------------------------------------------- */

struct prune {
	struct tx *tx;
	struct dxf_inode *inode;
	uint64_t from, to;
	int budget;
};

static errint_t prune_word(struct prune *p, uint64_t *word, int level, uint64_t base);

static bool is_empty(const uint64_t *table)
{
	for (unsigned i = 0; i < DXF_TABLE_COUNT; i++)
		if (table[i])
			return false;
	return true;
}

static errint_t prune_table(struct prune *p, uint64_t *word, int level, uint64_t base)
{
	uint64_t span = span_of(level), *table;
	int err = edit_table(p->tx, *word, &table);

	for (unsigned i = DXF_TABLE_COUNT; !err && i-- > 0;) {
		uint64_t start = base + i * span;

		if (!table[i] || start >= p->to || start + span <= p->from)
			continue;
		if (p->budget <= 0)
			return 0;
		err = prune_word(p, &table[i], level, start);
	}
	if (!err && is_empty(table)) {
		table_drop_leaf(p->tx, p->inode, word);
		p->budget--;
	}
	return err;
}

static void prune_unit(struct prune *p, uint64_t *word, uint64_t base)
{
	if (p->to < base + DXF_UNIT_BLOCKS)
		return;
	if (p->from <= base) {
		free_unit(p->tx, *word & DXF_ENTRY_OFFSET);
		p->inode->blocks -= DXF_UNIT_BLOCKS;
		p->budget--;
		*word = 0;
	} else if (written(*word) > p->from - base) {
		*word = (*word & ~DXF_ENTRY_WRITTEN) | (p->from - base);
	}
}

/* word is of a table of the given level and covers the blocks from base on. */
static errint_t prune_word(struct prune *p, uint64_t *word, int level, uint64_t base)
{
	const struct volume *vol = tx_volume(p->tx);

	/* a block that is not taken was freed already: tables that run in circles end here */
	if (!table_entry_is_right(vol, p->tx, *word, level) ||
	    (!(*word & DXF_ENTRY_UNIT) && !alloc_is_taken(vol, *word & DXF_ENTRY_OFFSET)))
		return -EUCLEAN;
	if (*word & DXF_ENTRY_TABLE) {
		p->budget -= 16; /* the bytes that a table may add to the record */
		return prune_table(p, word, level - 1, base);
	}
	if (*word & DXF_ENTRY_UNIT) {
		prune_unit(p, word, base);
		return 0;
	}
	free_block(p->tx, *word & DXF_ENTRY_OFFSET);
	p->inode->blocks--;
	p->budget--;
	*word = 0;
	return 0;
}

static errint_t prune_direct(struct prune *p)
{
	uint64_t *root = (uint64_t *)root_word(p->inode);
	int err = 0;

	for (unsigned i = 0; !err && i < DXF_DIRECT_COUNT; i++)
		if (root[i] && i >= p->from && i < p->to)
			err = prune_word(p, &root[i], 0, i);
	return err;
}

errint_t table_prune(struct tx *tx, struct dxf_inode *inode, uint64_t from, uint64_t to,
		     unsigned budget, bool *ret_done)
{
	struct prune p = { tx, inode, from, to, (int)budget };
	uint64_t *root = (uint64_t *)root_word(inode);
	int err;

	if (inode->data_format == DXF_DATA_DIRECT) {
		*ret_done = true;
		return prune_direct(&p);
	}
	err = *root ? prune_word(&p, root, inode->table_level + 1, 0) : 0;
	if (err)
		return err;
	if (!*root) {
		inode->data_format = DXF_DATA_DIRECT;
		inode->table_level = 0;
	}
	*ret_done = p.budget > 0;
	return 0;
}
