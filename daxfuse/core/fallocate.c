/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fallocate: reserving, punching, zeroing, collapsing, inserting.
 *
 * Reserving works region by region (2 MiB), one transaction each: whole regions as unwritten units,
 * parts as unwritten blocks. Punching zeroes in place the parts that are no whole block, or lie
 * inside a unit that stays, and frees the rest. Collapse and insert build the shifted file under an
 * inode without a name and then exchange the data of the two in one transaction: atomic, at the
 * price of a copy.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>

#include "daxfuse/base/cleanup.h"
#include "internal.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "daxfuse/media/alloc.h"
#include "daxfuse/media/quota.h"
#include "daxfuse/media/table.h"

enum { COPY_BYTES = 256 << 10 };
enum { SHIFTS = FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE };

/* ---- reserve -------------------------------------------------------------- */

errint_t reserve_blocks(struct tx *tx, struct dxf_inode *di, uint64_t first, uint64_t end)
{
	uint64_t *word, offsets[DXF_UNIT_BLOCKS];
	unsigned holes = 0, next = 0;
	int err = table_word(tx, di, 0, end - 1, &word);

	if (!err)
		err = table_word(tx, di, 0, first, &word);
	for (uint64_t i = 0; !err && i < end - first; i++)
		holes += !word[i];
	if (err || !holes)
		return err;
	err = alloc_blocks(tx, holes, offsets);
	for (uint64_t i = 0; !err && i < end - first; i++) {
		if (!word[i]) {
			word[i] = offsets[next++];
			di->blocks++;
		}
	}
	return err;
}

/* Blocks [first, end) of one region. */
static errint_t reserve_region(struct fs *fs, const struct inode *inode, struct tx *tx,
			       struct dxf_inode *di, uint64_t first, uint64_t end)
{
	uint64_t entry, entries[DXF_TABLE_COUNT], *word = NULL;
	int err = table_region(fs->vol, tx, di, first, &entry);

	if (err || (entry & DXF_ENTRY_UNIT))
		return err;
	if (end - first == DXF_UNIT_BLOCKS ||
	    ((di->flags & DXF_FLAG_EXTSIZE) && di->extsize >= DXF_UNIT_SIZE)) {
		err = table_region_blocks(fs->vol, tx, di, first, entries);
		if (!err && region_may_move(inode, entries))
			err = promote_region(fs, tx, di, first, entries, 0, 0, &word);
		if (err || word)
			return err;
	}
	return reserve_blocks(tx, di, first, end);
}

/* If there is no way to find that many blocks none is taken. -ENOSPC, -EDQUOT. */
static errint_t check_room(struct fs *fs, const struct dxf_inode *di, uint64_t blocks)
{
	struct dxf_quota quota;
	struct fs_space space;

	fs_get_space(fs, &space);
	if (blocks > di->blocks + space.free_units * DXF_UNIT_BLOCKS + space.free_blocks)
		return -ENOSPC;
	if (di->project && !quota_read(fs->vol, di->project, &quota) && quota.block_limit &&
	    blocks > di->blocks + quota.block_limit - MIN(quota.blocks, quota.block_limit))
		return -EDQUOT;
	return 0;
}

static errint_t reserve(struct fs *fs, struct inode *inode, uint64_t offset, uint64_t length)
{
	uint64_t block = offset / DXF_BLOCK_SIZE, end = blocks_of(offset + length);
	int err = check_room(fs, inode->media, end - block);

	while (!err && block < end) {
		uint64_t stop = MIN(end, (block / DXF_UNIT_BLOCKS + 1) * DXF_UNIT_BLOCKS);
		struct dxf_inode *di;
		struct tx *tx;

		err = edit_begin(fs, inode, &tx, &di);
		if (err)
			break;
		if (di->data_format == DXF_DATA_INLINE)
			err = leave_inline(fs, tx, di);
		if (!err)
			err = reserve_region(fs, inode, tx, di, block, stop);
		err = edit_end(tx, err);
		block = stop;
	}
	return err;
}

