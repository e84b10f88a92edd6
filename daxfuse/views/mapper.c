/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A view as a mapper of the engine.
 *
 * What the engine grants for an answer is gathered, and set in the view in one call at its end.
 * What the engine takes away meanwhile is taken out of that, too, and forgotten by the view before
 * the call returns: so no piece is on its way behind it, and the view lets go at once, always. Both
 * have the mapper's LOCK_PENDING, the answer until the view has what was gathered. What
 * can't be taken away is a reference that a device has to the memory, by direct I/O from or to a
 * mapping. Then the pin stays, and the space is held, until the references have gone (busy.c).
 *
 * To be write-protected is to forget: the next access asks again, and a load is granted for
 * reading only. If a device may be writing to the memory, it stays dirty. fsync(2) needs none of
 * that: the module knows what was stored to since, and flushes it.
 */
#include <stdlib.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"

/* ---- pieces that the view gets at the end of an answer --------------------------------------- */

static pthread_mutex_t *pending_lock_of(struct mapper *m)
{
	return &m->views->pending_lock[m->ino % VIEWED_BUCKETS];
}

void pending_begin(struct mapper *m, struct pending *pending)
{
	pending->count = 0;
	pending->taken = false;
	lock_mutex(LOCK_PENDING, pending_lock_of(m));
	m->pending = pending;
	unlock_mutex(LOCK_PENDING, pending_lock_of(m));
}

/* Those that lie one behind the other in the file are one call. */
static errint_t set_pending_locked(struct mapper *m)
{
	struct pending *pending = m->pending;
	unsigned from = 0, to;
	int err = 0;

	lock_assert(LOCK_PENDING);
	for (; !err && from < pending->count; from = to) {
		const struct map_piece *piece = &pending->piece[from];

		for (to = from + 1; to < pending->count; to++, piece++)
			if (piece[1].file_offset != piece->file_offset + piece->length)
				break;
		err = session_set(m->views->session, m->number, &pending->piece[from], to - from);
	}
	pending->count = 0;
	return err;
}

errint_t pending_end(struct mapper *m)
{
	bool taken;
	int err;

	lock_mutex(LOCK_PENDING, pending_lock_of(m));
	err = set_pending_locked(m);
	taken = m->pending->taken;
	m->pending = NULL;
	unlock_mutex(LOCK_PENDING, pending_lock_of(m));
	return err ? err : taken ? -EAGAIN : 0;
}

/* Whether b goes on where a ends, in the file and on the device: a is it, too, then. */
static bool join_piece(struct map_piece *a, const struct map_piece *b)
{
	if (a->zero != b->zero || a->writable != b->writable ||
	    a->file_offset + a->length != b->file_offset ||
	    (!a->zero && a->device_offset + a->length != b->device_offset))
		return false;
	a->length += b->length;
	return true;
}

static errint_t add_pending_locked(struct mapper *m, const struct map_piece *piece)
{
	struct pending *pending = m->pending;
	int err = 0;

	if (pending->count && join_piece(&pending->piece[pending->count - 1], piece))
		return 0;
	if (pending->count == PENDING_PIECES)
		err = set_pending_locked(m);
	pending->piece[pending->count++] = *piece;
	return err;
}

/* The view must not have it, in part: the rest is asked about again. */
static void take_pending_locked(struct pending *pending, uint64_t offset, uint64_t end)
{
	unsigned left = 0;

	for (unsigned i = 0; i < pending->count; i++) {
		const struct map_piece *piece = &pending->piece[i];

		if (piece->file_offset >= end || piece->file_offset + piece->length <= offset)
			pending->piece[left++] = *piece;
	}
	pending->taken |= left < pending->count;
	pending->count = left;
}

/* ---- the engine's calls ---------------------------------------------------------------------- */

/* What is there goes before the piece comes. */
static errint_t map(void *mapper, const struct map_piece *piece)
{
	struct mapper *m = mapper;
	int err = 0;

	lock_mutex(LOCK_PENDING, pending_lock_of(m));
	if (piece->drop_length) {
		take_pending_locked(m->pending, piece->drop_offset,
				    piece->drop_offset + piece->drop_length);
		err = session_forget(m->views->session, m->number, piece->drop_offset,
				     piece->drop_length);
	}
	if (!err)
		err = add_pending_locked(m, piece);
	unlock_mutex(LOCK_PENDING, pending_lock_of(m));
	return err;
}

/* If it can't be told what to forget, it forgets all, for good. */
static void forget(struct mapper *m, uint64_t offset, uint64_t end)
{
	lock_mutex(LOCK_PENDING, pending_lock_of(m));
	if (m->pending)
		take_pending_locked(m->pending, offset, end);
	unlock_mutex(LOCK_PENDING, pending_lock_of(m));
	if (session_forget(m->views->session, m->number, offset, end - offset))
		session_revoke(m->views->session, m->number);
}

/* Of one unmap(). */
struct taking {
	uint64_t grant;
	bool failed;
};

/* Of what is busy the pin stays; it is let go of the rest. */
static bool take_extent(struct mapper *m, const struct fs_iomap *extent, void *arg)
{
	struct taking *taking = arg;

	if (extent_is_busy(m, extent, NULL) ||
	    busy_overlaps(m, extent->file_offset, extent->length)) {
		taking->failed = true;
		busy_note(m, extent, taking->grant);
	} else {
		map_let_go(m->view, extent->file_offset, extent->length, taking->grant);
	}
	return false;
}

static uint64_t end_of_range(uint64_t offset, uint64_t length)
{
	return MIN(length > VIEW_BYTES - offset ? VIEW_BYTES : offset + length, VIEW_BYTES);
}

static errint_t unmap(void *mapper, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct mapper *m = mapper;
	uint64_t end = end_of_range(offset, length);
	/* of what was taken before, and is nobody's but the device's */
	struct taking taking = { grant, busy_overlaps(m, offset, end - offset) };

	forget(m, offset, end);
	extent_any(m, offset, end, take_extent, &taking);
	return taking.failed ? -EBUSY : 0;
}

static errint_t write_protect(void *mapper, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct mapper *m = mapper;
	uint64_t end = end_of_range(offset, length);

	(void)grant;
	forget(m, offset, end);
	return extent_any(m, offset, end, extent_is_busy, NULL) ? -EBUSY : 0;
}

/* Of a view that was revoked everything has been flushed. */
static errint_t flush(void *mapper, uint64_t offset, uint64_t length)
{
	const struct mapper *m = mapper;
	uint64_t end = end_of_range(offset, length);
	int err = session_sync(m->views->session, m->number, offset, end - offset);

	return err == -ENOENT || err == -ESTALE ? 0 : err;
}

/* Its view in the engine was closed, and nobody is in one of the above. */
static void gone(void *mapper)
{
	free(mapper);
}

static const struct mapper_ops view_ops = {
	.smallest = ORDER_PTE,
	.read_only_first = true,
	.flushes = true,
	.keeps_times = true,
	.map = map,
	.unmap = unmap,
	.write_protect = write_protect,
	.flush = flush,
	.gone = gone,
};

errint_t mapper_attach(struct mapper *m)
{
	int err = m->file ? 0 : vfs_file_get(m->views->config.vfs, m->ino, &m->file);

	if (err || m->view)
		return err;
	err = map_view_open(m->file->map, &view_ops, m, &m->view);
	if (err) {
		vfs_file_put(m->file);
		m->file = NULL;
	}
	return err;
}
