/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Of the allocator: arenas, which know the free and the split units in memory. No stores, no
 * transactions; a function that ends in _locked, or changes an arena, wants its lock (reading
 * counts without it is fine for a hint).
 */
#ifndef DAXFUSE_MEDIA_ARENA_H
#define DAXFUSE_MEDIA_ARENA_H

#include <stdatomic.h>
#include "volume.h"

enum { FREE_WORDS = DXF_UNIT_BLOCKS / 64 };
/* Files that grow at the same time in one arena, and are kept apart. */
enum { ARENA_WINDOWS = 8 };
/* Units that one of them may say will follow. */
#define ARENA_ROOM_MAX UINT64_C(512)

struct split_unit {
	struct split_unit *next, *prev; /* in its arena's list for `free` */
	uint32_t unit;
	uint16_t free;
	uint64_t taken[FREE_WORDS]; /* reserved or in use or bad */
	uint64_t bad[FREE_WORDS];
};

/* Where a file is expected to grow: units [next, end). Nothing is reserved. */
struct arena_window {
	uint64_t next, end;
};

struct arena {
	_Alignas(64) pthread_mutex_t lock;
	uint64_t first, end; /* units */
	uint64_t low, high;  /* below and from there on no unit is free */
	uint64_t cursor;     /* where the last look for a long run has ended */
	struct arena_window window[ARENA_WINDOWS];
	unsigned oldest; /* window, modulo their number */
	uint64_t free_units, split_units, bad_blocks;
	_Atomic uint64_t free_blocks; /* others have a look without the lock */
	/* lists of split units by how many blocks are free, 0 to 512 */
	struct split_unit *list[DXF_UNIT_BLOCKS + 1];
	uint64_t filled[FREE_WORDS + 1]; /* which lists are not empty */
	void *busy;           /* tsearch(3) tree of units of which something is busy, see busy.h */
	uint64_t busy_blocks; /* freed, but busy */
};

struct alloc {
	struct volume *vol;
	unsigned count;
	struct arena *arena;
	uint64_t units_per_arena;
	_Atomic uint64_t *free;    /* a bit for each unit that is free and not bad */
	struct split_unit **split; /* by unit */
};

/* The arena that a unit belongs to, and the calling CPU's. */
struct arena *arena_of(struct alloc *al, uint64_t unit);
unsigned arena_mine(const struct alloc *al);

/* Put a split unit into the list for its free blocks, or out of it. */
void arena_list(struct arena *a, struct split_unit *b);
void arena_unlist(struct arena *a, struct split_unit *b);
/* The fullest split unit with at least `want` free blocks, else the emptiest. */
struct split_unit *arena_pick(struct arena *a, unsigned want);
void arena_count_blocks(struct arena *a, int64_t delta);
/* Up to `want` free blocks of b, lowest first; how many. */
unsigned arena_take_blocks(struct arena *a, struct split_unit *b, unsigned want, uint64_t *offsets);

/* This one; false if it is taken. */
bool arena_take_this_block(struct arena *a, struct split_unit *b, unsigned block);

/* Reserve a unit for somebody who will ask for the `room` units behind it, in turn; 0: it
 * stands alone. Only from a run of at least `least` units (0, 1: any). False if there is
 * none. */
bool arena_take_unit(struct alloc *al, struct arena *a, uint64_t room, uint64_t least,
		     uint64_t *ret_unit);
/* This one, if it is of the arena and free; as many behind it will be asked for. */
bool arena_take_goal(struct alloc *al, struct arena *a, uint64_t unit, uint64_t room);
/* This one, for nobody; false if it is not free. */
bool arena_take_this_unit(struct alloc *al, struct arena *a, uint64_t unit);
/* A unit is free (again); one with known poison counts as bad. */
void arena_release_unit(struct alloc *al, struct arena *a, uint64_t unit);
bool arena_unit_is_bad(const struct alloc *al, uint64_t unit);

#endif
