/* SPDX-License-Identifier: BSD-3-Clause */
#include "daxfuse/daxmap/part.h"

#include <errno.h>
#include <stdatomic.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/object.h"
#include "daxfuse/daxmap/pieces.h"
#include "daxfuse/daxmap/release.h"
#include "daxfuse/daxmap/sys.h"

/* Whole units of a file. */
struct dropped {
	struct object *object; /* held */
	uint64_t offset, end, grant;
};

enum { DROPPED = 16 };

static _Atomic uint64_t conversions;

uint64_t part_conversions(void)
{
	return atomic_load(&conversions);
}

/* ---- out of the table ---- */

/* Out of the table what is in [start, end), as much as fits the list; *ret_end: up to where. */
static unsigned take_out(uintptr_t start, uintptr_t end, struct dropped *dropped, uintptr_t *ret_end)
{
	struct region *region;
	unsigned n = 0;

	region_cut(start);
	region_cut(end);
	while ((region = region_from(start)) && region->start < end && n < DROPPED) {
		struct dropped *d = &dropped[n++];

		d->object = region->object;
		d->offset = unit_floor(region->offset);
		d->end = unit_ceiling(region_file_end(region));
		region_remove(region);
	}
	*ret_end = region && region->start < end ? region->start : end;
	for (unsigned i = 0; i < n; i++) {
		dropped[i].grant = dropped[i].object->grant;
		flights_void(dropped[i].object, dropped[i].offset, dropped[i].end, dropped[i].grant);
	}
	return n;
}

int part_replaced(uintptr_t start, uintptr_t end, part_replace *replace, const void *argument)
{
	struct dropped dropped[DROPPED];
	int err = 0;

	while (!err && start < end) {
		struct held held = lock_take();
		uintptr_t stop = end;
		unsigned n = 0;

		err = regions_reserve(3);
		if (!err)
			n = take_out(start, end, dropped, &stop);
		if (!err)
			err = replace(start, stop, argument);
		lock_release(held);
		for (unsigned i = 0; i < n; i++)
			release_units(dropped[i].object, dropped[i].offset, dropped[i].end,
				      dropped[i].grant);
		start = stop;
	}
	return err;
}

static int replace_by_nothing(uintptr_t start, uintptr_t end, const void *argument)
{
	return sys_munmap(start, end - start);
}

int part_unmap(uintptr_t start, uintptr_t end)
{
	return part_replaced(start, end, replace_by_nothing, NULL);
}

/* ---- to the kernel ---- */

static int replace_by_kernel(uintptr_t start, uintptr_t end, const void *argument)
{
	const struct region *region = argument;

	return sys_mmap_fixed(start, end - start, region->prot, MAP_SHARED, region->object->fd,
			      region->offset + (start - region->start));
}

int part_to_kernel(uintptr_t start, uintptr_t end)
{
	int err = 0;

	while (!err && start < end) {
		struct held held = lock_take();
		struct region *found = region_from(start), region;
		bool any = found && found->start < end;

		if (any) {
			region = *found;
			object_hold(region.object);
		}
		lock_release(held);
		if (!any)
			break;
		start = MAX(start, region.start);
		/* Only what is cut out is replaced; the kernel's own copy may have to be told of
		 * by the daemon, so nothing of ours is there before. */
		err = part_replaced(start, MIN(end, region.end), replace_by_kernel, &region);
		conversions++;
		object_put(region.object);
		start = MIN(end, region.end);
	}
	return err;
}
