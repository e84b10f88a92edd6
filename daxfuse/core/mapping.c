/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a file needs before its memory is mapped: that the range lies on blocks, or
 * better on a whole unit, every byte of which reads as it shall, because from then
 * on programs read and store it without asking.
 *
 * Behind the end of the file a mapped unit holds zeroes, but counts as not written
 * (format.h). When the file grows over it, that counts as written in the same
 * transaction, if the layout is kept (zero_tail()); fs_map_grown() is for the others.
 *
 * Order of allocating and promoting: data and zeroes into blocks that nobody refers to yet, or
 * behind those that count as written; fence; one transaction with entries and written counts.
 */
#include <errno.h>

#include "internal.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/media/alloc.h"
#include "daxfuse/media/table.h"

/* How many blocks of the region that begins at block `base` lie in the file. */
static uint64_t blocks_in_file(const struct dxf_inode *di, uint64_t base)
{
	uint64_t end = blocks_of(di->size);

	return end <= base ? 0 : MIN(end - base, DXF_UNIT_BLOCKS);
}

/* Zeroes from the written part of a unit to its end, also behind the end of the last block's data;
 * all that is in the file counts as written then. Order: zeroes, fence (mapping_end()), the written
 * count. */
static errint_t fill_unit(struct fs *fs, struct dxf_inode *di, uint64_t base, uint64_t *word)
{
	char *unit = pmem_at(fs->pm, *word & DXF_ENTRY_OFFSET);
	uint64_t written = *word & DXF_ENTRY_WRITTEN, in_file = blocks_in_file(di, base);
	uint64_t start = base * DXF_BLOCK_SIZE, from = written * DXF_BLOCK_SIZE;
	int err;

	if (di->size > start && di->size - start < from)
		from = di->size - start; /* the tail of the last block may be anything */
	err = zero_over(fs->pm, unit + from, DXF_UNIT_SIZE - from);
	if (!err)
		*word = (*word & ~DXF_ENTRY_WRITTEN) | MAX(written, in_file);
	return err;
}

/* The entry of the region of block `base`, which gets a whole unit if it has none. NULL: there
 * is no unit for it. */
static errint_t unit_word(struct fs *fs, struct tx *tx, struct dxf_inode *di, uint64_t base,
			  uint64_t **ret_word)
{
	uint64_t entry, entries[DXF_TABLE_COUNT];
	int err = table_region(fs->vol, tx, di, base, &entry);

	if (!err && (entry & DXF_ENTRY_UNIT))
		return table_word(tx, di, 1, base, ret_word);
	if (!err)
		err = table_region_blocks(fs->vol, tx, di, base, entries);
	return err ? err : promote_region(fs, tx, di, base, entries, 0, 0, ret_word);
}

/* ---- without a unit ----------------------------------------------------------- */

/* Blocks [first, end) of one region: holes and unwritten blocks become zeroes. Order: zeroes, fence
 * (mapping_end()), entries. */
static errint_t fill_blocks(struct fs *fs, struct tx *tx, struct dxf_inode *di, uint64_t first,
			    uint64_t end)
{
	uint64_t offsets[DXF_UNIT_BLOCKS], *word;
	unsigned holes = 0, next = 0;
	int err = block_words(tx, di, first, end, &word);

	for (uint64_t i = 0; !err && i < end - first; i++) {
		holes += !word[i];
		if (word[i] && !table_entry_is_right(fs->vol, tx, word[i], 0))
			err = -EUCLEAN;
	}
	if (!err && holes)
		err = alloc_blocks(tx, holes, offsets);
	for (uint64_t i = 0; !err && i < end - first; i++) {
		if (word[i] & DXF_ENTRY_WRITTEN)
			continue;
		if (!word[i]) {
			word[i] = offsets[next++];
			di->blocks++;
		}
		err = zero_over(fs->pm, pmem_at(fs->pm, word[i] & DXF_ENTRY_OFFSET),
				DXF_BLOCK_SIZE);
		word[i] |= 1;
	}
	return err;
}

/* ---- allocate ----------------------------------------------------------------- */

static errint_t edit_page(struct fs *fs, struct tx *tx, struct dxf_inode *di, uint64_t block)
{
	uint64_t entry, *word;
	int err = table_region(fs->vol, tx, di, block, &entry);

	if (err)
		return err;
	if (!(entry & DXF_ENTRY_UNIT))
		return fill_blocks(fs, tx, di, block, block + 1);
	err = table_word(tx, di, 1, block, &word);
	return err ? err : fill_unit(fs, di, round_down(block, DXF_UNIT_BLOCKS), word);
}

static errint_t edit_unit(struct fs *fs, struct tx *tx, struct dxf_inode *di, uint64_t base)
{
	uint64_t *word;
	int err = unit_word(fs, tx, di, base, &word);

	if (err)
		return err;
	if (word)
		return fill_unit(fs, di, base, word);
	return fill_blocks(fs, tx, di, base, base + blocks_in_file(di, base));
}

