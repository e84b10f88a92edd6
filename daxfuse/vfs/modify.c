/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The filesystem's operations on files that may be mapped. Operations on a file that nobody maps go
 * straight to core.
 *
 * A request that core would refuse is refused before anybody is asked to let go of anything
 * (fs_may_setattr(), fs_may_fallocate()).
 *
 * Order, where extents go away:
 *   1. map_change_begin(): all mappers that can let go have, nobody faults any more
 *   2. hold pieces that are pinned all the same: they may be freed, but not given out
 *   3. the operation; who knows the size is told before a truncation, too (share_cut())
 *   4. pieces that a mapper keeps as part of the file, where they have stayed (fs_stay()), are
 *      zeroed in place
 *   5. map_change_end(): the held pieces belong to their pins now, and are free with the
 *      last one
 * If 3 fails, it may have come to a part of the range. So the engine is told that, and asks core
 * for each piece: a piece that is as before keeps its tags and pins, and is held no more.
 *
 * Order, where a file grows, with the grow lock held:
 *   1. map_grow(): bytes that mappers have stored behind the end are zeroed
 *   2. the operation
 *   3. fs_map_grown(): the part of a mapped unit that is in the file now counts as written
 * and when nobody has zeroes mapped any more, where bytes were written: who knows the size is told.
 */
#include <linux/falloc.h>
#include <stdatomic.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"

/* ---- extents that go away ------------------------------------------------------------- */

static void unhold_pieces(struct fs *fs, const struct map_change *change, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (!change->pinned[i].keep)
			fs_busy_clear(fs, change->pinned[i].device_offset,
				      change->pinned[i].length);
	}
}

/* Steps 1 and 2. */
static errint_t begin_change(struct vfs_file *file, enum map_change_kind kind, uint64_t offset,
			     uint64_t length, struct map_change *ret_change)
{
	struct fs *fs = file->vfs->config.fs;
	int err = map_change_begin(file->map, kind, offset, length, ret_change);

	for (unsigned i = 0; !err && i < ret_change->count; i++) {
		const struct map_pinned *piece = &ret_change->pinned[i];

		if (!piece->keep)
			err = fs_busy_insert(fs, piece->device_offset, piece->length);
		if (err) {
			unhold_pieces(fs, ret_change, i);
			map_change_end(ret_change, MAP_CHANGE_UNTOUCHED);
		}
	}
	return err;
}

/* Steps 4 and 5, after 3 has ended as err says. */
static errint_t end_change(struct vfs_file *file, struct map_change *change, int err)
{
	struct fs *fs = file->vfs->config.fs;
	int failed;

	if (err) {
		map_change_end(change, MAP_CHANGE_FAILED);
		return err;
	}
	for (unsigned i = 0; !err && i < change->count; i++) {
		const struct map_pinned *piece = &change->pinned[i];

		if (piece->keep)
			err = fs_map_zero(fs, file->ino, piece->file_offset, piece->length);
	}
	failed = map_change_end(change, MAP_CHANGE_MADE);
	return err ? err : failed;
}

/* ---- growth --------------------------------------------------------------------------- */

struct growth {
	bool grows; /* and the grow lock is held */
	uint64_t old_size;
};

errint_t vfs_still_locked(struct vfs_file *file, struct fs_attr *ret_attr)
{
	struct fs *fs = file->vfs->config.fs;
	int err = fs_tail_end(fs, file->ino);

	lock_assert(LOCK_GROW);
	return err ? err : fs_getattr(fs, file->ino, ret_attr);
}

/* A file that will end at `end`, if it ends before that now. */
static errint_t begin_growth(struct vfs_file *file, uint64_t end, struct growth *growth)
{
	struct fs *fs = file->vfs->config.fs;
	struct fs_attr attr;
	int err = fs_getattr(fs, file->ino, &attr);

	growth->grows = false;
	if (err || end <= attr.size)
		return err;
	lock_mutex(LOCK_GROW, &file->grow);
	err = vfs_still_locked(file, &attr);
	if (!err && end > attr.size)
		err = map_grow(file->map, attr.size);
	if (err || end <= attr.size) {
		unlock_mutex(LOCK_GROW, &file->grow);
		return err;
	}
	*growth = (struct growth){ true, attr.size };
	return 0;
}

