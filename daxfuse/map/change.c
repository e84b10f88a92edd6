/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Extents go away from under a file: truncate, punch, collapse and insert, the end of
 * the file.
 *
 * Order:
 *   1. lock the file exclusively: no fault is under way, no entry locked
 *   2. ask all who map any of the range to let go, and wait for those that answer. The
 *      range is that of the entries it touches: a unit that is cut in its middle is let
 *      go as a whole
 *   3. pieces that are pinned all the same are listed for the caller: it frees the rest
 *   4. the caller's transaction
 *   5. pins on pieces that have left the file go with them; the entries go; unlock. If 4 has
 *      failed, all that it has not done stays as it is: tags, pins, entries. A dirty tag that goes
 *      without a flush is an fsync that lies
 *
 * Pins can only become fewer between 3 and 5. A mapper that let go in the meantime is not found in
 * 5; a piece that is nobody's by then is released at once, and an entry that was to be kept for a
 * mapper stays if any other one has it.
 *
 * Answers and deaths need the view's lock only, so that 2 does not keep out the answers that it
 * waits for.
 */
#include <stdlib.h>

#include "internal.h"
#include "probe.h"
#include "daxfuse/base/errint.h"

enum held revoke_range(struct map_file *file, uint64_t from, uint64_t last,
		       const struct map_view *except, enum revoke_reason why)
{
	uint64_t offset = from * MAP_PAGE_SIZE, length = range_length(from, last);
	enum held held;

	probe_revoke_begin(file->entries.file, offset, length, why);
	held = views_ask(file, from, last, except);
	probe_revoke_end(file->entries.file, offset, length, why, held);
	return held;
}

/* The pages of all entries that the range touches. */
static void entry_range(struct map_file *file, uint64_t offset, uint64_t length, uint64_t *ret_from,
			uint64_t *ret_last)
{
	uint64_t from = first_page(offset), last = last_page(offset, length);
	struct entry entry;

	*ret_from = from;
	*ret_last = last;
	if (entry_next(&file->entries, from, from, &entry))
		*ret_from = entry.start;
	if (entry_next(&file->entries, last, last, &entry))
		*ret_last = entry_last(&entry);
}

static bool is_whole(const struct map_change *change, const struct entry *entry)
{
	uint64_t offset = entry_offset(entry);

	return offset >= change->offset && offset + bytes_of_order(entry->order) <= change->end;
}

/* Whether an entry's pins make it stay where it is, its part of the range zeroed. */
static bool is_kept(const struct map_change *change, const struct entry *entry, enum held held)
{
	if (held == HELD_NOT || entry_kind(entry) != ENTRY_DATA)
		return false;
	if (change->kind == MAP_CHANGE_FREE)
		return false;
	return held == HELD_KEPT || !is_whole(change, entry);
}

static bool join(struct map_pinned *a, const struct map_pinned *b)
{
	if (a->keep != b->keep || a->file_offset + a->length != b->file_offset ||
	    a->device_offset + a->length != b->device_offset)
		return false;
	a->length += b->length;
	return true;
}

static errint_t add_piece(struct map_change *change, const struct map_extent *extent, bool keep)
{
	struct map_pinned piece = { extent->file_offset, extent->device_offset, extent->length,
				    keep };
	struct map_pinned *more;

	if (change->count && join(&change->pinned[change->count - 1], &piece))
		return 0;
	/* doubling, whenever the count has reached a power of two */
	if (!(change->count & (change->count - 1))) {
		more = realloc(change->pinned, MAX(2 * change->count, 1u) * sizeof(piece));
		if (!more)
			return -ENOMEM;
		change->pinned = more;
	}
	change->pinned[change->count++] = piece;
	return 0;
}

/* The extents of an entry, as far as they are in the range. */
static errint_t add_entry(struct map_change *change, const struct entry *entry, bool keep)
{
	const struct map_backend *backend = change->file->engine->backend;
	uint64_t at = MAX(entry_offset(entry), change->offset);
	uint64_t end = MIN(entry_offset(entry) + bytes_of_order(entry->order), change->end);
	int err = 0;

	while (!err && at < end) {
		struct map_extent extent;

		err = backend->iomap(change->file->file, at, end - at, &extent);
		if (!err && extent.kind == MAP_MAPPED)
			err = add_piece(change, &extent, keep);
		if (!err)
			at += extent.length;
	}
	return err;
}

/* Step 3. */
static errint_t list_pinned(struct map_change *change, uint64_t from, uint64_t last)
{
	struct map_file *file = change->file;
	struct entry entry;
	int err = 0;

	for (uint64_t at = from; !err && entry_next(&file->entries, at, last, &entry);
	     at = entry_last(&entry) + 1) {
		enum held held = views_held(file, entry.start, entry_last(&entry));

		if (held == HELD_NOT || entry_kind(&entry) != ENTRY_DATA)
			continue;
		if (change->kind == MAP_CHANGE_MOVE)
			err = -EBUSY;
		else
			err = add_entry(change, &entry, is_kept(change, &entry, held));
	}
	return err;
}

