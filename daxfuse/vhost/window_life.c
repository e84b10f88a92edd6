/* SPDX-License-Identifier: BSD-3-Clause */
/* A window begins with what an earlier process has left of it, and loses its front end. */
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "window_state.h"

enum { FAREWELL_S = 1 };

static struct fs *fs_of(const struct window *w)
{
	return vfs_fs(w->config.vfs);
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

/* ---- an earlier process
 * ----------------------------------------------------------------------- */

/* It is the file's still, or else nobody's before the VMM lets go of it. A file that can't be
 * opened any more leaves it to be held. */
static void restore_unit(struct window *w, uint64_t at)
{
	struct window_unit *unit = window_unit_at(w, at);
	struct window_file *f;

	add_to(&w->unit_count, 1);
	fs_busy_insert(fs_of(w), unit->device_offset, WINDOW_UNIT);
	if (unit->state == UNIT_ASKED)
		unit->state = UNIT_LEAVING;
	w->left += unit->state == UNIT_LEFT;
	w->doubtful |= unit->state == UNIT_LEAVING;
	if (window_get_file(w, unit->ino, true, &f))
		return;
	if (fs_stay(fs_of(w), unit->ino, unit->offset, true)) {
		window_put_file(w, f);
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
		if (window_unit_at(w, i)->state != UNIT_FREE)
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
	if (window_unit_at(w, r->asked)->state == UNIT_MAPPED)
		window_unit_at(w, r->asked)->writable = false;
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
	if (window_take_turn(w, &none))
		return;
	shmem_close(&w->shmem);
	atomic_store_explicit(&w->connected, false, memory_order_relaxed);
	/* of what was under way nothing is known */
	for (uint64_t i = 0; i < w->count; i++) {
		if (window_unit_at(w, i)->state == UNIT_ASKED)
			window_unit_at(w, i)->state = UNIT_LEAVING;
		w->doubtful |= window_unit_at(w, i)->state == UNIT_LEAVING;
	}
	w->record->owed = 0;
	window_give_turn(w);
}

bool window_is_in_use(const struct window *w)
{
	return atomic_load_explicit(&w->unit_count, memory_order_relaxed);
}

void window_abandon(struct window *w)
{
	const struct shmem_patience none = { .stop = -1 };

	if (window_take_turn(w, &none))
		return;
	for (uint64_t i = 0; i < w->count; i++) {
		if (window_unit_at(w, i)->state != UNIT_FREE)
			window_release_unit(w, i);
	}
	w->left = 0;
	w->barrier_due = w->doubtful = false;
	w->record->owed = 0;
	window_give_turn(w);
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
