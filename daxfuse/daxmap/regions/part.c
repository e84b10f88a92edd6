/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A range of addresses gets something else. What was ours leaves the table and is replaced with the
 * lock held, so that nobody sees neither; then the daemon is told, without it.
 *
 * The kernel's mapping of a file can't be made with the lock, as it may wait for the daemon: it is
 * made elsewhere, and moved into place.
 */
#include "part.h"

#include <errno.h>
#include <linux/stat.h>
#include <stdatomic.h>
#include <sys/sysmacros.h>

#include "flight.h"
#include "pieces.h"
#include "pinned.h"
#include "release.h"

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/session/connection.h"
#include "daxfuse/daxmap/session/object.h"
#include "daxfuse/daxmap/sys.h"
#include "daxfuse/direct.h"

/* Whole units of a file. */
struct dropped {
	struct object *object; /* held */
	uint64_t offset, end, grant;
};

enum { DROPPED = 16 };

static _Atomic uint64_t replacements;

uint64_t part_replacements(void)
{
	return atomic_load(&replacements);
}

/* ---- out of the table ---- */

/* Out of the table what is in [start, end), as much as fits the list; *ret_end: up to where. */
static unsigned take_out_locked(uintptr_t start, uintptr_t end, struct dropped *dropped,
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
		pinned_forget(region->start, region->end);
		pieces_note_stores_locked(region, region->start, region->end);
		region_remove(region);
	}
	*ret_end = region && region->start < end ? region->start : end;
	replacements += n > 0;
	for (unsigned i = 0; i < n; i++) {
		dropped[i].grant = dropped[i].object->grant;
		flights_void_locked(dropped[i].object, dropped[i].offset, dropped[i].end,
				    dropped[i].grant);
	}
	return n;
}

/* The unit that has an edge inside it, and whether more of it is the program's than what lies on
 * one side (above: the range is above the edge). false: nothing has to be done. */
static bool unit_at_edge(uintptr_t edge, bool above, uintptr_t *ret_unit, bool *ret_shared)
{
	struct lock_guard guard = lock_take();
	const struct region *region = region_at(edge);
	bool inside = region && region->object->session->flags & DIRECT_UNITS &&
		      (edge - region->start) % UNIT_BYTES;

	if (inside) {
		*ret_unit = edge - (edge - region->start) % UNIT_BYTES;
		*ret_shared = above ? edge > region_visible_start(region)
				    : edge < region_visible_end(region);
	}
	lock_release(guard);
	return inside;
}

errint_t part_settle(uintptr_t start, uintptr_t end, bool whole)
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

static void release_dropped(const struct dropped *dropped, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		release_units(dropped[i].object, dropped[i].offset, dropped[i].end,
			      dropped[i].grant);
}

errint_t part_replaced(uintptr_t start, uintptr_t end, part_replace *replace, const void *argument)
{
	struct dropped dropped[DROPPED];
	int err = part_settle(start, end, true);

	while (!err && start < end) {
		struct lock_guard guard = lock_take();
		uintptr_t stop = end;
		unsigned n = 0;

		err = regions_reserve(3);
		if (!err)
			n = take_out_locked(start, end, dropped, &stop);
		if (!err)
			err = replace(start, stop, argument);
		lock_release(guard);
		release_dropped(dropped, n);
		start = stop;
	}
	return err;
}

static errint_t replace_by_nothing(uintptr_t start, uintptr_t end, const void *argument)
{
	return sys_munmap(start, end - start);
}

/* Up to where it is ours, or not ours, from start on. */
static uintptr_t find_alike(uintptr_t start, uintptr_t end, bool *ret_ours)
{
	struct lock_guard guard = lock_take();
	const struct region *region = region_from(start);

	*ret_ours = region && region->start <= start;
	if (region)
		end = MIN(end, *ret_ours ? region->end : region->start);
	lock_release(guard);
	return end;
}

/* What is not ours without the lock: the kernel may write back a file then, and wait. */
errint_t part_unmap(uintptr_t start, uintptr_t end)
{
	int err = part_settle(start, end, true);

	while (!err && start < end) {
		bool ours;
		uintptr_t stop = find_alike(start, end, &ours);

		err = ours ? part_replaced(start, stop, replace_by_nothing, NULL)
			   : sys_munmap(start, stop - start);
		start = stop;
	}
	return err;
}

/* ---- to the kernel ---- */

