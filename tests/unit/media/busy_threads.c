/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that take space, hold it, free it and let go of it later, in a pool that is small
 * for all of them: nobody is given what another one holds, and in the end all is free.
 */
#include "daxfuse/base/bits.h"
#include "pool.h"

enum { UNITS = 24, THREADS = 4, LAPS = 3000, HELD = 24 };

static struct pool pool;
static atomic_uint holders[UNITS * DXF_UNIT_BLOCKS];

struct held {
	uint64_t offset, length;
};

static void count(const struct held *h, int delta)
{
	for (uint64_t i = 0; i < h->length / DXF_BLOCK_SIZE; i++)
		atomic_fetch_add(&holders[h->offset / DXF_BLOCK_SIZE + i], (unsigned)delta);
}

static void let_go(struct held *h)
{
	count(h, -1);
	/* in two parts: it was held in one */
	if (h->length > DXF_BLOCK_SIZE)
		alloc_busy_clear(pool.vol, h->offset, DXF_BLOCK_SIZE);
	alloc_busy_clear(pool.vol,
			 h->length > DXF_BLOCK_SIZE ? h->offset + DXF_BLOCK_SIZE : h->offset,
			 h->length > DXF_BLOCK_SIZE ? h->length - DXF_BLOCK_SIZE : h->length);
	h->length = 0;
}

/* A unit: behind the one that was taken last time, if it is free. */
static bool take(bool unit, uint64_t room, struct held *h)
{
	uint64_t goal = h->offset / DXF_UNIT_SIZE * DXF_UNIT_SIZE + DXF_UNIT_SIZE;
	struct tx *tx = begin(&pool);
	int err = unit ? alloc_unit(tx, DXF_UNIT_DATA, goal, room, &h->offset)
		       : alloc_blocks(tx, 1, &h->offset);

	h->length = err ? 0 : unit ? DXF_UNIT_SIZE : DXF_BLOCK_SIZE;
	for (uint64_t i = 0; i < h->length / DXF_BLOCK_SIZE; i++)
		if (atomic_load(&holders[h->offset / DXF_BLOCK_SIZE + i]))
			abort();
	commit(tx);
	return !err;
}

static void *work(void *arg)
{
	struct held held[HELD] = { 0 };
	uint64_t rng = (uintptr_t)arg;

	for (unsigned lap = 0; lap < LAPS; lap++) {
		struct held *h = &held[next_random(&rng) % HELD];
		bool unit = next_random(&rng) % 8 == 0;
		struct tx *tx;

		if (h->length)
			let_go(h);
		if (!take(unit, next_random(&rng) % 4, h))
			continue;
		if (alloc_busy_insert(pool.vol, h->offset, h->length))
			abort();
		count(h, 1);
		tx = begin(&pool);
		if (unit)
			free_unit(tx, h->offset);
		else
			free_block(tx, h->offset);
		commit(tx);
	}
	for (unsigned i = 0; i < HELD; i++)
		if (held[i].length)
			let_go(&held[i]);
	return NULL;
}

int main(void)
{
	struct alloc_space before, after;
	pthread_t thread[THREADS];

	pool_format(&pool, UNITS);
	pool_open(&pool);
	alloc_space(pool.vol, &before);
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, work, (void *)(i + 1)))
			abort();
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	alloc_space(pool.vol, &after);
	if (after.busy_blocks || after.free_units * DXF_UNIT_BLOCKS + after.free_blocks !=
					 before.free_units * DXF_UNIT_BLOCKS)
		return 1;
	pool_free(&pool);
	return 0;
}