/* ---- punch and zero ------------------------------------------------------- */

/* Zero the written parts of [from, to), in place. */
static errint_t zero_written(struct fs *fs, struct tx *tx, const struct dxf_inode *di,
			     uint64_t from, uint64_t to)
{
	uint64_t steps = table_steps_max(fs->vol, di);

	while (from < to) {
		uint64_t block = from / DXF_BLOCK_SIZE, in = from % DXF_BLOCK_SIZE, n;
		struct run run;
		int err = steps-- ? table_find(fs->vol, tx, di, block, blocks_of(to) - block, &run)
				  : -EUCLEAN;

		if (err)
			return err;
		n = MIN(run.count * DXF_BLOCK_SIZE - in, to - from);
		if (run.written) {
			char *dst = (char *)pmem_at(fs->pm, run.offset) + in;

			err = zero_over(fs->pm, dst, n);
			if (err)
				return err;
			tx_wrote_data(tx);
		}
		from += n;
	}
	return 0;
}

/* Whether punching leaves the region's unit in place, with zeroes in it: a part of it, or one that
 * is to stay. Up to its end, it could count as unwritten as well; but not if somebody may have it
 * mapped, and store to it. */
static errint_t zero_in_unit(struct fs *fs, const struct inode *inode, struct tx *tx,
			     const struct dxf_inode *di, uint64_t first, uint64_t end,
			     bool *ret_stays)
{
	uint64_t entry;
	int err = table_region(fs->vol, tx, di, first, &entry);
	bool to_end = end % DXF_UNIT_BLOCKS == 0;

	*ret_stays = !err && (entry & DXF_ENTRY_UNIT) &&
		     (!to_end || (inode->kept && first % DXF_UNIT_BLOCKS) ||
		      stays_has(inode, first));
	if (!*ret_stays)
		return err;
	return zero_written(fs, tx, di, first * DXF_BLOCK_SIZE, end * DXF_BLOCK_SIZE);
}

/* Whole blocks [first, end) of one region: freed, or zeroed within a unit. */
static errint_t punch_region(struct fs *fs, struct inode *inode, uint64_t first, uint64_t end)
{
	bool done = false;
	int err = 0;

	while (!err && !done) {
		struct dxf_inode *di;
		struct tx *tx;

		err = edit_begin(fs, inode, &tx, &di);
		if (err)
			return err;
		err = zero_in_unit(fs, inode, tx, di, first, end, &done);
		if (!err && !done)
			err = table_prune(tx, di, first, end, PRUNE_BUDGET, &done);
		di->mtime = di->ctime = fs_clock();
		err = edit_end(tx, err);
	}
	return err;
}

static errint_t zero_inline(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to)
{
	struct dxf_inode *di;
	struct tx *tx;
	int err = edit_begin(fs, inode, &tx, &di);

	if (err)
		return err;
	if (from < di->size)
		memset(di->data + from, 0, MIN(to, di->size) - from);
	di->mtime = di->ctime = fs_clock();
	return edit_end(tx, 0);
}

/* Zero [from, to) in place and move the times. */
static errint_t zero_range(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to)
{
	struct dxf_inode *di;
	struct tx *tx;
	int err = edit_begin(fs, inode, &tx, &di);

	if (err)
		return err;
	err = zero_written(fs, tx, di, from, to);
	di->mtime = di->ctime = fs_clock();
	return edit_end(tx, err);
}

