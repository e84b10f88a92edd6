/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pins that an earlier engine gave, in a process that died while the mappers lived on.
 *
 * Order, for each unit or page of the piece, with the file locked shared:
 *   1. lock its entry, as a fault does: other views may fault already
 *   2. ask where the range lies. A piece that the file has elsewhere by now, or not at all, was
 *      freed, or will never have been committed: it is quarantined, which needs no entry
 *   3. else pin, and make the entry say DATA, and dirty if the mapper may store
 *   4. unlock; the hold that kept the piece from being allocated ends, as it is the
 *      file's
 *
 * A pin is of the size that the entry has: pages over PTE entries that somebody has made
 * already, or inside a PMD entry. Its grant is 0, lower than any other: every answer of its
 * mapper is about it.
 */
#include "internal.h"
#include "daxfuse/base/errint.h"

/* A piece, and of one unit of it the pages that went the same way. */
struct restore {
	struct map_view *view;
	uint64_t offset, device_offset;
	bool writable;
	struct map_pinned run;
};

enum lies { LIES_THERE, LIES_ELSEWHERE, LIES_BOTH };

static uint64_t device_of(const struct restore *r, uint64_t offset)
{
	return r->device_offset + (offset - r->offset);
}

/* Whether the file has the pages where the mapper has them. */
static errint_t look(const struct restore *r, uint64_t start, unsigned order, enum lies *ret_lies)
{
	struct map_file *file = r->view->file;
	uint64_t at = start * MAP_PAGE_SIZE, length = bytes_of_order(order), end = at + length;
	uint64_t there = 0;

	while (at < end) {
		struct map_extent extent;
		int err = file->engine->backend->iomap(file->file, at, end - at, &extent);

		if (err)
			return err;
		if (extent.kind != MAP_HOLE && extent.device_offset == device_of(r, at))
			there += extent.length;
		at += extent.length;
	}
	*ret_lies = there == length ? LIES_THERE : there ? LIES_BOTH : LIES_ELSEWHERE;
	return 0;
}

static errint_t pin(struct restore *r, uint64_t start, unsigned order)
{
	int err = -ENOTCONN;

	view_lock(r->view);
	if (!r->view->closed)
		err = pins_add(&r->view->pins, start, order, r->writable, 0);
	view_unlock(r->view);
	return err;
}

/* Step 3; the entry is locked, and covers the pages. */
static errint_t take(struct restore *r, struct entry *entry, uint64_t start, unsigned order)
{
	int err = pin(r, start, order);

	if (err)
		return err;
	entry->value = (entry->value & ~(uint64_t)ENTRY_KIND) | ENTRY_DATA;
	if (r->writable) {
		entry->value |= ENTRY_DIRTY | ENTRY_WRITABLE | ENTRY_UNFLUSHED;
		atomic_fetch_or(&r->view->file->unflushed, ENTRY_UNFLUSHED);
	}
	return 0;
}

/* ---- runs ----------------------------------------------------------------- */

static errint_t end_run(struct restore *r)
{
	const struct map_backend *backend = r->view->file->engine->backend;
	struct map_pinned run = r->run;

	r->run.length = 0;
	if (!run.length)
		return 0;
	if (!run.keep)
		return quarantine_stray(r->view, &run);
	backend->release(r->view->file->engine->pool, run.device_offset, run.length);
	return 0;
}

/* The pages behind the run go the way that keep says: it goes on, or a new one begins. */
static errint_t add_run(struct restore *r, uint64_t start, unsigned order, bool keep)
{
	uint64_t offset = start * MAP_PAGE_SIZE;
	int err = r->run.length && r->run.keep != keep ? end_run(r) : 0;

	if (!r->run.length)
		r->run = (struct map_pinned){ offset, device_of(r, offset), 0, keep };
	r->run.length += bytes_of_order(order);
	return err;
}

/* ---- pages and units ------------------------------------------------------ */

/*
 * A page; in the PMD entry of DATA that is there. Over an entry of zeroes it can't be the
 * file's: then the file has got it since this engine began, and it was held. If the
 * filesystem says so all the same, it is quarantined: that is safe.
 */
static int restore_page(struct restore *r, uint64_t page)
{
	enum lies lies;
	struct entry entry;
	int err = entry_grab(&r->view->file->entries, page, ORDER_PTE, &entry);

	if (err)
		return err;
	err = look(r, page, ORDER_PTE, &lies);
	if (!err && entry_kind(&entry) == ENTRY_ZERO)
		lies = LIES_ELSEWHERE;
	if (!err && lies == LIES_THERE)
		err = take(r, &entry, page, ORDER_PTE);
	entry_unlock(&entry);
	return err ? err : add_run(r, page, ORDER_PTE, lies == LIES_THERE);
}

static int restore_pages(struct restore *r, uint64_t from, uint64_t last)
{
	int err = 0, failed;

	for (uint64_t page = from; !err && page <= last; page++) {
		err = restore_page(r, page);
		/* units apart: a mapper that unmaps one lets go of it */
		if (!err && page % UNIT_PAGES == UNIT_PAGES - 1)
			err = end_run(r);
	}
	failed = end_run(r);
	return err ? err : failed;
}

/* A whole unit; page by page where there are PTE entries, or not all of it is the file's. */
static int restore_unit(struct restore *r, uint64_t start)
{
	enum lies lies;
	struct entry entry;
	int err = entry_grab(&r->view->file->entries, start, ORDER_PMD, &entry), failed;

	if (err == ENTRY_FALLBACK)
		return restore_pages(r, start, start + UNIT_PAGES - 1);
	if (err)
		return err;
	err = look(r, start, ORDER_PMD, &lies);
	if (!err && entry_kind(&entry) == ENTRY_ZERO)
		lies = LIES_ELSEWHERE;
	if (!err && lies == LIES_THERE)
		err = take(r, &entry, start, ORDER_PMD);
	entry_unlock(&entry);
	if (!err && lies == LIES_BOTH)
		return restore_pages(r, start, start + UNIT_PAGES - 1);
	if (err)
		return err;
	err = add_run(r, start, ORDER_PMD, lies == LIES_THERE);
	failed = end_run(r);
	return err ? err : failed;
}

/* Later grants would be mixed up with the restored one. */
static bool has_faulted(struct map_view *view)
{
	bool faulted;

	view_lock(view);
	faulted = view->grants != view->file->engine->first_grant;
	view_unlock(view);
	return faulted;
}

int map_view_restore(struct map_view *view, uint64_t offset, uint64_t length,
		     uint64_t device_offset, unsigned order, bool writable)
{
	struct restore r = { view, offset, device_offset, writable, { 0 } };
	uint64_t size = bytes_of_order(order == ORDER_PMD ? ORDER_PMD : ORDER_PTE);
	uint64_t last = last_page(offset, length);
	int err = 0;

	if ((order != ORDER_PTE && order != ORDER_PMD) || !length || length > INT64_MAX ||
	    offset > INT64_MAX || device_offset > INT64_MAX || !is_aligned(offset, size) ||
	    !is_aligned(length, size) || !is_aligned(device_offset, size) || has_faulted(view))
		return -EINVAL;
	file_lock_shared(view->file);
	if (order == ORDER_PTE)
		err = restore_pages(&r, first_page(offset), last);
	for (uint64_t at = first_page(offset); order == ORDER_PMD && !err && at <= last;
	     at += UNIT_PAGES)
		err = restore_unit(&r, at);
	file_unlock_shared(view->file);
	return err;
}
