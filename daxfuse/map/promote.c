/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Promotion: a unit that is held as blocks, or as PTE entries, becomes one PMD entry
 * over a whole aligned unit.
 *
 * Order, with the file locked shared:
 *   1. lock all entries of the unit, ascending; pages without one get an EMPTY one, so that
 *      nobody can fault in the unit
 *   2. all mappers let go of all of the unit; if one does not, give up: nothing has changed
 *   3. the backend copies, flushes and switches the extents, and frees the old ones: nobody
 *      has them mapped
 *   4. the entries become one, DATA and clean; threads that slept on one of them sleep on it now
 *   5. unlock
 *
 * Mappers let go before the copy is made, not after the switch: their stores in between would be
 * lost, and afterwards they could read blocks that were freed.
 */
#include "internal.h"
#include "probe.h"
#include "daxfuse/base/errint.h"

static bool is_promoted(struct map_file *file, const struct entry_unit *unit)
{
	struct map_extent extent;

	return !unit->table && entry_kind(&unit->pmd) == ENTRY_DATA &&
	       !file->engine->backend->iomap(file->file, entry_offset(&unit->pmd), MAP_UNIT_SIZE,
					     &extent) &&
	       extent.kind == MAP_MAPPED && extent.length == MAP_UNIT_SIZE &&
	       is_aligned(extent.device_offset, MAP_UNIT_SIZE);
}

static errint_t promote_unit(struct map_file *file, struct entry_unit *unit)
{
	uint64_t start = unit->pmd.start;
	int err;

	if (revoke_range(file, start, start + UNIT_PAGES - 1, NULL, REVOKE_PROMOTE) != HELD_NOT)
		return -EBUSY;
	err = file->engine->backend->promote(file->file, entry_offset(&unit->pmd));
	atomic_fetch_add(&file->layout, 1);
	return err;
}

errint_t promote_locked(struct map_file *file, uint64_t offset)
{
	struct entry_unit unit;
	struct entry entry;
	int err = entry_grab_unit(&file->entries, offset / MAP_PAGE_SIZE, &unit);

	if (err)
		return err;
	if (is_promoted(file, &unit)) {
		entry_unlock_unit(&unit);
		return 0;
	}
	probe_promote_begin(file->entries.file, entry_offset(&unit.pmd));
	err = promote_unit(file, &unit);
	if (err) {
		entry_unlock_unit(&unit);
		count(file, MAP_COUNT_NOT_PROMOTED);
	} else {
		entry_upgrade(&unit, ENTRY_DATA, &entry);
		entry_unlock(&entry);
		count(file, MAP_COUNT_PROMOTED);
	}
	probe_promote_end(file->entries.file, entry_offset(&unit.pmd), err);
	return err;
}

errint_t map_promote(struct map_file *file, uint64_t offset)
{
	uint64_t size;
	int err;

	file_lock_shared(file);
	err = file->engine->backend->size(file->file, &size);
	if (!err && round_down(offset, MAP_UNIT_SIZE) >= size)
		err = -ENXIO;
	if (!err)
		err = promote_locked(file, offset);
	file_unlock_shared(file);
	file_trim(file);
	return err;
}
