/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Of an arena: which of its free units is taken.
 *
 * Files grow from the low end of the arena; units that stand alone (split for blocks, or chunks of
 * inodes) come from the high end, so that they do not lie between the pieces of large files, and
 * pin nothing there when these go.
 *
 * A file takes the unit behind its last one. For that to be free, a file that starts elsewhere
 * keeps off the units that others may be about to grow into: windows, the last few of them, from
 * the unit that will be asked for next to as much as was said to follow. They reserve nothing: a
 * file that asks for the very unit gets it, and where nothing is free outside of them, all are
 * forgotten.
 *
 * A start takes the lowest unit outside of the windows; one that says that much will follow
 * takes the next free run that is long enough, and the longest that it has seen if there is
 * none: RUNS_AT_ONCE are looked at, from where the last look has ended.
 */
#include <limits.h>
#include <stdatomic.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "arena.h"

/* Runs that one look sees; the share of an arena that a window may be, if that is more than
 * WINDOW_MIN. */
enum { RUNS_AT_ONCE = 64, WINDOW_SHARE = 2 * ARENA_WINDOWS };
/* The units that a start keeps free behind it, at least. */
#define WINDOW_MIN UINT64_C(8)

struct free_run {
	uint64_t first, end;
};

/* ---- the bits ------------------------------------------------------------- */

static uint64_t load_word(const struct alloc *al, uint64_t unit)
{
	return atomic_load_explicit(&al->free[unit / 64], memory_order_relaxed);
}

static bool unit_is_free(const struct alloc *al, uint64_t unit)
{
	return load_word(al, unit) >> unit % 64 & 1;
}

static void unit_mark(struct alloc *al, uint64_t unit, bool is_free)
{
	uint64_t bit = UINT64_C(1) << unit % 64;

	/* two arenas may share a word */
	if (is_free)
		atomic_fetch_or_explicit(&al->free[unit / 64], bit, memory_order_relaxed);
	else
		atomic_fetch_and_explicit(&al->free[unit / 64], ~bit, memory_order_relaxed);
}

/* The first unit of [unit, end) that is free, or not; end if there is none. */
static uint64_t find_first(const struct alloc *al, uint64_t unit, uint64_t end, bool is_free)
{
	for (; unit < end; unit = (unit / 64 + 1) * 64) {
		uint64_t word = is_free ? load_word(al, unit) : ~load_word(al, unit);

		word &= ~UINT64_C(0) << unit % 64;
		if (word)
			return MIN(unit / 64 * 64 + bits_first(word), end);
	}
	return end;
}

/* The last free unit of [first, end), and those that follow it; first if there is none. */
static uint64_t end_of_free(const struct alloc *al, uint64_t first, uint64_t end)
{
	while (end > first) {
		uint64_t start = (end - 1) / 64 * 64;
		uint64_t word = load_word(al, start) & bits_mask(0, (unsigned)(end - start));

		if (word)
			return MAX(start + bits_last(word) + 1, first);
		end = start;
	}
	return first;
}

bool arena_take_this_unit(struct alloc *al, struct arena *a, uint64_t unit)
{
	if (!unit_is_free(al, unit))
		return false;
	unit_mark(al, unit, false);
	a->free_units--;
	return true;
}

bool arena_unit_is_bad(const struct alloc *al, uint64_t unit)
{
	return pmem_is_bad(al->vol->pm, unit * DXF_UNIT_SIZE, DXF_UNIT_SIZE);
}

void arena_release_unit(struct alloc *al, struct arena *a, uint64_t unit)
{
	if (arena_unit_is_bad(al, unit)) {
		a->bad_blocks += DXF_UNIT_BLOCKS;
		return;
	}
	if (unit_is_free(al, unit))
		return; /* freed twice: cross-linked on media, a matter for fsck */
	unit_mark(al, unit, true);
	a->free_units++;
	a->low = MIN(a->low, unit);
	a->high = MAX(a->high, unit + 1);
}

/* ---- windows -------------------------------------------------------------- */

static bool in_window(const struct arena_window *w, uint64_t unit)
{
	return w->next <= unit && unit < w->end;
}

/* Of a run, the first part that lies in no window; it may be empty. */
static void leave_windows(const struct arena *a, struct free_run *run)
{
	for (unsigned i = 0; i < ARENA_WINDOWS; i++) {
		if (in_window(&a->window[i], run->first)) {
			run->first = a->window[i].end;
			i = UINT_MAX; /* it may have come into one that was passed */
		}
	}
	run->first = MIN(run->first, run->end);
	for (unsigned i = 0; i < ARENA_WINDOWS; i++)
		if (a->window[i].next > run->first)
			run->end = MIN(run->end, a->window[i].next);
}

