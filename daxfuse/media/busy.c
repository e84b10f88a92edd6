/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Busy space: space that a program has mapped must not become another file's before the program
 * lets go of it, though its own file frees it.
 *
 * On media it is free at once. So there is nothing to recover: a crash of the machine ends all
 * programs, and the next mount finds it free. In memory it stays reserved: blocks that were freed
 * while busy are only marked here, and go back to their arena when the last one lets go. A holder
 * of blocks that are free already (a new daemon learns of them from a program that has outlived the
 * last one) reserves them first.
 *
 * One struct for each unit of which something is busy, in a tree of its arena. Blocks are counted
 * one by one, whole units by one number. The count does not depend on what the unit is: a unit that
 * is freed whole stays reserved while any block of it is busy; a split one keeps the blocks that
 * are busy, and so can't be coalesced. Busy blocks keep their layout that way, as they are never
 * given out.
 *
 * Lock: the arena's, which a thread that frees has to take in any case. Ranges of several units are
 * marked unit by unit.
 */
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "busy.h"

struct busy {
	uint64_t unit;
	uint64_t whole;  /* how often all of it is busy */
	unsigned parts;  /* blocks with a count */
	uint32_t *count; /* how often a block is busy beyond that; NULL: none */
	bool unit_freed;
	uint64_t freed[FREE_WORDS]; /* blocks */
};

/* The part of a range in one unit. */
struct part {
	uint64_t unit;
	unsigned first, end; /* blocks */
};

static int compare(const void *a, const void *b)
{
	const struct busy *x = a, *y = b;

	return (x->unit > y->unit) - (x->unit < y->unit);
}

static struct busy *find(struct arena *a, uint64_t unit)
{
	const struct busy key = { .unit = unit };
	struct busy *const *found = a->busy ? tfind(&key, &a->busy, compare) : NULL;

	return found ? *found : NULL;
}

static struct busy *find_or_make(struct arena *a, uint64_t unit)
{
	struct busy *h = find(a, unit);

	if (h)
		return h;
	h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	h->unit = unit;
	if (!tsearch(h, &a->busy, compare)) {
		free(h);
		return NULL;
	}
	return h;
}

static void busy_free(void *arg)
{
	struct busy *h = arg;

	free(h->count);
	free(h);
}

void busy_close(struct arena *a)
{
	tdestroy(a->busy, busy_free);
}

static bool is_busy(const struct busy *h, unsigned block)
{
	return h->whole || (h->count && h->count[block]);
}

static bool is_whole(const struct part *p)
{
	return p->first == 0 && p->end == DXF_UNIT_BLOCKS;
}

/* The first part of [offset, end); *offset: where the next one begins. */
static struct part next_part(uint64_t *offset, uint64_t end)
{
	uint64_t unit = *offset / DXF_UNIT_SIZE, start = unit * DXF_UNIT_SIZE;
	uint64_t stop = MIN(end, start + DXF_UNIT_SIZE);
	struct part p = { unit, (unsigned)((*offset - start) / DXF_BLOCK_SIZE),
			  (unsigned)((stop - start) / DXF_BLOCK_SIZE) };

	*offset = stop;
	return p;
}

/* ---- what is freed -------------------------------------------------------- */

static void mark_unit_freed(struct arena *a, struct busy *h)
{
	if (h->unit_freed)
		return;
	h->unit_freed = true;
	a->busy_blocks += DXF_UNIT_BLOCKS;
}

static void mark_block_freed(struct arena *a, struct busy *h, unsigned block)
{
	uint64_t bit = UINT64_C(1) << block % 64;

	if (h->freed[block / 64] & bit)
		return;
	h->freed[block / 64] |= bit;
	a->busy_blocks++;
}

bool busy_freed_locked(struct arena *a, enum tx_space kind, uint64_t offset)
{
	struct busy *h = find(a, offset / DXF_UNIT_SIZE);
	unsigned block = (unsigned)(offset % DXF_UNIT_SIZE / DXF_BLOCK_SIZE);

	lock_assert(LOCK_ARENA);
	if (!h)
		return false;
	if (kind == TX_UNIT)
		mark_unit_freed(a, h);
	else if (is_busy(h, block))
		mark_block_freed(a, h, block);
	else
		return false;
	return true;
}

/* Reserve the free blocks of a part that is busy now. */
static void take_free(struct alloc *al, struct arena *a, struct busy *h, const struct part *p)
{
	struct split_unit *b = al->split[p->unit];

	if (arena_take_this_unit(al, a, p->unit))
		mark_unit_freed(a, h);
	for (unsigned i = p->first; b && i < p->end; i++)
		if (arena_take_this_block(a, b, i))
			mark_block_freed(a, h, i);
}

