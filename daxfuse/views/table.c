/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table that outlives the serving process (table.h): taking records and giving them back.
 *
 * What an earlier process has left is not believed: counts are bounded here, views are compared
 * with what the module says (adopt.c), places are checked by core when it holds them.
 */
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"

static uint32_t used_busy(const struct view_table *table)
{
	return MIN(table->busy_used, VIEW_BUSY_RECORDS);
}

errint_t view_table_busy(const struct view_table *table, struct fs_busy **busy, unsigned *count)
{
	struct fs_busy *all = realloc(*busy,
				      ((size_t)*count + used_busy(table) + 1) * sizeof(*all));

	if (!all)
		return -ENOMEM;
	*busy = all;
	for (uint32_t i = 0; i < used_busy(table); i++) {
		const struct view_busy_record *record = &table->busy[i];
		uint64_t length = atomic_load_explicit(&record->length, memory_order_acquire);

		if (length)
			all[(*count)++] = (struct fs_busy){ record->device_offset, length };
	}
	return 0;
}

/* ---- free records ------------------------------------------------------------------------- */

static errint_t slots_open(struct view_slots *slots, uint32_t *used, uint32_t max)
{
	slots->free = malloc(max * sizeof(*slots->free));
	slots->count = 0;
	slots->used = used;
	slots->max = max;
	return slots->free ? 0 : -ENOMEM;
}

static errint_t take_slot(struct views *v, struct view_slots *slots, uint32_t *ret_slot)
{
	int err = 0;

	lock_mutex(LOCK_BUSY, &v->busy_lock);
	if (slots->count)
		*ret_slot = slots->free[--slots->count];
	else if (*slots->used < slots->max)
		*ret_slot = (*slots->used)++;
	else
		err = -EUSERS;
	unlock_mutex(LOCK_BUSY, &v->busy_lock);
	return err;
}

static void give_slot(struct views *v, struct view_slots *slots, uint32_t slot)
{
	lock_mutex(LOCK_BUSY, &v->busy_lock);
	slots->free[slots->count++] = slot;
	unlock_mutex(LOCK_BUSY, &v->busy_lock);
}

/* ---- records ------------------------------------------------------------------------------ */

errint_t table_add_view(struct views *v, struct mapper *m)
{
	struct view_record *record;
	int err = take_slot(v, &v->view_slots, &m->slot);

	if (err)
		return err;
	record = &v->table->record[m->slot];
	record->number = (uint32_t)m->number;
	record->backing = (uint32_t)m->backing;
	atomic_store_explicit(&record->ino, m->ino, memory_order_release);
	return 0;
}

void table_erase_view(struct views *v, uint32_t slot)
{
	atomic_store_explicit(&v->table->record[slot].ino, 0, memory_order_release);
	give_slot(v, &v->view_slots, slot);
}

uint32_t table_add_busy(struct views *v, uint64_t ino, uint64_t offset, uint64_t device_offset,
			uint64_t length)
{
	struct view_busy_record *record;
	uint32_t slot;

	if (take_slot(v, &v->busy_slots, &slot))
		return VIEW_NO_SLOT;
	record = &v->table->busy[slot];
	record->ino = ino;
	record->offset = offset;
	record->device_offset = device_offset;
	atomic_store_explicit(&record->length, length, memory_order_release);
	return slot;
}

void table_erase_busy(struct views *v, uint32_t slot)
{
	if (slot == VIEW_NO_SLOT)
		return;
	atomic_store_explicit(&v->table->busy[slot].length, 0, memory_order_release);
	give_slot(v, &v->busy_slots, slot);
}

/* Order: the record, then the count. Without room for it the next process does not know. */
void table_add_failed(struct views *v, uint64_t device_offset, uint64_t length)
{
	uint32_t count;

	atomic_fetch_add(&v->failed, 1);
	pmem_add_bad(fs_pmem(vfs_fs(v->config.vfs)), device_offset, length);
	lock_mutex(LOCK_BUSY, &v->busy_lock);
	count = v->table->failed_count;
	if (count < VIEW_FAILED_RECORDS) {
		v->table->failed[count] = (struct view_failed_record){ device_offset, length };
		atomic_store_explicit(&v->table->failed_count, count + 1, memory_order_release);
	}
	unlock_mutex(LOCK_BUSY, &v->busy_lock);
}

/* Ranges that are not on the pool are refused there. */
static void restore_failed(struct views *v)
{
	uint32_t count = MIN(v->table->failed_count, VIEW_FAILED_RECORDS);

	v->table->failed_count = count;
	for (uint32_t i = 0; i < count; i++)
		pmem_add_bad(fs_pmem(vfs_fs(v->config.vfs)), v->table->failed[i].device_offset,
			     v->table->failed[i].length);
	atomic_store(&v->failed, count);
}

/* ---- life ----------------------------------------------------------------------------------- */

errint_t table_open(struct views *v, struct view_table *table)
{
	v->table = table;
	v->table->used = MIN(v->table->used, VIEW_RECORDS);
	v->table->busy_used = used_busy(v->table);
	if (slots_open(&v->view_slots, &v->table->used, VIEW_RECORDS) ||
	    slots_open(&v->busy_slots, &v->table->busy_used, VIEW_BUSY_RECORDS))
		return -ENOMEM;
	for (uint32_t i = v->table->used; i-- > 0;)
		if (!v->table->record[i].ino)
			v->view_slots.free[v->view_slots.count++] = i;
	for (uint32_t i = v->table->busy_used; i-- > 0;)
		if (!v->table->busy[i].length)
			v->busy_slots.free[v->busy_slots.count++] = i;
	restore_failed(v);
	return 0;
}

void table_close(struct views *v)
{
	free(v->view_slots.free);
	free(v->busy_slots.free);
}
