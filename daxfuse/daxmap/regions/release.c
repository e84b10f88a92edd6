/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Telling the daemon what is not mapped any more. Pins are given back in whole units: one ends with
 * the last region that touches its unit.
 */
#include "release.h"

#include "region.h"

#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/session/daemon.h"

/* The first range of units in [*offset, end) that no region touches; false: there is none. */
static bool find_unused_locked(const struct object *object, uint64_t *offset, uint64_t end,
			       uint64_t *ret_stop)
{
	bool moved = true;

	while (moved && *offset < end) {
		moved = false;
		*ret_stop = end;
		for (struct region *r = region_from(0); r && *offset < end; r = region_next(r)) {
			uint64_t from = unit_floor(r->offset);
			uint64_t to = unit_ceiling(region_file_end(r));

			if (r->object != object || to <= *offset || from >= *ret_stop)
				continue;
			if (from > *offset) {
				*ret_stop = from;
				continue;
			}
			*offset = to;
			moved = true;
		}
	}
	return *offset < end;
}

/* If nobody else holds the file it is closed, and that ends all its pins. */
void release_units(struct object *object, uint64_t offset, uint64_t end, uint64_t grant)
{
	uint64_t stop;

	for (;;) {
		struct lock_guard guard = lock_take();
		bool more = object->holds > 1 && find_unused_locked(object, &offset, end, &stop);

		lock_release(guard);
		if (!more)
			break;
		daemon_unmap(object->fd, offset, stop - offset, grant);
		offset = stop;
	}
	object_put(object);
}
