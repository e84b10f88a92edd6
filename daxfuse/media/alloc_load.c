/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The allocator at mount: arenas are filled from the unit words and the bitmaps of split units,
 * without space that is known to be poisoned. Nothing is stored.
 *
 * A unit whose word or bitmap can't be read counts as bad. It is never given out, nor are parts
 * that are freed of it, until fsck has written word and bitmap anew.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "alloc.h"
#include "arena.h"
#include "busy.h"
#include "daxfuse/base/errint.h"

enum { ARENAS_MAX = 16, ARENA_UNITS_MIN = 16, BITMAPS_PER_PAGE = DXF_BLOCK_SIZE / 64 };

/* Blocks of b that are known to be bad and not in use are never given out. */
static void mark_bad_blocks(struct alloc *al, struct arena *a, struct split_unit *b)
{
	const struct pmem *pm = al->vol->pm;

	for (size_t i = 0; i < pm->bad_count; i++) {
		for (unsigned block = 0; block < DXF_UNIT_BLOCKS; block++) {
			uint64_t at = b->unit * DXF_UNIT_SIZE + block * DXF_BLOCK_SIZE;
			uint64_t bit = UINT64_C(1) << block % 64;

			if (pm->bad[i].offset >= at + DXF_BLOCK_SIZE ||
			    pm->bad[i].offset + pm->bad[i].length <= at)
				continue;
			if (!(b->taken[block / 64] & bit)) {
				b->taken[block / 64] |= bit;
				a->bad_blocks++;
			}
			b->bad[block / 64] |= bit;
		}
	}
}

static errint_t load_split(struct alloc *al, struct arena *a, uint64_t unit)
{
	struct split_unit *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->unit = (uint32_t)unit;
	if (pmem_read(al->vol->pm, b->taken, al->vol->bitmap[unit], sizeof(b->taken))) {
		/* nobody knows what is free: nothing is */
		free(b);
		a->bad_blocks += DXF_UNIT_BLOCKS;
		return 0;
	}
	if (arena_unit_is_bad(al, unit))
		mark_bad_blocks(al, a, b);
	for (unsigned w = 0; w < FREE_WORDS; w++)
		b->free = (uint16_t)(b->free + bits_count(~b->taken[w]));
	al->split[unit] = b;
	a->split_units++;
	arena_count_blocks(a, b->free);
	arena_list(a, b);
	return 0;
}

static errint_t load_unit(struct alloc *al, struct arena *a, uint64_t unit, uint64_t word,
			  bool has_bitmap)
{
	switch (word) {
	case DXF_UNIT_FREE:
		if (has_bitmap)
			arena_release_unit(al, a, unit);
		else
			a->bad_blocks += DXF_UNIT_BLOCKS;
		return 0;
	case DXF_UNIT_SPLIT:
		return load_split(al, a, unit);
	case DXF_UNIT_DATA:
	case DXF_UNIT_INODES:
		return 0;
	}
	return -EUCLEAN;
}

/* The units [unit, end), whose bitmaps lie in one page: one touch tells whether the
 * kernel has taken it away. */
static errint_t load_units(struct alloc *al, struct arena *a, uint64_t unit, uint64_t end)
{
	const struct volume *vol = al->vol;
	uint64_t words[BITMAPS_PER_PAGE];
	bool has_bitmaps = pmem_probe(vol->pm, vol->bitmap[unit], 1) == 0;
	bool all = pmem_read(vol->pm, words, &vol->unit_word[unit], (end - unit) * 8) == 0;
	int err = 0;

	for (uint64_t i = 0; !err && i < end - unit; i++) {
		if (!all && pmem_load64(vol->pm, &vol->unit_word[unit + i], &words[i]))
			a->bad_blocks += DXF_UNIT_BLOCKS;
		else
			err = load_unit(al, a, unit + i, words[i], has_bitmaps);
	}
	return err;
}

static errint_t load_arena(struct alloc *al, struct arena *a)
{
	uint64_t unit = a->first;
	int err = 0;

	while (!err && unit < a->end) {
		uint64_t end = MIN((unit / BITMAPS_PER_PAGE + 1) * BITMAPS_PER_PAGE, a->end);

		err = load_units(al, a, unit, end);
		unit = end;
	}
	return err;
}

static unsigned arenas_wanted(uint64_t units)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t most = units / ARENA_UNITS_MIN;

	if (cpus < 1)
		cpus = 1;
	if (cpus > ARENAS_MAX)
		cpus = ARENAS_MAX;
	return most < 1 ? 1 : most < (uint64_t)cpus ? (unsigned)most : (unsigned)cpus;
}

errint_t alloc_open(struct volume *vol)
{
	uint64_t first = vol->super.data_offset / DXF_UNIT_SIZE, last = vol->units - 1;
	struct alloc *al = calloc(1, sizeof(*al));
	int err = 0;

	if (!al)
		return -ENOMEM;
	vol->alloc = al;
	al->vol = vol;
	al->count = arenas_wanted(last - first);
	al->units_per_arena = vol->units / al->count;
	al->arena = aligned_alloc(64, al->count * sizeof(*al->arena));
	al->free = calloc(vol->units / 64 + 1, 8);
	al->split = calloc(vol->units, sizeof(*al->split));
	if (!al->arena || !al->free || !al->split) {
		al->count = 0;
		return -ENOMEM;
	}
	memset(al->arena, 0, al->count * sizeof(*al->arena));
	for (unsigned i = 0; i < al->count; i++)
		pthread_mutex_init(&al->arena[i].lock, NULL);
	for (unsigned i = 0; !err && i < al->count; i++) {
		struct arena *a = &al->arena[i];

		a->first = MAX(i * al->units_per_arena, first);
		a->end = i + 1 == al->count ? last : MAX((i + 1) * al->units_per_arena, first);
		a->low = a->cursor = a->first;
		a->high = a->end;
		err = load_arena(al, a);
	}
	return err;
}

void alloc_close(struct volume *vol)
{
	struct alloc *al = vol->alloc;

	if (!al)
		return;
	for (uint64_t i = 0; al->split && i < vol->units; i++)
		free(al->split[i]);
	for (unsigned i = 0; i < al->count; i++) {
		busy_close(&al->arena[i]);
		pthread_mutex_destroy(&al->arena[i].lock);
	}
	free(al->split);
	free(al->free);
	free(al->arena);
	free(al);
}
