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
 * One thread works at a time (take_turn()), as the VMM is asked for one thing at a time. A turn is
 * waited for by polling, like an answer: a queue that is to stop must not wait for another queue's
 * thread, which may be waiting for the VMM, which waits for the stop.
 *
 * What is mapped for reading is granted so by the engine, though most VMMs map it writable: the
 * guest asks again before it stores, and only then the unit is dirty, and the file's times move. A
 * guest that stores without asking makes its own file neither durable nor newer.
 */
#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/lockrank.h"
#include "daxfuse/vfs/mapped.h"
#include "dialect.h"

_Static_assert(WINDOW_UNIT == MAP_UNIT_SIZE, "a unit is the engine's");

enum { FILE_BUCKETS = 256, FAREWELL_S = 1 };

enum unit_state { UNIT_FREE, UNIT_ASKED, UNIT_MAPPED, UNIT_LEAVING, UNIT_LEFT };

/* A file with units in the window: open past the cache, so that no reader gets stale pages. */
struct window_file {
	struct window_file *next; /* in its bucket; or of those that are closed */
	uint64_t ino, handle;
	struct vfs_file *file; /* referenced */
	struct map_view *view;
	uint64_t units;
	bool wrote;
};

struct window_unit {
	uint32_t state;       /* enum unit_state */
	uint32_t writable;    /* as the engine has granted it */
	uint64_t ino, offset; /* in that file */
	uint64_t device_offset;
};

/* What outlives the serving process: the VMM goes on, with what it has mapped. */
struct window_record {
	uint32_t owed;  /* an answer, to a request of: */
	uint32_t kind;  /* enum shmem_kind */
	uint64_t asked; /* about this unit */
	struct window_unit unit[];
};

struct window {
	struct window_config config;
	struct mapper_ops ops;
	int turn; /* a semaphore of one */
	atomic_bool connected;
	/* by turns: */
	struct shmem shmem;
	struct window_record *record; /* the caller's */
	bool doubtful;                /* an earlier process has left UNIT_LEAVING: mapped, or not */
	bool barrier_due;             /* something was answered, and may not be in effect */
	uint64_t left;                /* units that are UNIT_LEFT */
	struct window_file *files[FILE_BUCKETS];
	struct window_file *closed; /* their inodes may be let go of */
	_Atomic uint64_t unit_count, file_count, mapped, removed, upgraded, refused, lost;
	uint64_t count;
	/* of each unit; NULL: of none, or it can't be opened any more */
	struct window_file *file[];
};

static void add_to(_Atomic uint64_t *counter, uint64_t value)
{
	atomic_fetch_add_explicit(counter, value, memory_order_relaxed);
}

/* Not for ever. */
static void begin_patience(struct shmem_patience *ret_patience)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	*ret_patience = (struct shmem_patience){
		.stop = -1,
		.deadline = (at.tv_sec + FAREWELL_S) * INT64_C(1000000000) + at.tv_nsec,
	};
}

/* ---- turns ------------------------------------------------------------------------------- */

static errint_t take_turn(struct window *w, const struct shmem_patience *patience)
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
static void give_turn(struct window *w)
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
static errint_t get_file(struct window *w, uint64_t ino, bool mapped, struct window_file **ret_file)
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
static void put_file(struct window *w, struct window_file *f)
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

static struct window_unit *unit_at(const struct window *w, uint64_t at)
{
	return &w->record->unit[at];
}

/* The guest can't reach it any more, or never could. The record may say too much for a while. */
static void release_unit(struct window *w, uint64_t at)
{
	struct window_unit *unit = unit_at(w, at);
	struct window_file *f = w->file[at];

	if (f) {
		map_let_go(f->view, unit->offset, WINDOW_UNIT, UINT64_MAX);
		fs_stay(fs_of(w), f->ino, unit->offset, false);
		f->units--;
		put_file(w, f);
	} else {
		fs_busy_clear(fs_of(w), unit->device_offset, WINDOW_UNIT);
	}
	w->file[at] = NULL;
	unit->state = UNIT_FREE;
	atomic_fetch_sub_explicit(&w->unit_count, 1, memory_order_relaxed);
}

