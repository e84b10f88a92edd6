/* SPDX-License-Identifier: BSD-3-Clause */
#include "pins.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/core/fs.h"

/* The table was another process's: a count is believed only as far as there is room. */
static uint32_t used_records(const struct pin_table *table)
{
	return MIN(table->used, PIN_RECORDS);
}

static uint64_t handle_of(const struct pin_record *record)
{
	return __atomic_load_n(&record->handle, __ATOMIC_ACQUIRE);
}

int pin_table_held(const struct pin_table *table, struct fs_held **ret_held, unsigned *ret_count)
{
	uint32_t used = used_records(table);
	struct fs_held *held = calloc((size_t)used + 1, sizeof(*held));
	unsigned count = 0;

	if (!held)
		return -ENOMEM;
	for (uint32_t i = 0; i < used; i++) {
		const struct pin_record *record = &table->record[i];

		if (handle_of(record))
			held[count++] = (struct fs_held){ record->device_offset, record->length };
	}
	*ret_held = held;
	*ret_count = count;
	return 0;
}

int pins_kept_open(struct pins_kept *kept, struct pin_table *table)
{
	*kept = (struct pins_kept){ .table = table };
	pthread_mutex_init(&kept->lock, NULL);
	if (!table)
		return 0;
	kept->free_slots = malloc(PIN_RECORDS * sizeof(*kept->free_slots));
	if (!kept->free_slots)
		return -ENOMEM;
	for (uint32_t i = used_records(table); i-- > 0;) {
		if (!handle_of(&table->record[i]))
			kept->free_slots[kept->free_count++] = i;
	}
	return 0;
}

void pins_kept_close(struct pins_kept *kept)
{
	free(kept->free_slots);
	kept->free_slots = NULL;
	pthread_mutex_destroy(&kept->lock);
}

static int take_slot(struct pins_kept *kept, uint32_t *ret_slot)
{
	int err = 0;

	pthread_mutex_lock(&kept->lock);
	if (kept->free_count)
		*ret_slot = kept->free_slots[--kept->free_count];
	else if (kept->table->used < PIN_RECORDS)
		*ret_slot = kept->table->used++;
	else
		err = -EUSERS;
	pthread_mutex_unlock(&kept->lock);
	return err;
}

static void give_slot(struct pins_kept *kept, uint32_t slot)
{
	__atomic_store_n(&kept->table->record[slot].handle, 0, __ATOMIC_RELEASE);
	pthread_mutex_lock(&kept->lock);
	kept->free_slots[kept->free_count++] = slot;
	pthread_mutex_unlock(&kept->lock);
}

