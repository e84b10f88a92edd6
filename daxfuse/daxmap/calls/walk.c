/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A walk over a range of addresses, part by part: regions of ours, and what lies between them. The
 * table is looked at anew for each part, as the function that is called may change it.
 */
#include "walk.h"

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/regions/region.h"

static struct walk_part find_part(uintptr_t at, uintptr_t end)
{
	struct lock_guard guard = lock_take();
	struct region *region = region_from(at);
	struct walk_part part = { .start = at, .end = region ? MIN(end, region->start) : end };

	if (region && region->start <= at) {
		part.end = MIN(end, region->end);
		part.object = region->object;
		part.offset = region_offset(region, at);
		part.prot = region->prot;
		object_hold_locked(part.object);
	}
	lock_release(guard);
	return part;
}

errint_t walk_range_to(uintptr_t start, uintptr_t end, walk_function *function,
		       const void *argument, uintptr_t *ret_at)
{
	int err = 0;

	*ret_at = start;
	while (!err && *ret_at < end) {
		struct walk_part part = find_part(*ret_at, end);

		err = function(&part, argument);
		if (part.object)
			object_put(part.object);
		if (!err)
			*ret_at = part.end;
	}
	return err;
}

errint_t walk_range(uintptr_t start, uintptr_t end, walk_function *function, const void *argument)
{
	uintptr_t at;

	return walk_range_to(start, end, function, argument, &at);
}
