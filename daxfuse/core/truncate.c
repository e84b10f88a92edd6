/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Truncating and freeing. The first transaction sets the size and frees as much as one record
 * holds; if more is left it marks the inode TRUNCATING and an orphan, so that a crash is completed
 * by the next mount. All that lies past the end is invisible from the first transaction on.
 *
 * The bytes between the end of the file and the end of its last block may be
 * anything (a write that a crash cut off leaves them so). They are zeroed before
 * the file grows over them: zeroes, fence, then the size.
 */
#include <errno.h>

#include "internal.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/media/ialloc.h"
#include "daxfuse/media/table.h"
#include "daxfuse/media/xattr.h"

/*
 * A mapped unit goes on behind the end of the file, where it counts as not written. The part that
 * the file grows over must count so with the new size, in one transaction: from then on programs
 * store to it without asking, and nobody may take it for unwritten and zero it. False: the file's
 * end lies in no unit.
 */
static errint_t zero_unit_tail(struct fs *fs, struct tx *tx, struct dxf_inode *di, uint64_t upto,
			       bool *ret_done)
{
	uint64_t start = round_down(di->size, DXF_UNIT_SIZE), entry, *word, written, blocks, from;
	int err = table_region(fs->vol, tx, di, start / DXF_BLOCK_SIZE, &entry);

	*ret_done = !err && (entry & DXF_ENTRY_UNIT);
	if (!*ret_done)
		return err;
	err = table_word(tx, di, 1, start / DXF_BLOCK_SIZE, &word);
	if (err)
		return err;
	written = *word & DXF_ENTRY_WRITTEN;
	blocks = blocks_of(MIN(upto - start, DXF_UNIT_SIZE));
	from = MIN(written * DXF_BLOCK_SIZE, di->size - start);
	*word = (*word & ~DXF_ENTRY_WRITTEN) | MAX(written, blocks);
	tx_wrote_data(tx);
	return zero_over(fs->pm, (char *)pmem_at(fs->pm, entry & DXF_ENTRY_OFFSET) + from,
			 blocks * DXF_BLOCK_SIZE - from);
}

static errint_t zero_block_tail(struct fs *fs, struct tx *tx, const struct dxf_inode *di,
				uint64_t upto)
{
	uint64_t size = di->size, in = size % DXF_BLOCK_SIZE, end;
	struct run run;
	char *tail;
	int err;

	if (!in || di->data_format == DXF_DATA_INLINE)
		return 0;
	err = table_find(fs->vol, tx, di, size / DXF_BLOCK_SIZE, 1, &run);
	if (err || !run.written)
		return err;
	end = MIN(upto, size - in + DXF_BLOCK_SIZE);
	tail = (char *)pmem_at(fs->pm, run.offset) + in;
	tx_wrote_data(tx);
	return zero_over(fs->pm, tail, end - size);
}

errint_t zero_tail(struct fs *fs, struct inode *inode, struct tx *tx, struct dxf_inode *di,
		   uint64_t upto)
{
	bool done = false;
	int err = 0;

	if (inode->stays && di->data_format != DXF_DATA_INLINE)
		err = stays_grow(fs, inode, tx, di, upto);
	if (!err && inode->kept && di->size % DXF_UNIT_SIZE && di->data_format != DXF_DATA_INLINE)
		err = zero_unit_tail(fs, tx, di, upto, &done);
	return err || done ? err : zero_block_tail(fs, tx, di, upto);
}

static errint_t grow(struct fs *fs, struct inode *inode, struct tx *tx, struct dxf_inode *di,
		     uint64_t size)
{
	int err;

	if (di->data_format == DXF_DATA_INLINE && size > DXF_INLINE_MAX)
		err = leave_inline(fs, tx, di);
	else
		err = zero_tail(fs, inode, tx, di, size);
	if (!err)
		di->size = size;
	return err;
}

/* Free all from a block on, as far as one transaction goes. */
static errint_t prune(struct fs *fs, struct inode *inode, struct tx *tx, struct dxf_inode *di,
		      uint64_t from, bool *ret_done)
{
	if (inode->stays && inode->stays->count)
		return stays_prune(fs, inode, tx, di, from, ret_done);
	return table_prune(tx, di, from, UINT64_MAX, PRUNE_BUDGET, ret_done);
}

static errint_t shrink(struct fs *fs, struct inode *inode, struct tx *tx, struct dxf_inode *di,
		       uint64_t size, bool *ret_done)
{
	int err;

	*ret_done = true;
	di->size = size;
	if (di->data_format == DXF_DATA_INLINE) {
		memset(di->data + size, 0, sizeof(di->data) - size);
		return 0;
	}
	err = prune(fs, inode, tx, di, blocks_of(size), ret_done);
	if (!err && !*ret_done) {
		di->flags |= DXF_FLAG_TRUNCATING;
		ialloc_set_orphan(tx, inode->ino, true);
	} else if (!err && !size && di->data_format == DXF_DATA_DIRECT) {
		memset(di->data, 0, sizeof(di->data));
		di->data_format = DXF_DATA_INLINE;
	}
	inode->trim = true;
	return err;
}

errint_t truncate_commit(struct fs *fs, struct inode *inode, struct tx *tx, struct dxf_inode *di,
			 uint64_t size)
{
	bool done = true;
	int err;

	/* an earlier truncation that met an error has left blocks past the end */
	if (di->flags & DXF_FLAG_TRUNCATING)
		err = -EIO;
	else
		err = size > di->size ? grow(fs, inode, tx, di, size)
				      : shrink(fs, inode, tx, di, size, &done);
	err = edit_end(tx, err);
	return err || done ? err : truncate_finish(fs, inode);
}

/* One transaction of freeing past the end; *ret_done: nothing is left. */
static errint_t free_some(struct fs *fs, struct inode *inode, uint64_t from, bool *ret_done)
{
	struct dxf_inode *di;
	struct tx *tx;
	int err = edit_begin(fs, inode, &tx, &di);

	if (err)
		return err;
	*ret_done = true;
	if (di->data_format != DXF_DATA_INLINE)
		err = prune(fs, inode, tx, di, from, ret_done);
	if (!err && *ret_done) {
		di->flags &= ~DXF_FLAG_TRUNCATING;
		if (di->nlink)
			ialloc_set_orphan(tx, inode->ino, false);
		if (!di->size && S_ISREG(di->mode) && di->data_format == DXF_DATA_DIRECT)
			di->data_format = DXF_DATA_INLINE;
	}
	return edit_end(tx, err);
}

errint_t truncate_finish(struct fs *fs, struct inode *inode)
{
	bool done = false;
	int err = 0;

	while (!err && !done)
		err = free_some(fs, inode, blocks_of(inode->media->size), &done);
	return err;
}

/* Order: the data, in as many transactions as it takes, with the inode still an
 * orphan; then xattrs, inode and both bits in one. */
errint_t orphan_free(struct fs *fs, struct inode *inode)
{
	struct dxf_inode *di;
	bool done = false;
	struct tx *tx;
	int err = 0;

	while (!err && !done && inode->media->data_format != DXF_DATA_INLINE)
		err = free_some(fs, inode, 0, &done);
	if (!err)
		err = edit_begin(fs, inode, &tx, &di);
	if (err)
		return err;
	err = xattr_drop(tx, di);
	if (!err) {
		tx_count_inode(tx, inode->media, -1);
		ialloc_put(tx, inode->ino);
	}
	err = edit_end(tx, err);
	if (!err) {
		/* under the lock still: a thread that found the object waits, and looks again */
		inode->gone = true;
		inode_forget(fs, inode);
	}
	return err;
}
