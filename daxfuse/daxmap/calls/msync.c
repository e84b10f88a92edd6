/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dxm_sync(): what was stored through a mapping becomes durable, where that needs a flush.
 *
 * What was stored counts, not what may be stored now. A page that is mapped for writing is flushed
 * each time. One that was, and has been made read-only since (by mprotect(), or by the daemon's
 * PROTECT), is DIRTY and flushed once. When a page that may have been stored to is unmapped, by
 * whomever, we can't flush it any more, and its file owes the flush (object_owe_locked()). The
 * daemon can: it knows what it has granted for writing, and assumes the worst of its predecessor.
 * So if there are owed pages in the range that are not mapped for writing again, it is asked; then
 * nothing is owed, unless the debt has grown meanwhile.
 *
 * Order: a page is looked at, flushed, and looked up in what is owed with the lock held once. A
 * page that is taken back later was flushed before.
 */
#include "answer.h"
#include "cache.h"
#include "walk.h"

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/daxmap.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/regions/region.h"
#include "daxfuse/daxmap/session/connection.h"
#include "daxfuse/daxmap/session/daemon.h"
#include "daxfuse/daxmap/session/object.h"
#include "daxfuse/daxmap/sys.h"
#include "daxfuse/direct.h"

/* Whether these pages, which are alike, have been flushed. */
static bool flush_pages_locked(const struct region *region, uintptr_t start, uintptr_t end)
{
	uint64_t offset = region_offset(region, start), stop = offset + (end - start);
	enum page_state state = area_page(region->area, offset);

	if (state < PAGE_DIRTY)
		return false;
	/* a flush needs what a load needs */
	if (region->prot == PROT_NONE || !cache_flush(start, end)) {
		object_owe_locked(region->object, offset, stop);
		area_clean(region->area, offset, stop);
		return false;
	}
	area_clean(region->area, offset, stop);
	return true;
}

/* From addr on, as far as pages are alike, at most to end; returns how far. *owed: the daemon is
 * needed. */
static uintptr_t sync_alike_locked(uintptr_t addr, uintptr_t end, bool *owed)
{
	const struct region *region = region_from(addr);
	uint64_t offset;

	if (!region || region->start > addr)
		return region ? MIN(end, region->start) : end;
	offset = region_offset(region, addr);
	end = MIN(end, region->end);
	end = MIN(end, addr + area_alike(region->area, offset));
	if (!flush_pages_locked(region, addr, end))
		*owed |= object_owes_locked(region->object, offset, offset + (end - addr));
	return end;
}

static errint_t pay_debt(struct object *object)
{
	struct lock_guard guard = lock_take();
	struct debt before = object->owed;
	int err;

	lock_release(guard);
	err = daemon_flush(object->fd);
	if (err)
		return err;
	guard = lock_take();
	object_paid_locked(object, &before);
	lock_release(guard);
	return 0;
}

/* A flush is an access. With the lock nothing is unmapped; without it the program would get a
 * SIGBUS if the file was cut. */
static errint_t sync_ours(const struct walk_part *part)
{
	uintptr_t at = part->start;
	bool owed = false;

	while (at < part->end) {
		struct lock_guard guard = lock_take();

		at = sync_alike_locked(at, part->end, &owed);
		lock_release(guard);
	}
	return owed ? pay_debt(part->object) : 0;
}

struct sync {
	int flags;
	int *gap; /* -ENOMEM: nothing is mapped at a part of the range */
};

/* As the kernel does, what lies behind a gap is synced, too. */
static errint_t sync_kernels(const struct walk_part *part, const struct sync *sync)
{
	if (!syscall(SYS_msync, part->start, part->end - part->start, sync->flags))
		return 0;
	if (errno != ENOMEM)
		return -errno;
	*sync->gap = -ENOMEM;
	return 0;
}

static errint_t sync_part(const struct walk_part *part, const void *argument)
{
	if (!part->object)
		return sync_kernels(part, argument);
	return part->object->session->flags & DIRECT_FLUSH ? sync_ours(part) : 0;
}

int dxm_sync(void *addr, size_t length, int flags)
{
	uintptr_t start = (uintptr_t)addr, end = range_end(start, length);
	struct sync sync;
	int err, gap = 0;

	/* a range of no length: the kernel looks at the arguments only */
	if (start % PAGE_BYTES || end <= start || !regions_near(start, end))
		return (int)syscall(SYS_msync, addr, length, flags);
	if (syscall(SYS_msync, addr, 0, flags))
		return -1;
	sync = (struct sync){ flags, &gap };
	err = walk_range(start, end, sync_part, &sync);
	return answer(err ? err : gap);
}
