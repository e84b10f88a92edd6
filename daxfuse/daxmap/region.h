/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of what is mapped where: regions, sorted by address, none over another. A region
 * is a range of addresses over a range of one file with one protection; munmap and mprotect
 * cut it into several, which share an area: what is mapped of each page. All of it is
 * read and changed under the lock, and without malloc.
 */
#ifndef DAXFUSE_DAXMAP_REGION_H
#define DAXFUSE_DAXMAP_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#define PAGE_BYTES UINT64_C(4096)
#define UNIT_BYTES (UINT64_C(2) << 20)
#define UNIT_PAGES (UNIT_BYTES / PAGE_BYTES)

struct object;

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

struct area {
	uint64_t offset; /* in the file, of the first unit */
	uint64_t units;
	uint32_t regions;
	uint8_t *unit;   /* enum page_state of each unit */
	uint8_t *reason; /* enum dxf_reason of each unit */
	uint8_t *page;   /* of each page of the units that are UNIT_MIXED */
};

struct region {
	uintptr_t start;
	uintptr_t end;
	uint64_t offset; /* in the file, at start */
	struct object *object;
	struct area *area;
	int prot;
	bool pages; /* the address does not line up with the file: nothing is huge */
	/* Where the device is mapped in whole units only, a region is of whole units; these bytes
	 * at its ends are not the program's. */
	uint32_t head, tail;
};

/* ---- areas */

/* For a range of a file; it has no region yet. -ENOMEM */
int area_new(uint64_t offset, uint64_t length, struct area **ret_area);
/* One region less; freed with the last. */
void area_put(struct area *area);
/* What becomes READ stays DIRTY, if it may have been stored to. */
void area_set(struct area *area, uint64_t offset, uint64_t end, enum page_state state, bool huge,
	      uint8_t reason);
/* What may be stored to may be read only, now. */
void area_protect(struct area *area, uint64_t offset, uint64_t end);
/* What could be read only has been flushed. */
void area_clean(struct area *area, uint64_t offset, uint64_t end);
/* The bounds of what may have been stored to there, and has not been flushed; false: nothing. */
bool area_stored(const struct area *area, uint64_t *offset, uint64_t *end);
enum page_state area_page(const struct area *area, uint64_t offset);
/* How far from there on all pages are alike for certain: at most to the unit's end. */
uint64_t area_alike(const struct area *area, uint64_t offset);
bool area_is_huge(const struct area *area, uint64_t offset);
uint8_t area_reason(const struct area *area, uint64_t offset);

/* ---- the table */

/*
 * Whether something of [start, end) is in the table. Without the lock: a fork holds that while it
 * waits for the locks of other libraries, and their owners may be about to unmap something of
 * theirs (malloc's memory).
 */
bool regions_near(uintptr_t start, uintptr_t end);
/* In the child of a fork: nobody is looking. */
void regions_reset(void);
/* The region that has addr, or the first one above it; NULL: none. */
struct region *region_from(uintptr_t addr);
/* The one that has addr, or NULL. */
struct region *region_at(uintptr_t addr);
/* The one behind it, in order of addresses; NULL: the last. */
struct region *region_next(struct region *region);
/* Room for `more` regions, so that inserting and cutting can't fail. Moves the table. -ENOMEM */
int regions_reserve(size_t more);
/* Takes over the reference to the object; one more region of the area. There must be room. */
void region_insert(const struct region *region);
/* Make regions end at addr, so that none has it inside. There must be room for one. */
void region_cut(uintptr_t addr);
/* Takes it out; the object's reference is the caller's again, the area's is gone. */
void region_remove(struct region *region);

/* What may be stored to can be loaded from: no machine of ours has it otherwise. */
static inline int prot_with_read(int prot)
{
	return prot & PROT_WRITE ? prot | PROT_READ : prot;
}

static inline uint64_t unit_floor(uint64_t offset)
{
	return offset / UNIT_BYTES * UNIT_BYTES;
}

static inline uint64_t unit_ceiling(uint64_t offset)
{
	return unit_floor(offset + UNIT_BYTES - 1);
}

static inline uintptr_t region_visible_start(const struct region *region)
{
	return region->start + region->head;
}

static inline uintptr_t region_visible_end(const struct region *region)
{
	return region->end - region->tail;
}

static inline uint64_t region_file_end(const struct region *region)
{
	return region->offset + (region->end - region->start);
}

static inline uintptr_t region_addr(const struct region *region, uint64_t offset)
{
	return region->start + (offset - region->offset);
}

#endif
