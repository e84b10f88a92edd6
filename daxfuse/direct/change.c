/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The filesystem's operations on files that may be mapped. What nobody maps goes straight
 * to core.
 *
 * What core would refuse is refused before anybody is asked to let go of anything
 * (fs_may_setattr(), fs_may_fallocate()).
 *
 * Order, where extents go away:
 *   1. map_change_begin(): who can let go has, nobody faults any more
 *   2. hold what is pinned all the same: it may be freed, but not given out
 *   3. the operation
 *   4. what a mapper keeps as part of the file is zeroed in place
 *   5. map_change_end(): the held pieces belong to their pins now, and are free with the
 *      last one
 * If 3 fails, it may have come to a part of the range. So the engine is told that, and asks
 * core for each piece: what is as before keeps its tags and pins, and is held no more.
 *
 * Order, where a file grows, with the grow lock held:
 *   1. map_grow(): what mappers have stored behind the end is zeroed
 *   2. the operation
 *   3. fs_map_grown(): what is in the file now, of a unit that is mapped, counts as written
 */
#include <linux/falloc.h>

#include "internal.h"

/* ---- extents that go away ------------------------------------------------------------ */

static void unhold(struct fs *fs, const struct map_change *change, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (!change->pinned[i].keep)
			fs_unhold(fs, change->pinned[i].device_offset, change->pinned[i].length);
	}
}

/* Steps 1 and 2. */
static int begin(struct file *file, enum map_change_kind kind, uint64_t offset, uint64_t length,
		 struct map_change *ret_change)
{
	struct fs *fs = file->d->config.fs;
	int err = map_change_begin(file->map, kind, offset, length, ret_change);

	for (unsigned i = 0; !err && i < ret_change->count; i++) {
		const struct map_pinned *piece = &ret_change->pinned[i];

		if (!piece->keep)
			err = fs_hold(fs, piece->device_offset, piece->length);
		if (err) {
			unhold(fs, ret_change, i);
			map_change_end(ret_change, MAP_CHANGE_UNTOUCHED);
		}
	}
	return err;
}

/* Steps 4 and 5, after 3 has ended as err says. */
static int end(struct file *file, struct map_change *change, int err)
{
	struct fs *fs = file->d->config.fs;
	int failed;

	if (err) {
		map_change_end(change, MAP_CHANGE_FAILED);
		return err;
	}
	for (unsigned i = 0; !err && i < change->count; i++) {
		const struct map_pinned *piece = &change->pinned[i];

		if (piece->keep && change->kind == MAP_CHANGE_PUNCH)
			err = fs_map_zero(fs, file->ino, piece->file_offset, piece->length);
	}
	failed = map_change_end(change, MAP_CHANGE_MADE);
	return err ? err : failed;
}

/* ---- growth ---------------------------------------------------------------------------- */

struct growth {
	bool grows;        /* and the grow lock is held */
	uint64_t old_size;
};

/* A file that will end at `end`, if it ends before that now. */
static int grow_begin(struct file *file, uint64_t end, struct growth *growth)
{
	struct fs *fs = file->d->config.fs;
	struct fs_attr attr;
	int err = fs_getattr(fs, file->ino, &attr);

	growth->grows = false;
	if (err || end <= attr.size)
		return err;
	pthread_mutex_lock(&file->grow);
	err = fs_getattr(fs, file->ino, &attr);
	if (!err && end > attr.size)
		err = map_grow(file->map, attr.size);
	if (err || end <= attr.size) {
		pthread_mutex_unlock(&file->grow);
		return err;
	}
	*growth = (struct growth){ true, attr.size };
	return 0;
}

/* Also after a failure, which may have come after the growth: if the file has not grown,
 * nothing happens. */
static int grow_end(struct file *file, const struct growth *growth)
{
	int err;

	if (!growth->grows)
		return 0;
	err = fs_map_grown(file->d->config.fs, file->ino, growth->old_size);
	pthread_mutex_unlock(&file->grow);
	return err;
}

/*
 * The file has grown over the end of a unit: what could be mapped in pages only, as the unit
 * reached beyond the end, can be huge now. No lock is held; if it can't be had the pages
 * stay.
 */
static void gather_grown(struct file *file, uint64_t old_size, uint64_t size)
{
	uint64_t unit = round_down(old_size, MAP_UNIT_SIZE);

	if (old_size != unit && size >= unit + MAP_UNIT_SIZE && is_worth_a_unit(file, unit))
		map_promote(file->map, unit);
}

/* ---- attributes -------------------------------------------------------------------------- */

static int shrink(struct file *file, const struct fs_setattr *set, struct fs_attr *ret_attr)
{
	struct map_change change;
	int err = fs_may_setattr(file->d->config.fs, file->ino, set);

	if (!err)
		err = begin(file, MAP_CHANGE_TRUNCATE, set->size, MAP_TO_END, &change);
	if (err)
		return err;
	return end(file, &change, fs_setattr(file->d->config.fs, file->ino, set, ret_attr));
}