/* Also after a failure, which may have come after the growth: if the file has not grown,
 * nothing happens. */
static errint_t end_growth(struct vfs_file *file, const struct growth *growth)
{
	int err;

	if (!growth->grows)
		return 0;
	err = fs_map_grown(file->vfs->config.fs, file->ino, growth->old_size);
	unlock_mutex(LOCK_GROW, &file->grow);
	return err;
}

/*
 * The file has grown over the end of a unit: a unit that could be mapped in pages only, as it
 * reached beyond the end, can be huge now. No lock is held; if it can't be had the pages stay.
 */
static void gather_grown(struct vfs_file *file, uint64_t old_size, uint64_t size)
{
	uint64_t unit = round_down(old_size, MAP_UNIT_SIZE);

	if (old_size != unit && size >= unit + MAP_UNIT_SIZE && vfs_is_worth_a_unit(file, unit))
		map_promote(file->map, unit);
}

/* ---- attributes ----------------------------------------------------------------------- */

static errint_t shrink_file(struct vfs_file *file, const struct fs_setattr *set,
			    struct fs_attr *ret_attr)
{
	struct map_change change;
	int err = fs_may_setattr(file->vfs->config.fs, file->ino, set);

	if (!err)
		err = begin_change(file, MAP_CHANGE_TRUNCATE, set->size, MAP_TO_END, &change);
	if (err)
		return err;
	share_cut(file->vfs, file->ino, set->size);
	return end_change(file, &change,
			  fs_setattr(file->vfs->config.fs, file->ino, set, ret_attr));
}

static errint_t grow_file(struct vfs_file *file, const struct fs_setattr *set, uint64_t old_size,
			  struct fs_attr *ret_attr)
{
	struct fs *fs = file->vfs->config.fs;
	int err = fs_setattr(fs, file->ino, set, ret_attr), failed = 0;

	if (set->size > old_size)
		failed = fs_map_grown(fs, file->ino, old_size);
	return err ? err : failed;
}

errint_t vfs_grow_locked(struct vfs_file *file, uint64_t size)
{
	const struct fs_setattr set = { .valid = FS_SET_SIZE, .size = size };
	struct fs_attr attr;
	int err = vfs_still_locked(file, &attr);

	if (err || attr.size >= size)
		return err;
	err = map_grow(file->map, attr.size);
	if (!err)
		err = grow_file(file, &set, attr.size, NULL);
	share_change(file->vfs, file->ino, UINT64_MAX);
	return err;
}

/* The grow lock is held over both directions: the other one must not come between. */
static errint_t set_file_size(struct vfs_file *file, const struct fs_setattr *set,
			      struct fs_attr *ret_attr)
{
	struct fs_attr attr;
	int err;

	lock_mutex(LOCK_GROW, &file->grow);
	err = vfs_still_locked(file, &attr);
	if (!err && set->size < attr.size) {
		err = shrink_file(file, set, ret_attr);
	} else if (!err) {
		if (set->size > attr.size)
			err = map_grow(file->map, attr.size);
		if (!err)
			err = grow_file(file, set, attr.size, ret_attr);
	}
	share_change(file->vfs, file->ino, UINT64_MAX);
	unlock_mutex(LOCK_GROW, &file->grow);
	if (!err)
		gather_grown(file, attr.size, set->size);
	return err;
}

static errint_t try_setattr(struct vfs *v, uint64_t ino, const struct fs_setattr *set,
			    struct fs_attr *ret_attr)
{
	struct vfs_file *file;
	int err;