/* Begin with the inode locked, its data outside of the inode, offset in the file. Order,
 * until mapping_end(): data and zeroes, fence, the record. */
static errint_t mapping_begin(struct fs *fs, uint64_t ino, uint64_t offset,
			      struct inode **ret_inode, struct tx **ret_tx,
			      struct dxf_inode **ret_di)
{
	struct inode *inode;
	int err = fs_is_read_only(fs) ? -EROFS : inode_lock(fs, ino, true, &inode);

	if (err)
		return err;
	if (!S_ISREG(inode->media->mode))
		err = -ENODEV;
	else if (offset >= inode->media->size)
		err = -ENXIO;
	else if (inode->media->flags & DXF_FLAG_TRUNCATING)
		err = truncate_finish(fs, inode);
	if (!err)
		err = edit_begin(fs, inode, ret_tx, ret_di);
	if (!err && (*ret_di)->data_format == DXF_DATA_INLINE) {
		err = leave_inline(fs, *ret_tx, *ret_di);
		if (err)
			tx_abort(*ret_tx);
	}
	if (err) {
		inode_unlock(fs, inode);
		return err;
	}
	*ret_inode = inode;
	return 0;
}

static errint_t mapping_end(struct fs *fs, struct inode *inode, struct tx *tx, int err)
{
	tx_wrote_data(tx);
	err = edit_end(tx, err);
	inode_unlock(fs, inode);
	return err;
}

errint_t fs_map_allocate(struct fs *fs, uint64_t ino, uint64_t offset, uint64_t length)
{
	uint64_t block = offset / DXF_BLOCK_SIZE;
	struct dxf_inode *di;
	struct inode *inode;
	struct tx *tx;
	int err;

	if (offset % length || (length != DXF_BLOCK_SIZE && length != DXF_UNIT_SIZE))
		return -EINVAL;
	err = mapping_begin(fs, ino, offset, &inode, &tx, &di);
	if (err)
		return err;
	err = length == DXF_UNIT_SIZE ? edit_unit(fs, tx, di, block) : edit_page(fs, tx, di, block);
	return mapping_end(fs, inode, tx, err);
}

errint_t fs_map_promote(struct fs *fs, uint64_t ino, uint64_t offset)
{
	uint64_t base = round_down(offset, DXF_UNIT_SIZE) / DXF_BLOCK_SIZE, *word;
	struct dxf_inode *di;
	struct inode *inode;
	struct tx *tx;
	int err = mapping_begin(fs, ino, offset, &inode, &tx, &di);

	if (err)
		return err;
	err = unit_word(fs, tx, di, base, &word);
	if (!err)
		err = word ? fill_unit(fs, di, base, word) : -ENOSPC;
	return mapping_end(fs, inode, tx, err);
}

/* ---- realign ------------------------------------------------------------------- */

enum { REGIONS_AT_ONCE = 4096 };

/* Whether the region of block `base` is held as blocks, and should not be. */
static errint_t is_scattered(struct fs *fs, const struct dxf_inode *media, uint64_t base,
			     bool *ret_scattered)
{
	uint64_t entry, entries[DXF_TABLE_COUNT];
	int err = table_region(fs->vol, NULL, media, base, &entry);

	*ret_scattered = false;
	if (err || (entry & DXF_ENTRY_UNIT))
		return err;
	err = table_region_blocks(fs->vol, NULL, media, base, entries);
	if (!err)
		*ret_scattered = region_wants_unit(media, entries, 0, 0);
	return err;
}

/* The next region from *block on, up to `end`, that is scattered; end if there is none. Each
 * step goes on by a region at least, whatever the tables say: REGIONS_AT_ONCE are all. */
static errint_t find_scattered(struct fs *fs, const struct dxf_inode *media, uint64_t *block,
			       uint64_t end)
{
	bool scattered = false;
	int err = 0;

	while (!err && *block < end) {
		struct run run;

		err = table_find(fs->vol, NULL, media, *block, end - *block, &run);
		if (!err && !run.offset && run.count >= DXF_UNIT_BLOCKS) {
			*block = round_up(*block + run.count - DXF_UNIT_BLOCKS + 1,
					  DXF_UNIT_BLOCKS);
			continue;
		}
		if (!err)
			err = is_scattered(fs, media, *block, &scattered);
		if (scattered)
			break;
		*block += DXF_UNIT_BLOCKS;
	}
	return err;
}

errint_t fs_find_scattered(struct fs *fs, uint64_t ino, uint64_t *offset, bool *ret_found)
{
	uint64_t block = *offset / DXF_UNIT_SIZE * DXF_UNIT_BLOCKS, end = 0;
	struct inode *inode;
	int err;

	if (fs_is_read_only(fs))
		return -EROFS;
	err = inode_lock(fs, ino, false, &inode);
	if (err)
		return err;
	if (S_ISREG(inode->media->mode) && inode->media->data_format == DXF_DATA_TABLE &&
	    inode->media->size >= DXF_UNIT_SIZE)
		end = blocks_of(inode->media->size);
	end = MIN(end, block + REGIONS_AT_ONCE * DXF_UNIT_BLOCKS);
	err = find_scattered(fs, inode->media, &block, end);
	*offset = block * DXF_BLOCK_SIZE;
	if (block >= blocks_of(inode->media->size) || end == 0)
		*offset = UINT64_MAX;
	*ret_found = !err && block < end;
	inode_unlock(fs, inode);
	return err;
}

