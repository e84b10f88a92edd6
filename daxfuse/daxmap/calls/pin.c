/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dxm_pin(), dxm_unpin(): long-term pins. The daemon keeps the memory, and we keep it mapped
 * (pinned.h).
 *
 * Order: the daemon's pin first, so that what is mapped then stays the file's; then all of it is
 * mapped, and noted as pinned in one go. What is taken back in between is mapped again, and so are
 * zeroes of what was a hole before the daemon pinned it.
 */
#include "answer.h"
#include "walk.h"
#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"

#include <errno.h>

#include "daxfuse/daxmap.h"
#include "daxfuse/daxmap/faults/fault.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/regions/pieces.h"
#include "daxfuse/daxmap/regions/pinned.h"
#include "daxfuse/daxmap/regions/region.h"
#include "daxfuse/daxmap/session/connection.h"
#include "daxfuse/daxmap/session/daemon.h"
#include "daxfuse/daxmap/session/object.h"
#include "daxfuse/direct.h"

/* What a pin of the part keeps mapped: whole units, where the device knows nothing else. */
static void pinned_range(const struct walk_part *part, uintptr_t *ret_start, uintptr_t *ret_end)
{
	bool units = part->object->session->flags & DIRECT_UNITS;

	*ret_start = units ? unit_floor(part->start) : part->start;
	*ret_end = units ? unit_ceiling(part->end) : part->end;
}

/* What was cut off of the file meanwhile is mapped only because of the pin. */
static errint_t forget_pin(const struct walk_part *part)
{
	struct lock_guard guard = lock_take();
	struct region *region = region_at(part->start);
	uintptr_t start, end;
	bool stale = false;
	int err;

	pinned_range(part, &start, &end);
	err = pinned_remove(start, end, &stale);
	if (!err && stale && region && region->start <= start && region->end >= end)
		err = pieces_clear_locked(region, start, end);
	lock_release(guard);
	return err;
}

/* The pin holds the object, too: its descriptor owns the pins. */
static errint_t unpin_part(const struct walk_part *part, const void *argument)
{
	int err = part->object ? forget_pin(part) : -EINVAL;

	if (err)
		return err;
	err = daemon_unpin(part->object->fd, part->offset, part->end - part->start);
	object_put(part->object);
	return err;
}

/* Zeroes that were mapped before, and that the daemon wants back only now: they are not what is
 * pinned. Whether there were some. */
static bool drop_zeroes_locked(const struct walk_part *part)
{
	struct region *region = region_at(part->start);
	uintptr_t start, end;

	pinned_range(part, &start, &end);
	return region &&
	       pieces_drop_zeroes_locked(region, MAX(start, region->start), MIN(end, region->end));
}

/* If all of it is mapped; else -EAGAIN. */
static errint_t note_pin(const struct walk_part *part)
{
	struct lock_guard guard = lock_take();
	bool mapped = !drop_zeroes_locked(part) &&
		      fault_is_populated_locked(part->start, part->end, part->prot & PROT_WRITE);
	int err = mapped ? 0 : -EAGAIN;
	uintptr_t start, end;

	pinned_range(part, &start, &end);
	if (!err)
		err = pinned_add(start, end);
	if (!err)
		object_hold_locked(part->object);
	lock_release(guard);
	return err;
}

static errint_t pin_part(const struct walk_part *part, const void *argument)
{
	int err;

	if (!part->object)
		return -EINVAL;
	/* nothing would be mapped that could be kept */
	if (part->prot == PROT_NONE)
		return -EACCES;
	err = daemon_pin(part->object->fd, part->offset, part->end - part->start);
	if (err)
		return err;
	do {
		err = fault_populate(part->start, part->end, part->prot & PROT_WRITE);
		if (!err)
			err = note_pin(part);
	} while (err == -EAGAIN);
	if (err)
		daemon_unpin(part->object->fd, part->offset, part->end - part->start);
	return err;
}

int dxm_pin(void *addr, size_t length)
{
	uintptr_t start = (uintptr_t)addr, end = range_end(start, length), failed;
	int err;

	if (start % PAGE_BYTES || end <= start)
		return answer(-EINVAL);
	err = walk_range_to(start, end, pin_part, NULL, &failed);
	if (err && failed > start)
		walk_range(start, failed, unpin_part, NULL);
	return answer(err);
}

int dxm_unpin(void *addr, size_t length)
{
	uintptr_t start = (uintptr_t)addr, end = range_end(start, length);

	if (start % PAGE_BYTES || end <= start)
		return answer(-EINVAL);
	return answer(walk_range(start, end, unpin_part, NULL));
}
