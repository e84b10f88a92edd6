/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one lock of the process: of regions, objects, sessions and flights. It is taken in
 * signal handlers, so all signals are blocked while it is held. It is never held across a request
 * to the daemon, or an access to memory that may not be mapped: that thread could not fault.
 */
#ifndef DAXFUSE_DAXMAP_LOCK_H
#define DAXFUSE_DAXMAP_LOCK_H

#include <stdint.h>

struct lock_guard {
	uint64_t mask; /* the thread's signals before */
};

struct lock_guard lock_take(void);
void lock_release(struct lock_guard guard);
/* In functions that need the lock: those that end in `_locked`, and all of a header that says so.
 * */
void lock_assert_held(void);

/* A lock that is held for some instructions only, with signals blocked. */
struct latch {
	_Atomic uint32_t word;
};
uint64_t latch_take(struct latch *latch);
void latch_release(struct latch *latch, uint64_t mask);
void latch_reset(struct latch *latch);

/*
 * Block all signals of this thread; the mask before. Pairs of these nest: only the outermost one
 * calls the kernel, so a function that takes the lock several times blocks them first.
 */
uint64_t signals_block(void);
void signals_restore(uint64_t mask);
/* In a handler for which the kernel has blocked them all: nothing need be done until it is left. */
void signals_enter_handler(void);
void signals_leave_handler(void);

#endif
