/* SPDX-License-Identifier: BSD-3-Clause */
/* Counts and durations of requests, see times.h. */
#include "times.h"

#include <time.h>

enum { FIRST_BOUND_SHIFT = 12, BOUND_SHIFT = 2 }; /* 4.096 us, and four times as long each */

uint64_t times_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static unsigned find_bucket(uint64_t ns)
{
	unsigned i = 0;

	while (i < DXF_IOC_REQUEST_BUCKETS - 1 && ns >> (FIRST_BOUND_SHIFT + i * BOUND_SHIFT))
		i++;
	return i;
}

static void add(_Atomic uint64_t *word, uint64_t delta)
{
	atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + delta,
			      memory_order_relaxed);
}

void times_add(struct times *times, uint32_t opcode, uint64_t begun)
{
	uint64_t ns = times_now() - begun;

	if (opcode >= DXF_IOC_REQUEST_KINDS)
		return;
	add(&times->kind[opcode].ns, ns);
	add(&times->kind[opcode].bucket[find_bucket(ns)], 1);
}

void times_sum(const struct times *times, struct dxf_ioc_requests *sum)
{
	for (unsigned i = 0; i < DXF_IOC_REQUEST_KINDS; i++) {
		sum->kind[i].ns += atomic_load_explicit(&times->kind[i].ns, memory_order_relaxed);
		for (unsigned b = 0; b < DXF_IOC_REQUEST_BUCKETS; b++)
			sum->kind[i].bucket[b] += atomic_load_explicit(&times->kind[i].bucket[b],
								       memory_order_relaxed);
	}
}