errint_t fs_realign(struct fs *fs, uint64_t ino, uint64_t *offset, bool *ret_moved)
{
	bool found = false;
	int err = fs_find_scattered(fs, ino, offset, &found);

	*ret_moved = false;
	if (err || !found)
		return err;
	/* it may have changed meanwhile: promoting a unit, or one that is gone, is no harm */
	err = fs_map_promote(fs, ino, *offset);
	*ret_moved = !err;
	*offset += DXF_UNIT_SIZE;
	return err == -ENXIO ? 0 : err;
}

/* ---- zeroes in place, times ---------------------------------------------------- */

/* The rest of what is in the file of its unit counts as written; zeroes only into parts that were
 * not written before it grew. */
static errint_t grow_unit(struct fs *fs, struct dxf_inode *di, uint64_t old_size, uint64_t *word)
{
	uint64_t start = round_down(old_size, DXF_UNIT_SIZE), was = old_size - start;
	uint64_t written = *word & DXF_ENTRY_WRITTEN, from = written * DXF_BLOCK_SIZE;
	uint64_t in_file = blocks_in_file(di, start / DXF_BLOCK_SIZE);

	*word = (*word & ~DXF_ENTRY_WRITTEN) | MAX(written, in_file);
	return from < was
		       ? zero_over(fs->pm, (char *)pmem_at(fs->pm, *word & DXF_ENTRY_OFFSET) + from,
				   was - from)
		       : 0;
}

/* Order: zeroes, fence, the written count. */
static errint_t edit_grown(struct fs *fs, struct inode *inode, uint64_t old_size)
{
	uint64_t entry, block = old_size / DXF_BLOCK_SIZE, *word;
	struct dxf_inode *di;
	struct tx *tx;
	int err = table_region(fs->vol, NULL, inode->media, block, &entry);

	if (err || !(entry & DXF_ENTRY_UNIT) ||
	    (entry & DXF_ENTRY_WRITTEN) >=
		    blocks_in_file(inode->media, round_down(block, DXF_UNIT_BLOCKS)))
		return err;
	err = edit_begin(fs, inode, &tx, &di);
	if (err)
		return err;
	err = table_word(tx, di, 1, block, &word);
	if (!err)
		err = grow_unit(fs, di, old_size, word);
	tx_wrote_data(tx);
	return edit_end(tx, err);
}

errint_t fs_map_grown(struct fs *fs, uint64_t ino, uint64_t old_size)
{
	struct inode *inode;
	int err = fs_is_read_only(fs) ? -EROFS : inode_lock(fs, ino, true, &inode);

	if (err)
		return err;
	if (!S_ISREG(inode->media->mode))
		err = -ENODEV;
	else if (old_size < inode->media->size && old_size % DXF_UNIT_SIZE &&
		 inode->media->data_format == DXF_DATA_TABLE)
		err = edit_grown(fs, inode, old_size);
	inode_unlock(fs, inode);
	return err;
}

/* Order: zeroes, fence. */
errint_t fs_map_zero(struct fs *fs, uint64_t ino, uint64_t offset, uint64_t length)
{
	uint64_t end = length > UINT64_MAX - offset ? UINT64_MAX : offset + length, steps;
	struct inode *inode;
	int err = fs_is_read_only(fs) ? -EROFS : inode_lock(fs, ino, true, &inode);

	if (err)
		return err;
	steps = table_steps_max(fs->vol, inode->media);
	end = MIN(end, DXF_FILE_MAX);
	while (!err && offset < end && inode->media->data_format != DXF_DATA_INLINE) {
		uint64_t in = offset % DXF_BLOCK_SIZE, n;
		struct run run;

		err = steps-- ? table_find(fs->vol, NULL, inode->media, offset / DXF_BLOCK_SIZE,
					   blocks_of(in + end - offset), &run)
			      : -EUCLEAN;
		if (err)
			break;
		n = MIN(run.count * DXF_BLOCK_SIZE - in, end - offset);
		if (run.offset)
			err = zero_over(fs->pm, (char *)pmem_at(fs->pm, run.offset) + in, n);
		offset += n;
	}
	pmem_fence(fs->pm);
	inode_unlock(fs, inode);
	return err;
}

/* Order: both times, flush, fence. */
errint_t fs_map_touch(struct fs *fs, uint64_t ino)
{
	struct inode *inode;
	int err = fs_is_read_only(fs) ? -EROFS : inode_lock(fs, ino, true, &inode);

	if (err)
		return err;
	touch_in_place(fs, inode);
	pmem_fence(fs->pm);
	inode_unlock(fs, inode);
	return 0;
}