static bool is_mapped(const struct window *w, uint64_t ino, uint64_t offset)
{
	for (uint64_t i = 0; i < w->count; i++) {
		const struct window_unit *unit = unit_at(w, i);

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
static errint_t fault(struct window *w, struct window_file *f, uint64_t offset, bool writes,
		      struct map_piece *ret_piece)
{
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
	} while (vfs_reclaims(w->config.vfs, n));
	if (n < 0)
		return (int)n;
	f->wrote |= !n && writes;
	/* it takes whole units: there is no smaller order that it could ask for */
	return n ? -EBUSY : 0;
}

/* The unit is this one of the file, pinned; the VMM is not asked yet. */
static errint_t pin_unit(struct window *w, uint64_t at, uint64_t ino, uint64_t offset, bool writes)
{
	struct window_file *f = NULL;
	struct map_piece piece;
	int err = get_file(w, ino, false, &f);

	if (err)
		return err;
	err = fs_stay(fs_of(w), ino, offset, true);
	if (!err) {
		err = fault(w, f, offset, writes, &piece);
		if (err)
			fs_stay(fs_of(w), ino, offset, false);
	}
	if (err) {
		put_file(w, f);
		return err;
	}
	f->units++;
	add_to(&w->unit_count, 1);
	w->file[at] = f;
	*unit_at(w, at) = (struct window_unit){
		.state = UNIT_ASKED,
		.writable = writes,
		.ino = ino,
		.offset = offset,
		.device_offset = piece.device_offset,
	};
	return 0;
}

/* ---- asking the VMM ------------------------------------------------------------------------- */

/* The engine's pin is the window's, so what was left is free when the VMM is past a barrier. */
static void release_left(struct window *w)
{
	for (uint64_t i = 0; w->left && i < w->count; i++) {
		if (unit_at(w, i)->state == UNIT_LEFT) {
			release_unit(w, i);
			w->left--;
		}
	}
}

/* An answer has come; err as shmem_settle() says. */
static void take_answer(struct window *w, enum shmem_kind kind, int err)
{
	struct window_unit *unit = unit_at(w, w->record->asked);

	w->record->owed = 0;
	switch (kind) {
	case SHMEM_BARRIER:
		w->barrier_due = false;
		release_left(w);
		return;
	case SHMEM_MAP:
		if (err && unit->state == UNIT_ASKED) {
			add_to(&w->refused, 1);
			release_unit(w, w->record->asked);
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
	const struct window_unit *unit = unit_at(w, at);
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

	unit_at(w, at)->state = UNIT_LEAVING;
	err = ask(w, SHMEM_UNMAP, at, patience);
	return err == -EREMOTEIO ? 0 : err;
}

/* Before anything else: what was under way is over. */
static errint_t settle(struct window *w, const struct shmem_patience *patience)
{
	int err = settle_owed(w, patience);

	for (uint64_t i = 0; !err && w->doubtful && i < w->count; i++) {
		if (unit_at(w, i)->state == UNIT_LEAVING)
			err = leave_unit(w, i, patience);
	}
	w->doubtful &= err != 0;
	return err;
}

static errint_t remove_unit(struct window *w, uint64_t at, const struct shmem_patience *patience)
{
	int err = settle(w, patience);

	return err || unit_at(w, at)->state != UNIT_MAPPED ? err : leave_unit(w, at, patience);
}

/* ---- what guests ask for --------------------------------------------------------------------- */

/* The same again, for writing. Where the VMM has mapped it writable it need not hear of that. */
static errint_t upgrade(struct window *w, uint64_t at, const struct shmem_patience *patience)
{
	struct window_unit *unit = unit_at(w, at);
	struct map_piece piece;
	int err = w->file[at] ? fault(w, w->file[at], unit->offset, true, &piece) : -ESTALE;

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

	if (unit_at(w, at)->state != UNIT_FREE) {
		err = remove_unit(w, at, patience);
		if (!err)
			err = pass_barrier(w, patience);
	}
	if (!err && is_mapped(w, ino, offset))
		err = -EBUSY;
	if (!err)
		err = pin_unit(w, at, ino, offset, writes);
	return err ? err : ask(w, SHMEM_MAP, at, patience);
}

static errint_t map_unit(struct window *w, uint64_t at, uint64_t ino, uint64_t offset, bool writes,
			 const struct shmem_patience *patience, bool *changed)
{
	const struct window_unit *unit = unit_at(w, at);
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
		err = take_turn(w, patience);
	if (err)
		return err;
	for (uint64_t i = 0; !err && i < length; i += WINDOW_UNIT)
		err = map_unit(w, (at + i) / WINDOW_UNIT, ino, offset + i, writes, patience,
			       ret_changed);
	give_turn(w);
	return err;
}

static errint_t remove_units(struct window *w, uint64_t first, uint64_t end,
			     const struct shmem_patience *patience)
{
	int err = take_turn(w, patience);

	if (err)
		return err;
	for (uint64_t i = first; !err && i < end; i++)
		err = remove_unit(w, i, patience);
	if (!err)
		err = settle(w, patience);
	if (!err)
		err = pass_barrier(w, patience);
	give_turn(w);
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
	int err = take_turn(w, patience), failed;

	if (err)
		return err;
	for (unsigned i = 0; i < FILE_BUCKETS; i++) {
		for (struct window_file *f = w->files[i]; f; f = f->next) {
			failed = vfs_fsync(w->config.vfs, f->ino);
			err = err ? err : failed;
		}
	}
	give_turn(w);
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

/* ---- an earlier process
 * ----------------------------------------------------------------------- */

/* It is the file's still, or else nobody's before the VMM lets go of it. A file that can't be
 * opened any more leaves it to be held. */
static void restore_unit(struct window *w, uint64_t at)
{
	struct window_unit *unit = unit_at(w, at);
	struct window_file *f;

	add_to(&w->unit_count, 1);
	fs_busy_insert(fs_of(w), unit->device_offset, WINDOW_UNIT);
	if (unit->state == UNIT_ASKED)
		unit->state = UNIT_LEAVING;
	w->left += unit->state == UNIT_LEFT;
	w->doubtful |= unit->state == UNIT_LEAVING;
	if (get_file(w, unit->ino, true, &f))
		return;
	if (fs_stay(fs_of(w), unit->ino, unit->offset, true)) {
		put_file(w, f);
		return;
	}
	f->units++;
	f->wrote |= unit->writable;
	w->file[at] = f;
	map_view_restore(f->view, unit->offset, WINDOW_UNIT, unit->device_offset, ORDER_PMD,
			 unit->writable);
}

static void restore_units(struct window *w)
{
	for (uint64_t i = 0; i < w->count; i++) {
		if (unit_at(w, i)->state != UNIT_FREE)
			restore_unit(w, i);
	}
	w->barrier_due = w->unit_count && w->config.dialect->answers_early;
}

/* The answer that the earlier process did not take, if it had come to asking: whatever it is, the
 * unit is not relied on. */
static void drop_answer(struct window *w)
{
	struct window_record *r = w->record;
	struct shmem_patience patience;

	if (!r->owed)
		return;
	if (unit_at(w, r->asked)->state == UNIT_MAPPED)
		unit_at(w, r->asked)->writable = false;
	w->shmem.owed = true;
	w->shmem.kind = r->kind;
	begin_patience(&patience);
	shmem_settle(&w->shmem, &patience);
	w->shmem.owed = false;
	r->owed = 0;
}

/* ---- life
 * ------------------------------------------------------------------------------------- */

errint_t window_new(const struct window_config *config, struct window **ret_window)
{
	uint64_t count = config->size / WINDOW_UNIT;
	struct window *w = calloc(1, sizeof(*w) + count * sizeof(w->file[0]));

	if (!w)
		return -ENOMEM;
	w->config = *config;
	w->count = count;
	w->record = config->record;
	w->shmem.channel = -1;
	/* it can be told nothing */
	w->ops = (struct mapper_ops){ .smallest = ORDER_PMD, .read_only_first = true };
	w->turn = eventfd(1, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
	if (w->turn < 0) {
		free(w);
		return -EMFILE;
	}
	restore_units(w);
	*ret_window = w;
	return 0;
}

size_t window_record_bytes(uint64_t size)
{
	return sizeof(struct window_record) + size / WINDOW_UNIT * sizeof(struct window_unit);
}

void window_free(struct window *w)
{
	if (!w)
		return;
	shmem_close(&w->shmem);
	close(w->turn);
	free(w);
}

uint64_t window_size(const struct window *w)
{
	return w->count * WINDOW_UNIT;
}

const struct dialect *window_dialect(const struct window *w)
{
	return w->config.dialect;
}

void window_connect(struct window *w, int channel)
{
	shmem_open(&w->shmem, channel);
	drop_answer(w);
	atomic_store_explicit(&w->connected, channel >= 0, memory_order_relaxed);
}

int window_channel(const struct window *w)
{
	return w->shmem.channel;
}

bool window_is_connected(const struct window *w)
{
	return atomic_load_explicit(&w->connected, memory_order_relaxed);
}

void window_disconnect(struct window *w)
{
	const struct shmem_patience none = { .stop = -1 };
	struct shmem_patience patience;

	begin_patience(&patience);
	window_clear(w, &patience);
	if (take_turn(w, &none))
		return;
	shmem_close(&w->shmem);
	atomic_store_explicit(&w->connected, false, memory_order_relaxed);
	/* of what was under way nothing is known */
	for (uint64_t i = 0; i < w->count; i++) {
		if (unit_at(w, i)->state == UNIT_ASKED)
			unit_at(w, i)->state = UNIT_LEAVING;
		w->doubtful |= unit_at(w, i)->state == UNIT_LEAVING;
	}
	w->record->owed = 0;
	give_turn(w);
}

bool window_is_in_use(const struct window *w)
{
	return atomic_load_explicit(&w->unit_count, memory_order_relaxed);
}

void window_abandon(struct window *w)
{
	const struct shmem_patience none = { .stop = -1 };

	if (take_turn(w, &none))
		return;
	for (uint64_t i = 0; i < w->count; i++) {
		if (unit_at(w, i)->state != UNIT_FREE)
			release_unit(w, i);
	}
	w->left = 0;
	w->barrier_due = w->doubtful = false;
	w->record->owed = 0;
	give_turn(w);
}

static uint64_t count_of(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void window_counts(const struct window *w, struct window_counts *ret_counts)
{
	*ret_counts = (struct window_counts){
		.units = count_of(&w->unit_count),
		.files = count_of(&w->file_count),
		.mapped = count_of(&w->mapped),
		.removed = count_of(&w->removed),
		.upgraded = count_of(&w->upgraded),
		.refused = count_of(&w->refused),
		.lost = count_of(&w->lost),
	};
}