/* The file that has taken the unit will ask for the next one. */
static void move_window(struct arena *a, uint64_t unit, uint64_t room)
{
	uint64_t most = MAX((a->end - a->first) / WINDOW_SHARE, WINDOW_MIN);
	struct arena_window *w = NULL;

	for (unsigned i = 0; i < ARENA_WINDOWS; i++)
		if (a->window[i].next == unit || a->window[i].next == unit + 1)
			w = &a->window[i];
	if (!w)
		w = &a->window[a->oldest++ % ARENA_WINDOWS];
	w->next = unit + 1;
	room = MAX(room, WINDOW_MIN);
	room = MIN(room, most);
	w->end = MIN(w->next + room, a->end);
}

static void forget_windows(struct arena *a)
{
	memset(a->window, 0, sizeof(a->window));
}

/* ---- starts --------------------------------------------------------------- */

/* Look at runs of [from, to) until one has `room` units; else *run is the longest of them and of
 * those before. Where the look has ended. */
static uint64_t look_for_run(const struct alloc *al, const struct arena *a, uint64_t from,
			     uint64_t to, uint64_t room, unsigned *left, struct free_run *run)
{
	while (from < to && *left && run->end - run->first < room) {
		struct free_run r = { .first = find_first(al, from, to, true) };

		/* windows take something of it */
		r.end = find_first(al, r.first, MIN(to, r.first + 2 * room + 64), false);
		leave_windows(a, &r);
		from = r.end;
		if (r.end - r.first > run->end - run->first)
			*run = r;
		--*left;
	}
	return from;
}

static struct free_run find_run(const struct alloc *al, struct arena *a, uint64_t room)
{
	struct free_run run = { 0 };
	unsigned left = RUNS_AT_ONCE;

	a->low = find_first(al, a->low, a->end, true);
	if (room <= 1) {
		left = UINT_MAX;
		look_for_run(al, a, a->low, a->high, 1, &left, &run);
		return run;
	}
	a->cursor = look_for_run(al, a, MAX(a->cursor, a->low), a->high, room, &left, &run);
	if (a->cursor >= a->high)
		a->cursor = look_for_run(al, a, a->low, a->high, room, &left, &run);
	if (run.end - run.first >= room)
		a->cursor = run.first;
	return run;
}

/* The highest free unit, in no window if there is such a one; false: there is none. */
static bool find_alone(const struct alloc *al, struct arena *a, uint64_t *ret_unit)
{
	uint64_t end;

	a->high = end = end_of_free(al, a->low, a->high);
	if (end == a->low)
		return false;
	*ret_unit = end - 1;
	for (unsigned i = 0; i < ARENA_WINDOWS && end > a->low; i++) {
		if (in_window(&a->window[i], end - 1)) {
			end = end_of_free(al, a->low, MAX(a->window[i].next, a->low));
			i = UINT_MAX; /* it may have come into one that was passed */
		}
	}
	if (end > a->low)
		*ret_unit = end - 1;
	return true;
}

bool arena_take_unit(struct alloc *al, struct arena *a, uint64_t room, uint64_t least,
		     uint64_t *ret_unit)
{
	struct free_run run;

	if (a->free_units < MAX(least, UINT64_C(1)))
		return false;
	if (!room)
		return find_alone(al, a, ret_unit) && arena_take_this_unit(al, a, *ret_unit);
	run = find_run(al, a, room);
	if (run.end == run.first && least <= 1) {
		forget_windows(a);
		run = find_run(al, a, room);
	}
	if (run.end - run.first < least || !arena_take_this_unit(al, a, run.first))
		return false;
	move_window(a, run.first, MIN(room, run.end - run.first));
	*ret_unit = run.first;
	return true;
}

bool arena_take_goal(struct alloc *al, struct arena *a, uint64_t unit, uint64_t room)
{
	bool inside = false;

	if (unit < a->first || unit >= a->end || !arena_take_this_unit(al, a, unit))
		return false;
	for (unsigned i = 0; i < ARENA_WINDOWS; i++)
		inside = inside || (in_window(&a->window[i], unit) && a->window[i].next != unit);
	if (room && !inside)
		move_window(a, unit, room);
	return true;
}