static int grow(struct file *file, const struct fs_setattr *set, uint64_t old_size,
		struct fs_attr *ret_attr)
{
	struct fs *fs = file->d->config.fs;
	int err = fs_setattr(fs, file->ino, set, ret_attr), failed = 0;

	if (set->size > old_size)
		failed = fs_map_grown(fs, file->ino, old_size);
	return err ? err : failed;
}

/* The grow lock is held over both directions: the other one must not come between. */
static int set_size(struct file *file, const struct fs_setattr *set, struct fs_attr *ret_attr)
{
	struct fs *fs = file->d->config.fs;
	struct fs_attr attr;
	int err;

	pthread_mutex_lock(&file->grow);
	err = fs_getattr(fs, file->ino, &attr);
	if (!err && set->size < attr.size) {
		err = shrink(file, set, ret_attr);
	} else if (!err) {
		if (set->size > attr.size)
			err = map_grow(file->map, attr.size);
		if (!err)
			err = grow(file, set, attr.size, ret_attr);
	}
	pthread_mutex_unlock(&file->grow);
	if (!err)
		gather_grown(file, attr.size, set->size);
	return err;
}

int direct_setattr(struct direct *d, uint64_t ino, const struct fs_setattr *set,
		   struct fs_attr *ret_attr)
{
	struct file *file;
	int err;

	if (!(set->valid & FS_SET_SIZE)) {
		err = fs_setattr(d->config.fs, ino, set, ret_attr);
		direct_note(d, ino, DXF_WATCH_ATTR, 0, 0);
		return err;
	}
	file = file_enter(d, ino);
	err = file ? set_size(file, set, ret_attr) : fs_setattr(d->config.fs, ino, set, ret_attr);
	file_leave(d, ino, file);
	direct_note(d, ino, DXF_WATCH_SIZE | DXF_WATCH_ATTR, set->size, UINT64_MAX);
	return err;
}

int direct_set_xflags(struct direct *d, uint64_t ino, const struct fs_xflags *xflags)
{
	struct file *file = file_enter(d, ino);
	struct fs_xflags old;
	int err = file ? fs_get_xflags(d->config.fs, ino, &old) : 0;

	if (!err && file && ((old.flags ^ xflags->flags) & DXF_FLAG_DAX))
		err = -EBUSY;
	if (!err)
		err = fs_set_xflags(d->config.fs, ino, xflags);
	file_leave(d, ino, file);
	direct_note(d, ino, DXF_WATCH_ATTR, 0, 0);
	return err;
}

/* ---- writing ------------------------------------------------------------------------------- */

static uint64_t end_of(uint64_t offset, uint64_t length)
{
	return length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
}

/* What both writers do after their work: n is what they return, of length. A failure may
 * have filled holes that somebody reads zeroes of. */
static ssize_t wrote(struct file *file, const struct growth *growth, uint64_t offset, uint64_t length,
		     ssize_t n)
{
	int err = grow_end(file, growth);

	if (!err)
		err = map_wrote(file->map, offset, n < 0 ? length : (uint64_t)n);
	if (n > 0 && growth->grows)
		gather_grown(file, growth->old_size, offset + (uint64_t)n);
	return err && n >= 0 ? err : n;
}

/* Even one that failed may have come to a part of it. */
static void note_written(struct direct *d, uint64_t ino, uint64_t offset, ssize_t n)
{
	direct_note(d, ino, DXF_WATCH_DATA | DXF_WATCH_SIZE, offset, n > 0 ? (uint64_t)n : UINT64_MAX);
}

ssize_t direct_write(struct direct *d, const struct fs_request *request, uint64_t ino,
		     const void *buf, size_t length, uint64_t offset, unsigned flags)
{
	struct file *file = file_enter(d, ino);
	struct growth growth = { false, 0 };
	ssize_t n = file ? grow_begin(file, end_of(offset, length), &growth) : 0;

	if (!n) {
		n = fs_write(d->config.fs, request, ino, buf, length, offset, flags);
		if (file)
			n = wrote(file, &growth, offset, length, n);
	}
	file_leave(d, ino, file);
	note_written(d, ino, offset, n);
	return n;
}

ssize_t direct_copy_range(struct direct *d, uint64_t in, uint64_t in_offset, uint64_t out,
			  uint64_t out_offset, size_t length)
{
	struct file *file = file_enter(d, out);
	struct growth growth = { false, 0 };
	ssize_t n = file ? grow_begin(file, end_of(out_offset, length), &growth) : 0;

	if (!n) {
		n = fs_copy_range(d->config.fs, in, in_offset, out, out_offset, length);
		if (file)
			n = wrote(file, &growth, out_offset, length, n);
	}
	file_leave(d, out, file);
	note_written(d, out, out_offset, n);
	return n;
}

/* ---- fallocate ------------------------------------------------------------------------------- */

