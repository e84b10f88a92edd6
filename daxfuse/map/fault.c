/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one fault path.
 *
 * Order, with the file locked shared:
 *   1. lock the entry, inserting an EMPTY one if there is none (and split a unit of
 *      zeroes, if a page is wanted: who maps them lets go first)
 *   2. only now ask where the range lies; allocate, if it is to be written
 *   3. if zeroes become data: who maps them lets go; only then the entry says DATA
 *   4. pin, then hand the piece to the mapper
 *   5. unlock the entry, with its new kind and tags
 *
 * Two faults on one page meet at 1. Between 1 and 5 nobody changes what lies beneath:
 * truncation and punch have the file for themselves, promotion needs the entry.
 */
#include <string.h>

#include "internal.h"
#include "probe.h"

struct fault {
	struct map_view *view;
	struct map_file *file;
	const struct map_request *request;
	uint64_t index;          /* the page wanted */
	uint64_t start;          /* of the piece, page */
	unsigned order;          /* of the piece */
	bool write;
	bool data;               /* zeroes won't do */
	struct entry entry;      /* locked; may be larger than the piece */
	struct map_extent extent;
	struct map_piece piece;
};

static const struct map_backend *backend_of(const struct fault *f)
{
	return f->file->engine->backend;
}

/* Whoever takes the pieces from our return value maps over what it has: asking it
 * would be asking a thread that waits for us. */
static const struct map_view *not_asked(const struct fault *f)
{
	return f->view->ops->map ? NULL : f->view;
}

/* All views let go of the entry's zeroes. Who does not answer goes on reading zeroes,
 * and needs no pin for that. */
static void drop_zeroes(struct fault *f)
{
	uint64_t from = f->entry.start, last = entry_last(&f->entry);

	revoke_range(f->file, from, last, not_asked(f), REVOKE_ZEROES);
	view_lock(f->view);
	if (pins_any(&f->view->pins, from, last, UINT64_MAX)) {
		f->piece.drop_offset = entry_offset(&f->entry);
		f->piece.drop_length = bytes_of_order(f->entry.order);
	}
	view_unlock(f->view);
	views_drop(f->file, from, last);
}

/* Lock the entry of the wanted order, or one of DATA that is larger. */
static int grab(struct fault *f)
{
	int err = entry_grab(&f->file->entries, f->index, f->order, &f->entry);

	if (err)
		return err == ENTRY_FALLBACK ? MAP_FALLBACK_PTES : err;
	if (f->entry.order == f->order || entry_kind(&f->entry) == ENTRY_DATA)
		return 0;
	if (entry_kind(&f->entry) == ENTRY_ZERO) {
		drop_zeroes(f);
		count(f->file, MAP_COUNT_DOWNGRADE);
	}
	err = entry_downgrade(&f->entry, f->index);
	if (err)
		entry_unlock(&f->entry);
	return err;
}

/* ---- what can't be huge --------------------------------------------------- */

/* What the request alone and the size say. */
static int refuse_early(const struct fault *f, uint64_t size)
{
	uint64_t offset = f->start * MAP_PAGE_SIZE, end = offset + bytes_of_order(f->order);

	if (f->order == ORDER_PTE)
		return 0;
	if (f->order != ORDER_PMD)
		return MAP_FALLBACK_PUD;
	if (f->request->access == MAP_COPY)
		return MAP_FALLBACK_PRIVATE;
	if (f->request->start > offset)
		return MAP_FALLBACK_START;
	if (f->request->end < end)
		return MAP_FALLBACK_END;
	if (f->view->ops->smallest < ORDER_PMD && end > round_up(size, MAP_PAGE_SIZE))
		return MAP_FALLBACK_EOF;
	return 0;
}

/* What the extent says. */
static int refuse_extent(const struct fault *f)
{
	const struct map_extent *extent = &f->extent;
	uint64_t length = bytes_of_order(f->order);

	if (extent->length < length)
		return MAP_FALLBACK_SHORT;
	if (extent->kind != MAP_MAPPED)
		return 0;
	if (!is_aligned(extent->device_offset, length))
		return MAP_FALLBACK_ALIGN;
	if (backend_of(f)->is_bad(f->file->engine->pool, extent->device_offset, length))
		return f->order == ORDER_PTE ? -EIO : MAP_FALLBACK_DEVICE;
	return 0;
}

