/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is done to mappings afterwards: mprotect, mremap, madvise, pins. A range may be ours in
 * part: it is gone through in ascending order, and the kernel is called for what is not ours.
 */
#include <errno.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/daxmap.h"
#include "daxfuse/daxmap/daemon.h"
#include "daxfuse/daxmap/fault.h"
#include "daxfuse/daxmap/keep.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/map.h"
#include "daxfuse/daxmap/object.h"
#include "daxfuse/daxmap/part.h"
#include "daxfuse/daxmap/pieces.h"
#include "daxfuse/daxmap/session.h"
#include "daxfuse/daxmap/sys.h"
#include "daxfuse/daxmap/walk.h"
#include "daxfuse/direct.h"

static uintptr_t end_of(uintptr_t start, size_t length)
{
	return start + (length + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

static int answer(int err)
{
	if (!err)
		return 0;
	errno = -err;
	return -1;
}

/* ---- mprotect ---- */

/* The part of a region as a region of its own; what is not the program's stays with it. NULL: it
 * has gone. There must be room for two. */
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

static int set_protection(const struct walk_part *part, int prot)
{
	struct held held = lock_take();
	struct region *region;
	int err = regions_reserve(2);

	region = err ? NULL : cut_out(part);
	if (region)
		err = pieces_set_protection(region, prot);
	lock_release(held);
	return err;
}

static int protect_part(const struct walk_part *part, const void *argument)
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
	if (!err && map_fill(part->start, part->end, part->offset, prot, 0))
		err = part_to_kernel(part->start, part->end);
	return err;
}

int dxm_protect(void *addr, size_t length, int prot)
{
	uintptr_t start = (uintptr_t)addr, end = end_of(start, length);
	int err;

	if (start % PAGE_BYTES || end <= start || !regions_near(start, end))
		return answer(sys_mprotect(start, length, prot));
	err = part_settle(start, end, false);
	return answer(err ? err : walk(start, end, protect_part, &prot));
}

/* ---- mremap ---- */

struct remap {
	uintptr_t old;
	uintptr_t old_end;
	uintptr_t new_end; /* as if it stayed */
	int flags;
	uintptr_t new_addr;
};

/* The region that has all of the old range; its object is held. */
static int find_whole(const struct remap *r, struct region *ret_region)
{
	struct held held = lock_take();
	struct region *region = region_at(r->old);
	bool whole = region && r->old_end <= region->end;

	if (whole) {
		*ret_region = *region;
		object_hold(ret_region->object);
	}
	lock_release(held);
	return whole ? 0 : -EFAULT;
}

/* A region of the new length in the place of the old one, whose pieces it takes over by asking
 * for them again. */
static int grow_in_place(const struct remap *r, const struct region *old)
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
	err = map_enter(&region);
	if (!err && map_fill(region.start, region.end, region.offset, region.prot, 0))
		err = part_to_kernel(region.start, region.end);
	return err;
}

static int move(const struct remap *r, const struct region *old, uintptr_t *ret_addr)
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
	struct held held = lock_take();
	struct region *region = region_at(r->old);
	bool fits = region && region_visible_end(region) == r->old_end && r->new_end <= region->end;

	if (fits)
		region->tail = (uint32_t)(region->end - r->new_end);
	lock_release(held);
	return fits;
}

static int remap_region(const struct remap *r, const struct region *old, uintptr_t *ret_addr)
{
	int err;

	if (r->flags & MREMAP_FIXED || r->flags & MREMAP_DONTUNMAP || r->old_end == r->old)
		return r->flags & MREMAP_MAYMOVE ? move(r, old, ret_addr) : -EINVAL;
	*ret_addr = r->old;
	if (r->new_end <= r->old_end)
		return r->new_end < r->old_end ? part_unmap(r->new_end, r->old_end) : 0;
	if (grow_into_tail(r))
		return 0;
	err = grow_in_place(r, old);
	return err == -ENOMEM && r->flags & MREMAP_MAYMOVE ? move(r, old, ret_addr) : err;
}

static int remap_ours(const struct remap *r, uintptr_t *ret_addr)
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
static int replace_by_remap(uintptr_t start, uintptr_t end, const void *argument)
{
	return sys_munmap(start, end - start);
}

static long remap_foreign(const struct remap *r, size_t old_length, size_t new_length)
{
	if (r->flags & MREMAP_FIXED && r->new_addr % PAGE_BYTES == 0 &&
	    regions_near(r->new_addr, end_of(r->new_addr, new_length)))
		part_replaced(r->new_addr, end_of(r->new_addr, new_length), replace_by_remap, NULL);
	return syscall(SYS_mremap, r->old, old_length, new_length, r->flags, r->new_addr);
}

static bool has_region(uintptr_t start, uintptr_t end)
{
	struct held held;
	struct region *region;
	bool has;

	if (!regions_near(start, end))
		return false;
	held = lock_take();
	region = region_from(start);
	has = region && region->start < end;
	lock_release(held);
	return has;
}

