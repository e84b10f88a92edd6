/* SPDX-License-Identifier: BSD-3-Clause */
/* Counters of an engine and of each file; only ever read for reports. */
#include "internal.h"

static const char *const names[MAP_COUNTERS] = {
	[MAP_FALLBACK_START] = "fallback_start",
	[MAP_FALLBACK_END] = "fallback_end",
	[MAP_FALLBACK_EOF] = "fallback_eof",
	[MAP_FALLBACK_SHORT] = "fallback_short",
	[MAP_FALLBACK_ALIGN] = "fallback_align",
	[MAP_FALLBACK_DEVICE] = "fallback_device",
	[MAP_FALLBACK_PTES] = "fallback_ptes",
	[MAP_FALLBACK_PUD] = "fallback_pud",
	[MAP_COUNT_HUGE] = "huge",
	[MAP_COUNT_PAGE] = "page",
	[MAP_COUNT_ZERO] = "zero",
	[MAP_COUNT_FIRST_WRITE] = "first_write",
	[MAP_COUNT_DOWNGRADE] = "downgrade",
	[MAP_COUNT_PROMOTED] = "promoted",
	[MAP_COUNT_NOT_PROMOTED] = "not_promoted",
	[MAP_COUNT_FLUSHED] = "flushed",
	[MAP_COUNT_STAYS_DIRTY] = "stays_dirty",
	[MAP_COUNT_ASKED] = "asked",
	[MAP_COUNT_WAITED] = "waited",
	[MAP_COUNT_UNANSWERED] = "unanswered",
	[MAP_COUNT_QUARANTINED] = "quarantined",
	[MAP_COUNT_KEPT] = "kept",
};

const char *map_counter_name(unsigned counter)
{
	return counter < MAP_COUNTERS ? names[counter] : NULL;
}

unsigned stripe_of_thread(void)
{
	static atomic_uint threads;
	static _Thread_local unsigned stripe = STRIPES;

	if (stripe == STRIPES)
		stripe = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % STRIPES;
	return stripe;
}

void count(struct map_file *file, unsigned counter)
{
	struct counters *mine = &file->engine->counters[stripe_of_thread()];

	atomic_fetch_add_explicit(&mine->count[counter], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&file->count[counter], 1, memory_order_relaxed);
}

uint64_t map_engine_count(const struct map_engine *engine, enum map_counter counter)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < STRIPES; i++)
		sum += atomic_load_explicit(&engine->counters[i].count[counter],
					    memory_order_relaxed);
	return sum;
}

uint64_t map_file_count(const struct map_file *file, enum map_counter counter)
{
	return atomic_load_explicit(&file->count[counter], memory_order_relaxed);
}
