/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that a device uses still, by direct I/O from or to a mapping, though nobody maps it any
 * more: its pin stays, and it is looked at now and then until the references have gone.
 *
 * Each piece has a record that outlives us (table.h): it is written before the piece can leave its
 * file, so the next process holds it, too.
 */
#include <stdlib.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"

bool extent_any(struct mapper *m, uint64_t offset, uint64_t end, extent_fn *fn, void *arg)
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

bool extent_is_busy(struct mapper *m, const struct fs_iomap *extent, void *arg)
{
	uint64_t from = round_down(extent->device_offset, MAP_PAGE_SIZE);
	uint64_t end = round_up(extent->device_offset + extent->length, MAP_PAGE_SIZE);

	(void)arg;
	return session_is_busy(m->views->session, from, end - from);
}

/* ---- pieces --------------------------------------------------------------------------------- */

/* Without memory for it the view lets go of nothing any more, and stays: the next process, which
 * has the record, looks after it. */
static void insert_piece(struct mapper *m, const struct busy_piece *piece)
{
	struct views *v = m->views;
	struct busy_piece *copy = malloc(sizeof(*copy));

	if (!copy) {
		atomic_store(&m->unlisted, true);
		return;
	}
	*copy = *piece;
	lock_mutex(LOCK_BUSY, &v->busy_lock);
	LIST_INSERT_HEAD(&v->busy, copy, link);
	unlock_mutex(LOCK_BUSY, &v->busy_lock);
	atomic_fetch_add(&v->later, 1);
	views_kick(v);
}

static struct busy_piece piece_of(const struct mapper *m, const struct fs_iomap *extent)
{
	uint64_t start = round_down(extent->device_offset, MAP_PAGE_SIZE);

	return (struct busy_piece){
		.ino = m->ino,
		.number = m->number,
		.slot = VIEW_NO_SLOT,
		.device_offset = start,
		.device_length = round_up(extent->device_offset + extent->length, MAP_PAGE_SIZE) -
				 start,
		.offset = extent->file_offset,
		.length = extent->length,
	};
}

/* Order: the record, then the list; the piece leaves its file after we have returned. */
void busy_note(struct mapper *m, const struct fs_iomap *extent, uint64_t grant)
{
	struct busy_piece piece = piece_of(m, extent);

	piece.grant = grant;
	piece.slot = table_add_busy(m->views, m->ino, piece.offset, piece.device_offset,
				    piece.device_length);
	insert_piece(m, &piece);
}

/* Whether some piece of the view covers the extent. */
static bool has_piece(struct mapper *m, const struct fs_iomap *extent)
{
	struct views *v = m->views;
	const struct busy_piece *piece;
	bool found = false;

	lock_mutex(LOCK_BUSY, &v->busy_lock);
	LIST_FOREACH(piece, &v->busy, link)
		found |= piece->number == m->number &&
			 (!extent || (piece->device_offset <= extent->device_offset &&
				      piece->device_offset + piece->device_length >=
					      extent->device_offset + extent->length));
	unlock_mutex(LOCK_BUSY, &v->busy_lock);
	return found;
}

static bool overlaps_file(const struct busy_piece *piece, uint64_t offset, uint64_t length)
{
	return piece->offset < offset + length && offset < piece->offset + piece->length;
}

bool busy_overlaps(struct mapper *m, uint64_t offset, uint64_t length)
{
	struct views *v = m->views;
	const struct busy_piece *piece;
	bool found = atomic_load(&m->unlisted);

	lock_mutex(LOCK_BUSY, &v->busy_lock);
	LIST_FOREACH(piece, &v->busy, link)
		found |= piece->number == m->number && overlaps_file(piece, offset, length);
	unlock_mutex(LOCK_BUSY, &v->busy_lock);
	return found;
}

bool busy_any(struct mapper *m)
{
	return atomic_load(&m->unlisted) || has_piece(m, NULL) ||
	       extent_any(m, 0, VIEW_BYTES, extent_is_busy, NULL);
}

/*
 * The engine is told of a range of the file, whatever has lain there: so a piece is let go of when
 * nothing is used that was taken from that range before it, or since.
 */
static bool is_idle_locked(struct views *v, const struct busy_piece *piece)
{
	const struct busy_piece *other;

	lock_assert(LOCK_BUSY);
	LIST_FOREACH(other, &v->busy, link) {
		if (other->ino == piece->ino && other->number == piece->number &&
		    overlaps_file(other, piece->offset, piece->length) &&
		    session_is_busy(v->session, other->device_offset, other->device_length))
			return false;
	}
	return true;
}

