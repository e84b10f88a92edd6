/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dxm_remap(). A mapping that grows in place becomes a new region over the old one, which asks for
 * its pieces again. One that moves is mapped anew, and the old one unmapped: what is in them is the
 * file's.
 */
#include "answer.h"
#include "mmap.h"

#include <errno.h>
#include <stdbool.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/daxmap.h"
#include "daxfuse/daxmap/faults/fault.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/regions/part.h"
#include "daxfuse/daxmap/regions/region.h"
#include "daxfuse/daxmap/session/connection.h"
#include "daxfuse/daxmap/session/object.h"
#include "daxfuse/daxmap/sys.h"
#include "daxfuse/direct.h"

struct remap {
	uintptr_t old;
	uintptr_t old_end;
	uintptr_t new_end; /* as if it stayed */
	int flags;
	uintptr_t new_addr;
};

/* The region that has all of the old range; its object is held. */
static errint_t find_whole(const struct remap *r, struct region *ret_region)
{
	struct lock_guard guard = lock_take();
	struct region *region = region_at(r->old);
	bool whole = region && r->old_end <= region->end;

	if (whole) {
		*ret_region = *region;
		object_hold_locked(ret_region->object);
	}
	lock_release(guard);
	return whole ? 0 : -EFAULT;
}

/* A region of the new length in the place of the old one. */
static errint_t grow_in_place(const struct remap *r, const struct region *old)
{
	struct region region = *old;
	uintptr_t got;
	int err;

	if (region_visible_end(old) != r->old_end || old->head || old->tail)
		return -ENOMEM;
	if (old->object->session->flags & DIRECT_UNITS && r->new_end % UNIT_BYTES)
		return -ENOMEM;
	err = sys_mmap(r->old_end, r->new_end - r->old_end, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0,
		       &got);
	if (err)
		return -ENOMEM;
	region.end = r->new_end;
	region.pages = map_needs_pages(region.start, region.offset, region.end - region.start);
	err = map_region(&region);
	if (!err && fault_fill_region(region.start, region.end, region.offset, region.prot, 0))
		err = part_to_kernel(region.start, region.end);
	return err;
}

static errint_t move_region(const struct remap *r, const struct region *old, uintptr_t *ret_addr)
{
	struct map_request request = {
		.addr = r->flags & MREMAP_FIXED ? r->new_addr : 0,
		.length = r->new_end - r->old,
		.prot = old->prot,
		.flags = MAP_SHARED | (r->flags & MREMAP_FIXED ? MAP_FIXED : 0),
		.fd = old->object->fd,
		.offset = old->offset + (r->old - old->start),
	};
	int err = map_object(&request, old->object, ret_addr);

	if (!err && r->old_end > r->old && !(r->flags & MREMAP_DONTUNMAP))
		err = part_unmap(r->old, r->old_end);
	return err;
}

/* Where the device is mapped in whole units, there may be room in the last one. */
static bool grow_into_tail(const struct remap *r)
{
	struct lock_guard guard = lock_take();
	struct region *region = region_at(r->old);
	bool fits = region && region_visible_end(region) == r->old_end && r->new_end <= region->end;

	if (fits)
		region->tail = (uint32_t)(region->end - r->new_end);
	lock_release(guard);
	return fits;
}

static errint_t remap_region(const struct remap *r, const struct region *old, uintptr_t *ret_addr)
{
	int err;

	if (r->flags & MREMAP_FIXED || r->flags & MREMAP_DONTUNMAP || r->old_end == r->old)
		return r->flags & MREMAP_MAYMOVE ? move_region(r, old, ret_addr) : -EINVAL;
	*ret_addr = r->old;
	if (r->new_end <= r->old_end)
		return r->new_end < r->old_end ? part_unmap(r->new_end, r->old_end) : 0;
	if (grow_into_tail(r))
		return 0;
	/* it was too small to be huge, so its address may not line up */
	if (r->flags & MREMAP_MAYMOVE && !old->pages &&
	    map_needs_pages(old->start, old->offset, r->new_end - old->start))
		return move_region(r, old, ret_addr);
	err = grow_in_place(r, old);
	return err == -ENOMEM && r->flags & MREMAP_MAYMOVE ? move_region(r, old, ret_addr) : err;
}

static errint_t remap_ours(const struct remap *r, uintptr_t *ret_addr)
{
	struct region old;
	int err;

	if (r->new_end == r->old || r->flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP))
		return -EINVAL;
	if (r->flags & MREMAP_FIXED &&
	    (r->new_addr % PAGE_BYTES ||
	     (r->new_addr < r->old_end && r->new_addr + (r->new_end - r->old) > r->old)))
		return -EINVAL;
	err = find_whole(r, &old);
	if (err)
		return err;
	err = remap_region(r, &old, ret_addr);
	object_put(old.object);
	return err;
}

/* The kernel's mapping moves over ours. */
static errint_t replace_by_remap(uintptr_t start, uintptr_t end, const void *argument)
{
	return sys_munmap(start, end - start);
}

static long remap_foreign(const struct remap *r, size_t old_length, size_t new_length)
{
	uintptr_t new_end = range_end(r->new_addr, new_length);

	if (r->flags & MREMAP_FIXED && r->new_addr % PAGE_BYTES == 0 &&
	    regions_near(r->new_addr, new_end))
		part_replaced(r->new_addr, new_end, replace_by_remap, NULL);
	return syscall(SYS_mremap, r->old, old_length, new_length, r->flags, r->new_addr);
}

static bool has_region(uintptr_t start, uintptr_t end)
{
	struct lock_guard guard;
	struct region *region;
	bool has;

	if (!regions_near(start, end))
		return false;
	guard = lock_take();
	region = region_from(start);
	has = region && region->start < end;
	lock_release(guard);
	return has;
}

void *dxm_remap(void *old, size_t old_length, size_t new_length, int flags, void *new_addr)
{
	uintptr_t start = (uintptr_t)old, got;
	struct remap r = { start, range_end(start, old_length), range_end(start, new_length), flags,
			   (uintptr_t)new_addr };
	int err;

	if (start % PAGE_BYTES || !has_region(start, MAX(r.old_end, start + PAGE_BYTES)))
		return (void *)remap_foreign(&r, old_length, new_length);
	err = remap_ours(&r, &got);
	return answer(err) ? MAP_FAILED : (void *)got;
}
