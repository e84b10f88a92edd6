// SPDX-License-Identifier: GPL-2.0
/*
 * What lies where in a view.
 *
 * A maple tree has an entry for each range of pages: its distance to the pages
 * of the device, which stays right for what is left of an entry when its middle
 * is overwritten, and whether stores ask, or mappings; or DV_IS_HOLE. No entry: unknown.
 * Neighbours that say the same are one entry, so what is known of a page is found in one step.
 * view->lock protects it, so a thread that holds it shared sees the map and the page
 * tables agree: they are changed together, below the exclusive lock.
 */
#include <linux/mm.h>

#include "compat.h"
#include "daxview.h"

#define DV_DISTANCE (BIT_ULL(60) - 1)
#define DV_READS_ONLY BIT_ULL(60)
#define DV_IS_HOLE BIT_ULL(61)
#define DV_IS_TAIL BIT_ULL(62)

static u64 dv_entry_value(const struct daxview_piece *piece)
{
	u64 distance = (piece->device >> PAGE_SHIFT) - (piece->offset >> PAGE_SHIFT);

	if (piece->device == DAXVIEW_HOLE)
		return DV_IS_HOLE;
	return (distance & DV_DISTANCE) | (piece->flags & DAXVIEW_PIECE_READ ? DV_READS_ONLY : 0);
}

void dv_look(struct dv_view *view, pgoff_t page, struct dv_place *place)
{
	MA_STATE(mas, &view->map, page, page);
	void *entry;

	lockdep_assert_held(&view->lock);
	rcu_read_lock();
	entry = mas_walk(&mas);
	place->first = mas.index;
	place->last = mas.last;
	rcu_read_unlock();
	place->device = 0;
	place->reads_only = false;
	place->is_tail = false;
	if (!entry) {
		place->kind = DV_UNKNOWN;
	} else if (xa_to_value(entry) == DV_IS_HOLE) {
		place->kind = DV_HOLE;
	} else {
		place->kind = DV_EXTENT;
		place->reads_only = xa_to_value(entry) & DV_READS_ONLY;
		place->is_tail = xa_to_value(entry) & DV_IS_TAIL;
		place->device = (xa_to_value(entry) + page) & DV_DISTANCE;
	}
}

/* What is said of a page, and up to which one. */
static void *dv_entry_at(struct dv_view *view, pgoff_t page, pgoff_t *last)
{
	MA_STATE(mas, &view->map, page, page);
	void *entry;

	rcu_read_lock();
	entry = mas_walk(&mas);
	*last = min(*last, mas.last);
	rcu_read_unlock();
	return entry;
}

/* The same piece, of which stores do not ask any more: its mappings are right still. */
static bool dv_is_upgrade(const void *old, const void *entry)
{
	u64 value = entry ? xa_to_value(entry) : DV_IS_HOLE;

	return !(value & (DV_IS_HOLE | DV_READS_ONLY | DV_IS_TAIL)) &&
	       old == xa_mk_value(value | DV_READS_ONLY);
}

/* With its neighbours, if they say the same. */
static int dv_store_locked(struct dv_view *view, pgoff_t first, pgoff_t last, void *entry)
{
	MA_STATE(before, &view->map, first - 1, first - 1);
	MA_STATE(behind, &view->map, last + 1, last + 1);

	if (entry) {
		rcu_read_lock();
		if (first && mas_walk(&before) == entry)
			first = before.index;
		if (last < ULONG_MAX && mas_walk(&behind) == entry)
			last = behind.last;
		rcu_read_unlock();
	}
	return mtree_store_range(&view->map, first, last, entry, GFP_KERNEL);
}

/*
 * Nothing happens to what is so already; mappings of another piece go. Of what was
 * not known there are none, nor stores.
 */
static int dv_put_locked(struct dv_view *view, pgoff_t first, pgoff_t last, void *entry)
{
	pgoff_t at = first, end;
	bool same = true;

	do {
		void *old;

		end = last;
		old = dv_entry_at(view, at, &end);
		same &= old == entry;
		if (old && old != entry && !dv_is_upgrade(old, entry)) {
			unmap_mapping_pages(view->inode.i_mapping, at, end - at + 1, false);
			dv_flush_leaving(view, at, end);
		}
		at = end + 1;
	} while (end < last);
	return same ? 0 : dv_store_locked(view, first, last, entry);
}

int dv_put_tail_piece_locked(struct dv_view *view, const struct daxview_piece *piece)
{
	pgoff_t first = piece->offset >> PAGE_SHIFT;

	return dv_put_locked(view, first, first + (piece->length >> PAGE_SHIFT) - 1,
			     xa_mk_value(dv_entry_value(piece) | DV_IS_TAIL));
}

int dv_forget_locked(struct dv_view *view, pgoff_t first, pgoff_t last)
{
	return dv_put_locked(view, first, last, NULL);
}