static errint_t punch(struct fs *fs, struct inode *inode, uint64_t from, uint64_t to)
{
	uint64_t first = blocks_of(from), end = to / DXF_BLOCK_SIZE;
	uint64_t steps = table_steps_max(fs->vol, inode->media);
	int err = 0;

	if (inode->media->data_format == DXF_DATA_INLINE)
		return zero_inline(fs, inode, from, to);
	if (first > end) /* inside one block */
		return zero_range(fs, inode, from, to);
	if (from < first * DXF_BLOCK_SIZE)
		err = zero_range(fs, inode, from, first * DXF_BLOCK_SIZE);
	if (!err && to > end * DXF_BLOCK_SIZE)
		err = zero_range(fs, inode, end * DXF_BLOCK_SIZE, to);
	while (!err && first < end) {
		uint64_t stop = MIN(end, (first / DXF_UNIT_BLOCKS + 1) * DXF_UNIT_BLOCKS);
		struct run run;

		/* skip a hole, it may be large */
		err = steps-- ? table_find(fs->vol, NULL, inode->media, first, end - first, &run)
			      : -EUCLEAN;
		if (!err && !run.offset) {
			first += run.count;
			continue;
		}
		if (!err)
			err = punch_region(fs, inode, first, stop);
		first = stop;
	}
	return err;
}

/* ---- collapse and insert -------------------------------------------------- */

static errint_t may_allocate(const struct dxf_inode *inode, int mode)
{
	if (!S_ISREG(inode->mode))
		return S_ISDIR(inode->mode) ? -EISDIR : -ENODEV;
	if ((inode->flags & DXF_FLAG_IMMUTABLE) ||
	    ((inode->flags & DXF_FLAG_APPEND) && (mode & ~FALLOC_FL_KEEP_SIZE)))
		return -EPERM;
	return 0;
}

static errint_t may_shift(const struct dxf_inode *inode, int mode, uint64_t offset, uint64_t length)
{
	bool collapse = mode == FALLOC_FL_COLLAPSE_RANGE;

	if (offset % DXF_BLOCK_SIZE || length % DXF_BLOCK_SIZE || offset >= inode->size ||
	    (collapse && length >= inode->size - offset))
		return -EINVAL;
	return !collapse && length > DXF_FILE_MAX - inode->size ? -EFBIG : 0;
}

static errint_t may_change(const struct dxf_inode *inode, int mode, uint64_t offset,
			   uint64_t length)
{
	int err = may_allocate(inode, mode);

	if (!err && (mode & SHIFTS))
		err = may_shift(inode, mode, offset, length);
	return err;
}

/* Copy [from, to) of in, which is locked, to out at `at`; holes stay holes. out is
 * nobody else's. */
static errint_t copy_shifted(struct fs *fs, const struct inode *in, uint64_t out, uint64_t from,
			     uint64_t to, uint64_t at)
{
	CLEANUP_FREE char *buf = malloc(COPY_BYTES);
	uint64_t steps = table_steps_max(fs->vol, in->media) + (to - from) / COPY_BYTES;
	int err = buf ? 0 : -ENOMEM;

	while (!err && from < to) {
		struct fs_iomap map;
		ssize_t n;

		/* the rest of the file: a hole may be as large as that */
		err = steps-- ? iomap_locked(fs, in->media, from, to - from, &map) : -EUCLEAN;
		if (!err && map.kind == FS_IOMAP_MAPPED) {
			map.length = MIN(map.length, (uint64_t)COPY_BYTES);
			err = pmem_read(fs->pm, buf, pmem_at(fs->pm, map.device_offset),
					map.length);
			n = err ? err : fs_write(fs, NULL, out, buf, map.length, at, 0);
			if (n < 0 || (uint64_t)n < map.length)
				err = n < 0 ? (int)n : -ENOSPC;
		}
		if (!err) {
			from += map.length;
			at += map.length;
		}
	}
	return err;
}

static void swap_bytes(void *a, void *b, size_t n)
{
	char *x = a, *y = b;

	for (size_t i = 0; i < n; i++) {
		char swap = x[i];

		x[i] = y[i];
		y[i] = swap;
	}
}

static uint64_t xattr_blocks(const struct dxf_inode *di)
{
	return di->xattr_bytes <= DXF_XATTR_INLINE ? 0 : blocks_of(di->xattr_bytes);
}