/* The part of a region that the kernel gets, and where that has mapped the file for it. */
struct handover {
	const struct region *region; /* a copy */
	uintptr_t start, end;
	uintptr_t from, to;  /* what is the program's of it */
	uintptr_t elsewhere; /* 0: nowhere */
};

/* A program may have closed our descriptor, and got another file of that number. */
static errint_t check_descriptor(const struct object *object)
{
	struct statx st;

	if (syscall(SYS_statx, object->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &st))
		return -errno;
	if (st.stx_ino == object->ino && makedev(st.stx_dev_major, st.stx_dev_minor) == object->dev)
		return 0;
	return -EBADF;
}

/*
 * To map the file may mean to wait for its daemon, which may wait for our listener: so not
 * with the lock. Nothing is read there before it is in its place.
 */
static errint_t map_elsewhere(struct handover *h)
{
	int err = check_descriptor(h->region->object);

	if (err || h->from >= h->to)
		return err;
	err = sys_mmap(0, h->to - h->from, h->region->prot, MAP_SHARED, h->region->object->fd,
		       region_offset(h->region, h->from), &h->elsewhere);
	return err == -ENOMEM ? 0 : err;
}

/* With more mappings than a process may have the kernel refuses even to replace some by one. */
static errint_t put_in_place_locked(struct handover *h)
{
	size_t length = h->to - h->from;

	if (h->elsewhere && syscall(SYS_mremap, h->elsewhere, length, length,
				    MREMAP_MAYMOVE | MREMAP_FIXED, h->from) != -1) {
		h->elsewhere = 0;
		return 0;
	}
	sys_munmap(h->from, length);
	return sys_mmap_fixed(h->from, length, h->region->prot, MAP_SHARED, h->region->object->fd,
			      region_offset(h->region, h->from));
}

static errint_t replace_by_kernel_locked(struct handover *h)
{
	int err = 0;

	/* what is not the program's, after the whole has been made divisible */
	if (h->from > h->start || h->to < h->end)
		err = pieces_background_locked(h->start, h->end, PROT_NONE);
	if (!err && h->from > h->start)
		sys_munmap(h->start, h->from - h->start);
	if (!err && h->to < h->end)
		sys_munmap(h->to, h->end - h->to);
	return err || h->from >= h->to ? err : put_in_place_locked(h);
}

/* Others may have unmapped it meanwhile, and have something of theirs there. */
static bool is_still_there_locked(const struct handover *h)
{
	const struct region *region = region_at(h->start);

	return region && region->object == h->region->object && region->end >= h->end &&
	       region_offset(region, h->start) == region_offset(h->region, h->start) &&
	       region->prot == h->region->prot;
}

static errint_t hand_over_locked(struct handover *h, struct dropped *dropped, unsigned *ret_count,
				 bool *ret_changed)
{
	uintptr_t stop;
	int err = regions_reserve(3);

	if (err)
		return err;
	*ret_changed = !is_still_there_locked(h);
	if (*ret_changed)
		return 0;
	*ret_count = take_out_locked(h->start, h->end, dropped, &stop);
	return replace_by_kernel_locked(h);
}

/* *ret_changed: nothing was done, as the region is another one by now. */
static errint_t hand_over(const struct region *region, uintptr_t start, uintptr_t end,
			  bool *ret_changed)
{
	struct handover h = { .region = region,
			      .start = start,
			      .end = end,
			      .from = MAX(start, region_visible_start(region)),
			      .to = MIN(end, region_visible_end(region)) };
	struct dropped dropped[DROPPED] = { 0 };
	unsigned n = 0;
	struct lock_guard guard;
	int err = map_elsewhere(&h);

	if (err)
		return err;
	guard = lock_take();
	err = hand_over_locked(&h, dropped, &n, ret_changed);
	lock_release(guard);
	release_dropped(dropped, n);
	if (h.elsewhere)
		sys_munmap(h.elsewhere, h.to - h.from);
	return err;
}

errint_t part_to_kernel(uintptr_t start, uintptr_t end)
{
	int err = 0;

	while (!err && start < end) {
		bool changed = false;
		struct region region;

		if (!region_copy(start, end, &region))
			break;
		start = MAX(start, region.start);
		err = part_settle(start, MIN(end, region.end), true);
		if (!err)
			err = hand_over(&region, start, MIN(end, region.end), &changed);
		object_put(region.object);
		if (!err && !changed)
			start = MIN(end, region.end);
	}
	return err;
}