int pins_kept_adopt(struct pin_slots *slots, uint32_t slot)
{
	if (slots->count == slots->room) {
		uint32_t room = MAX(2 * slots->room, UINT32_C(4));
		uint32_t *more = realloc(slots->slot, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		slots->slot = more;
		slots->room = room;
	}
	slots->slot[slots->count++] = slot;
	return 0;
}

/* Order: all of the record, then its handle. */
static void fill_in(struct pin_record *to, const struct pin_record *from)
{
	to->session = from->session;
	to->cookie = from->cookie;
	to->pin_offset = from->pin_offset;
	to->pin_length = from->pin_length;
	to->ino = from->ino;
	to->file_offset = from->file_offset;
	to->device_offset = from->device_offset;
	to->length = from->length;
	to->grant = from->grant;
	to->flags = from->flags;
	to->serial = from->serial;
	__atomic_store_n(&to->handle, from->handle, __ATOMIC_RELEASE);
}

/* Whether b says nothing that a does not say, in the same place of the device. */
static bool covers(const struct pin_record *a, const struct pin_record *b)
{
	return a->file_offset - a->device_offset == b->file_offset - b->device_offset &&
	       b->file_offset >= a->file_offset &&
	       b->file_offset + b->length <= a->file_offset + a->length;
}

/* Of what the new record says anew. Who could store to one of the
 * pieces may do so until it has mapped the new one. */
static unsigned covered_flags(const struct pins_kept *kept, const struct pin_slots *slots,
			      const struct pin_record *new)
{
	unsigned flags = 0;

	for (uint32_t i = 0; i < slots->count; i++) {
		const struct pin_record *record = &kept->table->record[slots->slot[i]];

		if (covers(new, record))
			flags |= record->flags & PIN_WRITABLE;
	}
	return flags;
}

static void erase_covered(struct pins_kept *kept, struct pin_slots *slots,
			  const struct pin_record *new)
{
	uint32_t left = 0;

	for (uint32_t i = 0; i < slots->count; i++) {
		const struct pin_record *record = &kept->table->record[slots->slot[i]];

		if (record != new && covers(new, record))
			give_slot(kept, slots->slot[i]);
		else
			slots->slot[left++] = slots->slot[i];
	}
	slots->count = left;
}

/* In a slot of its own, the last one of these. */
static int add_record(struct pins_kept *kept, struct pin_slots *slots,
		      const struct pin_record *record)
{
	uint32_t slot;
	int err = take_slot(kept, &slot);

	if (err)
		return err;
	err = pins_kept_adopt(slots, slot);
	if (err)
		give_slot(kept, slot);
	else
		fill_in(&kept->table->record[slot], record);
	return err;
}

/* Order: the new record, then the end of those that it replaces. */
int pins_kept_add(struct pins_kept *kept, struct pin_slots *slots, const struct pin_record *record)
{
	struct pin_record new = *record;
	int err;

	if (!kept->table)
		return 0;
	new.flags |= covered_flags(kept, slots, record);
	err = add_record(kept, slots, &new);
	if (!err)
		erase_covered(kept, slots,
			      &kept->table->record[slots->slot[slots->count - 1]]);
	return err;
}

/* What goes of a record, of which [*from, *to) is let go of: of huge pages whole ones, as
 * nothing else could be restored. */
static bool find_cut(const struct pin_record *record, uint64_t *from, uint64_t *to)
{
	uint64_t start = record->file_offset, end = start + record->length;
	uint64_t step = record->flags & PIN_HUGE ? DXF_UNIT_SIZE : DXF_BLOCK_SIZE;

	if (*to <= start || *from >= end)
		return false;
	*from = *from <= start ? start : MIN(end, start + round_up(*from - start, step));
	*to = *to >= end ? end : start + round_down(*to - start, step);
	return *from < *to;
}

/*
 * Whether nothing is left of the record. Its length is one word, so it can be cut at its end.
 * Order: what lies above the cut, in a record of its own; then the cut. If the table is full the
 * record goes on saying too much.
 */
static bool cut_record(struct pins_kept *kept, struct pin_slots *slots, struct pin_record *record,
		       uint64_t from, uint64_t to)
{
	uint64_t start = record->file_offset;
	struct pin_record above = *record;

	if (!find_cut(record, &from, &to))
		return false;
	above.file_offset = to;
	above.device_offset += to - start;
	above.length -= to - start;
	if (above.length && add_record(kept, slots, &above))
		return false;
	if (from > start)
		__atomic_store_n(&record->length, from - start, __ATOMIC_RELEASE);
	return from == start;
}

void pins_kept_erase(struct pins_kept *kept, struct pin_slots *slots, uint64_t offset,
		     uint64_t length, uint64_t grant)
{
	uint64_t end = length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
	uint32_t count = slots->count, left = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct pin_record *record = &kept->table->record[slots->slot[i]];

		if (record->grant <= grant && cut_record(kept, slots, record, offset, end))
			give_slot(kept, slots->slot[i]);
		else
			slots->slot[left++] = slots->slot[i];
	}
	/* those that were added lie behind the old ones */
	memmove(slots->slot + left, slots->slot + count,
		(slots->count - count) * sizeof(*slots->slot));
	slots->count -= count - left;
}

unsigned pins_kept_count(struct pins_kept *kept)
{
	unsigned count = 0;

	if (!kept->table)
		return 0;
	pthread_mutex_lock(&kept->lock);
	count = used_records(kept->table) - kept->free_count;
	pthread_mutex_unlock(&kept->lock);
	return count;
}

void pins_kept_erase_all(struct pins_kept *kept, struct pin_slots *slots)
{
	for (uint32_t i = 0; i < slots->count; i++)
		give_slot(kept, slots->slot[i]);
	free(slots->slot);
	*slots = (struct pin_slots){ NULL, 0, 0 };
}
