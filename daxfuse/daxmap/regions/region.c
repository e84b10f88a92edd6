/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An array with free room at both ends: to insert or remove a region moves the shorter side. New
 * mappings mostly get ever lower addresses, so that little is moved.
 */
#include "region.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/session/object.h"
#include "daxfuse/daxmap/sys.h"

static struct {
	struct region *memory;
	size_t room;
	struct region *first;
	size_t count;
} table;
/* A writer has the lock and this; a reader has either. */
static struct latch latch;
/* Bounds of all that was ever in the table: most addresses of a program are outside. */
static _Atomic uintptr_t lowest = UINTPTR_MAX, highest;

/* ---- finding ---- */

/* Index of the first region that ends above addr. */
static size_t find_index(uintptr_t addr)
{
	size_t low = 0, high = table.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table.first[middle].end > addr)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static bool has_region(uintptr_t start, uintptr_t end)
{
	uint64_t mask = latch_take(&latch);
	size_t at = find_index(start);
	bool found = at < table.count && table.first[at].start < end;

	latch_release(&latch, mask);
	return found;
}

bool regions_near(uintptr_t start, uintptr_t end)
{
	return end > atomic_load_explicit(&lowest, memory_order_relaxed) &&
	       start < atomic_load_explicit(&highest, memory_order_relaxed) &&
	       has_region(start, end);
}

void regions_reset(void)
{
	latch_reset(&latch);
}

struct region *region_from(uintptr_t addr)
{
	size_t at = find_index(addr);

	lock_assert_held();
	return at < table.count ? &table.first[at] : NULL;
}

struct region *region_at(uintptr_t addr)
{
	struct region *region = region_from(addr);

	return region && region->start <= addr ? region : NULL;
}

struct region *region_next(struct region *region)
{
	return region + 1 < table.first + table.count ? region + 1 : NULL;
}

bool region_copy(uintptr_t start, uintptr_t end, struct region *ret_region)
{
	struct lock_guard guard = lock_take();
	const struct region *found = region_from(start);
	bool any = found && found->start < end;

	if (any) {
		*ret_region = *found;
		object_hold_locked(found->object);
	}
	lock_release(guard);
	return any;
}

/* ---- changing ---- */

errint_t regions_reserve(size_t more)
{
	size_t room = table.room ? table.room : 128;
	struct region *old = table.memory, *first;
	uint64_t mask;
	void *memory;
	int err;

	lock_assert_held();
	if (table.count + more <= table.room)
		return 0;
	while (room < 2 * (table.count + more))
		room *= 2;
	err = sys_memory(room * sizeof(*table.first), &memory);
	if (err)
		return err;
	first = (struct region *)memory + (room - table.count) / 2;
	if (old)
		memcpy(first, table.first, table.count * sizeof(*first));
	mask = latch_take(&latch);
	table.memory = memory;
	table.first = first;
	latch_release(&latch, mask);
	if (old)
		sys_munmap((uintptr_t)old, table.room * sizeof(*old));
	table.room = room;
	return 0;
}

/* A gap at an index, made by moving the shorter side, if there is room beside that. */
static void open_gap(size_t at)
{
	size_t before = (size_t)(table.first - table.memory);
	size_t behind = table.room - before - table.count;

	if (before && (at < table.count / 2 || !behind)) {
		memmove(table.first - 1, table.first, at * sizeof(*table.first));
		table.first--;
	} else {
		memmove(table.first + at + 1, table.first + at,
			(table.count - at) * sizeof(*table.first));
	}
	table.count++;
}

static void close_gap(size_t at)
{
	table.count--;
	if (at < table.count / 2) {
		memmove(table.first + 1, table.first, at * sizeof(*table.first));
		table.first++;
	} else {
		memmove(table.first + at, table.first + at + 1,
			(table.count - at) * sizeof(*table.first));
	}
}

void region_insert(const struct region *region)
{
	struct region copy = *region;
	size_t at = find_index(copy.start);
	uint64_t mask;

	lock_assert_held();
	mask = latch_take(&latch);
	open_gap(at);
	table.first[at] = copy;
	latch_release(&latch, mask);
	area_hold(copy.area);
	if (copy.start < atomic_load_explicit(&lowest, memory_order_relaxed))
		atomic_store(&lowest, copy.start);
	if (copy.end > atomic_load_explicit(&highest, memory_order_relaxed))
		atomic_store(&highest, copy.end);
}

void region_cut(uintptr_t addr)
{
	struct region *region = region_at(addr), upper;
	uint64_t mask;

	if (!region || region->start == addr)
		return;
	upper = *region;
	upper.offset += addr - region->start;
	upper.start = addr;
	upper.head = region->tail = 0;
	mask = latch_take(&latch);
	region->end = addr;
	latch_release(&latch, mask);
	object_hold_locked(upper.object);
	region_insert(&upper);
}

void region_remove(struct region *region)
{
	uint64_t mask;

	lock_assert_held();
	area_put(region->area);
	mask = latch_take(&latch);
	close_gap((size_t)(region - table.first));
	latch_release(&latch, mask);
}
