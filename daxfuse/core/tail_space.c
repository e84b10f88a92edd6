/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The space of a tail (tail.c): behind the end of the file, in the 2 MiB around the end.
 *
 * How much. As with a write (write.c) it is blocks until more than a few are in use, then a whole
 * unit; a file that has units and whose layout is kept gets a unit at once, as its blocks could not
 * become one later. Of blocks there are some more than were asked for: 64 KiB at least, and as many
 * as the region has, so that a file that grows by small appends needs a few tails and not one for
 * each. If there is not so much, or the project may not have it, what was asked for will do.
 *
 * What is freed. Space behind the end may be the user's reservation (fallocate(), KEEP_SIZE); so
 * the inode says from which block of the region on there was nothing before the tail (tail_first).
 * What lies behind that and the end of the file is freed when the tail ends, also after a crash.
 */
#include <errno.h>

#include "internal.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/media/ialloc.h"
#include "daxfuse/media/table.h"

#define AHEAD_BLOCKS UINT64_C(16)

/* The first block of the region that the end of the file lies in. */
static uint64_t region_of(const struct dxf_inode *di)
{
	return di->size / DXF_UNIT_SIZE * DXF_UNIT_BLOCKS;
}

/* ---- reserving ------------------------------------------------------------ */

/* The end of the file lies in this unit, or at its beginning: all up to the page's end counts as
 * written. */
static errint_t fill_unit(struct fs *fs, struct dxf_inode *di, uint64_t *word)
{
	char *unit = pmem_at(fs->pm, *word & DXF_ENTRY_OFFSET);
	uint64_t in_file = blocks_of(di->size) - region_of(di), written = *word & DXF_ENTRY_WRITTEN;
	uint64_t from = MIN(written * DXF_BLOCK_SIZE, di->size % DXF_UNIT_SIZE);

	*word = (*word & ~DXF_ENTRY_WRITTEN) | MAX(written, in_file);
	return zero_over(fs->pm, unit + from, in_file * DXF_BLOCK_SIZE - from);
}

/* The block that the end of the file lies in, which there is by now. */
static errint_t fill_last_block(struct fs *fs, struct tx *tx, struct dxf_inode *di)
{
	uint64_t in = di->size % DXF_BLOCK_SIZE, from, *word;
	int err = in ? table_word(tx, di, 0, di->size / DXF_BLOCK_SIZE, &word) : 0;

	if (err || !in)
		return err;
	from = *word & DXF_ENTRY_WRITTEN ? in : 0;
	*word |= 1;
	return zero_over(fs->pm, (char *)pmem_at(fs->pm, *word & DXF_ENTRY_OFFSET) + from,
			 DXF_BLOCK_SIZE - from);
}

/* Blocks of the region: from the one that the end lies in up to `stop`, or further. */
static errint_t reserve_ahead(struct fs *fs, struct tx *tx, struct dxf_inode *di,
			      const uint64_t *entries, uint64_t stop, bool ahead)
{
	uint64_t base = region_of(di), in_file = blocks_of(di->size) - base, last = 0;
	int err;

	for (unsigned i = 0; i < DXF_UNIT_BLOCKS; i++)
		if (entries[i])
			last = i + 1;
	di->tail_first = (uint16_t)MAX(last, in_file);
	if (ahead) {
		uint64_t more = MAX(AHEAD_BLOCKS, 2 * in_file);

		more = MIN(more, DXF_UNIT_BLOCKS);
		stop = MAX(stop, base + more);
	}
	err = reserve_blocks(tx, di, di->size / DXF_BLOCK_SIZE, stop);
	return err ? err : fill_last_block(fs, tx, di);
}

static bool is_empty(const uint64_t *entries, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (entries[i])
			return false;
	return true;
}

static bool wants_unit(const struct inode *inode, const struct dxf_inode *di,
		       const uint64_t *entries, uint64_t stop)
{
	uint64_t base = region_of(di), at = di->size / DXF_BLOCK_SIZE;

	return region_may_move(inode, entries) &&
	       ((inode->kept && di->blocks >= DXF_UNIT_BLOCKS) ||
		region_wants_unit(di, entries, (unsigned)(at - base), (unsigned)(stop - base)));
}

/* Up to block `stop` of the region. */
static errint_t reserve_region(struct fs *fs, struct inode *inode, struct tx *tx,
			       struct dxf_inode *di, uint64_t stop, bool ahead)
{
	uint64_t at = di->size / DXF_BLOCK_SIZE, entry, entries[DXF_TABLE_COUNT], *word = NULL;
	int err = table_region(fs->vol, tx, di, at, &entry);

	di->tail_first = DXF_UNIT_BLOCKS;
	if (!err && (entry & DXF_ENTRY_UNIT)) {
		err = table_word(tx, di, 1, at, &word);
		return err ? err : fill_unit(fs, di, word);
	}
	if (!err)
		err = table_region_blocks(fs->vol, tx, di, at, entries);
	if (!err && ahead && wants_unit(inode, di, entries, stop)) {
		err = promote_region(fs, tx, di, at, entries, 0, 0, &word);
		if (!err && word) {
			if (is_empty(entries, DXF_UNIT_BLOCKS))
				di->tail_first = 0;
			inode->trim = true;
			return fill_unit(fs, di, word);
		}
	}
	return err ? err : reserve_ahead(fs, tx, di, entries, stop, ahead);
}

