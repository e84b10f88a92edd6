/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing.
 *
 * Bytes on written blocks are overwritten in place: non-temporal stores, the two times, one fence.
 * Everything else is atomic: new blocks are filled (zeroes where the write doesn't reach), fence;
 * then one transaction brings blocks, written marks and size.
 *
 * Order: data (in place and new, with zeroes around it), fence, record (see journal.c). Before the
 * record, nothing visible changes but the bytes that the caller overwrites in place.
 *
 * How a file grows. A 2 MiB region is held as blocks until more than GROW_BLOCKS of its 512 would
 * be in use, then it becomes a whole unit: its blocks are copied, once. 64 blocks (256 KiB): the
 * copy is an eighth of what the unit will take, most files never get there, and those that do are
 * likely to fill it. In a sparse region the same point counts, with the holes below the last used
 * block zeroed. When the last one closes a file that stayed well below a unit, trim_inode() brings
 * it back to blocks: always below TRIM_ALWAYS, and below TRIM_BELOW if there are holes to take it.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "internal.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "daxfuse/media/alloc.h"
#include "daxfuse/media/quota.h"
#include "daxfuse/media/table.h"

enum { GROW_BLOCKS = 64, TRIM_BELOW = 448, TRIM_ALWAYS = 128, CHUNK_BYTES = 1 << 20, LINE = 64 };
/* How far a region looks for a unit to lie beside. */
enum { NEAR_REGIONS = 16 };
/* Units that a file is expected to grow by, for each that it has. */
#define ROOM_FACTOR UINT64_C(4)

/* One write, of at most CHUNK_BYTES: one transaction. */
struct writing {
	struct fs *fs;
	struct inode *inode;
	struct tx *tx;
	struct dxf_inode *di; /* shadow */
	const char *buf;
	uint64_t from, to; /* of the file, bytes */
};

/* ---- stores --------------------------------------------------------------- */

errint_t probe_range(const struct pmem *pm, const void *dst, uint64_t n)
{
	const char *p = dst, *end = p + n;
	int err = 0;

	while (!err && p < end) {
		err = pmem_probe(pm, p, 1);
		p += DXF_BLOCK_SIZE - (uintptr_t)p % DXF_BLOCK_SIZE;
	}
	if (!err && n && (uintptr_t)end % LINE)
		err = pmem_probe(pm, end - 1, 1);
	return err;
}

/* Lines that are written in part are read by the CPU, so poison is looked for first;
 * whole ones overwrite it, if they can. src NULL: zeroes. */
static errint_t try_store(const struct pmem *pm, char *dst, const void *src, uint64_t n)
{
	int err = n && (uintptr_t)dst % LINE ? pmem_probe(pm, dst, 1) : 0;

	if (!err && n && ((uintptr_t)dst + n) % LINE)
		err = pmem_probe(pm, dst + n - 1, 1);
	if (err || !n)
		return err;
	return src ? pmem_write_nt(pm, dst, src, n) : pmem_write_zero_nt(pm, dst, n);
}

/* Nothing of a sector that is overwritten as a whole is needed any more. */
static errint_t clear_covered(const struct pmem *pm, const char *dst, uint64_t n)
{
	uint64_t from = round_up(pmem_offset(pm, dst), PMEM_SECTOR);
	uint64_t to = round_down(pmem_offset(pm, dst) + n, PMEM_SECTOR);

	return from < to ? pmem_clear_bad(pm, pmem_at(pm, from), to - from) : -EIO;
}

errint_t store_over(const struct pmem *pm, void *dst, const void *src, uint64_t n)
{
	int err = try_store(pm, dst, src, n);

	if (err && clear_covered(pm, dst, n) == 0)
		err = try_store(pm, dst, src, n);
	return err;
}

errint_t zero_over(const struct pmem *pm, void *dst, uint64_t n)
{
	return store_over(pm, dst, NULL, n);
}

static const char *source(const struct writing *w, uint64_t at)
{
	return w->buf + (at - w->from);
}

/* A new block: the write's part of it, zeroes before and behind. */
static errint_t fill_block(const struct writing *w, uint64_t offset, uint64_t block)
{
	const struct pmem *pm = w->fs->pm;
	uint64_t start = block * DXF_BLOCK_SIZE, from = MAX(w->from, start);
	uint64_t to = MIN(w->to, start + DXF_BLOCK_SIZE);
	char *dst = pmem_at(pm, offset);
	int err = 0;

	if (from > start)
		err = zero_over(pm, dst, from - start);
	if (!err)
		err = store_over(pm, dst + (from - start), source(w, from), to - from);
	if (!err && to < start + DXF_BLOCK_SIZE)
		err = zero_over(pm, dst + (to - start), start + DXF_BLOCK_SIZE - to);
	return err;
}

static errint_t fill_part(const struct writing *w, uint64_t offset, uint64_t block)
{
	uint64_t start = block * DXF_BLOCK_SIZE, from = MAX(w->from, start);
	uint64_t to = MIN(w->to, start + DXF_BLOCK_SIZE);

	return store_over(w->fs->pm, pmem_at(w->fs->pm, offset + (from - start)), source(w, from),
			  to - from);
}

/* ---- blocks --------------------------------------------------------------- */

/* The last block is asked for first: it may turn a direct inode into one with a
 * table. */
errint_t block_words(struct tx *tx, struct dxf_inode *di, uint64_t first, uint64_t end,
		     uint64_t **ret_words)
{
	int err = table_word(tx, di, 0, end - 1, ret_words);

	return err ? err : table_word(tx, di, 0, first, ret_words);
}

static errint_t write_blocks(struct writing *w, uint64_t first, uint64_t end)
{
	uint64_t *word, offsets[DXF_UNIT_BLOCKS];
	unsigned holes = 0, next = 0;
	int err = block_words(w->tx, w->di, first, end, &word);

	for (uint64_t i = 0; !err && i < end - first; i++) {
		holes += !word[i];
		if (word[i] && !table_entry_is_right(w->fs->vol, w->tx, word[i], 0))
			err = -EUCLEAN;
	}
	if (!err && holes)
		err = alloc_blocks(w->tx, holes, offsets);
	for (uint64_t i = 0; !err && i < end - first; i++) {
		if (word[i] & DXF_ENTRY_WRITTEN) {
			err = fill_part(w, word[i] & DXF_ENTRY_OFFSET, first + i);
			continue;
		}
		if (!word[i]) {
			word[i] = offsets[next++];
			w->di->blocks++;
		}
		err = fill_block(w, word[i] & DXF_ENTRY_OFFSET, first + i);
		word[i] |= 1;
	}
	return err;
}

/* ---- units ---------------------------------------------------------------- */

/* The blocks [first, end) of the region that begins at block base. */
static errint_t write_unit(struct writing *w, uint64_t *word, uint64_t first, uint64_t end)
{
	uint64_t base = first / DXF_UNIT_BLOCKS * DXF_UNIT_BLOCKS;
	uint64_t had = *word & DXF_ENTRY_WRITTEN, start = base * DXF_BLOCK_SIZE;
	uint64_t from = MAX(w->from, start), to = MIN(w->to, end * DXF_BLOCK_SIZE);
	uint64_t fresh = start + had * DXF_BLOCK_SIZE; /* nothing is written from here on */
	char *unit = pmem_at(w->fs->pm, *word & DXF_ENTRY_OFFSET);
	uint64_t stop = end * DXF_BLOCK_SIZE;
	int err = 0;

	if (from > fresh)
		err = zero_over(w->fs->pm, unit + (fresh - start), from - fresh);
	if (!err)
		err = store_over(w->fs->pm, unit + (from - start), source(w, from), to - from);
	if (!err && end - base > had) {
		if (stop > to)
			err = zero_over(w->fs->pm, unit + (to - start), stop - to);
		*word = (*word & ~DXF_ENTRY_WRITTEN) | (end - base);
	}
	return err;
}

bool quota_has_unit(struct fs *fs, const struct dxf_inode *di)
{
	struct dxf_quota quota;

	return !di->project || quota_read(fs->vol, di->project, &quota) || !quota.block_limit ||
	       (quota.blocks <= quota.block_limit &&
		quota.block_limit - quota.blocks >= DXF_UNIT_BLOCKS + 8);
}

/* Copy the contents of the blocks into the unit; zeroes for holes below the last one. */
static errint_t gather(struct fs *fs, uint64_t unit, const uint64_t *entries, unsigned skip_from,
		       unsigned skip_to, unsigned *ret_written)
{
	unsigned last = 0;
	int err = 0;

	for (unsigned i = 0; i < DXF_UNIT_BLOCKS; i++)
		if (entries[i] & DXF_ENTRY_WRITTEN)
			last = i + 1;
	for (unsigned i = 0; !err && i < last; i++) {
		char *dst = pmem_at(fs->pm, unit + i * DXF_BLOCK_SIZE);
		char *src = pmem_at(fs->pm, entries[i] & DXF_ENTRY_OFFSET);

		if (i >= skip_from && i < skip_to)
			continue;
		if (entries[i] & DXF_ENTRY_WRITTEN) {
			err = pmem_probe(fs->pm, src, DXF_BLOCK_SIZE);
			if (!err)
				err = store_over(fs->pm, dst, src, DXF_BLOCK_SIZE);
		} else {
			err = zero_over(fs->pm, dst, DXF_BLOCK_SIZE);
		}
	}
	*ret_written = last;
	return err;
}

/* The region's blocks go, and its table; the word is empty afterwards. */
static errint_t drop_blocks(struct tx *tx, struct dxf_inode *di, uint64_t block,
			    const uint64_t *entries, uint64_t **ret_word)
{
	bool direct = di->data_format == DXF_DATA_DIRECT;
	int err;

	for (unsigned i = 0; i < DXF_UNIT_BLOCKS; i++) {
		if (entries[i]) {
			free_block(tx, entries[i] & DXF_ENTRY_OFFSET);
			di->blocks--;
		}
	}
	if (direct && block < DXF_UNIT_BLOCKS)
		memset(di->data, 0, sizeof(di->data));
	err = table_word(tx, di, 1, block, ret_word);
	if (!err && **ret_word)
		table_drop_leaf(tx, di, *ret_word);
	return err;
}

/* The unit where a file would be in one piece with the nearest unit that it has; 0: there is
 * none near. */
static uint64_t unit_goal(struct fs *fs, struct tx *tx, const struct dxf_inode *di, uint64_t block)
{
	uint64_t region = block / DXF_UNIT_BLOCKS, entry;

	for (uint64_t d = 1; d <= NEAR_REGIONS && di->blocks >= DXF_UNIT_BLOCKS; d++) {
		if (d <= region &&
		    !table_region(fs->vol, tx, di, (region - d) * DXF_UNIT_BLOCKS, &entry) &&
		    (entry & DXF_ENTRY_UNIT))
			return (entry & DXF_ENTRY_OFFSET) + d * DXF_UNIT_SIZE;
		if (!table_region(fs->vol, tx, di, (region + d) * DXF_UNIT_BLOCKS, &entry) &&
		    (entry & DXF_ENTRY_UNIT) && (entry & DXF_ENTRY_OFFSET) > d * DXF_UNIT_SIZE)
			return (entry & DXF_ENTRY_OFFSET) - d * DXF_UNIT_SIZE;
	}
	return 0;
}

/* How many units are likely to follow one for the region of `block`, itself included: up to the
 * file's size if that is known, and otherwise some times as many as it has, so that the pieces of a
 * large file are few, and a small one takes no room from large ones. */
static uint64_t unit_room(const struct dxf_inode *di, uint64_t block)
{
	uint64_t has = di->blocks / DXF_UNIT_BLOCKS, end = blocks_of(di->size);
	uint64_t known = end > block ? div_round_up(end - block, DXF_UNIT_BLOCKS) : 1;
	uint64_t guess = has ? ROOM_FACTOR * (has + 1) : 1;

	return MAX(known, guess);
}

/* Order: the blocks' copies, fence; then the caller's transaction switches and frees. */
errint_t promote_region(struct fs *fs, struct tx *tx, struct dxf_inode *di, uint64_t block,
			const uint64_t *entries, unsigned skip_from, unsigned skip_to,
			uint64_t **ret_word)
{
	unsigned written = 0;
	uint64_t unit;
	int err;

	if (!quota_has_unit(fs, di) || alloc_unit(tx, DXF_UNIT_DATA, unit_goal(fs, tx, di, block),
						  unit_room(di, block), &unit)) {
		*ret_word = NULL;
		return 0;
	}
	err = gather(fs, unit, entries, skip_from, skip_to, &written);
	if (!err)
		err = drop_blocks(tx, di, block, entries, ret_word);
	if (err)
		return err;
	tx_wrote_data(tx);
	**ret_word = unit | DXF_ENTRY_UNIT | written;
	di->blocks += DXF_UNIT_BLOCKS;
	atomic_fetch_add_explicit(&fs->units_promoted, 1, memory_order_relaxed);
	return 0;
}

/* ---- a region ------------------------------------------------------------- */

bool region_wants_unit(const struct dxf_inode *di, const uint64_t *entries, unsigned first,
		       unsigned end)
{
	unsigned used = 0;

	for (unsigned i = 0; i < DXF_UNIT_BLOCKS; i++)
		used += entries[i] || (i >= first && i < end);
	return used > GROW_BLOCKS ||
	       ((di->flags & DXF_FLAG_EXTSIZE) && di->extsize >= DXF_UNIT_SIZE);
}

bool region_may_move(const struct inode *inode, const uint64_t *entries)
{
	for (unsigned i = 0; inode->kept && i < DXF_UNIT_BLOCKS; i++)
		if (entries[i])
			return false;
	return true;
}

/* Blocks [first, end), all of one region. */
static errint_t write_region(struct writing *w, uint64_t first, uint64_t end)
{
	uint64_t entry, entries[DXF_TABLE_COUNT], *word;
	unsigned at = first % DXF_UNIT_BLOCKS, stop = at + (unsigned)(end - first);
	/* blocks that the write covers wholly need no copy of what was there */
	unsigned skip_from = at + (w->from > first * DXF_BLOCK_SIZE);
	unsigned skip_to = stop - (w->to < end * DXF_BLOCK_SIZE);
	int err = table_region(w->fs->vol, w->tx, w->di, first, &entry);

	if (err)
		return err;
	if (entry & DXF_ENTRY_UNIT) {
		err = table_word(w->tx, w->di, 1, first, &word);
		return err ? err : write_unit(w, word, first, end);
	}
	err = table_region_blocks(w->fs->vol, w->tx, w->di, first, entries);
	if (err)
		return err;
	if (region_may_move(w->inode, entries) && region_wants_unit(w->di, entries, at, stop)) {
		err = promote_region(w->fs, w->tx, w->di, first, entries, skip_from,
				     MAX(skip_from, skip_to), &word);
		if (err)
			return err;
		if (word) {
			w->inode->trim = true;
			return write_unit(w, word, first, end);
		}
	}
	return write_blocks(w, first, end);
}

/* ---- inline --------------------------------------------------------------- */

errint_t leave_inline(struct fs *fs, struct tx *tx, struct dxf_inode *di)
{
	char old[DXF_BLOCK_SIZE] = { 0 };
	uint64_t offset;
	int err;

	memcpy(old, di->data, sizeof(di->data));
	if (di->size) {
		err = alloc_blocks(tx, 1, &offset);
		if (err)
			return err;
		pmem_copy_nt(fs->pm, pmem_at(fs->pm, offset), old, sizeof(old));
		tx_wrote_data(tx);
		offset |= 1;
		di->blocks++;
	} else {
		offset = 0;
	}
	memset(di->data, 0, sizeof(di->data));
	memcpy(di->data, &offset, 8);
	di->data_format = DXF_DATA_DIRECT;
	return 0;
}

/* ---- a chunk -------------------------------------------------------------- */

/* Whether all of it lies on written blocks; then it is stored if `store`. */
static errint_t overwrite(struct fs *fs, const struct dxf_inode *media, const char *buf,
			  uint64_t from, uint64_t to, bool store, bool *ret_all)
{
	*ret_all = false;
	for (uint64_t at = from; at < to;) {
		uint64_t block = at / DXF_BLOCK_SIZE, in = at % DXF_BLOCK_SIZE, n;
		struct run run;
		int err = table_find(fs->vol, NULL, media, block, blocks_of(to) - block, &run);

		if (err || !run.written)
			return err;
		n = MIN(run.count * DXF_BLOCK_SIZE - in, to - at);
		if (store)
			err = store_over(fs->pm, pmem_at(fs->pm, run.offset + in),
					 buf + (at - from), n);
		if (err)
			return err;
		at += n;
	}
	*ret_all = true;
	return 0;
}

static errint_t edit_chunk(struct writing *w)
{
	int err = 0;

	if (w->di->data_format == DXF_DATA_INLINE) {
		if (w->to <= DXF_INLINE_MAX) {
			memcpy(w->di->data + w->from, w->buf, w->to - w->from);
			return 0;
		}
		err = leave_inline(w->fs, w->tx, w->di);
	}
	if (!err && w->from > w->di->size)
		err = zero_tail(w->fs, w->inode, w->tx, w->di, w->from);
	tx_wrote_data(w->tx);
	for (uint64_t block = w->from / DXF_BLOCK_SIZE, end = blocks_of(w->to);
	     !err && block < end;) {
		uint64_t stop = MIN(end, (block / DXF_UNIT_BLOCKS + 1) * DXF_UNIT_BLOCKS);

		err = write_region(w, block, stop);
		block = stop;
	}
	return err;
}

static errint_t write_chunk(struct fs *fs, struct inode *inode, const char *buf, uint64_t from,
			    uint64_t to, unsigned kill)
{
	struct dxf_inode *media = inode->media;
	struct writing w = { .fs = fs, .inode = inode, .buf = buf, .from = from, .to = to };
	bool in_place = false;
	int err = 0;

	if (to <= media->size && media->data_format != DXF_DATA_INLINE && !kill)
		err = overwrite(fs, media, buf, from, to, false, &in_place);
	if (err)
		return err;
	if (in_place) {
		err = overwrite(fs, media, buf, from, to, true, &in_place);
		touch_in_place(fs, inode);
		pmem_fence(fs->pm);
		return err;
	}
	err = edit_begin(fs, inode, &w.tx, &w.di);
	if (err)
		return err;
	err = edit_chunk(&w);
	w.di->size = MAX(w.di->size, to);
	w.di->mtime = w.di->ctime = fs_clock();
	if (kill)
		kill_suidgid(w.di, kill & FS_WRITE_KILL_SGID);
	return edit_end(w.tx, err);
}

/* flags, if there is something that they take away; else 0. */
static unsigned must_kill(const struct dxf_inode *media, unsigned flags)
{
	struct dxf_inode copy = { .mode = media->mode };

	return (flags & FS_WRITE_KILL_SUIDGID) && kill_suidgid(&copy, flags & FS_WRITE_KILL_SGID)
		       ? flags
		       : 0;
}

/* The length to try when n bytes at offset do not fit: about half, to the end of a block; 0: there
 * is no less. */
static size_t shorter(uint64_t offset, size_t n)
{
	uint64_t last = (offset + n - 1) / DXF_BLOCK_SIZE, first = offset / DXF_BLOCK_SIZE;

	return last == first ? 0 : ((first + last + 1) / 2) * DXF_BLOCK_SIZE - offset;
}

static ssize_t write_locked(struct fs *fs, struct inode *inode, const char *buf, size_t length,
			    uint64_t offset, unsigned flags)
{
	size_t done = 0;
	bool dropped;
	int err = drop_privileges_locked(fs, inode, 0, &dropped);

	lock_assert(LOCK_INODE);
	/* growth must not bring back blocks that a truncation could not free */
	if (!err && (inode->media->flags & DXF_FLAG_TRUNCATING))
		err = truncate_finish(fs, inode);
	if (err)
		return err;
	while (done < length) {
		size_t n = MIN(length - done, (size_t)CHUNK_BYTES);
		bool cut = false;

		for (;; n = shorter(offset + done, n), cut = true) {
			err = write_chunk(fs, inode, buf + done, offset + done, offset + done + n,
					  must_kill(inode->media, flags));
			if ((err != -ENOSPC && err != -EDQUOT) || !shorter(offset + done, n))
				break;
		}
		if (err)
			return done ? (ssize_t)done : err;
		done += n;
		if (cut) /* one transaction a call, so that a crash shows all of it or none */
			break;
	}
	return (ssize_t)done;
}

ssize_t write_part(struct fs *fs, const struct fs_request *request, uint64_t ino, const void *buf,
		   size_t length, uint64_t offset, unsigned flags, size_t before)
{
	struct inode *inode;
	ssize_t n = fs_is_read_only(fs) ? -EROFS : inode_lock(fs, ino, true, &inode);

	if (n)
		return n;
	if (!S_ISREG(inode->media->mode))
		n = S_ISDIR(inode->media->mode) ? -EISDIR : -EINVAL;
	else if (inode->media->flags & DXF_FLAG_IMMUTABLE)
		n = -EPERM;
	if (flags & FS_WRITE_APPEND)
		offset = inode->media->size;
	if (!n && (offset >= DXF_FILE_MAX || length > DXF_FILE_MAX - offset))
		n = -EFBIG;
	if (!n)
		n = write_locked(fs, inode, buf, length, offset, flags);
	if (n >= 0)
		tx_executed(once_of(request), (int64_t)before + n);
	inode_unlock(fs, inode);
	return n;
}

ssize_t fs_write(struct fs *fs, const struct fs_request *request, uint64_t ino, const void *buf,
		 size_t length, uint64_t offset, unsigned flags)
{
	return write_part(fs, request, ino, buf, length, offset, flags, 0);
}

/* ---- trim ----------------------------------------------------------------- */

/* Order: the blocks' copies, fence; then one transaction switches and frees. */
static errint_t unit_to_blocks(struct fs *fs, struct tx *tx, struct dxf_inode *di, uint64_t unit,
			       uint64_t blocks)
{
	uint64_t offsets[DXF_UNIT_BLOCKS], *word;
	int err = alloc_blocks(tx, (unsigned)blocks, offsets);

	if (err)
		return err;
	free_unit(tx, unit);
	di->blocks += blocks - DXF_UNIT_BLOCKS;
	memset(di->data, 0, sizeof(di->data));
	di->data_format = DXF_DATA_DIRECT;
	di->table_level = 0;
	err = block_words(tx, di, 0, blocks, &word);
	for (uint64_t i = 0; !err && i < blocks; i++) {
		char *src = pmem_at(fs->pm, unit + i * DXF_BLOCK_SIZE);

		err = pmem_probe(fs->pm, src, DXF_BLOCK_SIZE);
		if (err)
			break;
		pmem_copy_nt(fs->pm, pmem_at(fs->pm, offsets[i]), src, DXF_BLOCK_SIZE);
		word[i] = offsets[i] | 1;
	}
	tx_wrote_data(tx);
	return err;
}

void trim_inode(struct fs *fs, struct inode *inode)
{
	const struct dxf_inode *media = inode->media;
	uint64_t blocks = blocks_of(media->size), root;
	struct dxf_inode *di;
	struct tx *tx;
	int err;

	inode->trim = false;
	memcpy(&root, media->data, 8);
	if (media->data_format != DXF_DATA_TABLE || media->table_level ||
	    !(root & DXF_ENTRY_UNIT) || !blocks || blocks >= TRIM_BELOW ||
	    (root & DXF_ENTRY_WRITTEN) != blocks ||
	    ((media->flags & DXF_FLAG_EXTSIZE) && media->extsize >= DXF_UNIT_SIZE))
		return;
	/* A file of some size goes into holes that there are, and not into the last ones: a
	 * unit split for it would give up one to gain one. */
	if (blocks >= TRIM_ALWAYS && alloc_holes(fs->vol) < blocks + DXF_UNIT_BLOCKS)
		return;
	if (!alloc_is_unit(fs->vol, root & DXF_ENTRY_OFFSET) || edit_begin(fs, inode, &tx, &di))
		return;
	err = unit_to_blocks(fs, tx, di, root & DXF_ENTRY_OFFSET, blocks);
	if (edit_end(tx, err))
		return;
	atomic_fetch_add_explicit(&fs->units_trimmed, 1, memory_order_relaxed);
	if (fs->options.trimmed)
		fs->options.trimmed(fs->options.trimmed_arg, inode->ino);
}
