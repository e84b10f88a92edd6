/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pieces that were freed while somebody had them mapped. The backend has taken them out
 * of the file and holds them in memory; they are given to the allocator when the last pin
 * goes. The pins follow the piece, as their place in the file may have another one by now.
 *
 * A piece that an earlier engine gave, and that its file has lost since, is treated likewise.
 */
#include <stdlib.h>

#include "internal.h"
#include "daxfuse/base/errint.h"

static void quarantine_put(struct quarantine *q)
{
	if (atomic_fetch_sub(&q->refs, 1) > 1)
		return;
	q->engine->backend->release(q->engine->pool, q->device_offset, q->length);
	free(q);
}

/* Without memory the piece is not released before the next mount: the reference taken
 * for the pin is nobody's. */
static void make_stale(struct map_view *view, struct quarantine *q, uint64_t from, uint64_t last)
{
	struct stale_pin *stale = malloc(sizeof(*stale));

	atomic_fetch_add(&q->refs, 1);
	pins_drop(&view->pins, from, last, UINT64_MAX);
	if (!stale)
		return;
	*stale = (struct stale_pin){ view->stale, q, from, last, view->grants };
	view->stale = stale;
}

void quarantine(struct map_file *file, const struct map_pinned *piece)
{
	uint64_t from = first_page(piece->file_offset);
	uint64_t last = last_page(piece->file_offset, piece->length);
	struct quarantine *q = malloc(sizeof(*q));
	struct map_view *view = NULL;

	count(file, MAP_COUNT_QUARANTINED);
	if (!q) {
		views_drop(file, from, last);
		return;
	}
	*q = (struct quarantine){ 1, file->engine, piece->device_offset, piece->length };
	while ((view = view_next(file, view))) {
		view_lock(view);
		if (pins_any(&view->pins, from, last, UINT64_MAX))
			make_stale(view, q, from, last);
		view_unlock(view);
	}
	quarantine_put(q);
}

errint_t quarantine_stray(struct map_view *view, const struct map_pinned *piece)
{
	struct quarantine *q = malloc(sizeof(*q));
	struct stale_pin *stale = malloc(sizeof(*stale));
	int err = q && stale ? 0 : -ENOMEM;

	count(view->file, MAP_COUNT_QUARANTINED);
	if (err) {
		free(q);
		free(stale);
		return err;
	}
	*q = (struct quarantine){ 1, view->file->engine, piece->device_offset, piece->length };
	view_lock(view);
	if (view->closed)
		err = -ENOTCONN;
	*stale = (struct stale_pin){ err ? NULL : view->stale, q, first_page(piece->file_offset),
				     last_page(piece->file_offset, piece->length), 0 };
	if (!err)
		view->stale = stale;
	view_unlock(view);
	if (err)
		stale_free(stale);
	return err;
}

/* The mapper has let go of a range. Whether nothing is left of the piece; from its ends it is let
 * go in parts, too. */
static bool shrink(struct stale_pin *stale, uint64_t from, uint64_t last)
{
	if (from > stale->last || last < stale->from)
		return false;
	if (from <= stale->from && last >= stale->last)
		return true;
	if (from <= stale->from)
		stale->from = last + 1;
	else if (last >= stale->last)
		stale->last = from - 1;
	return false;
}

struct stale_pin *stale_take(struct map_view *view, uint64_t from, uint64_t last, uint64_t grant)
{
	struct stale_pin **at = &view->stale, *taken = NULL;

	while (*at) {
		struct stale_pin *stale = *at;

		if (stale->grant > grant || !shrink(stale, from, last)) {
			at = &stale->next;
			continue;
		}
		*at = stale->next;
		stale->next = taken;
		taken = stale;
	}
	return taken;
}

void stale_free(struct stale_pin *stale)
{
	while (stale) {
		struct stale_pin *next = stale->next;

		quarantine_put(stale->quarantine);
		free(stale);
		stale = next;
	}
}
