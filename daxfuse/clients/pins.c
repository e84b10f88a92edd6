/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pins, written down where they outlive the serving process (pins.h says what for).
 *
 * The table is an array of records in shared memory; a record is in use if it has a handle. Beside
 * it, in ordinary memory, stand the free slots below table->used and, for each holder, the slots of
 * its records, sorted by their place in the file: giving back a range costs a search, not a walk
 * over all that a program has.
 *
 * The process may be killed between any two stores, and at each moment the table must say all that
 * a program may have mapped; it may say more:
 *   - a record becomes valid by its last store, its handle, and invalid by its first;
 *   - a record that replaces others is complete before they go;
 *   - a record that is cut in the middle gets its upper part as a record of its own first; then its
 *     length, one word, is stored.
 * Nothing that an earlier process has left in the table is believed without a check: counts are
 * bounded here, places are checked by core when it holds them (fs_options.busy).
 */
#include "pins.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "daxfuse/core/fs.h"

/* The table was another process's: a count is believed only as far as there is room. */
static uint32_t used_records(const struct pin_table *table)
{
	return MIN(table->used, PIN_RECORDS);
}

static uint64_t handle_of(const struct pin_record *record)
{
	return atomic_load_explicit(&record->handle, memory_order_acquire);
}

errint_t pin_table_busy(const struct pin_table *table, struct fs_busy **ret_busy,
			unsigned *ret_count)
{
	uint32_t used = used_records(table);
	struct fs_busy *busy = calloc((size_t)used + 1, sizeof(*busy));
	unsigned count = 0;

	if (!busy)
		return -ENOMEM;
	for (uint32_t i = 0; i < used; i++) {
		const struct pin_record *record = &table->record[i];

		if (handle_of(record))
			busy[count++] = (struct fs_busy){ record->device_offset, record->length };
	}
	*ret_busy = busy;
	*ret_count = count;
	return 0;
}

errint_t pins_kept_open(struct pins_kept *kept, struct pin_table *table)
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

static errint_t take_slot(struct pins_kept *kept, uint32_t *ret_slot)
{
	int err = 0;

	lock_mutex(LOCK_PINS, &kept->lock);
	if (kept->free_count)
		*ret_slot = kept->free_slots[--kept->free_count];
	else if (kept->table->used < PIN_RECORDS)
		*ret_slot = kept->table->used++;
	else
		err = -EUSERS;
	unlock_mutex(LOCK_PINS, &kept->lock);
	return err;
}

static void give_slot(struct pins_kept *kept, uint32_t slot)
{
	atomic_store_explicit(&kept->table->record[slot].handle, 0, memory_order_release);
	lock_mutex(LOCK_PINS, &kept->lock);
	kept->free_slots[kept->free_count++] = slot;
	unlock_mutex(LOCK_PINS, &kept->lock);
}

/* ---- the records of a holder, sorted by where they are in the file ---------------- */

static struct pin_record *record_at(const struct pins_kept *kept, const struct pin_slots *slots,
				    uint32_t index)
{
	return &kept->table->record[slots->slot[index]];
}

/* The first that begins at or behind an offset. */
static uint32_t find_index(const struct pins_kept *kept, const struct pin_slots *slots,
			   uint64_t offset)
{
	uint32_t low = 0, high = slots->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (record_at(kept, slots, middle)->file_offset >= offset)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* The first that may reach behind an offset: none is longer than the longest. */
static uint32_t find_reaching(const struct pins_kept *kept, const struct pin_slots *slots,
			      uint64_t offset)
{
	return find_index(kept, slots, offset > slots->longest ? offset - slots->longest : 0);
}

static bool begins_before(const struct pins_kept *kept, const struct pin_slots *slots,
			  uint32_t index, uint64_t offset)
{
	return index < slots->count && record_at(kept, slots, index)->file_offset < offset;
}

static errint_t make_room(struct pin_slots *slots)
{
	uint32_t room = MAX(2 * slots->room, UINT32_C(4));
	uint32_t *more;

	if (slots->count < slots->room)
		return 0;
	more = realloc(slots->slot, room * sizeof(*more));
	if (!more)
		return -ENOMEM;
	slots->slot = more;
	slots->room = room;
	return 0;
}

/* There must be room. */
static void insert_slot(const struct pins_kept *kept, struct pin_slots *slots, uint32_t slot)
{
	const struct pin_record *record = &kept->table->record[slot];
	uint32_t at = find_index(kept, slots, record->file_offset);

	memmove(slots->slot + at + 1, slots->slot + at, (slots->count - at) * sizeof(*slots->slot));
	slots->slot[at] = slot;
	slots->count++;
	slots->longest = MAX(slots->longest, record->length);
}

/* Those from `left` up to `next` are gone. */
static void close_gap(struct pin_slots *slots, uint32_t left, uint32_t next)
{
	memmove(slots->slot + left, slots->slot + next,
		(slots->count - next) * sizeof(*slots->slot));
	slots->count -= next - left;
}

errint_t pins_kept_adopt(const struct pins_kept *kept, struct pin_slots *slots, uint32_t slot)
{
	int err = make_room(slots);

	if (!err)
		insert_slot(kept, slots, slot);
	return err;
}

/* ---- writing down ------------------------------------------------------------------- */

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
	atomic_store_explicit(&to->length, from->length, memory_order_relaxed);
	to->grant = from->grant;
	to->flags = from->flags;
	to->serial = from->serial;
	atomic_store_explicit(&to->handle, from->handle, memory_order_release);
}

/* Whether b says nothing that a does not say, in the same place of the device. */
static bool covers(const struct pin_record *a, const struct pin_record *b)
{
	return a->file_offset - a->device_offset == b->file_offset - b->device_offset &&
	       b->file_offset >= a->file_offset &&
	       b->file_offset + b->length <= a->file_offset + a->length;
}

