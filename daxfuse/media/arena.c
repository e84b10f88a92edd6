/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arenas, see arena.h; alloc.c says what they are good for. Split units stand in lists by how many
 * of their blocks are free, so that the fullest one with enough room is found in a few words. Whole
 * units: arena_unit.c.
 */
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "arena.h"

void arena_list(struct arena *a, struct split_unit *b)
{
	b->prev = NULL;
	b->next = a->list[b->free];
	if (b->next)
		b->next->prev = b;
	a->list[b->free] = b;
	a->filled[b->free / 64] |= UINT64_C(1) << b->free % 64;
}

void arena_unlist(struct arena *a, struct split_unit *b)
{
	if (b->next)
		b->next->prev = b->prev;
	if (b->prev)
		b->prev->next = b->next;
	else
		a->list[b->free] = b->next;
	if (!a->list[b->free])
		a->filled[b->free / 64] &= ~(UINT64_C(1) << b->free % 64);
}

struct split_unit *arena_pick(struct arena *a, unsigned want)
{
	for (unsigned i = want; i <= DXF_UNIT_BLOCKS; i = (i / 64 + 1) * 64) {
		uint64_t word = a->filled[i / 64] & (~UINT64_C(0) << i % 64);

		if (word)
			return a->list[i / 64 * 64 + bits_first(word)];
	}
	for (unsigned i = FREE_WORDS + 1; i-- > 0;) {
		uint64_t word = i ? a->filled[i] : a->filled[0] & ~UINT64_C(1);

		if (word)
			return a->list[i * 64 + bits_last(word)];
	}
	return NULL;
}

void arena_count_blocks(struct arena *a, int64_t delta)
{
	atomic_store_explicit(&a->free_blocks, a->free_blocks + (uint64_t)delta,
			      memory_order_relaxed);
}

struct arena *arena_of(struct alloc *al, uint64_t unit)
{
	uint64_t i = unit / al->units_per_arena;

	return &al->arena[i < al->count ? i : al->count - 1];
}

unsigned arena_mine(const struct alloc *al)
{
	return (unsigned)sched_getcpu() % al->count;
}

unsigned arena_take_blocks(struct arena *a, struct split_unit *b, unsigned want, uint64_t *offsets)
{
	unsigned got = 0;

	arena_unlist(a, b);
	for (unsigned w = 0; w < FREE_WORDS && got < want; w++) {
		while (~b->taken[w] && got < want) {
			unsigned bit = bits_first(~b->taken[w]);

			b->taken[w] |= UINT64_C(1) << bit;
			offsets[got++] = b->unit * DXF_UNIT_SIZE + (w * 64 + bit) * DXF_BLOCK_SIZE;
		}
	}
	b->free = (uint16_t)(b->free - got);
	arena_count_blocks(a, -(int64_t)got);
	arena_list(a, b);
	return got;
}

bool arena_take_this_block(struct arena *a, struct split_unit *b, unsigned block)
{
	uint64_t bit = UINT64_C(1) << block % 64;

	if (b->taken[block / 64] & bit)
		return false;
	arena_unlist(a, b);
	b->taken[block / 64] |= bit;
	b->free--;
	arena_count_blocks(a, -1);
	arena_list(a, b);
	return true;
}