/* ---- the locked entry ----------------------------------------------------- */

static int find_extent(struct fault *f)
{
	const struct map_backend *backend = backend_of(f);
	uint64_t offset = f->start * MAP_PAGE_SIZE, length = bytes_of_order(f->order);
	int err = backend->iomap(f->file->file, offset, length, &f->extent);

	if (err || !f->data || (f->extent.kind == MAP_MAPPED && f->extent.length == length))
		return err;
	if (f->extent.kind == MAP_MAPPED && entry_kind(&f->entry) == ENTRY_DATA)
		return 0;
	err = backend->allocate(f->file->file, offset, length);
	if ((err == -ENOSPC || err == -EDQUOT) && f->order != ORDER_PTE)
		return MAP_FALLBACK_SHORT; /* a page may still be had */
	return err ? err : backend->iomap(f->file->file, offset, length, &f->extent);
}

/* A store may follow, and the tags must be there before it. */
static int first_write(struct fault *f)
{
	struct map_file *file = f->file;
	bool was_clean = !(f->entry.value & ENTRY_DIRTY);
	int err = backend_of(f)->touch(file->file);

	if (err)
		return err;
	f->entry.value |= ENTRY_DIRTY | ENTRY_WRITABLE;
	if (!was_clean)
		return 0;
	count(file, MAP_COUNT_FIRST_WRITE);
	probe_mkwrite(file->entries.file, entry_offset(&f->entry), f->entry.order);
	views_ask_copies(file, f->entry.start, entry_last(&f->entry));
	for (struct map_hook *hook = file->engine->hooks; hook; hook = hook->next)
		hook->first_write(hook->arg, file->file, entry_offset(&f->entry),
				  bytes_of_order(f->entry.order));
	return 0;
}

/* The entry gets the kind that the extent has. */
static void settle_kind(struct fault *f)
{
	uint64_t kind = f->extent.kind == MAP_MAPPED ? ENTRY_DATA : ENTRY_ZERO;

	if (entry_kind(&f->entry) == ENTRY_ZERO && kind == ENTRY_DATA)
		drop_zeroes(f);
	f->entry.value = (f->entry.value & ~(uint64_t)ENTRY_KIND) | kind;
}

static int give(struct fault *f)
{
	struct map_piece *piece = &f->piece;
	int err;

	piece->zero = f->extent.kind != MAP_MAPPED;
	piece->writable = f->write;
	piece->order = f->order;
	piece->file_offset = f->start * MAP_PAGE_SIZE;
	piece->length = bytes_of_order(f->order);
	piece->device_offset = piece->zero ? 0 : f->extent.device_offset;
	err = view_pin(f->view, f->start, f->order, f->write, &piece->grant);
	if (!err && f->view->ops->map)
		err = f->view->ops->map(f->view->mapper, piece);
	if (err)
		return err;
	count(f->file, f->order == ORDER_PTE ? MAP_COUNT_PAGE : MAP_COUNT_HUGE);
	if (piece->zero)
		count(f->file, MAP_COUNT_ZERO);
	return 0;
}

static int copy_page(struct fault *f)
{
	count(f->file, MAP_COUNT_COPY);
	if (f->extent.kind == MAP_MAPPED)
		return backend_of(f)->read(f->file->engine->pool, f->extent.device_offset,
					   f->request->copy, MAP_PAGE_SIZE);
	memset(f->request->copy, 0, MAP_PAGE_SIZE);
	return 0;
}

static int settle(struct fault *f)
{
	int err = find_extent(f);

	if (!err)
		err = refuse_extent(f);
	/* a page of a whole unit that isn't there: changed without map_change_begin() */
	if (!err && f->entry.order > f->order && f->extent.kind != MAP_MAPPED)
		err = -EIO;
	if (err)
		return err;
	if (f->request->access == MAP_COPY)
		return copy_page(f);
	settle_kind(f);
	if (f->write)
		err = first_write(f);
	return err ? err : give(f);
}

/* ---- a fault -------------------------------------------------------------- */

static int fault_once(struct fault *f)
{
	uint64_t size, at;
	int err = backend_of(f)->size(f->file->file, &size);

	if (err)
		return err;
	f->start = round_down(f->index, pages_of_order(f->order));
	f->piece = (struct map_piece){ .zero = false };
	at = f->view->ops->smallest == ORDER_PTE ? f->index : f->start;
	if (at * MAP_PAGE_SIZE >= size)
		return -ENXIO;
	err = refuse_early(f, size);
	if (!err)
		err = grab(f);
	if (err)
		return err;
	err = settle(f);
	entry_unlock(&f->entry);
	return err;
}

