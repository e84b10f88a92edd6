/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which of the possible states of what is in flight are tried. Units that store
 * only what the media holds already count as nothing.
 *
 * All of them where that is at most limit->all; otherwise each unit alone and
 * all but each, each pair and all but each pair, the units in program order,
 * and seeded random ones; always every line and group torn, alone and with all
 * the others; and all combinations of the units that recovery reads.
 */
#ifndef CRASH_ENUMERATE_H
#define CRASH_ENUMERATE_H

#include "tests/crash/inflight.h"

struct enumerate_limit {
	size_t all;   /* up to so many states all are tried */
	size_t pairs; /* at most so many states of pairs, else random ones of them */
	size_t random;
	size_t torn; /* at most so many torn states */
	uint64_t seed;
};

/* Called for each state; returns false to stop. */
typedef bool (*enumerate_fn)(const inflight_choice *choice, void *arg);

/* reads may be NULL. Whether all were wanted. */
bool enumerate_states(const struct inflight *inflight, const struct enumerate_limit *limit,
		      const struct image_reads *reads, enumerate_fn fn, void *arg);

#endif
