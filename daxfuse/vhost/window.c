/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The window's units, and the files that they are of.
 *
 * A unit is
 *
 *     free --> asked for --> mapped --> leaving --> left --> free
 *
 * Its pin is there from before the VMM is asked for it until after the VMM, having said that it is
 * gone, has passed a barrier: in between the guest may still reach it. A thread that has to give up
 * leaves the unit as it is, and its request is carried out again, when the queue runs again.
 *
 * The record of it is written before the VMM is asked, and outlives the process: the next one pins
 * all that may be mapped before anybody can allocate it, and takes out of the window what it is not
 * sure of.
 *
 * One thread works at a time (window_take_turn()), as the VMM is asked for one thing at a time. A
 * turn is waited for by polling, like an answer: a queue that is to stop must not wait for another
 * queue's thread, which may be waiting for the VMM, which waits for the stop.
 *
 * What is mapped for reading is granted so by the engine, though most VMMs map it writable: the
 * guest asks again before it stores, and only then the unit is dirty, and the file's times move. A
 * guest that stores without asking makes its own file neither durable nor newer.
 */
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daxfuse/base/lockrank.h"
#include "window_state.h"

/* ---- turns ------------------------------------------------------------------------------- */

errint_t window_take_turn(struct window *w, const struct shmem_patience *patience)
{
	struct pollfd fds[] = {
		{ .fd = w->turn, .events = POLLIN },
		{ .fd = patience->stop, .events = POLLIN },
	};
	uint64_t one;

	while (read(w->turn, &one, sizeof(one)) != sizeof(one)) {
		fds[1].revents = 0;
		poll(fds, ARRAY_SIZE(fds), -1);
		if (fds[1].revents)
			return -ECANCELED;
	}
	lock_enter(LOCK_WINDOW, 0);
	return 0;
}

/* Files that were closed are let go of, as nodes are: the lock that this takes comes before
 * ours. */
void window_give_turn(struct window *w)
{
	const struct exports_host *host = w->config.host;
	struct window_file *closed = w->closed;
	uint64_t one = 1;

	w->closed = NULL;
	lock_leave(LOCK_WINDOW);
	while (write(w->turn, &one, sizeof(one)) != sizeof(one))
		;
	while (closed) {
		struct window_file *next = closed->next;

		host->let_go(host->arg, closed->ino);
		free(closed);
		closed = next;
	}
}

/* ---- asking the VMM ------------------------------------------------------------------------- */

/* The engine's pin is the window's, so what was left is free when the VMM is past a barrier. */
static void release_left(struct window *w)
{
	for (uint64_t i = 0; w->left && i < w->count; i++) {
		if (window_unit_at(w, i)->state == UNIT_LEFT) {
			window_release_unit(w, i);
			w->left--;
		}
	}
}

/* An answer has come; err as shmem_settle() says. */
static void take_answer(struct window *w, enum shmem_kind kind, int err)
{
	struct window_unit *unit = window_unit_at(w, w->record->asked);

	w->record->owed = 0;
	switch (kind) {
	case SHMEM_BARRIER:
		w->barrier_due = false;
		release_left(w);
		return;
	case SHMEM_MAP:
		if (err && unit->state == UNIT_ASKED) {
			add_to(&w->refused, 1);
			window_release_unit(w, w->record->asked);
			return;
		}
		if (unit->state == UNIT_ASKED)
			add_to(&w->mapped, 1);
		unit->state = UNIT_MAPPED;
		unit->writable &= !err;
		break;
	case SHMEM_UNMAP:
		/* it may have let go of it by itself, as when the device was reset */
		unit->state = UNIT_LEFT;
		w->left++;
		add_to(err ? &w->lost : &w->removed, 1);
		break;
	}
	w->barrier_due = w->config.dialect->answers_early;
	if (!w->barrier_due)
		release_left(w);
}

static bool has_answered(int err)
{
	return err == 0 || err == -EREMOTEIO;
}

static errint_t settle_owed(struct window *w, const struct shmem_patience *patience)
{
	enum shmem_kind kind = w->shmem.kind;
	int err;

	if (!w->shmem.owed)
		return 0;
	err = shmem_settle(&w->shmem, patience);
	if (!has_answered(err))
		return err;
	take_answer(w, kind, err);
	return 0;
}

static errint_t ask(struct window *w, enum shmem_kind kind, uint64_t at,
		    const struct shmem_patience *patience)
{
	const struct window_unit *unit = window_unit_at(w, at);
	const struct shmem_piece piece = {
		.file_offset = unit->device_offset,
		.window_offset = at * WINDOW_UNIT,
		.length = WINDOW_UNIT,
		.writable = kind == SHMEM_MAP && !w->config.read_only &&
			    (unit->writable || !w->config.dialect->maps_over),
		.fd = w->config.device,
	};
	int err;

	w->record->asked = at;
	w->record->kind = kind;
	w->record->owed = 1;
	err = shmem_ask(&w->shmem, kind, &piece, patience);
	if (has_answered(err))
		take_answer(w, kind, err);
	return err;
}

static errint_t pass_barrier(struct window *w, const struct shmem_patience *patience)
{
	return w->barrier_due ? ask(w, SHMEM_BARRIER, 0, patience) : 0;
}

static errint_t leave_unit(struct window *w, uint64_t at, const struct shmem_patience *patience)
{
	int err;

	window_unit_at(w, at)->state = UNIT_LEAVING;
	err = ask(w, SHMEM_UNMAP, at, patience);
	return err == -EREMOTEIO ? 0 : err;
}

