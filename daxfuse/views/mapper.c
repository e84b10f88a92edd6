/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A view as a mapper of the engine.
 *
 * What the engine grants is set in the view with the entry locked, and what it takes away is
 * forgotten by the view before the call returns: so there is no piece on its way, and the view lets
 * go at once, always. What can't be taken away is a reference that a device has to the memory, by
 * direct I/O from or to a mapping. Then the pin stays, and the space is held, until the references
 * have gone: the thread that answers questions looks now and then.
 *
 * To be write-protected is to forget: the next access asks again, and a load is granted for
 * reading only. If a device may be writing to the memory, it stays dirty.
 */
#include <stdlib.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"

/* The kernel forgets times and blocks first, as the program goes on as soon as it has the piece. */
static errint_t map(void *mapper, const struct map_piece *piece)
{
	struct mapper *m = mapper;
	int err = 0;

	if (piece->writable)
		vfs_forget_cached(m->views->config.vfs, m->ino, false);
	if (piece->drop_length)
		err = session_set(m->views->session, m->number, piece->drop_offset,
				  piece->drop_length, NULL);
	return err ? err
		   : session_set(m->views->session, m->number, piece->file_offset, piece->length,
				 piece);
}

/* If it can't be told what to forget, it forgets all, for good. */
static void forget(struct mapper *m, uint64_t offset, uint64_t end)
{
	if (session_set(m->views->session, m->number, offset, end - offset, NULL))
		session_revoke(m->views->session, m->number);
}

/* Call fn for what the file has of the device in a range, until it returns true. */
static bool any_extent(struct mapper *m, uint64_t offset, uint64_t end,
		       bool (*fn)(struct mapper *m, const struct fs_iomap *extent, void *arg),
		       void *arg)
{
	struct fs *fs = vfs_fs(m->views->config.vfs);
	struct fs_attr attr;

	if (fs_getattr(fs, m->ino, &attr))
		return false;
	end = MIN(end, round_up(attr.size, MAP_UNIT_SIZE));
	while (offset < end) {
		struct fs_iomap extent;

		if (fs_iomap(fs, m->ino, offset, end - offset, &extent) || !extent.length)
			return false;
		if (extent.kind != FS_IOMAP_HOLE && fn(m, &extent, arg))
			return true;
		offset += extent.length;
	}
	return false;
}

static bool is_extent_busy(struct mapper *m, const struct fs_iomap *extent, void *arg)
{
	uint64_t from = round_down(extent->device_offset, MAP_PAGE_SIZE);
	uint64_t end = round_up(extent->device_offset + extent->length, MAP_PAGE_SIZE);

	(void)arg;
	return session_is_busy(m->views->session, from, end - from);
}

/* Of one unmap(). */
struct taking {
	uint64_t grant;
	bool failed;
};

/* A record of it, for later. Without memory for one the pin stays until the view ends, which waits
 * for the device, too. */
static void note_busy(struct mapper *m, const struct fs_iomap *extent, uint64_t grant)
{
	struct views *v = m->views;
	struct busy_piece *piece = malloc(sizeof(*piece));

	if (!piece)
		return;
	*piece = (struct busy_piece){
		.ino = m->ino,
		.number = m->number,
		.device_offset = round_down(extent->device_offset, MAP_PAGE_SIZE),
		.device_length = round_up(extent->length, MAP_PAGE_SIZE),
		.offset = extent->file_offset,
		.length = extent->length,
		.grant = grant,
	};
	lock_mutex(LOCK_BUSY, &v->busy_lock);
	LIST_INSERT_HEAD(&v->busy, piece, link);
	unlock_mutex(LOCK_BUSY, &v->busy_lock);
	atomic_fetch_add(&v->later, 1);
}

/* Of what is busy the pin stays; it is let go of the rest. */
static bool take_extent(struct mapper *m, const struct fs_iomap *extent, void *arg)
{
	struct taking *taking = arg;

	if (is_extent_busy(m, extent, NULL)) {
		taking->failed = true;
		note_busy(m, extent, taking->grant);
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
	struct taking taking = { grant, false };
	uint64_t end = end_of_range(offset, length);

	forget(m, offset, end);
	any_extent(m, offset, end, take_extent, &taking);
	return taking.failed ? -EBUSY : 0;
}

static errint_t write_protect(void *mapper, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct mapper *m = mapper;
	uint64_t end = end_of_range(offset, length);

	(void)grant;
	forget(m, offset, end);
	return any_extent(m, offset, end, is_extent_busy, NULL) ? -EBUSY : 0;
}

/* Its view in the engine was closed, and nobody is in one of the above. */
static void gone(void *mapper)
{
	free(mapper);
}

const struct mapper_ops view_ops = {
	.smallest = ORDER_PTE,
	.read_only_first = true,
	.map = map,
	.unmap = unmap,
	.write_protect = write_protect,
	.gone = gone,
};

static bool has_busy_pieces(struct mapper *m)
{
	struct views *v = m->views;
	const struct busy_piece *piece;
	bool found = false;

	lock_mutex(LOCK_BUSY, &v->busy_lock);
	LIST_FOREACH(piece, &v->busy, link)
		found |= piece->number == m->number;
	unlock_mutex(LOCK_BUSY, &v->busy_lock);
	return found;
}

bool mapper_is_busy(struct mapper *m)
{
	return has_busy_pieces(m) || any_extent(m, 0, VIEW_BYTES, is_extent_busy, NULL);
}

/* One that is used no more, out of the list; NULL: there is none. */
static struct busy_piece *idle_piece(struct views *v)
{
	struct busy_piece *piece;

	lock_mutex(LOCK_BUSY, &v->busy_lock);
	LIST_FOREACH(piece, &v->busy, link)
		if (!session_is_busy(v->session, piece->device_offset, piece->device_length))
			break;
	if (piece) {
		LIST_REMOVE(piece, link);
		atomic_fetch_sub(&v->later, 1);
	}
	unlock_mutex(LOCK_BUSY, &v->busy_lock);
	return piece;
}

void mapper_retry_busy(struct views *v)
{
	struct busy_piece *piece;

	while ((piece = idle_piece(v))) {
		struct mapper *m = viewed_use(v, piece->ino, piece->number);

		if (m) {
			map_let_go(m->view, piece->offset, piece->length, piece->grant);
			viewed_unuse(v, piece->ino);
		}
		free(piece);
	}
}

void mapper_drop_busy(struct views *v)
{
	struct busy_piece *piece;

	while ((piece = LIST_FIRST(&v->busy))) {
		LIST_REMOVE(piece, link);
		free(piece);
	}
}
