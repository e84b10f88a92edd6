/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Project quotas, see quota.h. The table is of open addressing and never
 * shrinks, so a record stays where it was made. Records are made one at a time,
 * in a transaction of their own; charging only meets records that exist, and
 * locks them in the order of their slots.
 *
 * A record may be poisoned: then nobody knows whose it was, and all projects that
 * are looked for beyond it are -EIO.
 */
#include <string.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"

#include "quota.h"

static errint_t load_project(const struct volume *vol, uint32_t slot, uint32_t *ret_project)
{
	uint64_t word;
	int err;

	static_assert(offsetof(struct dxf_quota, project) == 0, "low half of the first word");
	err = pmem_load64(vol->pm, (const uint64_t *)(const void *)&vol->quota[slot], &word);
	if (!err)
		*ret_project = (uint32_t)word;
	return err;
}

/* The slot of project, or (*ret_empty) the one where it belongs; -ENOSPC, -EIO. */
static errint_t find_slot(const struct volume *vol, uint32_t project, uint32_t *ret_slot,
			  bool *ret_empty)
{
	uint32_t count = vol->super.quota_count;
	uint32_t first = (project * UINT32_C(0x9e3779b1)) & (count - 1);

	for (uint32_t i = 0; i < count; i++) {
		uint32_t slot = (first + i) & (count - 1), there;
		int err = load_project(vol, slot, &there);

		if (err)
			return err;
		if (there == project || there == 0) {
			*ret_slot = slot;
			*ret_empty = there == 0;
			return 0;
		}
	}
	return -ENOSPC;
}

static errint_t make_record(struct volume *vol, uint32_t project, uint32_t slot)
{
	struct dxf_quota *record;
	struct tx *tx;
	int err = tx_begin(vol, &tx);

	if (err)
		return err;
	record = tx_edit(tx, &vol->quota[slot], sizeof(*record));
	memset(record, 0, sizeof(*record));
	record->project = project;
	return tx_commit(tx);
}

/* The slot of project's record, which is made if there is none. */
static errint_t ensure_record(struct volume *vol, uint32_t project, uint32_t *ret_slot)
{
	static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
	bool empty;
	int err = find_slot(vol, project, ret_slot, &empty);

	if (err || !empty)
		return err;
	lock_mutex(LOCK_NEW_QUOTA, &making);
	err = find_slot(vol, project, ret_slot, &empty);
	if (!err && empty)
		err = make_record(vol, project, *ret_slot);
	unlock_mutex(LOCK_NEW_QUOTA, &making);
	return err;
}

errint_t quota_charge(struct quota_hold *hold, uint32_t project, int64_t blocks, int64_t inodes)
{
	if (!project || (!blocks && !inodes))
		return 0;
	for (unsigned i = 0; i < hold->count; i++) {
		if (hold->charge[i].project == project) {
			hold->charge[i].blocks += blocks;
			hold->charge[i].inodes += inodes;
			return 0;
		}
	}
	if (hold->count == QUOTA_CHARGES_MAX)
		return -EOVERFLOW;
	hold->charge[hold->count++] = (struct quota_charge){ project, 0, blocks, inodes };
	return 0;
}

static void sort_by_slot(struct quota_hold *hold)
{
	for (unsigned i = 1; i < hold->count; i++)
		for (unsigned j = i; j && hold->charge[j].slot < hold->charge[j - 1].slot; j--) {
			struct quota_charge swap = hold->charge[j];

			hold->charge[j] = hold->charge[j - 1];
			hold->charge[j - 1] = swap;
		}
}

/* A count that is too low already (a matter for fsck) ends at 0, not at 2^64. */
static uint64_t moved(uint64_t count, int64_t by)
{
	return by < 0 && count < (uint64_t)-by ? 0 : count + (uint64_t)by;
}

static errint_t edit_record(struct tx *tx, const struct quota_charge *charge)
{
	struct dxf_quota *record = tx_edit(tx, &tx_volume(tx)->quota[charge->slot],
					   sizeof(*record));
	uint64_t blocks = moved(record->blocks, charge->blocks);
	uint64_t inodes = moved(record->inodes, charge->inodes);

	if ((charge->blocks > 0 && record->block_limit && blocks > record->block_limit) ||
	    (charge->inodes > 0 && record->inode_limit && inodes > record->inode_limit))
		return -EDQUOT;
	record->blocks = blocks;
	record->inodes = inodes;
	return 0;
}

/* Find all records; charges that only give back are dropped where that fails, as
 * space must not be stuck for a count. */
static errint_t find_records(struct volume *vol, struct quota_hold *hold)
{
	unsigned found = 0;

	for (unsigned i = 0; i < hold->count; i++) {
		struct quota_charge charge = hold->charge[i];
		int err = ensure_record(vol, charge.project, &charge.slot);

		if (!err)
			hold->charge[found++] = charge;
		else if (err != -EIO || charge.blocks > 0 || charge.inodes > 0)
			return err;
	}
	hold->count = found;
	return 0;
}

static void lock_record(struct volume *vol, uint32_t slot)
{
	lock_enter(LOCK_QUOTA, slot);
	pthread_mutex_lock(&vol->quota_lock[slot]);
}

errint_t quota_apply(struct tx *tx, struct quota_hold *hold)
{
	struct volume *vol = tx_volume(tx);
	int err = find_records(vol, hold);

	if (err)
		return err;
	sort_by_slot(hold);
	for (; hold->locked < hold->count; hold->locked++)
		lock_record(vol, hold->charge[hold->locked].slot);
	for (unsigned i = 0; !err && i < hold->count; i++)
		err = edit_record(tx, &hold->charge[i]);
	return err;
}

void quota_release(struct volume *vol, struct quota_hold *hold)
{
	while (hold->locked)
		unlock_mutex(LOCK_QUOTA, &vol->quota_lock[hold->charge[--hold->locked].slot]);
	hold->count = 0;
}

errint_t quota_read(struct volume *vol, uint32_t project, struct dxf_quota *ret_quota)
{
	struct dxf_quota copy;
	uint32_t slot;
	bool empty;
	int err = project ? find_slot(vol, project, &slot, &empty) : -ENOENT;

	if (err || empty)
		return err == -EIO ? err : -ENOENT;
	lock_record(vol, slot);
	err = pmem_read(vol->pm, &copy, &vol->quota[slot], sizeof(copy));
	unlock_mutex(LOCK_QUOTA, &vol->quota_lock[slot]);
	if (!err)
		*ret_quota = copy;
	return err;
}

errint_t quota_set_limits(struct volume *vol, uint32_t project, uint64_t blocks, uint64_t inodes)
{
	struct dxf_quota *record;
	struct tx *tx;
	uint32_t slot;
	int err = project ? ensure_record(vol, project, &slot) : -EINVAL;

	if (err)
		return err;
	lock_record(vol, slot);
	err = tx_begin(vol, &tx);
	if (!err) {
		record = tx_edit(tx, &vol->quota[slot], sizeof(*record));
		record->block_limit = blocks;
		record->inode_limit = inodes;
		err = tx_commit(tx);
	}
	unlock_mutex(LOCK_QUOTA, &vol->quota_lock[slot]);
	return err;
}
