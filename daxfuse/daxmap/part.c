/* SPDX-License-Identifier: BSD-3-Clause */
#include "daxfuse/daxmap/part.h"

#include <errno.h>
#include <stdatomic.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/daxmap/keep.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/object.h"
#include "daxfuse/daxmap/pieces.h"
#include "daxfuse/daxmap/release.h"
#include "daxfuse/daxmap/session.h"
#include "daxfuse/daxmap/sys.h"
#include "daxfuse/direct.h"

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
static unsigned take_out(uintptr_t start, uintptr_t end, struct dropped *dropped,
			 uintptr_t *ret_end)
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
		keep_forget(region->start, region->end);
		region_remove(region);
	}
	*ret_end = region && region->start < end ? region->start : end;
	for (unsigned i = 0; i < n; i++) {
		dropped[i].grant = dropped[i].object->grant;
		flights_void(dropped[i].object, dropped[i].offset, dropped[i].end,
			     dropped[i].grant);
	}
	return n;
}

/* The unit that has an edge inside it, and whether more of it is the program's than what lies on
 * one side (above: the range is above the edge). false: nothing has to be done. */
static bool unit_at_edge(uintptr_t edge, bool above, uintptr_t *ret_unit, bool *ret_shared)
{
	struct held held = lock_take();
	const struct region *region = region_at(edge);
	bool inside = region && region->object->session->flags & DIRECT_UNITS &&
		      (edge - region->start) % UNIT_BYTES;

	if (inside) {
		*ret_unit = edge - (edge - region->start) % UNIT_BYTES;
		*ret_shared = above ? edge > region_visible_start(region) :
				      edge < region_visible_end(region);
	}
	lock_release(held);
	return inside;
}

int part_settle(uintptr_t start, uintptr_t end, bool whole)
{
	int err = 0;

	for (int i = 0; !err && i < 2; i++) {
		uintptr_t unit;
		bool shared;

		if (!unit_at_edge(i ? end : start, !i, &unit, &shared))
			continue;
		if (shared)
			err = part_to_kernel(unit, unit + UNIT_BYTES);
		else if (whole)
			err = part_unmap(unit, unit + UNIT_BYTES);
	}
	return err;
}

int part_replaced(uintptr_t start, uintptr_t end, part_replace *replace, const void *argument)
{
	struct dropped dropped[DROPPED];
	int err = part_settle(start, end, true);

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

/* With more mappings than a process may have the kernel refuses even to replace some by one. */
static int map_file(const struct region *region, uintptr_t start, uintptr_t end)
{
	uint64_t offset = region->offset + (start - region->start);
	int fd = region->object->fd;
	int err = sys_mmap_fixed(start, end - start, region->prot, MAP_SHARED, fd, offset);

	if (err != -ENOMEM)
		return err;
	sys_munmap(start, end - start);
	return sys_mmap_fixed(start, end - start, region->prot, MAP_SHARED, fd, offset);
}

static int replace_by_kernel(uintptr_t start, uintptr_t end, const void *argument)
{
	const struct region *region = argument;
	uintptr_t from = MAX(start, region_visible_start(region));
	uintptr_t to = MIN(end, region_visible_end(region));
	int err = 0;

	conversions++;
	/* what is not the program's, after the whole has been made divisible */
	if (from > start || to < end)
		err = pieces_background(start, end, PROT_NONE);
	if (!err && from > start)
		sys_munmap(start, from - start);
	if (!err && to < end)
		sys_munmap(to, end - to);
	if (err || from >= to)
		return err;
	return map_file(region, from, to);
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
		object_put(region.object);
		start = MIN(end, region.end);
	}
	return err;
}
