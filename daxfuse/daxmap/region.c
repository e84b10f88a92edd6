/* SPDX-License-Identifier: BSD-3-Clause */
#include "daxfuse/daxmap/region.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/object.h"
#include "daxfuse/daxmap/sys.h"

static struct region *table;
static size_t count, room;
/* Who changes where regions are has the lock and this; who only looks has one of them. */
static struct latch latch;
/* Bounds of all that was ever in the table: most addresses of a program are outside. */
static _Atomic uintptr_t lowest = UINTPTR_MAX, highest;

/* ---- areas ---- */

static size_t area_bytes(uint64_t units)
{
	return sizeof(struct area) + units * (2 + UNIT_PAGES);
}

int area_new(uint64_t offset, uint64_t length, struct area **ret_area)
{
	uint64_t first = offset / UNIT_BYTES;
	uint64_t units = (offset + length + UNIT_BYTES - 1) / UNIT_BYTES - first;
	struct area *area;
	void *memory;
	int err = sys_memory(area_bytes(units), &memory);

	if (err)
		return err;
	area = memory;
	area->offset = first * UNIT_BYTES;
	area->units = units;
	area->unit = (uint8_t *)(area + 1);
	area->reason = area->unit + units;
	area->page = area->reason + units;
	*ret_area = area;
	return 0;
}

void area_put(struct area *area)
{
	if (--area->regions == 0)
		sys_munmap((uintptr_t)area, area_bytes(area->units));
}

/* Give a unit's pages states of their own. */
static void spread(struct area *area, uint64_t unit)
{
	uint8_t was = area->unit[unit] & ~UNIT_HUGE;

	if (was == UNIT_MIXED)
		return;
	memset(area->page + unit * UNIT_PAGES, was, UNIT_PAGES);
	area->unit[unit] = UNIT_MIXED;
}

/* What a page becomes that is `was`, or may be in part. */
static enum page_state state_after(uint8_t was, enum page_state state)
{
	bool stored = was == PAGE_DIRTY || was == PAGE_WRITE;

	return state == PAGE_READ && stored ? PAGE_DIRTY : state;
}

static void set_pages(struct area *area, uint64_t from, uint64_t to, enum page_state state)
{
	spread(area, from / UNIT_BYTES);
	for (uint64_t page = from / PAGE_BYTES; page < to / PAGE_BYTES; page++)
		area->page[page] = state_after(area->page[page], state);
}

/* Of a unit's pages, the one that has most mapped. */
static uint8_t highest_state(const struct area *area, uint64_t unit)
{
	const uint8_t *page = area->page + unit * UNIT_PAGES;
	uint8_t most = area->unit[unit] & ~UNIT_HUGE;

	if (most != UNIT_MIXED)
		return most;
	most = PAGE_ABSENT;
	for (uint64_t i = 0; i < UNIT_PAGES; i++)
		most = MAX(most, page[i]);
	return most;
}

void area_set(struct area *area, uint64_t offset, uint64_t end, enum page_state state, bool huge,
	      uint8_t reason)
{
	uint64_t at = offset - area->offset, stop = end - area->offset;

	while (at < stop) {
		uint64_t unit = at / UNIT_BYTES, to = MIN((unit + 1) * UNIT_BYTES, stop);

		if (to - at == UNIT_BYTES)
			area->unit[unit] = state_after(highest_state(area, unit), state) |
					   (huge ? UNIT_HUGE : 0);
		else
			set_pages(area, at, to, state);
		area->reason[unit] = reason;
		at = to;
	}
}

/* All that is in one state gets another one. */
static void area_change(struct area *area, uint64_t offset, uint64_t end, enum page_state old,
			enum page_state new)
{
	uint64_t at = offset - area->offset, stop = end - area->offset;

	while (at < stop) {
		uint64_t unit = at / UNIT_BYTES, to = MIN((unit + 1) * UNIT_BYTES, stop);
		uint8_t huge = area->unit[unit] & UNIT_HUGE, state = area->unit[unit] & ~UNIT_HUGE;

		if (to - at == UNIT_BYTES && state == old)
			area->unit[unit] = new | huge;
		else if (state == old)
			spread(area, unit);
		if (area->unit[unit] == UNIT_MIXED) {
			for (uint64_t page = at / PAGE_BYTES; page < to / PAGE_BYTES; page++) {
				if (area->page[page] == old)
					area->page[page] = new;
			}
		}
		at = to;
	}
}

