/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The extent allocator.
 *
 * On media: a word a unit (free, data, broken, inodes) and a bitmap for each
 * broken unit, both changed by the transaction that changes who uses the space.
 * In memory: a bit for each free unit, and a descriptor for each broken one,
 * loaded at mount. Memory decides who gets what: space is reserved here before
 * the transaction and released here after it, so media never shows space as
 * free that a live record still uses.
 *
 * To keep whole units whole as the pool ages (after WineFS, SOSP'21):
 *   - Arenas, one a CPU, each a contiguous part of the units with a lock of its
 *     own; a thread uses its CPU's arena and looks into others only when that
 *     one can't help.
 *   - Blocks come from the fullest broken unit that has room, so that the
 *     emptier ones drain, and become whole again. Holes that another arena has
 *     left over are eaten before a unit is broken.
 *   - A broken unit whose last block was freed is a free unit again; one stays
 *     broken in each arena, for a thread that makes and removes one small file.
 *
 * Breaking and mending a unit are transactions of their own, under the arena's
 * lock: nobody is given a block of a unit before the unit is durably broken.
 *
 * Lock order: arena, then journal. Never two arenas at a time.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/media/alloc.h"

enum { ARENAS_MAX = 16, ARENA_UNITS_MIN = 16, FREE_WORDS = DXF_UNIT_BLOCKS / 64 };

struct broken {
	struct broken *next, *prev; /* in its arena's list for `free` */
	uint32_t unit;
	uint16_t free;
	uint64_t taken[FREE_WORDS]; /* reserved or in use or bad */
	uint64_t bad[FREE_WORDS];
};

struct arena {
	_Alignas(64) pthread_mutex_t lock;
	uint64_t first, end; /* units */
	uint64_t cursor;     /* next fit */
	uint64_t free_units, broken_units, bad_blocks;
	uint64_t free_blocks; /* stored atomically: others have a look without the lock */
	/* lists of broken units by how many blocks are free, 0 to 512 */
	struct broken *list[DXF_UNIT_BLOCKS + 1];
	uint64_t filled[FREE_WORDS + 1]; /* which lists are not empty */
};

struct alloc {
	struct volume *vol;
	unsigned count;
	struct arena *arena;
	uint64_t units_per_arena;
	uint64_t *free;         /* a bit for each unit that is free and not bad */
	struct broken **broken; /* by unit */
};

/* ---- lists of broken units ------------------------------------------------ */

static void list_add(struct arena *a, struct broken *b)
{
	b->prev = NULL;
	b->next = a->list[b->free];
	if (b->next)
		b->next->prev = b;
	a->list[b->free] = b;
	a->filled[b->free / 64] |= UINT64_C(1) << b->free % 64;
}

static void list_remove(struct arena *a, struct broken *b)
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

/* The fullest broken unit with at least `want` free blocks, else the emptiest. */
static struct broken *pick_broken(struct arena *a, unsigned want)
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

/* ---- units ---------------------------------------------------------------- */

static bool unit_is_free(const struct alloc *al, uint64_t unit)
{
	return __atomic_load_n(&al->free[unit / 64], __ATOMIC_RELAXED) >> unit % 64 & 1;
}

static void unit_mark(struct alloc *al, uint64_t unit, bool is_free)
{
	uint64_t bit = UINT64_C(1) << unit % 64;

	/* two arenas may share a word */
	if (is_free)
		__atomic_fetch_or(&al->free[unit / 64], bit, __ATOMIC_RELAXED);
	else
		__atomic_fetch_and(&al->free[unit / 64], ~bit, __ATOMIC_RELAXED);
}

static void count_blocks_locked(struct arena *a, int64_t delta)
{
	__atomic_store_n(&a->free_blocks, a->free_blocks + (uint64_t)delta, __ATOMIC_RELAXED);
}

static bool take_unit_locked(struct alloc *al, struct arena *a, uint64_t *ret_unit)
{
	if (!a->free_units)
		return false;
	for (uint64_t n = a->end - a->first, unit = a->cursor; n; n--, unit++) {
		if (unit >= a->end)
			unit = a->first;
		if (unit % 64 == 0 && n >= 64 && unit + 64 <= a->end &&
		    !__atomic_load_n(&al->free[unit / 64], __ATOMIC_RELAXED)) {
			unit += 63;
			n -= 63;
			continue;
		}
		if (unit_is_free(al, unit)) {
			unit_mark(al, unit, false);
			a->free_units--;
			a->cursor = unit;
			*ret_unit = unit;
			return true;
		}
	}
	return false;
}

static struct arena *arena_of(struct alloc *al, uint64_t unit)
{
	uint64_t i = unit / al->units_per_arena;

	return &al->arena[i < al->count ? i : al->count - 1];
}

static unsigned my_arena(const struct alloc *al)
{
	return (unsigned)sched_getcpu() % al->count;
}

static int store_unit_word(struct alloc *al, uint64_t unit, enum dxf_unit_state state)
{
	struct tx *tx;
	int err = 0;

	if (state == DXF_UNIT_BROKEN)
		err = pmem_probe(al->vol->pm, al->vol->bitmap[unit], 64);
	if (!err)
		err = tx_begin(al->vol, &tx);
	if (err)
		return err;
	*(uint64_t *)tx_edit(tx, &al->vol->unit_word[unit], 8) = state;
	if (state == DXF_UNIT_BROKEN)
		memset(tx_edit(tx, al->vol->bitmap[unit], 64), 0, 64);
	return tx_commit(tx);
}

/* Mend a broken unit none of whose blocks is taken; it stays reserved. */
static int mend_unit_locked(struct alloc *al, struct arena *a, struct broken *b)
{
	int err = store_unit_word(al, b->unit, DXF_UNIT_FREE);

	if (err)
		return err;
	list_remove(a, b);
	a->broken_units--;
	count_blocks_locked(a, -(int64_t)b->free);
	al->broken[b->unit] = NULL;
	free(b);
	return 0;
}

/* A reserved unit of this arena: a free one, or a mended one. */
static bool find_unit_locked(struct alloc *al, struct arena *a, uint64_t *ret_unit)
{
	struct broken *empty;

	if (take_unit_locked(al, a, ret_unit))
		return true;
	empty = a->list[DXF_UNIT_BLOCKS];
	if (!empty)
		return false;
	*ret_unit = empty->unit;
	return mend_unit_locked(al, a, empty) == 0;
}

static int break_unit_locked(struct alloc *al, struct arena *a)
{
	struct broken *b;
	uint64_t unit;
	int err;

	if (!take_unit_locked(al, a, &unit))
		return -ENOSPC;
	b = calloc(1, sizeof(*b));
	err = b ? store_unit_word(al, unit, DXF_UNIT_BROKEN) : -ENOMEM;
	if (err) {
		free(b);
		unit_mark(al, unit, true);
		a->free_units++;
		return err;
	}
	b->unit = (uint32_t)unit;
	b->free = DXF_UNIT_BLOCKS;
	al->broken[unit] = b;
	a->broken_units++;
	count_blocks_locked(a, b->free);
	list_add(a, b);
	return 0;
}

int alloc_unit(struct tx *tx, enum dxf_unit_state state, uint64_t *ret_offset)
{
	struct volume *vol = tx_volume(tx);
	struct alloc *al = vol->alloc;
	unsigned first = my_arena(al);
	uint64_t unit = 0;
	bool found = false;

	for (unsigned i = 0; i < al->count && !found; i++) {
		struct arena *a = &al->arena[(first + i) % al->count];

		pthread_mutex_lock(&a->lock);
		found = find_unit_locked(al, a, &unit);
		pthread_mutex_unlock(&a->lock);
	}
	if (!found)
		return -ENOSPC;
	tx_on_abort(tx, TX_UNIT, unit * DXF_UNIT_SIZE);
	*(uint64_t *)tx_edit(tx, &vol->unit_word[unit], 8) = state;
	*ret_offset = unit * DXF_UNIT_SIZE;
	return 0;
}

void free_unit(struct tx *tx, uint64_t offset)
{
	struct volume *vol = tx_volume(tx);

	*(uint64_t *)tx_edit(tx, &vol->unit_word[offset / DXF_UNIT_SIZE], 8) = DXF_UNIT_FREE;
	tx_on_commit(tx, TX_UNIT, offset);
}

/* ---- blocks --------------------------------------------------------------- */

/* Up to `want` free blocks of b, lowest first. */
static unsigned take_blocks_locked(struct arena *a, struct broken *b, unsigned want, uint64_t *offsets)
{
	unsigned got = 0;

	list_remove(a, b);
	for (unsigned w = 0; w < FREE_WORDS && got < want; w++) {
		while (~b->taken[w] && got < want) {
			unsigned bit = bits_first(~b->taken[w]);

			b->taken[w] |= UINT64_C(1) << bit;
			offsets[got++] = b->unit * DXF_UNIT_SIZE + (w * 64 + bit) * DXF_BLOCK_SIZE;
		}
	}
	b->free = (uint16_t)(b->free - got);
	count_blocks_locked(a, -(int64_t)got);
	list_add(a, b);
	return got;
}

/* From the arena's broken units, as long as it has more than `leave` blocks. */
static unsigned eat_holes(struct arena *a, unsigned want, uint64_t leave, uint64_t *offsets)
{
	unsigned got = 0;

	pthread_mutex_lock(&a->lock);
	while (got < want && a->free_blocks > leave) {
		struct broken *b = pick_broken(a, want - got);

		if (!b)
			break;
		got += take_blocks_locked(a, b, want - got, offsets + got);
	}
	pthread_mutex_unlock(&a->lock);
	return got;
}

/* Break units of the arena for what is still wanted. */
static unsigned break_for(struct alloc *al, struct arena *a, unsigned want, uint64_t *offsets)
{
	unsigned got = 0;

	pthread_mutex_lock(&a->lock);
	while (got < want && break_unit_locked(al, a) == 0)
		got += take_blocks_locked(a, pick_broken(a, want - got), want - got, offsets + got);
	pthread_mutex_unlock(&a->lock);
	return got;
}

/*
 * Own holes; holes that others have left over (more than the unit that they are
 * filling just now); own units; whatever there is.
 */
static unsigned reserve_blocks(struct alloc *al, unsigned want, uint64_t *offsets)
{
	unsigned first = my_arena(al), got;

	got = eat_holes(&al->arena[first], want, 0, offsets);
	for (unsigned i = 1; i < al->count && got < want; i++) {
		struct arena *a = &al->arena[(first + i) % al->count];

		if (__atomic_load_n(&a->free_blocks, __ATOMIC_RELAXED) > DXF_UNIT_BLOCKS)
			got += eat_holes(a, want - got, DXF_UNIT_BLOCKS, offsets + got);
	}
	for (unsigned i = 0; i < al->count && got < want; i++)
		got += break_for(al, &al->arena[(first + i) % al->count], want - got, offsets + got);
	for (unsigned i = 0; i < al->count && got < want; i++)
		got += eat_holes(&al->arena[(first + i) % al->count], want - got, 0, offsets + got);
	return got;
}

uint64_t alloc_holes(struct volume *vol)
{
	struct alloc *al = vol->alloc;
	unsigned first = my_arena(al);
	uint64_t holes = 0;

	for (unsigned i = 0; i < al->count; i++) {
		uint64_t blocks = __atomic_load_n(&al->arena[i].free_blocks, __ATOMIC_RELAXED);

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

	pthread_mutex_lock(&a->lock);
	al->broken[offset / DXF_UNIT_SIZE]->bad[block / 64] |= UINT64_C(1) << block % 64;
	a->bad_blocks++;
	pthread_mutex_unlock(&a->lock);
}

/* Reserve blocks that can be touched. */
static unsigned reserve_good(struct volume *vol, unsigned want, uint64_t *offsets)
{
	unsigned got = 0, more;

	do {
		unsigned end = got + reserve_blocks(vol->alloc, want - got, offsets + got);

		more = end - got;
		for (unsigned i = got; i < end; i++) {
			uint64_t offset = offsets[i];

			if (pmem_probe(vol->pm, pmem_at(vol->pm, offset), 1))
				retire_block(vol->alloc, offset);
			else
				offsets[got++] = offset;
		}
	} while (got < want && more);
	return got;
}

int alloc_blocks(struct tx *tx, unsigned count, uint64_t *ret_offsets)
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
	uint64_t mask, *word = bitmap_word(tx_volume(tx), offset, &mask);

	tx_clear_bits(tx, word, mask);
	tx_on_commit(tx, TX_BLOCK, offset);
}

/* ---- the end of a transaction --------------------------------------------- */

static bool unit_is_bad(const struct alloc *al, uint64_t unit);

static void release_unit_locked(struct alloc *al, struct arena *a, uint64_t unit)
{
	if (unit_is_bad(al, unit)) {
		a->bad_blocks += DXF_UNIT_BLOCKS;
		return;
	}
	if (unit_is_free(al, unit))
		return; /* freed twice: cross-linked on media, a matter for fsck */
	unit_mark(al, unit, true);
	a->free_units++;
}

static void release_block_locked(struct alloc *al, struct arena *a, uint64_t offset)
{
	struct broken *b = al->broken[offset / DXF_UNIT_SIZE], *other;
	unsigned block = (unsigned)(offset % DXF_UNIT_SIZE / DXF_BLOCK_SIZE);
	uint64_t bit = UINT64_C(1) << block % 64;

	if (!b || !(b->taken[block / 64] & bit))
		return; /* freed twice: cross-linked on media, a matter for fsck */
	if (b->bad[block / 64] & bit) {
		a->bad_blocks++;
		return;
	}
	list_remove(a, b);
	b->taken[block / 64] &= ~bit;
	b->free++;
	count_blocks_locked(a, 1);
	list_add(a, b);
	other = b->next ? b->next : b->prev;
	if (b->free == DXF_UNIT_BLOCKS && other) {
		uint64_t unit = b->unit;

		if (mend_unit_locked(al, a, b) == 0)
			release_unit_locked(al, a, unit);
	}
}

void alloc_release(struct volume *vol, enum tx_space kind, uint64_t offset)
{
	struct alloc *al = vol->alloc;
	struct arena *a = arena_of(al, offset / DXF_UNIT_SIZE);

	pthread_mutex_lock(&a->lock);
	if (kind == TX_UNIT)
		release_unit_locked(al, a, offset / DXF_UNIT_SIZE);
	else
		release_block_locked(al, a, offset);
	pthread_mutex_unlock(&a->lock);
}

/* ---- mount ---------------------------------------------------------------- */

static bool unit_is_bad(const struct alloc *al, uint64_t unit)
{
	const struct pmem *pm = al->vol->pm;
	uint64_t offset = unit * DXF_UNIT_SIZE;

	for (size_t i = 0; i < pm->bad_count; i++)
		if (pm->bad[i].offset < offset + DXF_UNIT_SIZE &&
		    pm->bad[i].offset + pm->bad[i].length > offset)
			return true;
	return false;
}

/* Blocks of b that are known to be bad and not in use are never given out. */
static void mark_bad_blocks(struct alloc *al, struct arena *a, struct broken *b)
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

static int load_broken(struct alloc *al, struct arena *a, uint64_t unit)
{
	struct broken *b = calloc(1, sizeof(*b));
	int err;

	if (!b)
		return -ENOMEM;
	err = pmem_read(al->vol->pm, b->taken, al->vol->bitmap[unit], sizeof(b->taken));
	if (err) {
		free(b);
		return err;
	}
	b->unit = (uint32_t)unit;
	if (unit_is_bad(al, unit))
		mark_bad_blocks(al, a, b);
	for (unsigned w = 0; w < FREE_WORDS; w++)
		b->free = (uint16_t)(b->free + bits_count(~b->taken[w]));
	al->broken[unit] = b;
	a->broken_units++;
	count_blocks_locked(a, b->free);
	list_add(a, b);
	return 0;
}

static int load_unit(struct alloc *al, struct arena *a, uint64_t unit, uint64_t word)
{
	switch (word) {
	case DXF_UNIT_FREE:
		release_unit_locked(al, a, unit);
		return 0;
	case DXF_UNIT_BROKEN:
		return load_broken(al, a, unit);
	case DXF_UNIT_DATA:
	case DXF_UNIT_INODES:
		return 0;
	}
	return -EUCLEAN;
}

static int load_arena(struct alloc *al, struct arena *a)
{
	const struct volume *vol = al->vol;
	uint64_t words[DXF_BLOCK_SIZE / 8];

	for (uint64_t unit = a->first; unit < a->end;) {
		uint64_t n = MIN(a->end - unit, (uint64_t)ARRAY_SIZE(words));
		int err = pmem_read(vol->pm, words, &vol->unit_word[unit], n * 8);

		for (uint64_t i = 0; !err && i < n; i++)
			err = load_unit(al, a, unit + i, words[i]);
		if (err)
			return err;
		unit += n;
	}
	return 0;
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

int alloc_open(struct volume *vol)
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
	al->broken = calloc(vol->units, sizeof(*al->broken));
	if (!al->arena || !al->free || !al->broken) {
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
		a->cursor = a->first;
		err = load_arena(al, a);
	}
	return err;
}

void alloc_close(struct volume *vol)
{
	struct alloc *al = vol->alloc;

	if (!al)
		return;
	for (uint64_t i = 0; al->broken && i < vol->units; i++)
		free(al->broken[i]);
	for (unsigned i = 0; i < al->count; i++)
		pthread_mutex_destroy(&al->arena[i].lock);
	free(al->broken);
	free(al->free);
	free(al->arena);
	free(al);
}

/* ---- questions ------------------------------------------------------------ */

static bool in_state(const struct volume *vol, uint64_t offset, enum dxf_unit_state state)
{
	return offset >= vol->super.data_offset &&
	       offset < vol->super.pool_size - DXF_UNIT_SIZE &&
	       __atomic_load_n(&vol->unit_word[offset / DXF_UNIT_SIZE], __ATOMIC_RELAXED) == state;
}

bool alloc_is_block(const struct volume *vol, uint64_t offset)
{
	return offset % DXF_BLOCK_SIZE == 0 && in_state(vol, offset, DXF_UNIT_BROKEN);
}

bool alloc_is_taken(const struct volume *vol, uint64_t offset)
{
	uint64_t mask, *word = bitmap_word((struct volume *)vol, offset, &mask);

	return __atomic_load_n(word, __ATOMIC_RELAXED) & mask;
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

		pthread_mutex_lock(&a->lock);
		ret_space->units += a->end - a->first;
		ret_space->free_units += a->free_units;
		ret_space->broken_units += a->broken_units;
		ret_space->free_blocks += a->free_blocks;
		ret_space->bad_blocks += a->bad_blocks;
		pthread_mutex_unlock(&a->lock);
	}
}
