/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is mapped of each page of a range of a file, at some addresses. Regions that were one once
 * share an area. All with the lock.
 */
#ifndef DAXFUSE_DAXMAP_AREA_H
#define DAXFUSE_DAXMAP_AREA_H

#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"

#define PAGE_BYTES UINT64_C(4096)
#define UNIT_BYTES (UINT64_C(2) << 20)
#define UNIT_PAGES (UNIT_BYTES / PAGE_BYTES)

/* What is mapped at a page, from nothing up to all. */
enum page_state {
	PAGE_ABSENT, /* an access comes to us: nothing was asked for, or there is nothing */
	PAGE_ZERO,
	PAGE_READ,
	PAGE_DIRTY, /* as READ; it was WRITE, and has not been flushed since */
	PAGE_WRITE,
	PAGE_STATES,
	UNIT_MIXED = PAGE_STATES, /* of a unit: its pages differ */
	UNIT_HUGE = 8,            /* of a unit, added: mapped as one piece */
};

struct area;

/* For a range of a file; it has no region yet. -ENOMEM */
errint_t area_new(uint64_t offset, uint64_t length, struct area **ret_area);
/* One region more. */
void area_hold(struct area *area);
/* One less; freed with the last. */
void area_put(struct area *area);

/* What becomes READ stays DIRTY, if it may have been stored to. */
void area_set(struct area *area, uint64_t offset, uint64_t end, enum page_state state, bool huge,
	      uint8_t reason);
/* What may be stored to may be read only, now. */
void area_protect(struct area *area, uint64_t offset, uint64_t end);
/* What may be read only may be stored to, now. */
void area_permit(struct area *area, uint64_t offset, uint64_t end);
/* What could be read only has been flushed. */
void area_clean(struct area *area, uint64_t offset, uint64_t end);

enum page_state area_page(const struct area *area, uint64_t offset);
/* How far from there on all pages are alike for certain: at most to the unit's end. */
uint64_t area_alike(const struct area *area, uint64_t offset);
/* The bounds of what may have been stored to there, and has not been flushed; false: nothing. */
bool area_stored(const struct area *area, uint64_t *offset, uint64_t *end);
bool area_is_huge(const struct area *area, uint64_t offset);
uint8_t area_reason(const struct area *area, uint64_t offset);

static inline uint64_t unit_floor(uint64_t offset)
{
	return offset / UNIT_BYTES * UNIT_BYTES;
}

static inline uint64_t unit_ceiling(uint64_t offset)
{
	return unit_floor(offset + UNIT_BYTES - 1);
}

#endif
