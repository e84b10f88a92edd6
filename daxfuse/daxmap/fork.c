/* SPDX-License-Identifier: BSD-3-Clause */
#include "daxfuse/daxmap/fork.h"

#include <pthread.h>
#include <stddef.h>
#include <unistd.h>

#include "daxfuse/daxmap/daemon.h"
#include "daxfuse/daxmap/descriptor.h"
#include "daxfuse/daxmap/keep.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/map.h"
#include "daxfuse/daxmap/object.h"
#include "daxfuse/daxmap/part.h"
#include "daxfuse/daxmap/pieces.h"
#include "daxfuse/daxmap/region.h"
#include "daxfuse/daxmap/session.h"

static struct held held_by_fork;
static int failed;
static pid_t process;

static void prepare(void)
{
	held_by_fork = lock_take();
}

static void parent(void)
{
	lock_release(held_by_fork);
}

/* Flights and pins are the parent's: only regions hold files here. */
static void count_holds(void)
{
	struct object *object;

	for (uint32_t i = 0; (object = object_at(i)); i++)
		object->before_fork = object->holds, object->holds = 0, object->lingers = false;
	for (struct region *r = region_from(0); r; r = region_next(r))
		object_hold(r->object);
}

/* A descriptor that is shared with the parent would keep its pins. */
static void reopen_all(void)
{
	struct object *object;
	int fd;

	for (uint32_t i = 0; (object = object_at(i)); i++) {
		if (object->before_fork && !object->holds) {
			session_put_locked(object->session);
			descriptor_close(object->fd);
		} else if (object->holds) {
			object->grant = 0;
			object->orphan = daemon_reopen(object->fd, object->writable, &fd) ||
					 descriptor_replace(object->fd, fd);
		}
	}
}

static void refill(void)
{
	uintptr_t at = 0;

	for (;;) {
		struct held held = lock_take();
		struct region *found = region_from(at), region;

		if (found)
			region = *found;
		lock_release(held);
		if (!found)
			return;
		at = region.end;
		if (region.object->orphan || region.object->session->device < 0 ||
		    map_fill(region.start, region.end, region.offset, region.prot, 0))
			part_to_kernel(region.start, region.end);
	}
}

static void child(void)
{
	process = getpid();
	lock_reset();
	regions_reset();
	flights_reset();
	keep_reset();
	count_holds();
	for (struct region *r = region_from(0); r; r = region_next(r))
		pieces_clear(r, r->start, r->end);
	reopen_all();
	session_after_fork();
	refill();
	signals_restore(held_by_fork.mask);
}

/*
 * When the library is loaded: handlers that a program registers later run before ours in the
 * parent, so that they do not wait with our lock held, and in the child after ours, so that
 * nothing of theirs comes to lie where our mappings are missing.
 */
__attribute__((constructor)) static void install(void)
{
	process = getpid();
	failed = pthread_atfork(prepare, parent, child);
}

bool fork_is_foreign(void)
{
	return getpid() != process;
}

int fork_check(void)
{
	return -failed;
}