	if (!(set->valid & FS_SET_SIZE))
		return fs_setattr(v->config.fs, ino, set, ret_attr);
	file = vfs_file_enter(v, ino);
	err = file ? set_file_size(file, set, ret_attr)
		   : fs_setattr(v->config.fs, ino, set, ret_attr);
	if (!file)
		share_change(v, ino, UINT64_MAX);
	vfs_file_leave(v, ino, file);
	return err;
}

/* Of chown and truncate. */
static unsigned kills_sgid(struct vfs *v, const struct vfs_request *request, uint64_t ino,
			   unsigned valid)
{
	struct fs_attr attr;

	if (!(valid & FS_SET_KILL_SUIDGID) || request->who.uid == 0 ||
	    fs_getattr(v->config.fs, ino, &attr))
		return 0;
	return kills_of(request, &attr) & FS_WRITE_KILL_SGID ? FS_SET_KILL_SGID : 0;
}

errint_t vfs_setattr(struct vfs *v, const struct vfs_request *request, uint64_t ino,
		     const struct fs_setattr *set, struct fs_attr *ret_attr)
{
	struct vfs_retry retry = { false };
	struct fs_setattr all = *set;
	int err;

	all.valid |= kills_sgid(v, request, ino, set->valid);
	share_times(v, ino);
	do {
		err = try_setattr(v, ino, &all, ret_attr);
	} while (vfs_reclaims(v, &retry, err));
	if (set->valid & FS_SET_MODE)
		share_mode(v, ino);
	if (set->valid & FS_SET_SIZE)
		vfs_note(v, ino, DXF_WATCH_SIZE | DXF_WATCH_ATTR, set->size, UINT64_MAX);
	else
		vfs_note(v, ino, DXF_WATCH_ATTR, 0, 0);
	return err;
}

/* Whether the caller may say so is asked only if the project would change. */
static errint_t set_xflags(struct vfs *v, const struct vfs_request *request, uint64_t ino,
			   const struct fs_xflags *xflags)
{
	struct fs_xflags wanted = *xflags;
	int err;

	wanted.same_project = request->foreign || !v->config.owners_set_projects;
	if (request->foreign)
		wanted.fixed = DXF_FLAG_IMMUTABLE | DXF_FLAG_APPEND;
	err = fs_set_xflags(v->config.fs, ino, &wanted);
	if (err != -EPERM || request->foreign || !wanted.same_project ||
	    !request->is_administrator(request))
		return err;
	wanted.same_project = false;
	return fs_set_xflags(v->config.fs, ino, &wanted);
}

/* Programs that may store to it have to ask again. A fault of a view looks at the flags, and
 * grants, with the grow lock held: one that has looked before has granted when we get it. */
static errint_t protect_immutable(struct vfs_file *file)
{
	lock_mutex(LOCK_GROW, &file->grow);
	unlock_mutex(LOCK_GROW, &file->grow);
	return map_protect(file->map, 0, MAP_TO_END);
}

errint_t vfs_set_xflags(struct vfs *v, const struct vfs_request *request, uint64_t ino,
			const struct fs_xflags *xflags)
{
	struct vfs_file *file = vfs_file_enter(v, ino);
	struct fs_attr old;
	int err = file ? fs_getattr(v->config.fs, ino, &old) : 0;

	/* kernel views don't care: what has one goes past the cache in any case */
	if (!err && file && atomic_load(&file->mappers) &&
	    ((old.flags ^ xflags->flags) & DXF_FLAG_DAX))
		err = -EBUSY;
	if (!err)
		err = set_xflags(v, request, ino, xflags);
	if (!err && file && (xflags->flags & ~old.flags & DXF_FLAG_IMMUTABLE))
		err = protect_immutable(file);
	vfs_file_leave(v, ino, file);
	vfs_note(v, ino, DXF_WATCH_ATTR, 0, 0);
	return err;
}

/* ---- writing -------------------------------------------------------------------------- */

static uint64_t end_of(uint64_t offset, uint64_t length)
{
	return length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
}

/* The end of both writers: n is their result, of length. A failure may have filled holes that
 * somebody reads zeroes of. */
