/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one fault path.
 *
 * Order, with the file locked shared:
 *   1. lock the entry, inserting an EMPTY one if there is none (and split a unit of zeroes, if a
 *      page is wanted: mappers of them let go first)
 *   2. only now ask where the range lies; allocate, if it is to be written
 *   3. if zeroes become data: mappers of them let go; only then the entry says DATA
 *   4. pin, then hand the piece to the mapper
 *   5. unlock the entry, with its new kind and tags
 *
 * A mapper that takes the pieces from our return value is not asked in 3, as it maps the piece over
 * its zeroes. If there is no piece in the end, it is asked then (fault_discard()).
 *
 * Two faults on one page meet at 1. Between 1 and 5 nobody changes the extents beneath: truncation
 * and punch have the file for themselves, promotion needs the entry.
 */
#include "fault.h"
#include "probe.h"
#include "daxfuse/base/errint.h"

static const struct map_backend *backend_of(const struct fault *f)
{
	return f->file->engine->backend;
}

/* A mapper that takes the pieces from our return value maps over those that it has: asking it would
 * be asking a thread that waits for us. */
static const struct map_view *not_asked(const struct fault *f)
{
	return f->view->ops->map ? NULL : f->view;
}

/* All views let go of the entry's zeroes. A mapper that does not answer goes on reading zeroes, and
 * needs no pin for that. */
static void drop_zeroes(struct fault *f)
{
	uint64_t from = f->entry.start, last = entry_last(&f->entry);

	f->slow = true;
	revoke_range(f->file, from, last, not_asked(f), REVOKE_ZEROES);
	view_lock(f->view);
	if (pins_any(&f->view->pins, from, last, UINT64_MAX)) {
		f->piece.drop_offset = entry_offset(&f->entry);
		f->piece.drop_length = bytes_of_order(f->entry.order);
	}
	view_unlock(f->view);
	views_drop(f->file, from, last);
}

