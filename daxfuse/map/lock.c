/* SPDX-License-Identifier: BSD-3-Clause */
/* Which locks the calling thread holds: debug builds only. */
#include "lock.h"

#ifndef NDEBUG
#include <assert.h>

static _Thread_local struct {
	unsigned held[LOCK_RANKS];
	uint64_t last; /* start of the entry locked last */
} mine;

void lock_enter(enum lock_rank rank, uint64_t start)
{
	for (unsigned r = rank + 1; r < LOCK_RANKS; r++)
		assert(!mine.held[r]);
	if (rank == LOCK_ENTRY) {
		assert(!mine.held[rank] || start > mine.last);
		mine.last = start;
	} else {
		assert(!mine.held[rank]);
	}
	mine.held[rank]++;
}

void lock_leave(enum lock_rank rank)
{
	assert(mine.held[rank]);
	mine.held[rank]--;
}
#endif