errint_t map_change_begin(struct map_file *file, enum map_change_kind kind, uint64_t offset,
			  uint64_t length, struct map_change *ret_change)
{
	struct map_change change = { file, kind, offset, range_end(offset, length), NULL, 0 };
	uint64_t from, last;
	int err = 0;

	probe_change_begin(file->entries.file, offset, length, kind);
	file_lock_exclusive(file);
	if (length) {
		entry_range(file, offset, length, &from, &last);
		if (revoke_range(file, from, last, NULL, REVOKE_CHANGE) != HELD_NOT)
			err = list_pinned(&change, from, last);
	}
	if (err) {
		file_unlock_exclusive(file);
		free(change.pinned);
		probe_change_end(file->entries.file, offset, length, kind, err);
		return err;
	}
	*ret_change = change;
	return 0;
}

/* ---- afterwards ----------------------------------------------------------- */

/* A mapper that did not let go of zeroes needs no pin for them. */
static void drop_zeroes(struct map_file *file, uint64_t from, uint64_t last)
{
	struct entry entry;

	for (uint64_t at = from; entry_next(&file->entries, at, last, &entry);
	     at = entry_last(&entry) + 1)
		if (entry_kind(&entry) != ENTRY_DATA)
			views_drop(file, entry.start, entry_last(&entry));
}

/* The entry's range has changed and nobody maps it any more; the part of it that is still dirty and
 * has stayed in the file becomes durable. */
static errint_t remove_entry(struct map_change *change, struct entry *entry)
{
	int err = 0;

	if (!entry_grab_present(&change->file->entries, entry->start, entry))
		return 0;
	if (!is_whole(change, entry) && (entry->value & ENTRY_DIRTY))
		err = writeback_entry(change->file, entry);
	entry_remove(entry);
	file_entry_removed(change->file);
	return err;
}

static errint_t end_entries(struct map_change *change, uint64_t from, uint64_t last)
{
	struct map_file *file = change->file;
	struct entry entry;
	int err = 0;

	for (uint64_t at = from; entry_next(&file->entries, at, last, &entry);
	     at = entry_last(&entry) + 1) {
		int failed = 0;

		/* pins that are still there are on pieces that stay: there must be no pin without
		 * an entry, or the next change would not find it */
		if (views_held(file, entry.start, entry_last(&entry)) != HELD_NOT)
			count(file, MAP_COUNT_KEPT);
		else
			failed = remove_entry(change, &entry);
		err = err ? err : failed;
	}
	return err;
}

/* Nobody may ever see old bytes behind the end of the file. */
static errint_t zero_tail(struct map_change *change)
{
	uint64_t end = round_up(change->offset, MAP_UNIT_SIZE);

	if (change->kind != MAP_CHANGE_TRUNCATE || end == change->offset)
		return 0;
	return change->file->engine->backend->zero(change->file->file, change->offset,
						   end - change->offset);
}

static errint_t commit(struct map_change *change)
{
	uint64_t from, last;
	int err, failed;

	for (unsigned i = 0; i < change->count; i++)
		if (!change->pinned[i].keep)
			quarantine(change->file, &change->pinned[i]);
	entry_range(change->file, change->offset, change->end - change->offset, &from, &last);
	drop_zeroes(change->file, from, last);
	err = zero_tail(change);
	failed = end_entries(change, from, last);
	return err ? err : failed;
}

/* ---- afterwards, if it failed ------------------------------------------------- */

/*
 * A transaction that failed may have come to a part of what it should do: the backend says which. A
 * piece that is the file's still, where it was, keeps its pins and needs no hold; one that is not
 * is its pins' only. If that can't be found out it keeps both.
 */
static void settle_piece(struct map_change *change, const struct map_pinned *pinned)
{
	const struct map_engine *engine = change->file->engine;
	struct map_pinned left = *pinned;

	while (left.length) {
		struct map_extent extent;
		struct map_pinned part = left;

		if (engine->backend->iomap(change->file->file, left.file_offset, left.length,
					   &extent) ||
		    !extent.length || extent.length % MAP_PAGE_SIZE)
			return;
		part.length = MIN(extent.length, left.length);
		if (extent.kind == MAP_MAPPED && extent.device_offset == left.device_offset)
			engine->backend->release(engine->pool, part.device_offset, part.length);
		else
			quarantine(change->file, &part);
		left.file_offset += part.length;
		left.device_offset += part.length;
		left.length -= part.length;
	}
}

