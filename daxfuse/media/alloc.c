/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The extent allocator.
 *
 * On media: a word a unit (free, data, split, inodes) and a bitmap for each split unit, both
 * changed by the transaction that gives the space to a file or takes it. In memory: a bit for each
 * free unit, and a descriptor for each split one, loaded at mount. Memory decides: space is
 * reserved here before the transaction and released here after it, so media never shows space as
 * free that a live record still uses.
 *
 * To keep whole units whole as the pool ages (after WineFS, SOSP'21):
 *   - Arenas, one a CPU, each a contiguous part of the units with a lock of its
 *     own; a thread uses its CPU's arena and looks into others only when that
 *     one can't help.
 *   - Blocks come from the fullest split unit that has room, so that the
 *     emptier ones drain, and become whole again. Holes that another arena has
 *     left over are eaten before a unit is split.
 *   - Large files lie together: a file's next unit is the one behind its last, whichever
 *     arena that belongs to, and files that grow at the same time start apart (arena_unit.c).
 *   - A split unit whose last block was freed is a free unit again; one stays
 *     split in each arena, for a thread that makes and removes one small file.
 *
 * Splitting and coalescing a unit are transactions of their own, under the arena's
 * lock: nobody is given a block of a unit before the unit is durably split.
 *
 * Freed space that a program still has mapped stays reserved until it lets go: busy.c.
 *
 * Lock order: arena, then journal. Never two arenas at a time.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "alloc.h"
#include "arena.h"
#include "busy.h"

/* So many units together are worth a look into other arenas, and if there are none, so many. */
#define LONG_RUN UINT64_C(64)
#define SHORT_RUN UINT64_C(8)

/* ---- units ---------------------------------------------------------------- */

static errint_t store_unit_word(struct alloc *al, uint64_t unit, enum dxf_unit_state state)
{
	struct tx *tx;
	int err = tx_begin(al->vol, &tx);

	if (err)
		return err;
	*(uint64_t *)tx_edit(tx, &al->vol->unit_word[unit], 8) = state;
	if (state == DXF_UNIT_SPLIT)
		memset(tx_edit(tx, al->vol->bitmap[unit], 64), 0, 64);
	return tx_commit(tx);
}

/* Coalesce a split unit none of whose blocks is taken; it stays reserved. */
static errint_t coalesce_unit_locked(struct alloc *al, struct arena *a, struct split_unit *b)
{
	int err = store_unit_word(al, b->unit, DXF_UNIT_FREE);

	lock_assert(LOCK_ARENA);
	if (err)
		return err;
	arena_unlist(a, b);
	a->split_units--;
	arena_count_blocks(a, -(int64_t)b->free);
	al->split[b->unit] = NULL;
	free(b);
	return 0;
}

/* Whether a shared word can be read: looked at whole, as others change it whole. */
static bool is_readable(const struct volume *vol, const uint64_t *word)
{
	uint64_t value;

	return pmem_load64(vol->pm, word, &value) == 0;
}

/* Whether word and bitmap of a reserved unit can be read; if not, it counts as bad until the
 * unmount. */
static bool is_usable_locked(struct alloc *al, struct arena *a, uint64_t unit)
{
	const struct volume *vol = al->vol;

	if (is_readable(vol, &vol->unit_word[unit]) &&
	    pmem_probe(vol->pm, vol->bitmap[unit], sizeof(*vol->bitmap)) == 0)
		return true;
	a->bad_blocks += DXF_UNIT_BLOCKS;
	return false;
}

/* Reserve a free unit as arena_take_unit() does, but one that can be used. */
static bool take_unit_locked(struct alloc *al, struct arena *a, uint64_t room, uint64_t least,
			     uint64_t *ret_unit)
{
	lock_assert(LOCK_ARENA);
	while (arena_take_unit(al, a, room, least, ret_unit))
		if (is_usable_locked(al, a, *ret_unit))
			return true;
	return false;
}

/* A reserved unit of this arena: a free one, or if any will do, a coalesced one. */
static bool find_unit_locked(struct alloc *al, struct arena *a, uint64_t room, uint64_t least,
			     uint64_t *ret_unit)
{
	struct split_unit *empty;

	lock_assert(LOCK_ARENA);
	if (take_unit_locked(al, a, room, least, ret_unit))
		return true;
	if (least > 1)
		return false;
	empty = a->list[DXF_UNIT_BLOCKS];
	if (!empty)
		return false;
	*ret_unit = empty->unit;
	return coalesce_unit_locked(al, a, empty) == 0;
}

static errint_t split_unit_locked(struct alloc *al, struct arena *a)
{
	struct split_unit *b;
	uint64_t unit;
	int err;

	lock_assert(LOCK_ARENA);
	if (!take_unit_locked(al, a, 0, 1, &unit))
		return -ENOSPC;
	b = calloc(1, sizeof(*b));
	err = b ? store_unit_word(al, unit, DXF_UNIT_SPLIT) : -ENOMEM;
	if (err) {
		free(b);
		arena_release_unit(al, a, unit);
		return err;
	}
	b->unit = (uint32_t)unit;
	b->free = DXF_UNIT_BLOCKS;
	al->split[unit] = b;
	a->split_units++;
	arena_count_blocks(a, b->free);
	arena_list(a, b);
	return 0;
}

static bool take_goal(struct alloc *al, uint64_t unit, uint64_t room)
{
	struct arena *a = arena_of(al, unit);
	bool taken;

	lock_mutex(LOCK_ARENA, &a->lock);
	taken = arena_take_goal(al, a, unit, room) && is_usable_locked(al, a, unit);
	unlock_mutex(LOCK_ARENA, &a->lock);
	return taken;
}

/* From the own arena, or the next one that has a run of `least`. */
static bool find_in_arenas(struct alloc *al, uint64_t room, uint64_t least, uint64_t *ret_unit)
{
	unsigned first = arena_mine(al);
	bool found = false;

	for (unsigned i = 0; i < al->count && !found; i++) {
		struct arena *a = &al->arena[(first + i) % al->count];

		lock_mutex(LOCK_ARENA, &a->lock);
		found = find_unit_locked(al, a, room, least, ret_unit);
		unlock_mutex(LOCK_ARENA, &a->lock);
	}
	return found;
}

static bool find_unit(struct alloc *al, uint64_t room, uint64_t *ret_unit)
{
	return (room > SHORT_RUN && find_in_arenas(al, room, MIN(room, LONG_RUN), ret_unit)) ||
	       (room > 1 && find_in_arenas(al, room, MIN(room, SHORT_RUN), ret_unit)) ||
	       find_in_arenas(al, room, 1, ret_unit);
}

errint_t alloc_unit(struct tx *tx, enum dxf_unit_state state, uint64_t goal, uint64_t room,
		    uint64_t *ret_offset)
{
	struct volume *vol = tx_volume(tx);
	struct alloc *al = vol->alloc;
	uint64_t unit = goal / DXF_UNIT_SIZE;

	room = MIN(room, ARENA_ROOM_MAX);
	if (!(goal && take_goal(al, unit, room)) && !find_unit(al, room, &unit))
		return -ENOSPC;
	tx_on_abort(tx, TX_UNIT, unit * DXF_UNIT_SIZE);
	*(uint64_t *)tx_edit(tx, &vol->unit_word[unit], 8) = state;
	*ret_offset = unit * DXF_UNIT_SIZE;
	return 0;
}

void free_unit(struct tx *tx, uint64_t offset)
{
	struct volume *vol = tx_volume(tx);
	uint64_t *word = &vol->unit_word[offset / DXF_UNIT_SIZE];

	if (!is_readable(vol, word))
		return;
	*(uint64_t *)tx_edit(tx, word, 8) = DXF_UNIT_FREE;
	tx_on_commit(tx, TX_UNIT, offset);
}

/* ---- blocks --------------------------------------------------------------- */

/* From the arena's split units, as long as it has more than `leave` blocks. */
static unsigned eat_holes(struct arena *a, unsigned want, uint64_t leave, uint64_t *offsets)
{
	unsigned got = 0;

	lock_mutex(LOCK_ARENA, &a->lock);
	while (got < want && a->free_blocks > leave) {
		struct split_unit *b = arena_pick(a, want - got);

		if (!b)
			break;
		got += arena_take_blocks(a, b, want - got, offsets + got);
	}
	unlock_mutex(LOCK_ARENA, &a->lock);
	return got;
}

/* Split units of the arena for the blocks that are still wanted. */
static unsigned break_for(struct alloc *al, struct arena *a, unsigned want, uint64_t *offsets)
{
	unsigned got = 0;

	lock_mutex(LOCK_ARENA, &a->lock);
	while (got < want && split_unit_locked(al, a) == 0)
		got += arena_take_blocks(a, arena_pick(a, want - got), want - got, offsets + got);
	unlock_mutex(LOCK_ARENA, &a->lock);
	return got;
}

/*
 * Own holes; holes that others have left over (more than the unit that they are filling just now);
 * own units; any others.
 */
static unsigned reserve_blocks(struct alloc *al, unsigned want, uint64_t *offsets)
{
	unsigned first = arena_mine(al), got;

	got = eat_holes(&al->arena[first], want, 0, offsets);
	for (unsigned i = 1; i < al->count && got < want; i++) {
		struct arena *a = &al->arena[(first + i) % al->count];

		if (atomic_load_explicit(&a->free_blocks, memory_order_relaxed) > DXF_UNIT_BLOCKS)
			got += eat_holes(a, want - got, DXF_UNIT_BLOCKS, offsets + got);
	}
	for (unsigned i = 0; i < al->count && got < want; i++)
		got += break_for(al, &al->arena[(first + i) % al->count], want - got,
				 offsets + got);
	for (unsigned i = 0; i < al->count && got < want; i++)
		got += eat_holes(&al->arena[(first + i) % al->count], want - got, 0, offsets + got);
	return got;
}

uint64_t alloc_holes(struct volume *vol)
{
	struct alloc *al = vol->alloc;
	unsigned first = arena_mine(al);
	uint64_t holes = 0;

	for (unsigned i = 0; i < al->count; i++) {
		uint64_t blocks = atomic_load_explicit(&al->arena[i].free_blocks,
						       memory_order_relaxed);

		/* as reserve_blocks() takes them */
		if (i == first)
			holes += blocks;
		else if (blocks > DXF_UNIT_BLOCKS)
			holes += blocks - DXF_UNIT_BLOCKS;
	}
	return holes;
}

static uint64_t *bitmap_word(struct volume *vol, uint64_t offset, uint64_t *ret_mask)
{
	uint64_t block = offset % DXF_UNIT_SIZE / DXF_BLOCK_SIZE;

	*ret_mask = UINT64_C(1) << block % 64;
	return &vol->bitmap[offset / DXF_UNIT_SIZE][block / 64];
}

/* A reserved block turned out to be poisoned: it stays taken until the unmount. */
static void retire_block(struct alloc *al, uint64_t offset)
{
	struct arena *a = arena_of(al, offset / DXF_UNIT_SIZE);
	uint64_t block = offset % DXF_UNIT_SIZE / DXF_BLOCK_SIZE;

	lock_mutex(LOCK_ARENA, &a->lock);
	al->split[offset / DXF_UNIT_SIZE]->bad[block / 64] |= UINT64_C(1) << block % 64;
	a->bad_blocks++;
	unlock_mutex(LOCK_ARENA, &a->lock);
}

bool alloc_is_good(const struct volume *vol, uint64_t offset)
{
	const void *block = pmem_at(vol->pm, offset);

	return pmem_probe(vol->pm, block, 1) == 0 ||
	       (pmem_clear_bad(vol->pm, block, DXF_BLOCK_SIZE) == 0 &&
		pmem_probe(vol->pm, block, 1) == 0);
}

/* Reserve blocks that can be touched, and marked as taken. */
static unsigned reserve_good(struct volume *vol, unsigned want, uint64_t *offsets)
{
	unsigned got = 0, more;

	do {
		unsigned end = got + reserve_blocks(vol->alloc, want - got, offsets + got);

		more = end - got;
		for (unsigned i = got; i < end; i++) {
			uint64_t offset = offsets[i], mask;

			if (!is_readable(vol, bitmap_word(vol, offset, &mask)) ||
			    !alloc_is_good(vol, offset))
				retire_block(vol->alloc, offset);
			else
				offsets[got++] = offset;
		}
	} while (got < want && more);
	return got;
}

errint_t alloc_blocks(struct tx *tx, unsigned count, uint64_t *ret_offsets)
{
	struct volume *vol = tx_volume(tx);
	uint64_t offsets[DXF_UNIT_BLOCKS], mask;
	unsigned got = reserve_good(vol, count, offsets);

	if (got < count) {
		while (got)
			alloc_release(vol, TX_BLOCK, offsets[--got]);
		return -ENOSPC;
	}
	for (unsigned i = 0; i < count; i++) {
		uint64_t *word = bitmap_word(vol, offsets[i], &mask);

		tx_set_bits(tx, word, mask);
		tx_on_abort(tx, TX_BLOCK, offsets[i]);
		ret_offsets[i] = offsets[i];
	}
	return 0;
}

void free_block(struct tx *tx, uint64_t offset)
{
	struct volume *vol = tx_volume(tx);
	uint64_t mask, *word = bitmap_word(vol, offset, &mask);

	if (!is_readable(vol, word))
		return;
	tx_clear_bits(tx, word, mask);
	tx_on_commit(tx, TX_BLOCK, offset);
}

/* ---- the end of a transaction --------------------------------------------- */

static void release_block_locked(struct alloc *al, struct arena *a, uint64_t offset)
{
	struct split_unit *b = al->split[offset / DXF_UNIT_SIZE], *other;
	unsigned block = (unsigned)(offset % DXF_UNIT_SIZE / DXF_BLOCK_SIZE);
	uint64_t bit = UINT64_C(1) << block % 64;

	lock_assert(LOCK_ARENA);
	if (!b || !(b->taken[block / 64] & bit))
		return; /* freed twice: cross-linked on media, a matter for fsck */
	if (b->bad[block / 64] & bit) {
		a->bad_blocks++;
		return;
	}
	arena_unlist(a, b);
	b->taken[block / 64] &= ~bit;
	b->free++;
	arena_count_blocks(a, 1);
	arena_list(a, b);
	other = b->next ? b->next : b->prev;
	if (b->free == DXF_UNIT_BLOCKS && other) {
		uint64_t unit = b->unit;

		if (coalesce_unit_locked(al, a, b) == 0)
			arena_release_unit(al, a, unit);
	}
}

void alloc_reuse_locked(struct alloc *al, struct arena *a, enum tx_space kind, uint64_t offset)
{
	lock_assert(LOCK_ARENA);
	if (kind == TX_UNIT)
		arena_release_unit(al, a, offset / DXF_UNIT_SIZE);
	else
		release_block_locked(al, a, offset);
}

void alloc_release(struct volume *vol, enum tx_space kind, uint64_t offset)
{
	struct alloc *al = vol->alloc;
	struct arena *a = arena_of(al, offset / DXF_UNIT_SIZE);

	lock_mutex(LOCK_ARENA, &a->lock);
	if (!a->busy || !busy_freed_locked(a, kind, offset))
		alloc_reuse_locked(al, a, kind, offset);
	unlock_mutex(LOCK_ARENA, &a->lock);
}

/* Whether all of a reserved unit can be touched. */
static bool unit_is_good(const struct volume *vol, uint64_t offset)
{
	for (uint64_t at = 0; at < DXF_UNIT_SIZE; at += DXF_BLOCK_SIZE)
		if (!alloc_is_good(vol, offset + at))
			return false;
	return true;
}

void alloc_give_back(struct volume *vol, enum tx_space kind, uint64_t offset)
{
	struct arena *a = arena_of(vol->alloc, offset / DXF_UNIT_SIZE);

	if (kind != TX_UNIT || unit_is_good(vol, offset)) {
		alloc_release(vol, kind, offset);
		return;
	}
	lock_mutex(LOCK_ARENA, &a->lock);
	a->bad_blocks += DXF_UNIT_BLOCKS;
	unlock_mutex(LOCK_ARENA, &a->lock);
}

/* ---- questions ------------------------------------------------------------ */

/* A word that can't be read says nothing against a file's claim: its data must not be lost with the
 * word. */
static bool in_state(const struct volume *vol, uint64_t offset, enum dxf_unit_state state)
{
	uint64_t word;

	return offset >= vol->super.data_offset && offset < vol->super.pool_size - DXF_UNIT_SIZE &&
	       (pmem_load64(vol->pm, &vol->unit_word[offset / DXF_UNIT_SIZE], &word) ||
		word == state);
}

bool alloc_is_block(const struct volume *vol, uint64_t offset)
{
	return offset % DXF_BLOCK_SIZE == 0 && in_state(vol, offset, DXF_UNIT_SPLIT);
}

bool alloc_is_taken(const struct volume *vol, uint64_t offset)
{
	uint64_t mask, *word = bitmap_word((struct volume *)vol, offset, &mask), seen;

	return pmem_load64(vol->pm, word, &seen) || (seen & mask);
}

bool alloc_is_unit(const struct volume *vol, uint64_t offset)
{
	return offset % DXF_UNIT_SIZE == 0 && in_state(vol, offset, DXF_UNIT_DATA);
}

void alloc_space(struct volume *vol, struct alloc_space *ret_space)
{
	struct alloc *al = vol->alloc;

	memset(ret_space, 0, sizeof(*ret_space));
	for (unsigned i = 0; i < al->count; i++) {
		struct arena *a = &al->arena[i];

		lock_mutex(LOCK_ARENA, &a->lock);
		ret_space->units += a->end - a->first;
		ret_space->free_units += a->free_units;
		ret_space->split_units += a->split_units;
		ret_space->free_blocks += a->free_blocks;
		ret_space->bad_blocks += a->bad_blocks;
		ret_space->busy_blocks += a->busy_blocks;
		unlock_mutex(LOCK_ARENA, &a->lock);
	}
}