/* Blocks of a part that were freed, and are busy no more, can be given out. */
static void give_back(struct alloc *al, struct arena *a, struct busy *h, const struct part *p)
{
	for (unsigned i = p->first; i < p->end; i++) {
		uint64_t bit = UINT64_C(1) << i % 64;

		if (!(h->freed[i / 64] & bit) || is_busy(h, i))
			continue;
		h->freed[i / 64] &= ~bit;
		a->busy_blocks--;
		alloc_reuse_locked(al, a, TX_BLOCK, p->unit * DXF_UNIT_SIZE + i * DXF_BLOCK_SIZE);
	}
}

/* Nothing of the unit is busy any more. */
static void end_busy(struct alloc *al, struct arena *a, struct busy *h)
{
	tdelete(h, &a->busy, compare);
	if (h->unit_freed) {
		a->busy_blocks -= DXF_UNIT_BLOCKS;
		alloc_reuse_locked(al, a, TX_UNIT, h->unit * DXF_UNIT_SIZE);
	}
	busy_free(h);
}

/* ---- counts --------------------------------------------------------------- */

static errint_t make_counts(struct busy *h)
{
	if (!h->count)
		h->count = calloc(DXF_UNIT_BLOCKS, sizeof(*h->count));
	return h->count ? 0 : -ENOMEM;
}

static errint_t count_up(struct busy *h, const struct part *p)
{
	int err = 0;

	if (is_whole(p)) {
		h->whole++;
		return 0;
	}
	err = make_counts(h);
	for (unsigned i = p->first; !err && i < p->end; i++)
		h->parts += !h->count[i]++;
	return err;
}

/* Once less all blocks, once more each. */
static errint_t split_whole(struct busy *h)
{
	int err = make_counts(h);

	if (err)
		return err;
	h->whole--;
	for (unsigned i = 0; i < DXF_UNIT_BLOCKS; i++)
		h->parts += !h->count[i]++;
	return 0;
}

/* Without memory a part of a unit that was busy whole stays busy: that is safe. */
static void count_down(struct busy *h, const struct part *p)
{
	if (is_whole(p) && h->whole) {
		h->whole--;
		return;
	}
	for (unsigned i = p->first; i < p->end; i++) {
		if (!(h->count && h->count[i]) && (!h->whole || split_whole(h)))
			continue;
		h->parts -= !--h->count[i];
	}
}

/* ---- the calls ------------------------------------------------------------ */

static bool is_data(const struct volume *vol, uint64_t offset, uint64_t length)
{
	uint64_t end = vol->super.pool_size - DXF_UNIT_SIZE;

	return length && offset % DXF_BLOCK_SIZE == 0 && length % DXF_BLOCK_SIZE == 0 &&
	       offset >= vol->super.data_offset && offset < end && length <= end - offset;
}

static errint_t insert_part(struct alloc *al, const struct part *p)
{
	struct arena *a = arena_of(al, p->unit);
	struct busy *h;
	int err;

	lock_mutex(LOCK_ARENA, &a->lock);
	h = find_or_make(a, p->unit);
	err = h ? count_up(h, p) : -ENOMEM;
	if (!err)
		take_free(al, a, h, p);
	else if (h && !h->whole && !h->parts)
		end_busy(al, a, h);
	unlock_mutex(LOCK_ARENA, &a->lock);
	return err;
}

static void clear_part(struct alloc *al, const struct part *p)
{
	struct arena *a = arena_of(al, p->unit);
	struct busy *h;

	lock_mutex(LOCK_ARENA, &a->lock);
	h = find(a, p->unit);
	if (h) {
		count_down(h, p);
		give_back(al, a, h, p);
		if (!h->whole && !h->parts)
			end_busy(al, a, h);
	}
	unlock_mutex(LOCK_ARENA, &a->lock);
}

errint_t alloc_busy_insert(struct volume *vol, uint64_t offset, uint64_t length)
{
	uint64_t at = offset, end = offset + length;

	if (!is_data(vol, offset, length))
		return -EINVAL;
	while (at < end) {
		uint64_t done = at - offset;
		struct part p = next_part(&at, end);
		int err = insert_part(vol->alloc, &p);

		if (err) {
			alloc_busy_clear(vol, offset, done);
			return err;
		}
	}
	return 0;
}

void alloc_busy_clear(struct volume *vol, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length;

	if (!is_data(vol, offset, length))
		return;
	while (offset < end) {
		struct part p = next_part(&offset, end);

		clear_part(vol->alloc, &p);
	}
}