static bool dv_pages_fit(u64 offset, u64 length)
{
	return IS_ALIGNED(offset | length, PAGE_SIZE) && length && offset <= MAX_LFS_FILESIZE &&
	       length <= MAX_LFS_FILESIZE - offset;
}

/* Nothing of it is believed: all of it lies in the range, in order, and on the device. */
int dv_check_pieces(struct dv_device *device, const struct daxview_set *set,
		    const struct daxview_piece *pieces)
{
	u64 end = set->offset, size = device->pages << PAGE_SHIFT;
	u32 i;

	if (!set->length && !set->count && set->flags)
		return set->offset ? -EINVAL : 0;
	if (!dv_pages_fit(set->offset, set->length))
		return -EINVAL;
	for (i = 0; i < set->count; i++) {
		const struct daxview_piece *piece = &pieces[i];

		if (!dv_pages_fit(piece->offset, piece->length) || piece->offset < end ||
		    piece->offset + piece->length > set->offset + set->length)
			return -EINVAL;
		end = piece->offset + piece->length;
		if (piece->flags & ~DAXVIEW_PIECE_READ || piece->padding)
			return -EINVAL;
		if (piece->device == DAXVIEW_HOLE)
			continue;
		if (!IS_ALIGNED(piece->device, PAGE_SIZE) || piece->device >= size ||
		    piece->length > size - piece->device)
			return -ERANGE;
	}
	return 0;
}

static int dv_put_pieces_locked(struct dv_view *view, const struct daxview_set *set,
				const struct daxview_piece *pieces)
{
	u64 at = set->offset, end = set->offset + set->length;
	int err = 0;
	u32 i;

	for (i = 0; i < set->count && !err; i++) {
		const struct daxview_piece *piece = &pieces[i];
		pgoff_t first = piece->offset >> PAGE_SHIFT;

		if (piece->offset > at)
			err = dv_put_locked(view, at >> PAGE_SHIFT, first - 1, NULL);
		at = piece->offset + piece->length;
		if (!err)
			err = dv_put_locked(view, first, (at >> PAGE_SHIFT) - 1,
					    xa_mk_value(dv_entry_value(piece)));
		cond_resched();
	}
	if (!err && end > at)
		err = dv_put_locked(view, at >> PAGE_SHIFT, (end >> PAGE_SHIFT) - 1, NULL);
	return err;
}

/* Pages behind a new end go, private copies of them, too. */
static void dv_resize_locked(struct dv_view *view, u64 size)
{
	u64 old = i_size_read(&view->inode);

	i_size_write(&view->inode, size);
	if (size < old)
		unmap_mapping_range(view->inode.i_mapping, round_up(size, PAGE_SIZE), 0, 1);
}

int dv_set(struct dv_view *view, const struct daxview_set *set, const struct daxview_piece *pieces)
{
	int err;

	if (down_write_killable(&view->lock))
		return -EINTR;
	if (view->revoked) {
		up_write(&view->lock);
		return -ESTALE;
	}
	err = set->flags & DAXVIEW_SET_SIZE ? dv_take_tail_locked(view) : 0;
	if (!err)
		err = dv_put_pieces_locked(view, set, pieces);
	if (!err && (set->flags & DAXVIEW_SET_SIZE))
		dv_resize_locked(view, set->file_size);
	if (!err && (set->flags & (DAXVIEW_SET_PRIVILEGED | DAXVIEW_SET_PLAIN)))
		view->privileged = set->flags & DAXVIEW_SET_PRIVILEGED;
	WRITE_ONCE(view->generation, view->generation + 1);
	up_write(&view->lock);
	if (!err)
		dv_answer_range(view, set->offset, set->length);
	if (!err && (set->flags & DAXVIEW_SET_SIZE))
		dv_answer_size(view, set->file_size);
	if (!err && (set->flags & DAXVIEW_SET_PLAIN))
		dv_answer_strip(view);
	return err;
}

void dv_revoke(struct dv_view *view)
{
	down_write(&view->lock);
	view->revoked = true;
	view->tail.end = 0;
	unmap_mapping_range(view->inode.i_mapping, 0, 0, 1);
	dv_flush_leaving(view, 0, ULONG_MAX);
	mtree_destroy(&view->map);
	WRITE_ONCE(view->generation, view->generation + 1);
	up_write(&view->lock);
	dv_answer_view(view, -EIO);
}

/* These pages of the device have failed: a thread that touches them faults, and hears of it. */
void dv_unmap_device(struct dv_view *view, u64 page, u64 pages)
{
	struct dv_place place;
	pgoff_t at = 0;

	down_write(&view->lock);
	do {
		u64 first, last;

		dv_look(view, at, &place);
		first = max(place.device, page);
		last = min(place.device + (place.last - at), page + pages - 1);
		if (place.kind == DV_EXTENT && first <= last)
			unmap_mapping_pages(view->inode.i_mapping, at + (first - place.device),
					    last - first + 1, false);
		at = place.last + 1;
	} while (at);
	up_write(&view->lock);
}