static void fall_back(const struct fault *f, int reason)
{
	count(f->file, (unsigned)reason);
	probe_fallback(f->file->entries.file, f->request->offset, f->order, reason);
}

/* To a mapper that takes whole units only, nothing smaller can be offered: what the unit
 * lacks is made. */
static int fault_whole(struct fault *f)
{
	int err = fault_once(f);

	if (err == MAP_FALLBACK_SHORT || err == MAP_FALLBACK_ALIGN || err == MAP_FALLBACK_PTES) {
		fall_back(f, err);
		err = promote_locked(f->file, f->index * MAP_PAGE_SIZE);
		if (!err)
			err = fault_once(f);
	}
	if (err > 0)
		fall_back(f, err);
	if (err == MAP_FALLBACK_START || err == MAP_FALLBACK_END)
		return -EINVAL;
	if (err == MAP_FALLBACK_DEVICE)
		return -EIO;
	return err == MAP_FALLBACK_SHORT || err == MAP_FALLBACK_ALIGN || err == MAP_FALLBACK_PTES ?
		       -EBUSY : err;
}

int map_fault(struct map_view *view, const struct map_request *request, struct map_piece *ret_piece)
{
	struct fault f = {
		.view = view,
		.file = view->file,
		.request = request,
		.index = request->offset / MAP_PAGE_SIZE,
		.order = request->order,
		.write = request->access == MAP_WRITE ||
			 (request->access == MAP_READ && !view->ops->read_only_first),
	};
	bool whole = view->ops->smallest == ORDER_PMD && request->access != MAP_COPY &&
		     request->order <= ORDER_PMD;
	int err;

	/* who can't let go of zeroes must not get any: it would never see what is written */
	f.data = f.write || (request->access == MAP_READ && !view->ops->unmap);
	if (whole)
		f.order = ORDER_PMD;
	view_get(view);
	probe_fault_begin(f.file->entries.file, request->offset, f.order, request->access);
	file_lock_shared(f.file);
	if (whole) {
		err = fault_whole(&f);
	} else {
		err = fault_once(&f);
		if (err > 0)
			fall_back(&f, err);
	}
	file_unlock_shared(f.file);
	probe_fault_end(f.file->entries.file, request->offset, f.order, request->access, err);
	file_trim(f.file);
	view_put(view);
	if (!err)
		*ret_piece = f.piece;
	return err;
}

/* ---- ranges --------------------------------------------------------------- */

static int fault_falling_back(struct map_view *view, struct map_request *request,
			      struct map_piece *ret_piece)
{
	int err;

	while ((err = map_fault(view, request, ret_piece)) > 0)
		request->order = request->order > ORDER_PMD ? ORDER_PMD : ORDER_PTE;
	return err;
}

/* Whether b goes on where a ends; a is it, too, then. It keeps the lower grant: whoever
 * holds a piece for void too early faults once more, and no harm is done. */
static bool join(struct map_piece *a, const struct map_piece *b)
{
	if (a->zero != b->zero || a->writable != b->writable || a->order != b->order ||
	    b->drop_length || a->file_offset + a->length != b->file_offset ||
	    (!a->zero && a->device_offset + a->length != b->device_offset))
		return false;
	a->length += b->length;
	return true;
}

int map_fault_range(struct map_view *view, const struct map_request *request, uint64_t length,
		    struct map_piece *pieces, unsigned max, unsigned *ret_count)
{
	uint64_t at = request->offset, end = range_end(at, length);
	unsigned filled = 0;
	int err = request->access == MAP_COPY || !max ? -EINVAL : 0;

	while (at < end && !err) {
		struct map_request one = *request;
		struct map_piece piece;

		one.offset = at;
		err = fault_falling_back(view, &one, &piece);
		if (err)
			break;
		at = piece.file_offset + piece.length;
		if (filled && join(&pieces[filled - 1], &piece))
			continue;
		pieces[filled++] = piece;
		if (filled == max)
			break;
	}
	if (!filled && err)
		return err;
	*ret_count = filled;
	return 0;
}
