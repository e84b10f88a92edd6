/* SPDX-License-Identifier: BSD-3-Clause */
/* Which locks the calling thread holds: debug builds only. */
#include "lockrank.h"
#include "daxfuse/base/lockrank.h"

#ifndef NDEBUG
#include <assert.h>
#include <stdbool.h>

static _Thread_local struct {
	unsigned held[LOCK_RANKS];
	uint64_t last[LOCK_RANKS]; /* the key of the one taken last */
} mine;

enum several { NO, ASCENDING, AS_THE_ROOM_SAYS };

static enum several may_hold_several(enum lock_rank rank)
{
	switch (rank) {
	case LOCK_ENTRY:
	case LOCK_QUOTA:
		return ASCENDING;
	case LOCK_INODE: /* an ancestor is above by its place in the tree, not by its number */
		return AS_THE_ROOM_SAYS;
	default:
		return NO;
	}
}

void lock_enter(enum lock_rank rank, uint64_t key)
{
	for (unsigned below = rank + 1; below < LOCK_RANKS; below++)
		assert(!mine.held[below]);
	if (mine.held[rank]) {
		assert(may_hold_several(rank) != NO);
		assert(may_hold_several(rank) != ASCENDING || key > mine.last[rank]);
	}
	mine.last[rank] = key;
	mine.held[rank]++;
}

void lock_leave(enum lock_rank rank)
{
	assert(mine.held[rank]);
	mine.held[rank]--;
}

void lock_assert(enum lock_rank rank)
{
	assert(mine.held[rank]);
}
#endif