static ssize_t end_write(struct vfs_file *file, const struct growth *growth, uint64_t offset,
			 uint64_t length, ssize_t n)
{
	int err = end_growth(file, growth);

	if (!err)
		err = map_wrote(file->map, offset, n < 0 ? length : (uint64_t)n);
	if (n > 0 && growth->grows)
		gather_grown(file, growth->old_size, offset + (uint64_t)n);
	return err && n >= 0 ? err : n;
}

/* Even one that failed may have come to a part of it. */
static void note_written(struct vfs *v, uint64_t ino, uint64_t offset, ssize_t n)
{
	vfs_note(v, ino, DXF_WATCH_DATA | DXF_WATCH_SIZE, offset, n > 0 ? (uint64_t)n : UINT64_MAX);
}

static ssize_t try_write(struct vfs *v, const struct fs_request *request, uint64_t ino,
			 const void *buf, size_t length, uint64_t offset, unsigned flags)
{
	struct vfs_file *file = vfs_file_enter(v, ino);
	struct growth growth = { false, 0 };
	ssize_t n = file ? begin_growth(file, end_of(offset, length), &growth) : 0;

	if (!n) {
		n = fs_write(v->config.fs, request, ino, buf, length, offset, flags);
		if (file)
			n = end_write(file, &growth, offset, length, n);
		share_change(v, ino, end_of(offset, length));
	}
	vfs_file_leave(v, ino, file);
	return n;
}

/* A write that took suid or sgid away changed the mode, which the transport has cached; it must
 * know before the writer goes on. */
static void tell_mode(struct vfs *v, const struct vfs_request *request, uint64_t ino,
		      uint32_t old_mode)
{
	struct fs_attr attr;

	if (request->repeated ||
	    (fs_getattr(v->config.fs, ino, &attr) == 0 && attr.mode != old_mode))
		vfs_forget_cached(v, ino, false);
}

/* FS_WRITE_KILL_*: what a write takes away; 0: nothing. An earlier process may have taken it away,
 * and died before it could say so. */
static unsigned kills_of_write(struct vfs *v, const struct vfs_request *request, uint64_t ino,
			       unsigned flags, uint32_t *ret_mode)
{
	struct fs_attr attr = { .mode = 06000 };
	int err;

	if (!(flags & VFS_WRITE_KILL_SUIDGID))
		return 0;
	err = fs_getattr(v->config.fs, ino, &attr);
	*ret_mode = attr.mode;
	if (!request->repeated && (err || !(attr.mode & 06000)))
		return 0;
	return kills_of(request, &attr);
}

ssize_t vfs_write(struct vfs *v, const struct vfs_request *request,
		  const struct vfs_open_file *file, const void *buf, size_t length, uint64_t offset,
		  unsigned flags)
{
	struct vfs_retry retry = { false };
	uint32_t mode = 0;
	unsigned kills;
	int64_t done;
	ssize_t n;

	if ((file->may & VFS_ONLY_APPENDS) && !(flags & VFS_WRITE_APPENDS))
		return -EPERM;
	kills = kills_of_write(v, request, file->ino, flags, &mode);
	if (answer_is_known(request, &done)) {
		n = (ssize_t)done;
	} else {
		do {
			n = try_write(v, &request->who, file->ino, buf, length, offset, kills);
		} while (vfs_reclaims(v, &retry, n));
		note_written(v, file->ino, offset, n);
	}
	if (kills)
		tell_mode(v, request, file->ino, mode);
	return n;
}

static ssize_t try_copy_range(struct vfs *v, const struct fs_request *request, uint64_t in,
			      uint64_t in_offset, uint64_t out, uint64_t out_offset, size_t length)
{
	struct vfs_file *file = vfs_file_enter(v, out);
	struct growth growth = { false, 0 };
	ssize_t n = file ? begin_growth(file, end_of(out_offset, length), &growth) : 0;

	if (!n) {
		n = fs_copy_range(v->config.fs, request, in, in_offset, out, out_offset, length);
		if (file)
			n = end_write(file, &growth, out_offset, length, n);
		share_change(v, out, end_of(out_offset, length));
	}
	vfs_file_leave(v, out, file);
	return n;
}