/* The two files exchange data, size and blocks (but not xattrs). */
static errint_t exchange_data(struct fs *fs, const struct fs_request *request, struct inode *inode,
			      struct inode *other)
{
	uint64_t own = xattr_blocks(inode->media), others = xattr_blocks(other->media);
	struct dxf_inode *a, *b;
	struct tx *tx;
	int err = edit_begin(fs, inode, &tx, &a);

	if (err)
		return err;
	b = tx_edit_inode(tx, other->media);
	swap_bytes(a->data, b->data, sizeof(a->data));
	swap_bytes(&a->size, &b->size, sizeof(a->size));
	swap_bytes(&a->data_format, &b->data_format, 2); /* and table_level */
	swap_bytes(&a->blocks, &b->blocks, sizeof(a->blocks));
	a->blocks += own - others;
	b->blocks += others - own;
	a->mtime = a->ctime = fs_clock();
	tx_decides(tx, once_of(request), 0);
	return edit_end(tx, 0);
}

/* Replace the data of the inode, which is locked, by that of a nameless one. */
static errint_t adopt_data(struct fs *fs, const struct fs_request *request, struct inode *inode,
			   uint64_t with)
{
	struct inode *other;
	int err = inode_lock(fs, with, true, &other);

	if (err)
		return err;
	err = exchange_data(fs, request, inode, other);
	inode_unlock(fs, other);
	return err;
}

/* The inode stays locked from the first byte copied to the exchange. The nameless
 * one is locked inside, in no order: nobody else knows it. */
static errint_t shift_locked(struct fs *fs, const struct fs_request *request, struct inode *inode,
			     bool collapse, uint64_t offset, uint64_t length, uint64_t temporary)
{
	struct fs_setattr set = { .valid = FS_SET_SIZE };
	uint64_t size = inode->media->size, from = collapse ? offset + length : offset;
	int err;

	lock_assert(LOCK_INODE);
	set.size = collapse ? size - length : size + length;
	err = copy_shifted(fs, inode, temporary, 0, offset, 0);
	if (!err)
		err = copy_shifted(fs, inode, temporary, from, size,
				   collapse ? offset : offset + length);
	if (!err)
		err = fs_setattr(fs, temporary, &set, NULL);
	return err ? err : adopt_data(fs, request, inode, temporary);
}

static errint_t shift(struct fs *fs, const struct fs_request *request, uint64_t ino, int mode,
		      uint64_t offset, uint64_t length)
{
	struct fs_attr temporary;
	struct inode *inode;
	int err;

	/* a refused call leaves no trace, and no copy is made for it */
	err = fs_may_fallocate(fs, ino, mode, offset, length);
	if (!err)
		err = create_scratch(fs, &temporary);
	if (err)
		return err;
	err = inode_lock(fs, ino, true, &inode);
	if (!err) {
		err = may_change(inode->media, mode, offset, length);
		if (!err)
			err = shift_locked(fs, request, inode, mode == FALLOC_FL_COLLAPSE_RANGE,
					   offset, length, temporary.ino);
		inode_unlock(fs, inode);
	}
	fs_forget(fs, temporary.ino);
	return err;
}

/* ---- the call ------------------------------------------------------------- */

static errint_t set_size(struct fs *fs, struct inode *inode, uint64_t size)
{
	struct dxf_inode *di;
	struct tx *tx;
	int err = edit_begin(fs, inode, &tx, &di);

	if (err)
		return err;
	di->mtime = di->ctime = fs_clock();
	return truncate_commit(fs, inode, tx, di, size);
}

