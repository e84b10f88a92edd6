/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The child of a fork has the table, but none of the pins, and nothing of the device mapped. It
 * opens the files anew, connects anew, and asks for everything again. What can't be had is mapped
 * by the kernel.
 */
#include "fork.h"

#include <pthread.h>
#include <stddef.h>
#include <unistd.h>

#include "fault.h"

#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/regions/flight.h"
#include "daxfuse/daxmap/regions/part.h"
#include "daxfuse/daxmap/regions/pieces.h"
#include "daxfuse/daxmap/regions/pinned.h"
#include "daxfuse/daxmap/regions/region.h"
#include "daxfuse/daxmap/session/connection.h"
#include "daxfuse/daxmap/session/object.h"

static struct lock_guard fork_guard;
static int failed;
static pid_t process;

static void before_fork(void)
{
	fork_guard = lock_take();
}

static void in_parent(void)
{
	lock_release(fork_guard);
}

/* Flights and pins are the parent's: only regions hold files here. */
static void take_over_locked(void)
{
	flights_reset();
	pinned_reset();
	objects_forget_holds_locked();
	for (struct region *r = region_from(0); r; r = region_next(r)) {
		object_hold_locked(r->object);
		pieces_clear_locked(r, r->start, r->end);
	}
	objects_reopen_locked();
	sessions_after_fork();
}

static void refill_regions(void)
{
	struct region region;
	uintptr_t at = 0;

	while (region_copy(at, UINTPTR_MAX, &region)) {
		at = region.end;
		if (region.object->orphan || region.object->session->device < 0 ||
		    fault_fill_region(region.start, region.end, region.offset, region.prot, 0))
			part_to_kernel(region.start, region.end);
		object_put(region.object);
	}
}

/* The thread that forked has the lock, in the child, too, where it is the only one. */
static void in_child(void)
{
	uint64_t mask = signals_block();

	process = getpid();
	regions_reset();
	take_over_locked();
	lock_release(fork_guard);
	refill_regions();
	signals_restore(mask);
}

/*
 * When the library is loaded: handlers that a program registers later run before ours in the
 * parent, so that they do not wait with our lock held, and in the child after ours, so that
 * nothing of theirs comes to lie where our mappings are missing.
 */
__attribute__((constructor)) static void install_handlers(void)
{
	process = getpid();
	failed = pthread_atfork(before_fork, in_parent, in_child);
}

bool fork_is_foreign(void)
{
	return getpid() != process;
}

int fork_check(void)
{
	return -failed;
}