ssize_t vfs_copy_range(struct vfs *v, const struct vfs_request *request, uint64_t in,
		       uint64_t in_offset, const struct vfs_open_file *out, uint64_t out_offset,
		       size_t length)
{
	struct vfs_retry retry = { false };
	ssize_t n = out->may & VFS_ONLY_APPENDS ? -EPERM : drop_privileges(v, request, out->ino);
	int64_t done;

	if (answer_is_known(request, &done)) {
		n = (ssize_t)done;
	} else if (n) {
		return n;
	} else {
		do {
			n = try_copy_range(v, &request->who, in, in_offset, out->ino, out_offset,
					   length);
		} while (vfs_reclaims(v, &retry, n));
	}
	note_written(v, out->ino, out_offset, n);
	/* the transport does not know that this is a read, too */
	vfs_forget_cached(v, in, false);
	return n;
}

/* ---- fallocate ------------------------------------------------------------------------ */

static errint_t punch_file(struct vfs_file *file, const struct fs_request *request, int mode,
			   uint64_t offset, uint64_t length)
{
	struct map_change change;
	int err = begin_change(file, MAP_CHANGE_PUNCH, offset, length, &change);

	if (err)
		return err;
	return end_change(file, &change,
			  fs_fallocate(file->vfs->config.fs, request, file->ino, mode, offset,
				       length));
}

/* Collapse and insert build the whole file anew, and change its size: a thread that zeroes behind
 * the end must not have looked at it before. */
static errint_t shift_file(struct vfs_file *file, const struct fs_request *request, int mode,
			   uint64_t offset, uint64_t length)
{
	struct map_change change;
	int err;

	lock_mutex(LOCK_GROW, &file->grow);
	err = begin_change(file, MAP_CHANGE_MOVE, 0, MAP_TO_END, &change);
	if (!err)
		err = end_change(file, &change,
				 fs_fallocate(file->vfs->config.fs, request, file->ino, mode,
					      offset, length));
	share_change(file->vfs, file->ino, UINT64_MAX);
	unlock_mutex(LOCK_GROW, &file->grow);
	return err;
}

static errint_t reserve_range(struct vfs_file *file, const struct fs_request *request, int mode,
			      uint64_t offset, uint64_t length)
{
	struct growth growth = { false, 0 };
	uint64_t grown = mode & FALLOC_FL_KEEP_SIZE ? 0 : end_of(offset, length);
	int err = begin_growth(file, grown, &growth), failed;

	if (err)
		return err;
	err = fs_fallocate(file->vfs->config.fs, request, file->ino, mode, offset, length);
	share_change(file->vfs, file->ino, grown);
	failed = end_growth(file, &growth);
	if (!err && growth.grows)
		gather_grown(file, growth.old_size, grown);
	return err ? err : failed;
}

enum { SHIFTS = FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE };

static errint_t try_fallocate(struct vfs *v, const struct fs_request *request, uint64_t ino,
			      int mode, uint64_t offset, uint64_t length)
{
	struct vfs_file *file = vfs_file_enter(v, ino);
	int err = file ? fs_may_fallocate(v->config.fs, ino, mode, offset, length) : 0;

	if (!file)
		err = fs_fallocate(v->config.fs, request, ino, mode, offset, length);
	else if (!err && (mode & SHIFTS))
		err = shift_file(file, request, mode, offset, length);
	else if (!err && (mode & FALLOC_FL_PUNCH_HOLE))
		err = punch_file(file, request, mode, offset, length);
	else if (!err)
		err = reserve_range(file, request, mode, offset, length);
	if (!file)
		share_change(v, ino, UINT64_MAX);
	vfs_file_leave(v, ino, file);
	return err;
}

