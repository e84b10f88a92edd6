/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Projects: the sums over their inodes, against the quota records. Counts are corrected in place;
 * if a record is where no lookup finds it, twice, or missing, then the whole table is written anew.
 */
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/cleanup.h"
#include "state.h"
#include "daxfuse/base/errint.h"

static size_t usage_slot(const struct usage *table, size_t room, uint32_t project)
{
	size_t at = project * UINT32_C(0x85ebca6b) & (room - 1);

	while (table[at].project && table[at].project != project)
		at = (at + 1) & (room - 1);
	return at;
}

static errint_t grow(struct check *c)
{
	size_t room = c->usage_room ? c->usage_room * 2 : 64;
	struct usage *table = calloc(room, sizeof(*table));

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < c->usage_room; i++)
		if (c->usage[i].project)
			table[usage_slot(table, room, c->usage[i].project)] = c->usage[i];
	free(c->usage);
	c->usage = table;
	c->usage_room = room;
	return 0;
}

errint_t ck_usage_add(struct check *c, uint32_t project, int64_t blocks, int64_t inodes)
{
	struct usage *usage;

	if (!project)
		return 0;
	if (c->usage_count * 2 >= c->usage_room && grow(c) != 0)
		return -ENOMEM;
	usage = &c->usage[usage_slot(c->usage, c->usage_room, project)];
	c->usage_count += !usage->project;
	usage->project = project;
	usage->blocks += (uint64_t)blocks;
	usage->inodes += (uint64_t)inodes;
	return 0;
}

static struct usage usage_of(const struct check *c, uint32_t project)
{
	struct usage none = { .project = project };

	if (!c->usage_room)
		return none;
	none = c->usage[usage_slot(c->usage, c->usage_room, project)];
	none.project = project;
	return none;
}

/* ---- records -------------------------------------------------------------- */

/* The slot in which a lookup ends: the project's record or an empty one; count
 * if the table is full of others. */
static uint32_t lookup(const struct dxf_quota *table, uint32_t count, uint32_t project)
{
	uint32_t first = (project * UINT32_C(0x9e3779b1)) & (count - 1);

	for (uint32_t i = 0; i < count; i++) {
		uint32_t slot = (first + i) & (count - 1);

		if (table[slot].project == project || !table[slot].project)
			return slot;
	}
	return count;
}

static uint64_t record_offset(const struct check *c, uint32_t slot)
{
	return c->vol.super.quota_offset + slot * sizeof(struct dxf_quota);
}

static void check_counts(struct check *c, struct dxf_quota *record, uint32_t slot)
{
	struct usage use = usage_of(c, record->project);

	if (record->blocks == use.blocks && record->inodes == use.inodes)
		return;
	if (!check_found(c, CHECK_QUOTA, 0,
			 "project %" PRIu32 " holds %" PRIu64 " blocks and %" PRIu64
			 " inodes, its record says %" PRIu64 " and %" PRIu64,
			 record->project, use.blocks, use.inodes, record->blocks, record->inodes))
		return;
	record->blocks = use.blocks;
	record->inodes = use.inodes;
	check_overwrite(c, record_offset(c, slot), record, sizeof(*record));
}

/* *ret_wrong: records are misplaced or missing, and to be written anew. */
static void check_places(struct check *c, const struct dxf_quota *table, uint32_t count,
			 bool *ret_wrong)
{
	for (uint32_t slot = 0; slot < count; slot++)
		if (table[slot].project && lookup(table, count, table[slot].project) != slot)
			*ret_wrong |= check_found(c, CHECK_QUOTA, 0,
						  "the record of project %" PRIu32
						  " is not where it is looked for",
						  table[slot].project);
	for (size_t i = 0; i < c->usage_room; i++) {
		uint32_t project = c->usage[i].project, slot;

		if (!project || (!c->usage[i].blocks && !c->usage[i].inodes))
			continue;
		slot = lookup(table, count, project);
		if (slot == count || !table[slot].project)
			*ret_wrong |= check_found(c, CHECK_QUOTA, 0,
						  "project %" PRIu32 " has no record", project);
	}
}

static void insert(struct check *c, struct dxf_quota *table, uint32_t count,
		   struct dxf_quota record)
{
	uint32_t slot = lookup(table, count, record.project);

	if (slot == count)
		check_not_repaired(c);
	else if (!table[slot].project)
		table[slot] = record;
}

static errint_t write_anew(struct check *c, const struct dxf_quota *table, uint32_t count)
{
	CLEANUP_FREE struct dxf_quota *fresh = calloc(count, sizeof(*fresh));

	if (!fresh)
		return -ENOMEM;
	for (uint32_t slot = 0; slot < count; slot++)
		if (table[slot].project)
			insert(c, fresh, count, table[slot]);
	for (size_t i = 0; i < c->usage_room; i++)
		if (c->usage[i].blocks || c->usage[i].inodes)
			insert(c, fresh, count,
			       (struct dxf_quota){ .project = c->usage[i].project,
						   .blocks = c->usage[i].blocks,
						   .inodes = c->usage[i].inodes });
	check_overwrite(c, record_offset(c, 0), fresh, count * sizeof(*fresh));
	return 0;
}

static void read_table(struct check *c, struct dxf_quota *table, uint32_t count)
{
	if (check_read(c, table, record_offset(c, 0), count * sizeof(*table)) == 0)
		return;
	for (uint32_t slot = 0; slot < count; slot++) {
		if (check_read(c, &table[slot], record_offset(c, slot), sizeof(*table)) == 0)
			continue;
		memset(&table[slot], 0, sizeof(*table));
		if (check_found(c, CHECK_POISON, 0, "quota record %" PRIu32 ": poisoned", slot))
			check_overwrite(c, record_offset(c, slot), &table[slot], sizeof(*table));
	}
}

errint_t ck_quota_pass(struct check *c)
{
	uint32_t count = c->vol.super.quota_count;
	CLEANUP_FREE struct dxf_quota *table = malloc(count * sizeof(*table));
	bool wrong = false;

	if (!table)
		return -ENOMEM;
	read_table(c, table, count);
	for (uint32_t slot = 0; slot < count; slot++)
		if (table[slot].project)
			check_counts(c, &table[slot], slot);
	check_places(c, table, count, &wrong);
	return wrong ? write_anew(c, table, count) : 0;
}
