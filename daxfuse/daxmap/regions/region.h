/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of what is mapped where: regions, sorted by address, none over another. A region
 * is a range of addresses over a range of one file with one protection; munmap and mprotect
 * cut it into several, which share an area: what is mapped of each page. All of it is
 * read and changed with the lock, unless it is said otherwise, and without malloc.
 */
#ifndef DAXFUSE_DAXMAP_REGION_H
#define DAXFUSE_DAXMAP_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include "area.h"
#include "daxfuse/base/errint.h"

struct object;

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

/*
 * Whether something of [start, end) is in the table. Without the lock: a fork holds that while it
 * waits for the locks of other libraries, and their owners may be about to unmap something of
 * theirs (malloc's memory).
 */
bool regions_near(uintptr_t start, uintptr_t end);
/* The first region that reaches into [start, end), as it is at the moment, its object held. Not
 * with the lock. False: there is none. */
bool region_copy(uintptr_t start, uintptr_t end, struct region *ret_region);

/* In the child of a fork: nobody is looking without the lock. */
void regions_reset(void);
/* The region that has addr, or the first one above it; NULL: none. */
struct region *region_from(uintptr_t addr);
/* The one that has addr, or NULL. */
struct region *region_at(uintptr_t addr);
/* The one behind it, in order of addresses; NULL: the last. */
struct region *region_next(struct region *region);
/* Room for `more` regions, so that inserting and cutting can't fail. Moves the table. -ENOMEM */
errint_t regions_reserve(size_t more);
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

static inline uint64_t region_offset(const struct region *region, uintptr_t addr)
{
	return region->offset + (addr - region->start);
}

#endif