static int punch(struct file *file, int mode, uint64_t offset, uint64_t length)
{
	struct map_change change;
	int err = begin(file, MAP_CHANGE_PUNCH, offset, length, &change);

	if (err)
		return err;
	return end(file, &change, fs_fallocate(file->d->config.fs, NULL, file->ino, mode, offset, length));
}

/* Collapse and insert build the whole file anew, and change its size: who zeroes what is behind
 * the end must not have looked at it before. */
static int shift(struct file *file, const struct fs_request *request, int mode, uint64_t offset,
		 uint64_t length)
{
	struct map_change change;
	int err;

	pthread_mutex_lock(&file->grow);
	err = begin(file, MAP_CHANGE_MOVE, 0, MAP_TO_END, &change);
	if (!err)
		err = end(file, &change,
			  fs_fallocate(file->d->config.fs, request, file->ino, mode, offset, length));
	pthread_mutex_unlock(&file->grow);
	return err;
}

static int reserve(struct file *file, int mode, uint64_t offset, uint64_t length)
{
	struct growth growth = { false, 0 };
	uint64_t grown = mode & FALLOC_FL_KEEP_SIZE ? 0 : end_of(offset, length);
	int err = grow_begin(file, grown, &growth), failed;

	if (err)
		return err;
	err = fs_fallocate(file->d->config.fs, NULL, file->ino, mode, offset, length);
	failed = grow_end(file, &growth);
	if (!err && growth.grows)
		gather_grown(file, growth.old_size, grown);
	return err ? err : failed;
}

int direct_fallocate(struct direct *d, const struct fs_request *request, uint64_t ino, int mode,
		     uint64_t offset, uint64_t length)
{
	const int shifts = FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE;
	struct file *file = file_enter(d, ino);
	int err = file ? fs_may_fallocate(d->config.fs, ino, mode, offset, length) : 0;

	if (!file)
		err = fs_fallocate(d->config.fs, request, ino, mode, offset, length);
	else if (!err && (mode & shifts))
		err = shift(file, request, mode, offset, length);
	else if (!err && (mode & FALLOC_FL_PUNCH_HOLE))
		err = punch(file, mode, offset, length);
	else if (!err)
		err = reserve(file, mode, offset, length);
	file_leave(d, ino, file);
	if (mode & shifts)
		direct_note(d, ino, DXF_WATCH_DATA | DXF_WATCH_SIZE, 0, UINT64_MAX);
	else
		direct_note(d, ino, DXF_WATCH_DATA | DXF_WATCH_SIZE, offset, length);
	return err;
}

/* ---- realigning ---------------------------------------------------------------------------------- */

int direct_realign(struct direct *d, uint64_t ino, uint64_t *offset, bool *ret_moved)
{
	struct file *file = file_enter(d, ino);
	bool found;
	int err;

	if (!file) {
		err = fs_realign(d->config.fs, ino, offset, ret_moved);
	} else {
		*ret_moved = false;
		err = fs_find_scattered(d->config.fs, ino, offset, &found);
		if (!err && found) {
			err = map_promote(file->map, *offset);
			*ret_moved = !err;
			*offset += MAP_UNIT_SIZE;
		}
		if (err == -ENXIO) /* it was cut off meanwhile */
			err = 0;
	}
	file_leave(d, ino, file);
	return err;
}

/* ---- fsync --------------------------------------------------------------------------------------- */

/* All that a file has on the device. */
static int flush_file(struct direct *d, uint64_t ino)
{
	const struct pmem *pm = fs_pmem(d->config.fs);
	uint64_t at = 0;
	struct fs_attr attr;
	int err = fs_getattr(d->config.fs, ino, &attr);

	while (!err && at < attr.size) {
		struct fs_iomap map;

		err = fs_iomap(d->config.fs, ino, at, attr.size - at, &map);
		if (err || !map.length)
			break;
		if (map.kind == FS_IOMAP_MAPPED)
			pmem_flush(pm, pmem_at(pm, map.device_offset), map.length);
		at += map.length;
	}
	pmem_fence(pm);
	return err;
}

/*
 * An earlier process knew which ranges were dirty, and a program may have let go of them
 * before it died: lines of theirs may be in the caches still. So the first fsync of a file
 * flushes all of it, and so does one whose place was taken by another file meanwhile.
 */
static int flush_once(struct direct *d, uint64_t ino)
{
	uint64_t *slot = &d->flushed[ino % FLUSHED_SLOTS];
	int err;

	if (d->config.life <= 1 || __atomic_load_n(slot, __ATOMIC_RELAXED) == ino)
		return 0;
	err = flush_file(d, ino);
	if (!err)
		__atomic_store_n(slot, ino, __ATOMIC_RELAXED);
	return err;
}

int direct_fsync(struct direct *d, uint64_t ino)
{
	struct file *file = file_find(d, ino);
	int err = flush_once(d, ino), failed = 0;

	if (file) {
		failed = map_writeback(file->map, 0, MAP_TO_END);
		file_put(file);
	}
	return err ? err : failed;
}
