/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A state for each unit, and for each page of units whose pages differ. Areas of small mappings are
 * cells of chunks, which are never given back: a program may have thousands, and shall not have a
 * mapping for each. Larger ones are mappings of their own; what is not touched of them costs
 * nothing.
 */
#include "area.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/sys.h"

struct area {
	uint64_t offset; /* in the file, of the first unit */
	uint64_t units;
	uint64_t first, end; /* pages that it has, counted from offset */
	uint32_t regions;
	uint8_t *unit;   /* enum page_state of each unit */
	uint8_t *reason; /* enum dxf_reason of each unit */
	uint8_t *page;   /* of pages first to end, where their unit is UNIT_MIXED */
};

/* A few pages; and as many as a mapping can have that holds no whole unit. */
static const size_t cell_bytes[] = { 128, 1280 };
enum { CLASSES = ARRAY_SIZE(cell_bytes), CHUNK = 64 << 10 };

struct cell {
	struct cell *next;
};

static struct cell *free_cells[CLASSES];

/* ---- memory ---- */

/* The smallest cells that hold so much; CLASSES: none do. */
static unsigned class_of(size_t bytes)
{
	unsigned class = 0;

	while (class < CLASSES && cell_bytes[class] < bytes)
		class ++;
	return class;
}

static void give_cell(unsigned class, void *memory)
{
	struct cell *cell = memory;

	cell->next = free_cells[class];
	free_cells[class] = cell;
}

static errint_t add_cells(unsigned class)
{
	void *memory;
	int err = sys_memory(CHUNK, &memory);

	for (size_t at = 0; !err && at + cell_bytes[class] <= CHUNK; at += cell_bytes[class])
		give_cell(class, (char *)memory + at);
	return err;
}

static errint_t take_cell(unsigned class, void **ret_memory)
{
	int err = free_cells[class] ? 0 : add_cells(class);

	if (err)
		return err;
	*ret_memory = free_cells[class];
	free_cells[class] = free_cells[class]->next;
	memset(*ret_memory, 0, cell_bytes[class]);
	return 0;
}

static size_t area_bytes(uint64_t units, uint64_t pages)
{
	return sizeof(struct area) + 2 * units + pages;
}

errint_t area_new(uint64_t offset, uint64_t length, struct area **ret_area)
{
	uint64_t start = unit_floor(offset);
	uint64_t units = (unit_ceiling(offset + length) - start) / UNIT_BYTES;
	uint64_t first = (offset - start) / PAGE_BYTES;
	uint64_t end = (offset + length - start + PAGE_BYTES - 1) / PAGE_BYTES;
	size_t bytes = area_bytes(units, end - first);
	unsigned class = class_of(bytes);
	struct area *area;
	void *memory;
	int err;

	lock_assert_held();
	err = class < CLASSES ? take_cell(class, &memory) : sys_memory(bytes, &memory);
	if (err)
		return err;
	area = memory;
	area->offset = start;
	area->units = units;
	area->first = first;
	area->end = end;
	area->unit = (uint8_t *)(area + 1);
	area->reason = area->unit + units;
	area->page = area->reason + units;
	*ret_area = area;
	return 0;
}

void area_hold(struct area *area)
{
	lock_assert_held();
	area->regions++;
}

void area_put(struct area *area)
{
	size_t bytes = area_bytes(area->units, area->end - area->first);
	unsigned class = class_of(bytes);

	lock_assert_held();
	if (--area->regions)
		return;
	if (class < CLASSES)
		give_cell(class, area);
	else
		sys_munmap((uintptr_t)area, bytes);
}

/* ---- states ---- */

static uint8_t *page_at(const struct area *area, uint64_t page)
{
	return area->page + (page - area->first);
}

/* Those pages of a unit that the area has. */
static void pages_of_unit(const struct area *area, uint64_t unit, uint64_t *ret_from,
			  uint64_t *ret_to)
{
	*ret_from = MAX(unit * UNIT_PAGES, area->first);
	*ret_to = MIN((unit + 1) * UNIT_PAGES, area->end);
}

