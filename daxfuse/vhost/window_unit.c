/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files that have units in a window, and the engine's side of a unit: its pin, and that core
 * leaves it in its file (fs_stay()).
 */
#include <fcntl.h>
#include <stdlib.h>

#include "daxfuse/base/lockrank.h"
#include "window_state.h"

/* ---- files --------------------------------------------------------------------------------- */

static struct window_file **file_place(struct window *w, uint64_t ino)
{
	struct window_file **at = &w->files[ino % FILE_BUCKETS];

	while (*at && (*at)->ino != ino)
		at = &(*at)->next;
	return at;
}

/* As a guest's root: what must not be written to can't be opened so. */
static errint_t open_file(struct window *w, struct window_file *f, bool mapped)
{
	const struct vfs_request request = { .who = { .in_group = true } };
	int flags = (w->config.read_only ? O_RDONLY : O_RDWR) | O_DIRECT | O_NOATIME;
	struct vfs_opened opened;
	struct vfs_open_file open;
	int err = vfs_open_inode(w->config.vfs, &request, f->ino, flags, false, &opened);

	if (err)
		return err;
	open = (struct vfs_open_file){ .ino = f->ino, .handle = opened.handle };
	err = opened.only_appends ? -EPERM
	      : mapped            ? 0
				  : vfs_may_map(w->config.vfs, &open, &opened.attr);
	if (err)
		vfs_cancel_open(w->config.vfs, &opened);
	else
		f->handle = opened.handle;
	return err;
}

static errint_t view_file(struct window *w, struct window_file *f)
{
	int err = vfs_file_get(w->config.vfs, f->ino, &f->file);

	if (err)
		return err;
	err = map_view_open(f->file->map, &w->ops, f, &f->view);
	if (err)
		vfs_file_put(f->file);
	else
		atomic_fetch_add(&f->file->mappers, 1);
	return err;
}

/* mapped: it is already, since an earlier process had it. */
errint_t window_get_file(struct window *w, uint64_t ino, bool mapped, struct window_file **ret_file)
{
	struct window_file **at = file_place(w, ino), *f = *at;
	int err;

	if (f) {
		*ret_file = f;
		return 0;
	}
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->ino = ino;
	err = open_file(w, f, mapped);
	if (!err) {
		err = view_file(w, f);
		if (err)
			vfs_release(w->config.vfs, ino, f->handle);
	}
	if (err) {
		free(f);
		return err;
	}
	*at = f;
	add_to(&w->file_count, 1);
	*ret_file = f;
	return 0;
}

/* Without units it is closed; stores through it are made durable with its last mapper. */
void window_put_file(struct window *w, struct window_file *f)
{
	struct vfs *vfs = w->config.vfs;

	if (f->units)
		return;
	*file_place(w, f->ino) = f->next;
	map_view_close(f->view);
	if (atomic_fetch_sub(&f->file->mappers, 1) == 1)
		map_writeback(f->file->map, 0, MAP_TO_END);
	if (f->wrote)
		vfs_forget_cached(vfs, f->ino, true);
	vfs_file_put(f->file);
	vfs_release(vfs, f->ino, f->handle);
	atomic_fetch_sub_explicit(&w->file_count, 1, memory_order_relaxed);
	f->next = w->closed;
	w->closed = f;
}

/* ---- units ---------------------------------------------------------------------------------- */

static struct fs *fs_of(const struct window *w)
{
	return vfs_fs(w->config.vfs);
}

/* The guest can't reach it any more, or never could. The record may say too much for a while. */
void window_release_unit(struct window *w, uint64_t at)
{
	struct window_unit *unit = window_unit_at(w, at);
	struct window_file *f = w->file[at];

	if (f) {
		map_let_go(f->view, unit->offset, WINDOW_UNIT, UINT64_MAX);
		fs_stay(fs_of(w), f->ino, unit->offset, false);
		f->units--;
		window_put_file(w, f);
	} else {
		fs_busy_clear(fs_of(w), unit->device_offset, WINDOW_UNIT);
	}
	w->file[at] = NULL;
	unit->state = UNIT_FREE;
	atomic_fetch_sub_explicit(&w->unit_count, 1, memory_order_relaxed);
}

bool window_has(const struct window *w, uint64_t ino, uint64_t offset)
{
	for (uint64_t i = 0; i < w->count; i++) {
		const struct window_unit *unit = window_unit_at(w, i);

		if (unit->state != UNIT_FREE && unit->ino == ino && unit->offset == offset)
			return true;
	}
	return false;
}

/* Bytes behind the end of the file in its last unit: nobody's. */
static errint_t zero_end_locked(struct window *w, const struct window_file *f, uint64_t offset)
{
	struct fs_attr attr;
	int err = vfs_getattr(w->config.vfs, f->ino, &attr);

	lock_assert(LOCK_GROW);
	if (err)
		return err;
	if (offset >= attr.size)
		return -ENXIO;
	return attr.size - offset < WINDOW_UNIT
		       ? fs_map_zero(fs_of(w), f->ino, attr.size, offset + WINDOW_UNIT - attr.size)
		       : 0;
}

/* The size is held still while its end is looked at. */
errint_t window_fault(struct window *w, struct window_file *f, uint64_t offset, bool writes,
		      struct map_piece *ret_piece)
{
	struct vfs_retry retry = { false };
	const struct map_request request = {
		.offset = offset,
		.access = writes ? MAP_WRITE : MAP_READ,
		.order = ORDER_PMD,
		.start = offset,
		.end = offset + WINDOW_UNIT,
		.gather = true,
	};
	int n;

	do {
		lock_mutex(LOCK_GROW, &f->file->grow);
		n = zero_end_locked(w, f, offset);
		if (!n)
			n = map_fault(f->view, &request, ret_piece);
		unlock_mutex(LOCK_GROW, &f->file->grow);
	} while (vfs_reclaims(w->config.vfs, &retry, n));
	if (n < 0)
		return (int)n;
	f->wrote |= !n && writes;
	/* it takes whole units: there is no smaller order that it could ask for */
	return n ? -EBUSY : 0;
}

/* The unit is this one of the file, pinned; the VMM is not asked yet. */
errint_t window_pin_unit(struct window *w, uint64_t at, uint64_t ino, uint64_t offset, bool writes)
{
	struct window_file *f = NULL;
	struct map_piece piece;
	int err = window_get_file(w, ino, false, &f);

	if (err)
		return err;
	err = fs_stay(fs_of(w), ino, offset, true);
	if (!err) {
		err = window_fault(w, f, offset, writes, &piece);
		if (err)
			fs_stay(fs_of(w), ino, offset, false);
	}
	if (err) {
		window_put_file(w, f);
		return err;
	}
	f->units++;
	add_to(&w->unit_count, 1);
	w->file[at] = f;
	*window_unit_at(w, at) = (struct window_unit){
		.state = UNIT_ASKED,
		.writable = writes,
		.ino = ino,
		.offset = offset,
		.device_offset = piece.device_offset,
	};
	return 0;
}