/* Before anything else: what was under way is over. */
static errint_t settle(struct window *w, const struct shmem_patience *patience)
{
	int err = settle_owed(w, patience);

	for (uint64_t i = 0; !err && w->doubtful && i < w->count; i++) {
		if (window_unit_at(w, i)->state == UNIT_LEAVING)
			err = leave_unit(w, i, patience);
	}
	w->doubtful &= err != 0;
	return err;
}

static errint_t remove_unit(struct window *w, uint64_t at, const struct shmem_patience *patience)
{
	int err = settle(w, patience);

	return err || window_unit_at(w, at)->state != UNIT_MAPPED ? err
								  : leave_unit(w, at, patience);
}

/* ---- what guests ask for --------------------------------------------------------------------- */

/* The same again, for writing. Where the VMM has mapped it writable it need not hear of that. */
static errint_t upgrade(struct window *w, uint64_t at, const struct shmem_patience *patience)
{
	struct window_unit *unit = window_unit_at(w, at);
	struct map_piece piece;
	int err = w->file[at] ? window_fault(w, w->file[at], unit->offset, true, &piece) : -ESTALE;

	if (err)
		return err;
	/* it was pinned all along, so it is where it was */
	unit->writable = true;
	add_to(&w->upgraded, 1);
	return w->config.dialect->maps_over ? ask(w, SHMEM_MAP, at, patience) : 0;
}

static errint_t map_new(struct window *w, uint64_t at, uint64_t ino, uint64_t offset, bool writes,
			const struct shmem_patience *patience)
{
	int err = 0;

	if (window_unit_at(w, at)->state != UNIT_FREE) {
		err = remove_unit(w, at, patience);
		if (!err)
			err = pass_barrier(w, patience);
	}
	if (!err && window_has(w, ino, offset))
		err = -EBUSY;
	if (!err)
		err = window_pin_unit(w, at, ino, offset, writes);
	return err ? err : ask(w, SHMEM_MAP, at, patience);
}

static errint_t map_unit(struct window *w, uint64_t at, uint64_t ino, uint64_t offset, bool writes,
			 const struct shmem_patience *patience, bool *changed)
{
	const struct window_unit *unit = window_unit_at(w, at);
	int err = settle(w, patience);

	if (err)
		return err;
	if (unit->state != UNIT_MAPPED || unit->ino != ino || unit->offset != offset) {
		err = map_new(w, at, ino, offset, writes, patience);
		*changed = true;
	} else if (writes && !unit->writable) {
		err = upgrade(w, at, patience);
		*changed = true;
	}
	if (!err)
		err = pass_barrier(w, patience);
	return err == -EREMOTEIO || err == -ENOTCONN ? -EIO : err;
}

static errint_t check_range(const struct window *w, uint64_t at, uint64_t length)
{
	uint64_t size = window_size(w);

	return at % WINDOW_UNIT || length % WINDOW_UNIT || !length || at >= size ||
			       length > size - at
		       ? -EINVAL
		       : 0;
}

errint_t window_map(struct window *w, uint64_t ino, uint64_t offset, uint64_t length, uint64_t at,
		    bool writes, const struct shmem_patience *patience, bool *ret_changed)
{
	int err = check_range(w, at, length);

	*ret_changed = false;
	if (!err && (offset % WINDOW_UNIT || offset > DXF_FILE_MAX - length))
		err = -EINVAL;
	if (!err && writes && w->config.read_only)
		err = -EROFS;
	if (!err)
		err = window_take_turn(w, patience);
	if (err)
		return err;
	for (uint64_t i = 0; !err && i < length; i += WINDOW_UNIT)
		err = map_unit(w, (at + i) / WINDOW_UNIT, ino, offset + i, writes, patience,
			       ret_changed);
	window_give_turn(w);
	return err;
}

static errint_t remove_units(struct window *w, uint64_t first, uint64_t end,
			     const struct shmem_patience *patience)
{
	int err = window_take_turn(w, patience);

	if (err)
		return err;
	for (uint64_t i = first; !err && i < end; i++)
		err = remove_unit(w, i, patience);
	if (!err)
		err = settle(w, patience);
	if (!err)
		err = pass_barrier(w, patience);
	window_give_turn(w);
	return err == -ENOTCONN ? -EIO : err;
}

errint_t window_unmap(struct window *w, uint64_t at, uint64_t length,
		      const struct shmem_patience *patience)
{
	int err = check_range(w, at, length);

	return err ? err : remove_units(w, at / WINDOW_UNIT, (at + length) / WINDOW_UNIT, patience);
}

errint_t window_clear(struct window *w, const struct shmem_patience *patience)
{
	return remove_units(w, 0, w->count, patience);
}

/* The files are there as long as nobody else has a turn. */
errint_t window_sync(struct window *w, const struct shmem_patience *patience)
{
	int err = window_take_turn(w, patience), failed;

	if (err)
		return err;
	for (unsigned i = 0; i < FILE_BUCKETS; i++) {
		for (struct window_file *f = w->files[i]; f; f = f->next) {
			failed = vfs_fsync(w->config.vfs, f->ino);
			err = err ? err : failed;
		}
	}
	window_give_turn(w);
	return err;
}

bool window_wants(const struct window *w, const struct fs_attr *attr)
{
	if (!window_is_connected(w) || !S_ISREG(attr->mode))
		return false;
	if (!w->config.read_only && (attr->flags & (DXF_FLAG_IMMUTABLE | DXF_FLAG_APPEND)))
		return false;
	/* without the flag, those that the host does not keep in its cache */
	return attr->dax || (vfs_dax(w->config.vfs) == FS_DAX_AUTO && attr->size >= WINDOW_UNIT &&
			     !(attr->mode & 0111));
}
