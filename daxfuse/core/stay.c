/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Units that stay in their file, as somebody has them mapped who can't be told that they go: a
 * guest, which truncates its own file and uses its window as before.
 *
 * Truncating a file leaves such a unit behind its end, where all of it counts as not written; what
 * lies in it is zeroed by the caller (fs_map_zero()), who also zeroes it again before the file
 * grows (fs_keep_layout()'s rule), so growing only has it count as written, with the new size in
 * one transaction. A unit that was punched is zeroed, and stays.
 *
 * When nobody has it mapped any more, one that a truncation has left there is freed. A crash leaves
 * it where it is: space that was reserved behind the end, as by fallocate().
 */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/media/table.h"

enum { STAYS_FIRST = 16 };

/* Where a region is in the list, or would be. */
static unsigned place_of(const struct stays *s, uint64_t region)
{
	unsigned low = 0, high = s ? s->count : 0;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (s->unit[middle].region < region)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool stays_has(const struct inode *inode, uint64_t block)
{
	const struct stays *s = inode->stays;
	uint64_t region = block / DXF_UNIT_BLOCKS;
	unsigned at = place_of(s, region);

	return s && at < s->count && s->unit[at].region == region;
}

static errint_t add_stay(struct inode *inode, uint64_t region)
{
	struct stays *s = inode->stays;
	unsigned at = place_of(s, region), room = s ? s->room : 0, count = s ? s->count : 0;

	if (at < count && s->unit[at].region == region) {
		s->unit[at].count++;
		return 0;
	}
	if (count == room) {
		room = room ? 2 * room : STAYS_FIRST;
		s = realloc(s, sizeof(*s) + room * sizeof(s->unit[0]));
		if (!s)
			return -ENOMEM;
		s->count = count;
		s->room = room;
		inode->stays = s;
	}
	memmove(&s->unit[at + 1], &s->unit[at], (count - at) * sizeof(s->unit[0]));
	s->unit[at] = (struct stay){ .region = region, .count = 1 };
	s->count++;
	return 0;
}

static errint_t free_behind_end(struct fs *fs, struct inode *inode, uint64_t base)
{
	struct dxf_inode *di;
	struct tx *tx;
	bool done;
	int err = edit_begin(fs, inode, &tx, &di);

	if (err)
		return err;
	err = table_prune(tx, di, base, base + DXF_UNIT_BLOCKS, PRUNE_BUDGET, &done);
	if (!err && !di->size && di->data_format == DXF_DATA_DIRECT)
		di->data_format = DXF_DATA_INLINE;
	return edit_end(tx, err);
}

/* If it can't be freed it goes with the file. */
static void drop_stay(struct fs *fs, struct inode *inode, uint64_t region)
{
	struct stays *s = inode->stays;
	unsigned at = place_of(s, region);
	uint64_t base = region * DXF_UNIT_BLOCKS;
	bool cut;

	if (!s || at == s->count || s->unit[at].region != region || --s->unit[at].count)
		return;
	cut = s->unit[at].cut;
	s->count--;
	memmove(&s->unit[at], &s->unit[at + 1], (s->count - at) * sizeof(s->unit[0]));
	if (cut && base >= blocks_of(inode->media->size) &&
	    !(inode->media->flags & DXF_FLAG_TRUNCATING))
		free_behind_end(fs, inode, base);
}

errint_t fs_stay(struct fs *fs, uint64_t ino, uint64_t offset, bool on)
{
	struct inode *inode;
	int err = inode_lock(fs, ino, true, &inode);

	if (err)
		return err;
	if (!inode->kept)
		err = -EINVAL;
	else if (on)
		err = add_stay(inode, offset / DXF_UNIT_SIZE);
	else
		drop_stay(fs, inode, offset / DXF_UNIT_SIZE);
	inode_unlock(fs, inode);
	return err;
}

/* ---- truncating and growing ---------------------------------------------------------- */

/* A whole unit of the file counts as written up to `blocks`, whatever is in it. */
static errint_t set_written(struct tx *tx, struct dxf_inode *di, uint64_t base, uint64_t blocks)
{
	uint64_t *word;
	int err = table_word(tx, di, 1, base, &word);

	if (!err)
		*word = (*word & ~DXF_ENTRY_WRITTEN) | blocks;
	return err;
}

static errint_t is_unit(struct fs *fs, struct tx *tx, const struct dxf_inode *di, uint64_t base,
			bool *ret_unit)
{
	uint64_t entry;
	int err = table_region(fs->vol, tx, di, base, &entry);

	*ret_unit = !err && (entry & DXF_ENTRY_UNIT);
	return err;
}

static errint_t is_hole(struct fs *fs, struct tx *tx, const struct dxf_inode *di, uint64_t from,
			uint64_t to, bool *ret_hole)
{
	uint64_t steps = table_steps_max(fs->vol, di);
	int err = 0;

	*ret_hole = true;
	while (!err && *ret_hole && from < to) {
		struct run run;

		err = steps-- ? table_find(fs->vol, tx, di, from, to - from, &run) : -EUCLEAN;
		if (!err) {
			*ret_hole = !run.offset;
			from += run.count;
		}
	}
	return err;
}

/* What lies between two that stay; *ret_pruned: something did, and that is enough for one
 * transaction. */
static errint_t prune_gap(struct fs *fs, struct tx *tx, struct dxf_inode *di, uint64_t from,
			  uint64_t to, bool *ret_pruned)
{
	bool hole, done;
	int err = is_hole(fs, tx, di, from, to, &hole);

	*ret_pruned = !err && !hole;
	return *ret_pruned ? table_prune(tx, di, from, to, PRUNE_BUDGET, &done) : err;
}

errint_t stays_prune(struct fs *fs, struct inode *inode, struct tx *tx, struct dxf_inode *di,
		     uint64_t from, bool *ret_done)
{
	struct stays *s = inode->stays;
	uint64_t end = DXF_FILE_MAX / DXF_BLOCK_SIZE;

	for (unsigned i = s->count; i-- > 0 && s->unit[i].region * DXF_UNIT_BLOCKS >= from;) {
		uint64_t base = s->unit[i].region * DXF_UNIT_BLOCKS;
		bool unit, pruned = false;
		int err = is_unit(fs, tx, di, base, &unit);

		if (!err && !unit)
			continue;
		if (!err)
			err = prune_gap(fs, tx, di, base + DXF_UNIT_BLOCKS, end, &pruned);
		if (!err && pruned) {
			*ret_done = false;
			return 0;
		}
		if (!err)
			err = set_written(tx, di, base, 0);
		if (err)
			return err;
		s->unit[i].cut = true;
		end = base;
	}
	return table_prune(tx, di, from, end, PRUNE_BUDGET, ret_done);
}

errint_t stays_grow(struct fs *fs, const struct inode *inode, struct tx *tx, struct dxf_inode *di,
		    uint64_t upto)
{
	const struct stays *s = inode->stays;
	uint64_t end = blocks_of(upto);
	int err = 0;

	for (unsigned i = place_of(s, div_round_up(di->size, DXF_UNIT_SIZE));
	     !err && s && i < s->count && s->unit[i].region * DXF_UNIT_BLOCKS < end; i++) {
		uint64_t base = s->unit[i].region * DXF_UNIT_BLOCKS;
		bool unit;

		err = s->unit[i].cut ? is_unit(fs, tx, di, base, &unit) : 0;
		if (!err && s->unit[i].cut && unit)
			err = set_written(tx, di, base, MIN(end - base, DXF_UNIT_BLOCKS));
	}
	return err;
}
