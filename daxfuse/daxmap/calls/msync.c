/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dxm_sync(): what was stored through a mapping becomes durable, where that needs a flush.
 *
 * What counts is what was stored, not what may be stored now. The lines of a page that is mapped
 * for writing are flushed each time; those of one that was (mprotect(), a PROTECT of the
 * daemon) once, as it is DIRTY until then. When a page that may have been stored to is unmapped, by
 * whomever, its file owes the flush (object_owe_locked()). We can't do that any more; the daemon can,
 * as it knows what it has ever granted for writing, also to programs of its predecessor. So if
 * the range has owed pages which we have not flushed in another mapping of them, it is asked,
 * and the file owes nothing from then on, unless that grew meanwhile.
 *
 * Order: pages first, then the look at what is owed. One that is taken back in between was
 * flushed before, or is owed.
 */
#include "answer.h"
#include "cache.h"
#include "walk.h"

#include "daxfuse/base/bits.h"
#include "daxfuse/daxmap.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/regions/region.h"
#include "daxfuse/daxmap/session/connection.h"
#include "daxfuse/daxmap/session/daemon.h"
#include "daxfuse/daxmap/session/object.h"
#include "daxfuse/daxmap/sys.h"
#include "daxfuse/direct.h"

/* Whether the lines of these pages, which are alike, were flushed now. */
static bool flush_pages_locked(const struct region *region, uintptr_t start, uintptr_t end)
{
	uint64_t offset = region_offset(region, start), stop = offset + (end - start);
	enum page_state state = area_page(region->area, offset);

	if (state < PAGE_DIRTY)
		return false;
	/* what can't be loaded from can't be flushed */
	if (region->prot == PROT_NONE || !cache_flush(start, end)) {
		object_owe_locked(region->object, offset, stop);
		area_clean(region->area, offset, stop);
		return false;
	}
	area_clean(region->area, offset, stop);
	return true;
}

/* From addr on, as far as it is alike, up to end. Up to where; *owed: it needs the daemon. */
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

static int pay_debt(struct object *object)
{
	struct held held = lock_take();
	struct debt before = object->owed;
	int err;

	lock_release(held);
	err = daemon_flush(object->fd);
	if (err)
		return err;
	held = lock_take();
	object_paid_locked(object, &before);
	lock_release(held);
	return 0;
}

/* With the lock nothing is unmapped: the program would get a SIGBUS if the file was cut. */
static int sync_ours(const struct walk_part *part)
{
	uintptr_t at = part->start;
	bool owed = false;

	while (at < part->end) {
		struct held held = lock_take();

		at = sync_alike_locked(at, part->end, &owed);
		lock_release(held);
	}
	return owed ? pay_debt(part->object) : 0;
}

struct sync {
	int flags;
	int *gap; /* -ENOMEM: nothing is mapped at a part of the range */
};

/* As the kernel does, what lies behind a gap is synced, too. */
static int sync_kernels(const struct walk_part *part, const struct sync *sync)
{
	if (!syscall(SYS_msync, part->start, part->end - part->start, sync->flags))
		return 0;
	if (errno != ENOMEM)
		return -errno;
	*sync->gap = -ENOMEM;
	return 0;
}

static int sync_part(const struct walk_part *part, const void *argument)
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

	/* the kernel judges the arguments, by a range of no length */
	if (start % PAGE_BYTES || end <= start || !regions_near(start, end))
		return (int)syscall(SYS_msync, addr, length, flags);
	if (syscall(SYS_msync, addr, 0, flags))
		return -1;
	sync = (struct sync){ flags, &gap };
	err = walk_range(start, end, sync_part, &sync);
	return answer(err ? err : gap);
}