void *dxm_remap(void *old, size_t old_length, size_t new_length, int flags, void *new_addr)
{
	uintptr_t start = (uintptr_t)old, got;
	struct remap r = { start, end_of(start, old_length), end_of(start, new_length), flags,
			   (uintptr_t)new_addr };
	int err;

	if (start % PAGE_BYTES || !has_region(start, MAX(r.old_end, start + PAGE_BYTES)))
		return (void *)remap_foreign(&r, old_length, new_length);
	err = remap_ours(&r, &got);
	return answer(err) ? MAP_FAILED : (void *)got;
}

/* ---- madvise ---- */

static int promote_part(const struct walk_part *part)
{
	int err = daemon_promote(part->object->fd, part->offset, part->end - part->start);

	/* What was asked for before has let go; also of those units that could be promoted. */
	if (map_fill(part->start, part->end, part->offset, part->prot, 0))
		return part_to_kernel(part->start, part->end);
	return err;
}

static int advise_part(const struct walk_part *part, const void *argument)
{
	int advice = *(const int *)argument;

	if (!part->object)
		return sys_madvise(part->start, part->end - part->start, advice);
	switch (advice) {
	case MADV_HUGEPAGE:
		return promote_part(part);
	case MADV_WILLNEED:
		fault_populate(part->start, part->end, false);
		return 0;
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		return fault_populate(part->start, part->end, advice == MADV_POPULATE_WRITE);
	case MADV_REMOVE:
		return fallocate(part->object->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 (off_t)part->offset, (off_t)(part->end - part->start)) ?
			       -errno :
			       0;
	case MADV_FREE:
		return -EINVAL;
	default:
		return 0;
	}
}

int dxm_advise(void *addr, size_t length, int advice)
{
	uintptr_t start = (uintptr_t)addr, end = end_of(start, length);

	if (start % PAGE_BYTES || end <= start || !regions_near(start, end))
		return answer(sys_madvise(start, length, advice));
	return answer(walk(start, end, advise_part, &advice));
}

int dxm_populate(void *addr, size_t length, int prot)
{
	uintptr_t start = (uintptr_t)addr;

	if (!regions_near(start, start + length))
		return 0;
	return answer(fault_populate(start, start + length, prot & PROT_WRITE));
}

/* ---- pins ---- */

/* What a pin of it keeps; whole units, where the device knows nothing else. */
static void kept_range(const struct walk_part *part, uintptr_t *ret_start, uintptr_t *ret_end)
{
	bool units = part->object->session->flags & DIRECT_UNITS;

	*ret_start = units ? unit_floor(part->start) : part->start;
	*ret_end = units ? unit_ceiling(part->end) : part->end;
}

/* What was cut off of the file meanwhile is mapped by virtue of the pin only. */
static int forget(const struct walk_part *part)
{
	struct held held = lock_take();
	struct region *region = region_at(part->start);
	uintptr_t start, end;
	bool stale = false;
	int err;

	kept_range(part, &start, &end);
	err = keep_remove(start, end, &stale);
	if (!err && stale && region && region->start <= start && region->end >= end)
		err = pieces_clear(region, start, end);
	lock_release(held);
	return err;
}

/* The pin holds the object, too: its descriptor owns the pins. */
static int unpin_part(const struct walk_part *part, const void *argument)
{
	int err = part->object ? forget(part) : -EINVAL;

	if (err)
		return err;
	err = daemon_unpin(part->object->fd, part->offset, part->end - part->start);
	object_put(part->object);
	return err;
}

/* If it is all mapped as it shall stay; else -EAGAIN. */
static int keep_part(const struct walk_part *part)
{
	struct held held = lock_take();
	int err = fault_is_populated(part->start, part->end, part->prot & PROT_WRITE) ? 0 : -EAGAIN;
	uintptr_t start, end;

	kept_range(part, &start, &end);
	if (!err)
		err = keep_add(start, end);
	if (!err)
		object_hold(part->object);
	lock_release(held);
	return err;
}

static int pin_part(const struct walk_part *part, const void *argument)
{
	int err;

	if (!part->object)
		return -EINVAL;
	err = daemon_pin(part->object->fd, part->offset, part->end - part->start);
	if (err)
		return err;
	do {
		err = fault_populate(part->start, part->end, part->prot & PROT_WRITE);
		if (!err)
			err = keep_part(part);
	} while (err == -EAGAIN);
	if (err)
		daemon_unpin(part->object->fd, part->offset, part->end - part->start);
	return err;
}

int dxm_pin(void *addr, size_t length)
{
	uintptr_t start = (uintptr_t)addr, end = end_of(start, length), failed;
	int err;

	if (start % PAGE_BYTES || end <= start)
		return answer(-EINVAL);
	err = walk_to(start, end, pin_part, NULL, &failed);
	if (err && failed > start)
		walk(start, failed, unpin_part, NULL);
	return answer(err);
}

int dxm_unpin(void *addr, size_t length)
{
	uintptr_t start = (uintptr_t)addr, end = end_of(start, length);

	if (start % PAGE_BYTES || end <= start)
		return answer(-EINVAL);
	return answer(walk(start, end, unpin_part, NULL));
}