/* Order: zeroes and tail_size, flushed; fence (tx_wrote_data()); the record. */
static errint_t try_reserve(struct fs *fs, struct inode *inode, uint64_t upto, bool ahead)
{
	uint64_t least, region_end;
	struct dxf_inode *di;
	struct tx *tx;
	int err = edit_begin(fs, inode, &tx, &di);

	if (err)
		return err;
	least = MAX(upto, di->size + 1);
	region_end = region_of(di) + DXF_UNIT_BLOCKS;
	if (di->data_format == DXF_DATA_INLINE)
		err = leave_inline(fs, tx, di);
	if (!err)
		err = reserve_region(fs, inode, tx, di, MIN(blocks_of(least), region_end), ahead);
	if (!err) {
		di->flags |= DXF_FLAG_TAIL;
		ialloc_set_orphan(tx, inode->ino, true);
		pmem_store64(fs->pm, &inode->media->tail_size, di->size);
		pmem_flush(fs->pm, &inode->media->tail_size, 8);
		tx_wrote_data(tx);
	}
	return edit_end(tx, err);
}

errint_t tail_reserve(struct fs *fs, struct inode *inode, uint64_t upto)
{
	int err = try_reserve(fs, inode, upto, true);

	return err == -ENOSPC || err == -EDQUOT ? try_reserve(fs, inode, upto, false) : err;
}

/* ---- looking -------------------------------------------------------------- */

static errint_t find_last_page(struct fs *fs, const struct dxf_inode *media, uint64_t *ret_offset)
{
	struct run run = { .offset = 0 };
	int err = 0;

	if (media->size % DXF_BLOCK_SIZE)
		err = table_find(fs->vol, NULL, media, media->size / DXF_BLOCK_SIZE, 1, &run);
	if (!err)
		*ret_offset = run.offset;
	return err;
}

/* From the first page behind the end on, as far as there is space. */
errint_t tail_find(struct fs *fs, const struct dxf_inode *media, struct fs_tail *ret_tail)
{
	uint64_t block = blocks_of(media->size), end = region_of(media) + DXF_UNIT_BLOCKS;
	int err = find_last_page(fs, media, &ret_tail->last_page);

	ret_tail->count = 0;
	while (!err && block < end && ret_tail->count < FS_TAIL_EXTENTS) {
		struct run run;

		err = table_find(fs->vol, NULL, media, block, end - block, &run);
		if (err || !run.offset)
			break;
		ret_tail->extent[ret_tail->count++] = (struct fs_tail_extent){
			.file_offset = block * DXF_BLOCK_SIZE,
			.length = run.count * DXF_BLOCK_SIZE,
			.device_offset = run.offset,
		};
		block += run.count;
	}
	ret_tail->end = block * DXF_BLOCK_SIZE;
	return err;
}

/* ---- the end -------------------------------------------------------------- */

/* The blocks that the file has grown over, to `end`, count as written. */
static errint_t set_written(struct fs *fs, struct tx *tx, struct dxf_inode *di, uint64_t end)
{
	uint64_t first = blocks_of(di->size), base = region_of(di), entry, *word;
	int err = first < end ? table_region(fs->vol, tx, di, base, &entry) : 0;

	if (err || first >= end)
		return err;
	if (entry & DXF_ENTRY_UNIT) {
		err = table_word(tx, di, 1, base, &word);
		if (!err)
			*word = (*word & ~DXF_ENTRY_WRITTEN) | (end - base);
		return err;
	}
	err = block_words(tx, di, first, end, &word);
	for (uint64_t i = 0; !err && i < end - first; i++)
		word[i] |= 1;
	return err;
}

/* The file becomes that large, and what was reserved behind that goes. */
static errint_t keep_grown(struct fs *fs, struct tx *tx, struct dxf_inode *di, uint64_t size)
{
	uint64_t base = region_of(di), end = blocks_of(size);
	uint64_t from = MAX(end, base + di->tail_first);
	bool done;
	int err = set_written(fs, tx, di, end);

	di->size = size;
	if (!err && from < base + DXF_UNIT_BLOCKS)
		err = table_prune(tx, di, from, base + DXF_UNIT_BLOCKS, PRUNE_BUDGET, &done);
	if (!err && !size && di->data_format == DXF_DATA_DIRECT &&
	    is_empty((const uint64_t *)(const void *)di->data, DXF_DIRECT_COUNT))
		di->data_format = DXF_DATA_INLINE;
	return err;
}

errint_t tail_settle(struct fs *fs, struct inode *inode, uint64_t limit)
{
	const struct dxf_inode *media = inode->media;
	struct fs_tail space = { .count = 0 };
	struct dxf_inode *di;
	struct tx *tx;
	int err = 0;

	if (!S_ISREG(media->mode) || media->data_format == DXF_DATA_INLINE)
		limit = 0;
	if (limit)
		err = tail_find(fs, media, &space);
	if (!err)
		err = edit_begin(fs, inode, &tx, &di);
	if (err)
		return err;
	if (limit)
		err = keep_grown(fs, tx, di,
				 tail_believe(di->size, pmem_read_once64(&media->tail_size),
					      MIN(limit, space.end)));
	di->flags &= ~DXF_FLAG_TAIL;
	di->tail_first = 0;
	if (di->nlink && !(di->flags & DXF_FLAG_TRUNCATING))
		ialloc_set_orphan(tx, inode->ino, false);
	return edit_end(tx, err);
}
