/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dxm_protect(). A part of a region becomes a region of its own. What may be stored to from then on
 * is asked for, all of it at once.
 */
#include "answer.h"
#include "walk.h"
#include "daxfuse/base/errint.h"

#include <errno.h>
#include <stddef.h>

#include "daxfuse/daxmap.h"
#include "daxfuse/daxmap/faults/fault.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/regions/part.h"
#include "daxfuse/daxmap/regions/pieces.h"
#include "daxfuse/daxmap/regions/region.h"
#include "daxfuse/daxmap/sys.h"

/* A part of a region as a region of its own; bytes at the ends that are not the program's stay with
 * it. NULL: it has gone. There must be room for two. */
static struct region *cut_out(const struct walk_part *part)
{
	struct region *region = region_at(part->start);

	if (!region || region->object != part->object || region->end < part->end)
		return NULL;
	if (part->end < region_visible_end(region))
		region_cut(part->end);
	region = region_at(part->start);
	if (part->start > region_visible_start(region))
		region_cut(part->start);
	return region_at(part->start);
}

static errint_t set_protection(const struct walk_part *part, int prot)
{
	struct lock_guard guard = lock_take();
	struct region *region;
	int err = regions_reserve(2);

	region = err ? NULL : cut_out(part);
	if (region)
		err = pieces_protect_locked(region, prot);
	lock_release(guard);
	return err;
}

static errint_t protect_part(const struct walk_part *part, const void *argument)
{
	int prot = *(const int *)argument, err;

	if (!part->object)
		return sys_mprotect(part->start, part->end - part->start, prot);
	if (prot & PROT_WRITE && !part->object->writable)
		return -EACCES;
	if (prot & ~(PROT_READ | PROT_WRITE)) {
		err = part_to_kernel(part->start, part->end);
		return err ? err : sys_mprotect(part->start, part->end - part->start, prot);
	}
	err = set_protection(part, prot);
	if (!err && fault_fill_region(part->start, part->end, part->offset, prot, 0))
		err = part_to_kernel(part->start, part->end);
	return err;
}

int dxm_protect(void *addr, size_t length, int prot)
{
	uintptr_t start = (uintptr_t)addr, end = range_end(start, length);
	int err;

	if (start % PAGE_BYTES || end <= start || !regions_near(start, end))
		return answer(sys_mprotect(start, length, prot));
	err = part_settle(start, end, false);
	return answer(err ? err : walk_range(start, end, protect_part, &prot));
}