/* Whether what the entry says of its range is true, as far as can be found out. */
static bool is_true(struct map_file *file, const struct entry *entry)
{
	uint64_t bytes = bytes_of_order(entry->order);
	struct map_extent extent;

	if (entry_kind(entry) != ENTRY_DATA ||
	    file->engine->backend->iomap(file->file, entry_offset(entry), bytes, &extent))
		return true;
	return extent.kind == MAP_MAPPED && extent.length == bytes &&
	       is_aligned(extent.device_offset, bytes);
}

/* The rest of a unit may be dirty, where a part of it has gone. */
static errint_t settle_entry(struct map_change *change, struct entry *entry)
{
	struct map_file *file = change->file;
	int err = 0;

	if (!entry_grab_present(&file->entries, entry->start, entry))
		return 0;
	if (is_true(file, entry) || views_held(file, entry->start, entry_last(entry)) != HELD_NOT) {
		entry_unlock(entry);
		return 0;
	}
	if (entry->value & ENTRY_DIRTY)
		err = writeback_entry(file, entry);
	entry_remove(entry);
	file_entry_removed(file);
	return err;
}

static bool is_cut_off(const struct map_change *change)
{
	const struct map_file *file = change->file;
	uint64_t size;

	return change->kind == MAP_CHANGE_TRUNCATE &&
	       !file->engine->backend->size(file->file, &size) && size <= change->offset;
}

static errint_t settle(struct map_change *change)
{
	struct map_file *file = change->file;
	struct entry entry;
	uint64_t from, last;
	int err = 0;

	/* a piece behind the end is not the file's, whether it was freed already or not */
	if (is_cut_off(change))
		return commit(change);
	for (unsigned i = 0; i < change->count; i++)
		if (!change->pinned[i].keep)
			settle_piece(change, &change->pinned[i]);
	entry_range(file, change->offset, change->end - change->offset, &from, &last);
	for (uint64_t at = from; entry_next(&file->entries, at, last, &entry);
	     at = entry_last(&entry) + 1) {
		int failed = settle_entry(change, &entry);

		err = err ? err : failed;
	}
	return err;
}

errint_t map_change_end(struct map_change *change, enum map_outcome outcome)
{
	struct map_file *file = change->file;
	int err = 0;

	if (change->end > change->offset && outcome != MAP_CHANGE_UNTOUCHED)
		err = outcome == MAP_CHANGE_MADE ? commit(change) : settle(change);
	file_unlock_exclusive(file);
	free(change->pinned);
	change->pinned = NULL;
	probe_change_end(file->entries.file, change->offset, change->end - change->offset,
			 change->kind, err);
	return err;
}

/* ---- smaller ones --------------------------------------------------------- */

/* Behind the end there are at most the rest of the last unit, and pieces that were cut off and
 * kept. */
errint_t map_grow(struct map_file *file, uint64_t old_size)
{
	const struct map_backend *backend = file->engine->backend;
	uint64_t at = first_page(old_size);
	struct entry entry;
	int err = 0;

	file_lock_shared(file);
	for (; !err && entry_next(&file->entries, at, UINT64_MAX, &entry);
	     at = entry_last(&entry) + 1) {
		uint64_t from, end;

		if (!entry_grab_present(&file->entries, MAX(at, entry.start), &entry))
			continue;
		from = MAX(entry_offset(&entry), old_size);
		end = entry_offset(&entry) + bytes_of_order(entry.order);
		if (entry_kind(&entry) == ENTRY_DATA && from < end)
			err = backend->zero(file->file, from, end - from);
		entry_unlock(&entry);
	}
	file_unlock_shared(file);
	return err;
}

/* The entry may go on saying ZERO until here: until the write has returned, a reader may
 * see either. */
static void replace_zeroes(struct map_file *file, struct entry *entry)
{
	if (entry_kind(entry) != ENTRY_ZERO) {
		entry_unlock(entry);
		return;
	}
	revoke_range(file, entry->start, entry_last(entry), NULL, REVOKE_ZEROES);
	views_drop(file, entry->start, entry_last(entry));
	entry_remove(entry);
}

int map_wrote(struct map_file *file, uint64_t offset, uint64_t length)
{
	uint64_t at = first_page(offset), last;
	struct entry entry;

	if (!length)
		return 0;
	last = last_page(offset, length);
	file_lock_shared(file);
	for (; entry_next(&file->entries, at, last, &entry); at = entry_last(&entry) + 1) {
		bool may_be_zero = (entry.value & ENTRY_LOCKED) || entry_kind(&entry) == ENTRY_ZERO;

		if (may_be_zero && entry_grab_present(&file->entries, MAX(at, entry.start), &entry))
			replace_zeroes(file, &entry);
	}
	file_unlock_shared(file);
	return 0;
}
