/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making stores durable, with no window in which a clean tag covers a dirty line.
 *
 * Order, for each dirty entry:
 *   1. lock it: nobody becomes a writer of it meanwhile
 *   2. write-protect it in every view that may store to it; if one can't, it stays dirty
 *   3. flush its lines, unless only mappers that have done so by now may have stored to it
 *   4. clear the tags, if nobody can store to it; unlock
 *
 * A store before 2 is in the caches or on the device when 3 begins. One after 2 faults,
 * finds the entry locked, and sets the tags again after 4. One that never had to ask finds
 * them still set.
 *
 * A locked entry may be about to become dirty, by a fault whose mapper stores already: it
 * is waited for, whatever its tags say.
 *
 * A mapper that flushes knows itself what it has stored to. So map_writeback() has each one flush
 * that, in one call, and leaves it what it may store to; its entries stay dirty. The above is done
 * with entries that others may have stored to, and a file that has never had any needs no look at
 * its entries. map_protect(), after which the next store is to ask, does the above with all.
 *
 * Such a mapper knows nothing any more of what it could not let go of: a device stores there, after
 * it was taken and flushed. So of a file that has had such memory all that is dirty is flushed by
 * us, from then on.
 */
#include "internal.h"
#include "probe.h"
#include "daxfuse/base/errint.h"

static bool may_store(struct map_view *view, uint64_t from, uint64_t last, uint64_t *ret_grant)
{
	bool writable;

	view_lock(view);
	writable = pins_any_writable(&view->pins, from, last);
	*ret_grant = view->grants;
	view_unlock(view);
	return writable;
}

/* Whether a view will ask again before it stores to the entry. */
static bool protect_view(struct map_view *view, const struct entry *entry)
{
	uint64_t from = entry->start, last = entry_last(entry), grant;
	const struct mapper_ops *ops = view->ops;

	if (!may_store(view, from, last, &grant))
		return true;
	if (!ops->write_protect || ops->write_protect(view->mapper, entry_offset(entry),
						      bytes_of_order(entry->order), grant)) {
		view_keeps(view);
		return false;
	}
	view_lock(view);
	pins_protect(&view->pins, from, last);
	view_unlock(view);
	return true;
}

static bool protect(struct map_file *file, const struct entry *entry)
{
	struct map_view *view = NULL;
	bool all = true;

	while ((view = view_next(file, view)))
		if (!protect_view(view, entry))
			all = false;
	return all;
}

static errint_t flush_views(struct map_file *file, const struct entry *entry)
{
	struct map_view *view = NULL;
	int err = 0;

	while ((view = view_next(file, view))) {
		bool pinned;

		view_lock(view);
		pinned = pins_any(&view->pins, entry->start, entry_last(entry), UINT64_MAX);
		view_unlock(view);
		if (pinned && view->ops->flush && !view->ops->flushes && !err)
			err = view->ops->flush(view->mapper, entry_offset(entry),
					       bytes_of_order(entry->order));
	}
	return err;
}

static errint_t flush_lines(struct map_file *file, const struct entry *entry)
{
	const struct map_engine *engine = file->engine;
	uint64_t at = entry_offset(entry), end = at + bytes_of_order(entry->order);

	while (at < end) {
		struct map_extent extent;
		int err = engine->backend->iomap(file->file, at, end - at, &extent);

		if (err)
			return err;
		if (extent.kind == MAP_MAPPED)
			engine->backend->flush(engine->pool, extent.device_offset, extent.length);
		at += extent.length;
	}
	return 0;
}

errint_t writeback_entry(struct map_file *file, struct entry *entry)
{
	bool clean = protect(file, entry);
	int err = flush_views(file, entry);

	if (!err && (!clean || (entry->value & ENTRY_UNFLUSHED)))
		err = flush_lines(file, entry);
	if (err)
		return err;
	count(file, MAP_COUNT_FLUSHED);
	if (clean)
		entry->value &= ~(uint64_t)(ENTRY_DIRTY | ENTRY_WRITABLE | ENTRY_UNFLUSHED);
	else
		count(file, MAP_COUNT_STAYS_DIRTY);
	probe_writeback_entry(file->entries.file, entry_offset(entry), entry->order, clean);
	return 0;
}

/* Those with one of the tags, or which may be about to get one. */
static errint_t write_back_entries(struct map_file *file, uint64_t at, uint64_t last, uint64_t tags)
{
	struct entry entry;
	int err = 0;

	for (; !err && entry_next(&file->entries, at, last, &entry); at = entry_last(&entry) + 1) {
		if (!(entry.value & (tags | ENTRY_LOCKED)) ||
		    !entry_grab_present(&file->entries, MAX(at, entry.start), &entry))
			continue;
		if (entry.value & tags) {
			if (atomic_load(&file->unflushed) & ENTRY_DIRTY)
				entry.value |= ENTRY_UNFLUSHED;
			err = writeback_entry(file, &entry);
		}
		entry_unlock(&entry);
	}
	return err;
}

static errint_t flush_flushing_views(struct map_file *file, uint64_t from, uint64_t last)
{
	struct map_view *view = NULL;
	uint64_t grant;
	int err = 0;

	while ((view = view_next(file, view)))
		if (!err && view->ops->flushes && may_store(view, from, last, &grant))
			err = view->ops->flush(view->mapper, from * MAP_PAGE_SIZE,
					       range_length(from, last));
	return err;
}

errint_t map_writeback(struct map_file *file, uint64_t offset, uint64_t length)
{
	uint64_t at = first_page(offset), last, tags;
	int err;

	if (!length)
		return 0;
	last = last_page(offset, length);
	probe_writeback_begin(file->entries.file, offset, length);
	file_lock_shared(file);
	err = flush_flushing_views(file, at, last);
	tags = atomic_load(&file->unflushed);
	if (!err && tags)
		err = write_back_entries(file, at, last, tags);
	file_unlock_shared(file);
	probe_writeback_end(file->entries.file, offset, length, err);
	return err;
}

errint_t map_protect(struct map_file *file, uint64_t offset, uint64_t length)
{
	uint64_t at = first_page(offset);
	int err;

	if (!length)
		return 0;
	probe_writeback_begin(file->entries.file, offset, length);
	file_lock_shared(file);
	err = write_back_entries(file, at, last_page(offset, length), ENTRY_DIRTY);
	file_unlock_shared(file);
	probe_writeback_end(file->entries.file, offset, length, err);
	return err;
}

bool map_is_dirty(struct map_file *file, uint64_t offset, uint64_t length)
{
	uint64_t at = first_page(offset), last;
	struct entry entry;
	bool dirty = false;

	if (!length)
		return false;
	last = last_page(offset, length);
	file_lock_shared(file);
	for (; !dirty && entry_next(&file->entries, at, last, &entry); at = entry_last(&entry) + 1)
		dirty = entry.value & (ENTRY_DIRTY | ENTRY_LOCKED);
	file_unlock_shared(file);
	return dirty;
}
