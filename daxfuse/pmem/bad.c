/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bad blocks: those that the device knows of, and having it clear them. libpmem2 asks libndctl for
 * a device-dax, and the filesystem for a file on fsdax; for any other file there are none.
 *
 * A page that the kernel has taken away stays away from our mapping when the device
 * has cleared it. MADV_DONTNEED forgets that it was taken, and the next touch maps
 * it anew; it takes nothing from a shared mapping.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/lockrank.h"
#include "map.h"
#include "daxfuse/base/errint.h"

enum { SPARE_RANGES = 256 };

static int by_offset(const void *a, const void *b)
{
	const struct pmem_range *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static errint_t make_room(struct pmem_map *map, size_t count)
{
	struct pmem_range *more;

	if (count < map->bad_room)
		return 0;
	more = reallocarray(map->bad, count + SPARE_RANGES, sizeof(*more));
	if (!more)
		return -ENOMEM;
	map->bad = more;
	map->bad_room = count + SPARE_RANGES;
	return 0;
}

static errint_t new_context(const struct pmem_map *map, struct pmem2_badblock_context **ret_context)
{
	if (!map->known_to_pmem2 || pmem2_badblock_context_new(ret_context, map->source) < 0)
		return -EOPNOTSUPP;
	return 0;
}

/* What is there in the end has room for more: readers have no lock. */
errint_t pmem_bad_load(struct pmem_map *map)
{
	struct pmem2_badblock_context *context;
	struct pmem2_badblock block;
	size_t count = 0;
	int err = make_room(map, 0);

	if (err || new_context(map, &context))
		return err;
	while (!err && pmem2_badblock_next(context, &block) == 0) {
		if (block.offset >= map->pm.size)
			continue;
		map->bad[count].offset = block.offset;
		map->bad[count++].length = MIN((uint64_t)block.length, map->pm.size - block.offset);
		err = make_room(map, count + SPARE_RANGES / 2);
	}
	pmem2_badblock_context_delete(&context);
	if (count)
		qsort(map->bad, count, sizeof(*map->bad), by_offset);
	map->pm.bad = map->bad;
	map->pm.bad_count = count;
	return err;
}

/* Order: the range, then the count. */
errint_t pmem_bad_add(const struct pmem *pm, uint64_t offset, uint64_t length)
{
	struct pmem_map *map = container_of((struct pmem *)(uintptr_t)pm, struct pmem_map, pm);
	size_t count;
	int err = 0;

	if (!length || !pmem_contains(pm, offset, length))
		return -EINVAL;
	lock_mutex(LOCK_POISON, &map->bad_lock);
	count = map->pm.bad_count;
	if (count == map->bad_room) {
		err = -ENOSPC;
	} else if (!pmem_is_bad(pm, offset, length)) {
		map->bad[count] = (struct pmem_range){ offset, length };
		atomic_store_explicit(&map->pm.bad_count, count + 1, memory_order_release);
	}
	unlock_mutex(LOCK_POISON, &map->bad_lock);
	return err;
}

/* Cut block to [offset, offset + length); false if nothing is left. */
static bool cut(struct pmem2_badblock *block, uint64_t offset, uint64_t length)
{
	uint64_t from = MAX((uint64_t)block->offset, offset);
	uint64_t to = MIN((uint64_t)block->offset + (uint64_t)block->length, offset + length);

	block->offset = (size_t)from;
	block->length = to > from ? (size_t)(to - from) : 0;
	return block->length > 0;
}

static void map_anew(const struct pmem *pm, uint64_t offset, uint64_t length)
{
	uint64_t from = round_down(offset, PMEM_PAGE);

	madvise(pmem_at(pm, from), round_up(offset + length, PMEM_PAGE) - from, MADV_DONTNEED);
}

errint_t pmem_bad_clear(const struct pmem *pm, uint64_t offset, uint64_t length)
{
	const struct pmem_map *map = container_of(pm, struct pmem_map, pm);
	struct pmem2_badblock_context *context;
	struct pmem2_badblock block;
	int err = -EOPNOTSUPP;

	if (new_context(map, &context))
		return -EOPNOTSUPP;
	while (err != -EIO && pmem2_badblock_next(context, &block) == 0)
		if (cut(&block, offset, length))
			err = pmem2_badblock_clear(context, &block) < 0 ? -EIO : 0;
	pmem2_badblock_context_delete(&context);
	if (!err)
		map_anew(pm, offset, length);
	return err;
}
