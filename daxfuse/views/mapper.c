/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A view as a mapper of the engine.
 *
 * What the engine grants is set in the view with the entry locked, and what it takes away is
 * forgotten by the view before the call returns: so there is no piece on its way, and the view lets
 * go at once, always. What can't be taken away is a reference that a device has to the memory, by
 * direct I/O from or to a mapping. Then the pin stays, and the space is held, until the references
 * have gone (busy.c).
 *
 * To be write-protected is to forget: the next access asks again, and a load is granted for
 * reading only. If a device may be writing to the memory, it stays dirty.
 */
#include <stdlib.h>

#include "daxfuse/base/errint.h"
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

/* Its view in the engine was closed, and nobody is in one of the above. */
static void gone(void *mapper)
{
	free(mapper);
}

static const struct mapper_ops view_ops = {
	.smallest = ORDER_PTE,
	.read_only_first = true,
	.map = map,
	.unmap = unmap,
	.write_protect = write_protect,
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