static errint_t fallocate_locked(struct fs *fs, struct inode *inode, int mode, uint64_t offset,
				 uint64_t length)
{
	uint64_t end = offset + length;
	int err = 0;

	lock_assert(LOCK_INODE);
	if (mode & FALLOC_FL_PUNCH_HOLE)
		return punch(fs, inode, offset, end);
	/* reserving first: if it fails, nothing has been zeroed */
	if (!(inode->media->data_format == DXF_DATA_INLINE && end <= DXF_INLINE_MAX))
		err = reserve(fs, inode, offset, length);
	if (!err && (mode & FALLOC_FL_ZERO_RANGE))
		err = inode->media->data_format == DXF_DATA_INLINE
			      ? zero_inline(fs, inode, offset, end)
			      : zero_range(fs, inode, offset,
					   MIN(end, MAX(inode->media->size, offset)));
	if (!err && !(mode & FALLOC_FL_KEEP_SIZE) && end > inode->media->size)
		err = set_size(fs, inode, end);
	return err;
}

static bool mode_is_known(int mode)
{
	switch (mode) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_ZERO_RANGE:
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_COLLAPSE_RANGE:
	case FALLOC_FL_INSERT_RANGE:
		return true;
	}
	return false;
}

static errint_t check_arguments(const struct fs *fs, int mode, uint64_t offset, uint64_t length)
{
	if (!mode_is_known(mode))
		return -EOPNOTSUPP;
	if (!length)
		return -EINVAL;
	if (offset >= DXF_FILE_MAX || length > DXF_FILE_MAX - offset)
		return -EFBIG;
	return fs_is_read_only(fs) ? -EROFS : 0;
}

errint_t fs_may_fallocate(struct fs *fs, uint64_t ino, int mode, uint64_t offset, uint64_t length)
{
	struct inode *inode;
	int err = check_arguments(fs, mode, offset, length);

	if (!err)
		err = inode_lock(fs, ino, false, &inode);
	if (err)
		return err;
	err = may_change(inode->media, mode, offset, length);
	inode_unlock(fs, inode);
	return err;
}

errint_t fs_fallocate(struct fs *fs, const struct fs_request *request, uint64_t ino, int mode,
		      uint64_t offset, uint64_t length)
{
	struct inode *inode;
	int err = check_arguments(fs, mode, offset, length);

	if (err)
		return err;
	if (mode & SHIFTS)
		return shift(fs, request, ino, mode, offset, length);
	err = inode_lock(fs, ino, true, &inode);
	if (err)
		return err;
	err = may_allocate(inode->media, mode);
	if (!err && (inode->media->flags & DXF_FLAG_TRUNCATING))
		err = truncate_finish(fs, inode);
	if (!err)
		err = fallocate_locked(fs, inode, mode, offset, length);
	/* before others see it: their stores must not be zeroed again */
	if (!err)
		tx_executed(once_of(request), 0);
	inode_unlock(fs, inode);
	return err;
}

/* Marked as executed with each part, before others can see that: a program's stores over it are not
 * copied over again, and a death in the middle makes the copy a short one. */
ssize_t fs_copy_range(struct fs *fs, const struct fs_request *request, uint64_t in,
		      uint64_t in_offset, uint64_t out, uint64_t out_offset, size_t length)
{
	char *buf = malloc(COPY_BYTES);
	size_t done = 0;
	ssize_t n = buf ? 0 : -ENOMEM;

	if (length > DXF_FILE_MAX || in_offset > DXF_FILE_MAX || out_offset > DXF_FILE_MAX)
		n = n ? n : -EFBIG;
	else if (in == out && in_offset < out_offset + length && out_offset < in_offset + length)
		n = -EINVAL;
	while (!n && done < length) {
		n = fs_pread(fs, in, buf, MIN(length - done, (size_t)COPY_BYTES), in_offset + done);
		if (n <= 0)
			break;
		n = write_part(fs, request, out, buf, (size_t)n, out_offset + done, 0, done);
		if (n <= 0)
			break;
		done += (size_t)n;
		n = 0;
	}
	free(buf);
	return done ? (ssize_t)done : n;
}