static errint_t fallocate_once(struct vfs *v, const struct vfs_request *request, uint64_t ino,
			       int mode, uint64_t offset, uint64_t length)
{
	struct vfs_retry retry = { false };
	int64_t result;
	int err;

	if (answer_is_known(request, &result))
		return drop_privileges(v, request, ino);
	err = fs_may_fallocate(v->config.fs, ino, mode, offset, length);
	if (!err)
		err = drop_privileges(v, request, ino);
	if (err)
		return err;
	do {
		err = try_fallocate(v, &request->who, ino, mode, offset, length);
	} while (vfs_reclaims(v, &retry, err));
	return err;
}

errint_t vfs_fallocate(struct vfs *v, const struct vfs_request *request, uint64_t ino, int mode,
		       uint64_t offset, uint64_t length)
{
	int err = fallocate_once(v, request, ino, mode, offset, length);

	if (mode & SHIFTS)
		vfs_note(v, ino, DXF_WATCH_DATA | DXF_WATCH_SIZE, 0, UINT64_MAX);
	else
		vfs_note(v, ino, DXF_WATCH_DATA | DXF_WATCH_SIZE, offset, length);
	return err;
}

/* ---- realigning ----------------------------------------------------------------------- */

/* One unit at a time: a mapper that begins with the file waits for the one under way. */
errint_t vfs_promote(struct vfs *v, uint64_t ino, uint64_t offset)
{
	struct vfs_file *file = vfs_file_enter(v, ino);
	int err = file ? map_promote(file->map, offset) : fs_map_promote(v->config.fs, ino, offset);

	vfs_file_leave(v, ino, file);
	return err;
}

errint_t vfs_realign(struct vfs *v, uint64_t ino, uint64_t *offset, bool *ret_moved)
{
	struct vfs_file *file = vfs_file_enter(v, ino);
	bool found;
	int err;

	if (!file) {
		err = fs_realign(v->config.fs, ino, offset, ret_moved);
	} else {
		*ret_moved = false;
		err = fs_find_scattered(v->config.fs, ino, offset, &found);
		if (!err && found) {
			err = map_promote(file->map, *offset);
			*ret_moved = !err;
			*offset += MAP_UNIT_SIZE;
		}
		if (err == -ENXIO) /* it was cut off meanwhile */
			err = 0;
	}
	vfs_file_leave(v, ino, file);
	return err;
}

/* ---- fsync ---------------------------------------------------------------------------- */

/* All that a file has on the device. */
static errint_t flush_file(struct vfs *v, uint64_t ino)
{
	const struct pmem *pm = fs_pmem(v->config.fs);
	uint64_t at = 0, steps = 0;
	struct fs_attr attr;
	int err = fs_getattr(v->config.fs, ino, &attr);

	if (!err)
		err = fs_iomap_steps(v->config.fs, ino, &steps);
	while (!err && at < attr.size) {
		struct fs_iomap map;

		err = steps-- ? fs_iomap(v->config.fs, ino, at, attr.size - at, &map) : -EUCLEAN;
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
 * An earlier process knew which ranges were dirty, and a program may have let go of them before it
 * died: lines of theirs may be in the caches still. So the first fsync of a file flushes all of it,
 * and likewise the next one of a file whose place in `flushed` another file has taken meanwhile.
 */
static errint_t flush_once(struct vfs *v, uint64_t ino)
{
	_Atomic uint64_t *slot = &v->flushed[ino % FLUSHED_SLOTS];
	int err;

	if (v->config.life <= 1 || atomic_load_explicit(slot, memory_order_relaxed) == ino)
		return 0;
	err = flush_file(v, ino);
	if (!err)
		atomic_store_explicit(slot, ino, memory_order_relaxed);
	return err;
}

errint_t vfs_fsync(struct vfs *v, uint64_t ino)
{
	struct vfs_file *file = vfs_file_find(v, ino);
	int err = flush_once(v, ino), failed = 0;

	if (file) {
		failed = map_writeback(file->map, 0, MAP_TO_END);
		vfs_file_put(file);
	}
	return err ? err : failed;
}