/* Give a unit's pages states of their own. */
static void spread_unit(struct area *area, uint64_t unit)
{
	uint8_t was = area->unit[unit] & ~UNIT_HUGE;
	uint64_t from, to;

	if (was == UNIT_MIXED)
		return;
	pages_of_unit(area, unit, &from, &to);
	memset(page_at(area, from), was, to - from);
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
	spread_unit(area, from / UNIT_BYTES);
	for (uint64_t page = from / PAGE_BYTES; page < to / PAGE_BYTES; page++)
		*page_at(area, page) = state_after(*page_at(area, page), state);
}

/* Of a unit's pages, the one that has most mapped. */
static uint8_t highest_state(const struct area *area, uint64_t unit)
{
	uint8_t most = area->unit[unit] & ~UNIT_HUGE;
	uint64_t from, to;

	if (most != UNIT_MIXED)
		return most;
	most = PAGE_ABSENT;
	pages_of_unit(area, unit, &from, &to);
	for (uint64_t page = from; page < to; page++)
		most = MAX(most, *page_at(area, page));
	return most;
}

void area_set(struct area *area, uint64_t offset, uint64_t end, enum page_state state, bool huge,
	      uint8_t reason)
{
	uint64_t at = offset - area->offset, stop = end - area->offset;

	lock_assert_held();
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

static void change_pages(struct area *area, uint64_t from, uint64_t to, enum page_state old,
			 enum page_state new)
{
	for (uint64_t page = from / PAGE_BYTES; page < to / PAGE_BYTES; page++) {
		if (*page_at(area, page) == old)
			*page_at(area, page) = new;
	}
}

/* All that is in one state gets another one. */
static void change_state(struct area *area, uint64_t offset, uint64_t end, enum page_state old,
			 enum page_state new)
{
	uint64_t at = offset - area->offset, stop = end - area->offset;

	lock_assert_held();
	while (at < stop) {
		uint64_t unit = at / UNIT_BYTES, to = MIN((unit + 1) * UNIT_BYTES, stop);
		uint8_t huge = area->unit[unit] & UNIT_HUGE, state = area->unit[unit] & ~UNIT_HUGE;

		if (to - at == UNIT_BYTES && state == old)
			area->unit[unit] = new | huge;
		else if (state == old)
			spread_unit(area, unit);
		if (area->unit[unit] == UNIT_MIXED)
			change_pages(area, at, to, old, new);
		at = to;
	}
}

void area_protect(struct area *area, uint64_t offset, uint64_t end)
{
	change_state(area, offset, end, PAGE_WRITE, PAGE_DIRTY);
}

void area_permit(struct area *area, uint64_t offset, uint64_t end)
{
	change_state(area, offset, end, PAGE_READ, PAGE_WRITE);
	change_state(area, offset, end, PAGE_DIRTY, PAGE_WRITE);
}

void area_clean(struct area *area, uint64_t offset, uint64_t end)
{
	change_state(area, offset, end, PAGE_DIRTY, PAGE_READ);
}

enum page_state area_page(const struct area *area, uint64_t offset)
{
	uint64_t at = offset - area->offset;
	uint8_t state = area->unit[at / UNIT_BYTES] & ~UNIT_HUGE;

	lock_assert_held();
	return state == UNIT_MIXED ? *page_at(area, at / PAGE_BYTES) : state;
}

uint64_t area_alike(const struct area *area, uint64_t offset)
{
	uint64_t at = offset - area->offset;

	if ((area->unit[at / UNIT_BYTES] & ~UNIT_HUGE) == UNIT_MIXED)
		return PAGE_BYTES;
	return UNIT_BYTES - at % UNIT_BYTES;
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

bool area_is_huge(const struct area *area, uint64_t offset)
{
	return area->unit[(offset - area->offset) / UNIT_BYTES] & UNIT_HUGE;
}

uint8_t area_reason(const struct area *area, uint64_t offset)
{
	return area->reason[(offset - area->offset) / UNIT_BYTES];
}