/* Of what the new record says anew. A program that could store to one of the pieces may do so
 * until it has mapped the new one. */
static unsigned covered_flags(const struct pins_kept *kept, const struct pin_slots *slots,
			      const struct pin_record *new)
{
	uint64_t end = new->file_offset + new->length;
	unsigned flags = 0;

	for (uint32_t i = find_index(kept, slots, new->file_offset);
	     begins_before(kept, slots, i, end); i++) {
		const struct pin_record *record = record_at(kept, slots, i);

		if (covers(new, record))
			flags |= record->flags & PIN_WRITABLE;
	}
	return flags;
}

static void erase_covered(struct pins_kept *kept, struct pin_slots *slots,
			  const struct pin_record *new)
{
	uint64_t end = new->file_offset + new->length;
	uint32_t i = find_index(kept, slots, new->file_offset), left = i;

	for (; begins_before(kept, slots, i, end); i++) {
		const struct pin_record *record = record_at(kept, slots, i);

		if (record != new &&covers(new, record))
			give_slot(kept, slots->slot[i]);
		else
			slots->slot[left++] = slots->slot[i];
	}
	close_gap(slots, left, i);
}

/* In a slot of its own. */
static errint_t add_record(struct pins_kept *kept, struct pin_slots *slots,
			   const struct pin_record *record, const struct pin_record **ret_record)
{
	uint32_t slot;
	int err = make_room(slots);

	if (!err)
		err = take_slot(kept, &slot);
	if (err)
		return err;
	fill_in(&kept->table->record[slot], record);
	insert_slot(kept, slots, slot);
	*ret_record = &kept->table->record[slot];
	return 0;
}

/* Order: the new record, then the end of those that it replaces. */
errint_t pins_kept_add(struct pins_kept *kept, struct pin_slots *slots,
		       const struct pin_record *record)
{
	struct pin_record new = *record;
	const struct pin_record *added;
	int err;

	if (!kept->table)
		return 0;
	new.flags |= covered_flags(kept, slots, record);
	err = add_record(kept, slots, &new, &added);
	if (!err)
		erase_covered(kept, slots, added);
	return err;
}

/* ---- erasing ------------------------------------------------------------------------- */

/* The part of a record that goes when [*from, *to) is let go of: of huge pages whole ones, as
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

/* The part above the cut; of no length: nothing. */
static struct pin_record rest_above(const struct pin_record *record, uint64_t to)
{
	uint64_t cut = to - record->file_offset;
	struct pin_record above = *record;

	above.file_offset += cut;
	above.device_offset += cut;
	atomic_store_explicit(&above.length, above.length - cut, memory_order_relaxed);
	return above;
}

static bool is_written(const struct pins_kept *kept, const struct pin_slots *slots,
		       const struct pin_record *record)
{
	for (uint32_t i = find_index(kept, slots, record->file_offset);
	     begins_before(kept, slots, i, record->file_offset + 1); i++) {
		const struct pin_record *other = record_at(kept, slots, i);

		if (covers(other, record) && other->grant >= record->grant &&
		    (other->flags & record->flags) == record->flags)
			return true;
	}
	return false;
}

/* Put the part above the cut into a record of its own. If the table is full there is none, and the
 * record is not cut. */
static void save_above(struct pins_kept *kept, struct pin_slots *slots,
		       const struct pin_record *record, uint64_t from, uint64_t to)
{
	const struct pin_record *added;
	struct pin_record above;

	if (!find_cut(record, &from, &to))
		return;
	above = rest_above(record, to);
	if (above.length && !is_written(kept, slots, &above))
		add_record(kept, slots, &above, &added);
}

/* Whether nothing is left of the record. Its length is one word, so it can be cut at its end. */
static bool cut_record(struct pins_kept *kept, const struct pin_slots *slots,
		       struct pin_record *record, uint64_t from, uint64_t to)
{
	struct pin_record above;

	if (!find_cut(record, &from, &to))
		return false;
	above = rest_above(record, to);
	if (above.length && !is_written(kept, slots, &above))
		return false;
	if (from > record->file_offset)
		atomic_store_explicit(&record->length, from - record->file_offset,
				      memory_order_release);
	return from == record->file_offset;
}

/* Order: the parts above each cut; then the cuts. */
void pins_kept_erase(struct pins_kept *kept, struct pin_slots *slots, uint64_t offset,
		     uint64_t length, uint64_t grant)
{
	uint64_t end = length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
	uint32_t first = find_reaching(kept, slots, offset), left = first, i;

	for (i = first; begins_before(kept, slots, i, end); i++) {
		if (record_at(kept, slots, i)->grant <= grant)
			save_above(kept, slots, record_at(kept, slots, i), offset, end);
	}
	for (i = first; begins_before(kept, slots, i, end); i++) {
		struct pin_record *record = record_at(kept, slots, i);

		if (record->grant <= grant && cut_record(kept, slots, record, offset, end))
			give_slot(kept, slots->slot[i]);
		else
			slots->slot[left++] = slots->slot[i];
	}
	close_gap(slots, left, i);
}

unsigned pins_kept_count(struct pins_kept *kept)
{
	unsigned count = 0;

	if (!kept->table)
		return 0;
	lock_mutex(LOCK_PINS, &kept->lock);
	count = used_records(kept->table) - kept->free_count;
	unlock_mutex(LOCK_PINS, &kept->lock);
	return count;
}

void pins_kept_erase_all(struct pins_kept *kept, struct pin_slots *slots)
{
	for (uint32_t i = 0; i < slots->count; i++)
		give_slot(kept, slots->slot[i]);
	free(slots->slot);
	*slots = (struct pin_slots){ 0 };
}