/* One that is used no more, out of the list; NULL: there is none. */
static struct busy_piece *idle_piece(struct views *v)
{
	struct busy_piece *piece;

	lock_mutex(LOCK_BUSY, &v->busy_lock);
	LIST_FOREACH(piece, &v->busy, link)
		if (is_idle_locked(v, piece))
			break;
	if (piece) {
		LIST_REMOVE(piece, link);
		atomic_fetch_sub(&v->later, 1);
	}
	unlock_mutex(LOCK_BUSY, &v->busy_lock);
	return piece;
}

/* If something of the view is in use that is in no list, it may be of the same place: the pin stays
 * then, and the record. */
static void let_go_of_piece(struct views *v, const struct busy_piece *piece)
{
	struct mapper *m = viewed_use(v, piece->ino, piece->number);
	bool stays = m && atomic_load(&m->unlisted);

	if (m && !stays)
		map_let_go(m->view, piece->offset, piece->length, piece->grant);
	if (!stays)
		table_erase_busy(v, piece->slot);
	if (m)
		viewed_unuse(v, piece->ino);
}

void busy_retry(struct views *v)
{
	struct busy_piece *piece;

	while ((piece = idle_piece(v))) {
		let_go_of_piece(v, piece);
		free(piece);
	}
}

void busy_drop(struct views *v)
{
	struct busy_piece *piece;

	while ((piece = LIST_FIRST(&v->busy))) {
		LIST_REMOVE(piece, link);
		free(piece);
	}
}

/* ---- of the last process -------------------------------------------------------------------- */

/* The engine pins it again, on the file or as a piece of nobody. It is held. What is granted later
 * is not let go of with it. */
static errint_t restore_piece(struct mapper *m, struct busy_piece *piece)
{
	bool whole =
		!((piece->offset | piece->device_offset | piece->device_length) % MAP_UNIT_SIZE);
	int err = mapper_attach(m);

	if (err)
		return err;
	if (map_view_restore(m->view, piece->offset, piece->device_length, piece->device_offset,
			     whole ? ORDER_PMD : ORDER_PTE, true))
		return -EIO;
	piece->grant = map_view_last_grant(m->view);
	insert_piece(m, piece);
	return 0;
}

static bool record_is_sane(const struct views *v, const struct view_busy_record *record)
{
	const struct fs *fs = vfs_fs(v->config.vfs);

	return !((record->length | record->offset | record->device_offset) % MAP_PAGE_SIZE) &&
	       record->offset < DXF_FILE_MAX && record->length <= DXF_FILE_MAX &&
	       pmem_contains(fs_pmem(fs), record->device_offset, record->length);
}

/* One whose view has ended stays held, as long as the mount, if it is in use still. */
static errint_t restore_record(struct views *v, uint32_t slot)
{
	const struct view_busy_record *record = &v->table->busy[slot];
	struct mapper *m = viewed_mapper(v, record->ino);
	struct busy_piece piece = {
		.ino = record->ino,
		.number = m ? m->number : 0,
		.slot = slot,
		.device_offset = record->device_offset,
		.device_length = record->length,
		.offset = record->offset,
		.length = record->length,
	};

	if (!record->length || !record_is_sane(v, record))
		return 0;
	if (session_is_busy(v->session, piece.device_offset, piece.device_length))
		return m && !m->over ? restore_piece(m, &piece) : 0;
	fs_busy_clear(vfs_fs(v->config.vfs), piece.device_offset, piece.device_length);
	table_erase_busy(v, slot);
	return 0;
}

errint_t busy_restore_records(struct views *v)
{
	uint32_t used = v->table->busy_used;
	int err = 0;

	for (uint32_t slot = 0; !err && slot < used; slot++)
		err = restore_record(v, slot);
	return err;
}

static errint_t restore_extent(struct mapper *m, const struct fs_iomap *extent)
{
	struct busy_piece piece = piece_of(m, extent);
	int err = fs_busy_insert(vfs_fs(m->views->config.vfs), piece.device_offset,
				 piece.device_length);

	return err ? err : restore_piece(m, &piece);
}

/* The file has it still: it is held for the moment, as the engine wants it. */
static bool extent_is_lost(struct mapper *m, const struct fs_iomap *extent, void *arg)
{
	(void)arg;
	return extent_is_busy(m, extent, NULL) && !has_piece(m, extent) &&
	       restore_extent(m, extent);
}

errint_t busy_restore_extents(struct mapper *m)
{
	return extent_any(m, 0, VIEW_BYTES, extent_is_lost, NULL) ? -ENOMEM : 0;
}
