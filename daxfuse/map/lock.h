/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lock order of the mapping engine (a lock on the left is taken before one
 * on the right):
 *
 *   LOCK_FILE     one file: shared for faults and write-back, exclusive for truncate,
 *                 punch and whatever else takes extents away (file.c)
 *   -> LOCK_ENTRY entries, ascending by their start (entry.c); one file at a time
 *   -> what the backend takes: the inode's lock, the allocator, the journal
 *   -> LOCK_VIEW  the pins of one view (pin.c); a leaf
 *
 * LOCK_VIEW alone is what a mapper needs to let go of something. So whoever waits
 * for a mapper may hold the file and entries, and the answer still gets through.
 *
 * A thread may hold LOCK_FILE of one file only. Debug builds assert the order.
 */
#ifndef DAXFUSE_MAP_LOCK_H
#define DAXFUSE_MAP_LOCK_H

#include <stdint.h>

enum lock_rank { LOCK_FILE, LOCK_ENTRY, LOCK_VIEW, LOCK_RANKS };

#ifndef NDEBUG
/* The calling thread is about to take a lock; `start` matters for entries only. */
void lock_enter(enum lock_rank rank, uint64_t start);
/* The calling thread gives one back. */
void lock_leave(enum lock_rank rank);
#else
static inline void lock_enter(enum lock_rank rank, uint64_t start)
{
}
static inline void lock_leave(enum lock_rank rank)
{
}
#endif

#endif