void fault_discard(struct fault *f)
{
	uint64_t from = f->piece.drop_offset / MAP_PAGE_SIZE;

	if (f->piece.drop_length)
		view_ask_late(f->view, from, from + f->piece.drop_length / MAP_PAGE_SIZE - 1);
	f->piece.drop_length = 0;
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
	if (err) {
		fault_discard(f);
		entry_unlock(&f->entry);
	}
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

/* The entry is locked, so its unit is not promoted from here on: earlier answers hold if nothing
 * was promoted since. */
static bool is_known(const struct fault *f, uint64_t offset, uint64_t length)
{
	const struct map_extent *known = &f->known.extent;

	return known->length && offset >= known->file_offset &&
	       length <= known->length - MIN(known->length, offset - known->file_offset) &&
	       f->known.layout == atomic_load(&f->file->layout);
}

/* Where the piece would lie. The range ahead of it is asked for by the way. */
static errint_t look_up_extent(struct fault *f)
{
	uint64_t offset = f->start * MAP_PAGE_SIZE, length = bytes_of_order(f->order), in;
	uint64_t layout = atomic_load(&f->file->layout);
	struct map_extent *known = &f->known.extent, found;
	int err;

	if (!is_known(f, offset, length)) {
		err = backend_of(f)->iomap(f->file->file, offset,
					   MAX(length, f->ahead - MIN(f->ahead, offset)), &found);
		if (err)
			return err;
		*known = found;
		f->known.layout = layout;
	}
	in = offset - known->file_offset;
	f->extent = (struct map_extent){
		.kind = known->kind,
		.file_offset = offset,
		.length = MIN(length, known->length - in),
		.device_offset = known->kind == MAP_HOLE ? 0 : known->device_offset + in,
	};
	if (known->kind != MAP_MAPPED)
		known->length = 0;
	return 0;
}

/* Whether the piece will be writable, and must be data. A mapper that can't let go of zeroes must
 * not get any: it would never see what is written. */
static void decide_access(struct fault *f)
{
	const struct mapper_ops *ops = f->view->ops;

	f->write = f->request->access == MAP_WRITE || !ops->read_only_first ||
		   (f->request->access == MAP_EAGER && f->extent.kind != MAP_HOLE);
	f->data = f->write || !ops->unmap;
}

static int find_extent(struct fault *f)
{
	int err = look_up_extent(f);

	if (err)
		return err;
	decide_access(f);
	if (!f->data ||
	    (f->extent.kind == MAP_MAPPED && f->extent.length == bytes_of_order(f->order)))
		return 0;
	if (f->extent.kind == MAP_MAPPED && entry_kind(&f->entry) == ENTRY_DATA)
		return 0;
	f->slow = true;
	err = backend_of(f)->allocate(f->file->file, f->start * MAP_PAGE_SIZE,
				      bytes_of_order(f->order));
	/* a unit that was in part blocks may lie elsewhere now */
	f->known.extent.length = 0;
	atomic_fetch_add(&f->file->layout, 1);
	if ((err == -ENOSPC || err == -EDQUOT) && f->order != ORDER_PTE)
		return MAP_FALLBACK_SHORT; /* a page may still be had */
	return err ? err : look_up_extent(f);
}

static errint_t touch(struct fault *f)
{
	bool done = f->known.touched || f->view->ops->keeps_times;
	int err = done ? 0 : backend_of(f)->touch(f->file->file);

	f->known.touched |= !err;
	return err;
}

/* A store may follow, and the tags must be there before it. */
static errint_t first_write(struct fault *f)
{
	struct map_file *file = f->file;
	bool was_clean = !(f->entry.value & ENTRY_DIRTY);
	int err = touch(f);

	if (err)
		return err;
	f->entry.value |= ENTRY_DIRTY | ENTRY_WRITABLE;
	if (!f->view->ops->flushes) {
		f->entry.value |= ENTRY_UNFLUSHED;
		atomic_fetch_or(&file->unflushed, ENTRY_UNFLUSHED);
	}
	if (!was_clean)
		return 0;
	count(file, MAP_COUNT_FIRST_WRITE);
	probe_mkwrite(file->entries.file, entry_offset(&f->entry), f->entry.order);
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

static errint_t give(struct fault *f)
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
	piece->last_grant = piece->grant;
	if (!err && f->view->ops->map)
		err = f->view->ops->map(f->view->mapper, piece);
	if (err)
		return err;
	count(f->file, f->order == ORDER_PTE ? MAP_COUNT_PAGE : MAP_COUNT_HUGE);
	if (piece->zero)
		count(f->file, MAP_COUNT_ZERO);
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
	settle_kind(f);
	if (f->write)
		err = first_write(f);
	return err ? err : give(f);
}

/* ---- a fault -------------------------------------------------------------- */

static int fault_once(struct fault *f)
{
	uint64_t at;
	int err;

	f->start = round_down(f->index, pages_of_order(f->order));
	f->piece = (struct map_piece){ .zero = false };
	at = f->view->ops->smallest == ORDER_PTE ? f->index : f->start;
	if (at * MAP_PAGE_SIZE >= f->known.size)
		return -ENXIO;
	err = refuse_early(f, f->known.size);
	if (!err)
		err = grab(f);
	if (err)
		return err;
	err = settle(f);
	if (err)
		fault_discard(f);
	entry_unlock(&f->entry);
	return err;
}

/* Whether the unit is refused for want of a whole aligned extent, which gathering it would make. A
 * hole is none: a store there makes it a unit. Nor is one with a page that has failed: that can't
 * be copied, and its mappers would be asked to let go for nothing. */
static bool is_scattered(struct fault *f, int reason)
{
	if (reason == MAP_FALLBACK_PTES)
		reason = look_up_extent(f) ? 0 : refuse_extent(f);
	return (reason == MAP_FALLBACK_SHORT || reason == MAP_FALLBACK_ALIGN) &&
	       f->extent.kind != MAP_HOLE;
}

static errint_t promote(struct fault *f)
{
	f->slow = true;
	f->known.extent.length = 0;
	return promote_locked(f->file, f->index * MAP_PAGE_SIZE);
}

/* A unit that lies in blocks, and is worth a whole one, is made one first, if that was asked for.
 * If it can't be had, pages will do. */
static int fault_gathering(struct fault *f)
{
	int err = fault_once(f);

	if (err <= 0 || f->order != ORDER_PMD || !f->request->gather || !is_scattered(f, err) ||
	    !backend_of(f)->is_worth_a_unit(f->file->file, f->start * MAP_PAGE_SIZE) || promote(f))
		return err;
	return fault_once(f);
}

static void fall_back(const struct fault *f, int reason)
{
	count(f->file, (unsigned)reason);
	probe_fallback(f->file->entries.file, f->index * MAP_PAGE_SIZE, f->order, reason);
}

/* To a mapper that takes whole units only, nothing smaller can be offered: the unit is made
 * whole. */
static int fault_whole(struct fault *f)
{
	int err = fault_once(f);

	if (err == MAP_FALLBACK_SHORT || err == MAP_FALLBACK_ALIGN || err == MAP_FALLBACK_PTES) {
		fall_back(f, err);
		err = promote(f);
		if (!err)
			err = fault_once(f);
	}
	if (err > 0)
		fall_back(f, err);
	if (err == MAP_FALLBACK_START || err == MAP_FALLBACK_END)
		return -EINVAL;
	if (err == MAP_FALLBACK_DEVICE)
		return -EIO;
	return err == MAP_FALLBACK_SHORT || err == MAP_FALLBACK_ALIGN || err == MAP_FALLBACK_PTES
		       ? -EBUSY
		       : err;
}

int fault_at(struct fault *f, uint64_t offset, unsigned order)
{
	bool whole = f->view->ops->smallest == ORDER_PMD && order <= ORDER_PMD;
	enum map_access access = f->request->access;
	int err;

	f->index = offset / MAP_PAGE_SIZE;
	f->order = whole ? ORDER_PMD : order;
	probe_fault_begin(f->file->entries.file, offset, f->order, access);
	if (whole) {
		err = fault_whole(f);
	} else {
		err = fault_gathering(f);
		if (err > 0)
			fall_back(f, err);
	}
	probe_fault_end(f->file->entries.file, offset, f->order, access, err);
	return err;
}

errint_t fault_enter(struct fault *f)
{
	int err;

	f->known = (struct known){ .size = 0 };
	f->slow = false;
	file_lock_shared(f->file);
	err = backend_of(f)->size(f->file->file, &f->known.size);
	if (err)
		file_unlock_shared(f->file);
	return err;
}

void fault_leave(struct fault *f)
{
	file_unlock_shared(f->file);
}

int map_fault(struct map_view *view, const struct map_request *request, struct map_piece *ret_piece)
{
	struct fault f = { .view = view, .file = view->file, .request = request };
	int err;

	view_get(view);
	err = fault_enter(&f);
	if (!err) {
		err = fault_at(&f, request->offset, request->order);
		fault_leave(&f);
	}
	file_trim(f.file);
	view_put(view);
	if (!err)
		*ret_piece = f.piece;
	return err;
}