void area_protect(struct area *area, uint64_t offset, uint64_t end)
{
	area_change(area, offset, end, PAGE_WRITE, PAGE_DIRTY);
}

void area_clean(struct area *area, uint64_t offset, uint64_t end)
{
	area_change(area, offset, end, PAGE_DIRTY, PAGE_READ);
}

bool area_stored(const struct area *area, uint64_t *offset, uint64_t *end)
{
	uint64_t first = *end, last = *offset, next;

	for (uint64_t at = *offset; at < *end; at = next) {
		next = MIN(*end, at + area_alike(area, at));
		if (area_page(area, at) < PAGE_DIRTY)
			continue;
		first = MIN(first, at);
		last = next;
	}
	*offset = first;
	*end = last;
	return first < last;
}

enum page_state area_page(const struct area *area, uint64_t offset)
{
	uint64_t at = offset - area->offset;
	uint8_t state = area->unit[at / UNIT_BYTES] & ~UNIT_HUGE;

	return state == UNIT_MIXED ? area->page[at / PAGE_BYTES] : state;
}

uint64_t area_alike(const struct area *area, uint64_t offset)
{
	uint64_t at = offset - area->offset;

	if ((area->unit[at / UNIT_BYTES] & ~UNIT_HUGE) == UNIT_MIXED)
		return PAGE_BYTES;
	return UNIT_BYTES - at % UNIT_BYTES;
}

bool area_is_huge(const struct area *area, uint64_t offset)
{
	return area->unit[(offset - area->offset) / UNIT_BYTES] & UNIT_HUGE;
}

uint8_t area_reason(const struct area *area, uint64_t offset)
{
	return area->reason[(offset - area->offset) / UNIT_BYTES];
}

/* ---- the table ---- */

/* Index of the first region that ends above addr. */
static size_t find(uintptr_t addr)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table[middle].end > addr)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static bool overlaps(uintptr_t start, uintptr_t end)
{
	uint64_t mask = latch_take(&latch);
	size_t at = find(start);
	bool found = at < count && table[at].start < end;

	latch_release(&latch, mask);
	return found;
}

bool regions_near(uintptr_t start, uintptr_t end)
{
	return end > atomic_load_explicit(&lowest, memory_order_relaxed) &&
	       start < atomic_load_explicit(&highest, memory_order_relaxed) &&
	       overlaps(start, end);
}

void regions_reset(void)
{
	latch_reset(&latch);
}

struct region *region_from(uintptr_t addr)
{
	size_t at = find(addr);

	return at < count ? &table[at] : NULL;
}

struct region *region_at(uintptr_t addr)
{
	struct region *region = region_from(addr);

	return region && region->start <= addr ? region : NULL;
}

struct region *region_next(struct region *region)
{
	return region + 1 < table + count ? region + 1 : NULL;
}

int regions_reserve(size_t more)
{
	size_t bytes = (room ? room * 2 : 128) * sizeof(*table);
	struct region *old;
	uint64_t mask;
	void *memory;
	int err;

	if (count + more <= room)
		return 0;
	while (bytes / sizeof(*table) < count + more)
		bytes *= 2;
	err = sys_memory(bytes, &memory);
	if (err)
		return err;
	if (table)
		memcpy(memory, table, count * sizeof(*table));
	mask = latch_take(&latch);
	old = table;
	table = memory;
	latch_release(&latch, mask);
	if (old)
		sys_munmap((uintptr_t)old, room * sizeof(*table));
	room = bytes / sizeof(*table);
	return 0;
}

void region_insert(const struct region *region)
{
	struct region copy = *region;
	size_t at = find(copy.start);
	uint64_t mask = latch_take(&latch);

	memmove(table + at + 1, table + at, (count - at) * sizeof(*table));
	count++;
	table[at] = copy;
	latch_release(&latch, mask);
	copy.area->regions++;
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
	object_hold(upper.object);
	region_insert(&upper);
}

void region_remove(struct region *region)
{
	size_t at = (size_t)(region - table);
	uint64_t mask;

	area_put(region->area);
	mask = latch_take(&latch);
	count--;
	memmove(table + at, table + at + 1, (count - at) * sizeof(*table));
	latch_release(&latch, mask);
}
