/* SPDX-License-Identifier: BSD-3-Clause */
#include "daxfuse/daxmap/part.h"

#include <errno.h>
#include <stdatomic.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/daxmap/daemon.h"
#include "daxfuse/daxmap/descriptor.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/object.h"
#include "daxfuse/daxmap/pieces.h"
#include "daxfuse/daxmap/sys.h"

/* Whole units of a file which the program may have let go of. */
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

/* ---- telling the daemon ---- */

static uint64_t unit_floor(uint64_t offset)
{
	return offset / UNIT_BYTES * UNIT_BYTES;
}

static uint64_t unit_ceiling(uint64_t offset)
{
	return (offset + UNIT_BYTES - 1) / UNIT_BYTES * UNIT_BYTES;
}

/* The first range of units in [*offset, end) that no region touches; false: there is none. */
static bool next_unused(const struct object *object, uint64_t *offset, uint64_t end,
			uint64_t *ret_stop)
{
	bool moved = true;

	while (moved && *offset < end) {
		moved = false;
		*ret_stop = end;
		for (struct region *r = region_from(0); r; r = region_next(r)) {
			uint64_t from = unit_floor(r->offset), to = unit_ceiling(region_file_end(r));

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
static void let_go(struct dropped *dropped)
{
	uint64_t stop;

	for (;;) {
		struct held held = lock_take();
		bool more = dropped->object->holds > 1 &&
			    next_unused(dropped->object, &dropped->offset, dropped->end, &stop);

		lock_release(held);
		if (!more)
			break;
		daemon_unmap(dropped->object->fd, dropped->offset, stop - dropped->offset,
			     dropped->grant);
		dropped->offset = stop;
	}
	object_put(dropped->object);
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
			let_go(&dropped[i]);
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
