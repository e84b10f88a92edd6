// SPDX-License-Identifier: GPL-2.0
/*
 * Views that grow by themselves, and the words that a write(2) stores beside its
 * bytes: the file's times, and its new size.
 *
 * A tail is memory behind the end of the file that the daemon has reserved. Only
 * reads and writes reach it, below the shared view->lock; so it is taken away
 * below the exclusive one, at once and for good: no mapping has it, and no device
 * uses it.
 *
 * Order of a write that makes the view longer:
 *   1. zeroes from the old end to where it begins; its bytes; zeroes from there to
 *      the end of the page. Fence.
 *   2. the view's size
 *   3. both times, the size's word. Fence.
 * All below one hold of the lock, so that a tail that is taken has either none or
 * all of it; and with the inode locked, so that no other write comes between. The
 * daemon says the word to stat(2): 2 is before 3, so that a program that has heard
 * of a size can read up to it. A read beside may see bytes a moment before they are
 * durable; the write returns when they are.
 */
#include <linux/ktime.h>
#include <linux/libnvdimm.h>
#include <linux/mm.h>

#include "compat.h"
#include "daxview.h"

/* Words of the device, in one page. */
int dv_find_words(struct dv_device *device, u64 offset, unsigned int count, struct dv_words *words)
{
	u64 size = device->pages << PAGE_SHIFT, run;
	unsigned long pfn;

	if (!IS_ALIGNED(offset, sizeof(u64)) ||
	    offset_in_page(offset) + count * sizeof(u64) > PAGE_SIZE)
		return -EINVAL;
	if (offset >= size)
		return -ERANGE;
	pfn = dv_device_pfn(device, offset >> PAGE_SHIFT, &run);
	words->page = offset >> PAGE_SHIFT;
	words->at = page_address(pfn_to_page(pfn)) + offset_in_page(offset);
	return 0;
}

/* A page that has failed must not be touched. */
static bool dv_words_are_good(struct dv_view *view, const struct dv_words *words)
{
	u64 run = 1;

	return words->at && !dv_device_bad(view->session->device, words->page, &run);
}

/* Something was written, or is going to be stored. A later fence makes it durable. */
void dv_stamp_locked(struct dv_view *view)
{
	u64 now = ktime_get_real_ns(), *times = view->times.at;

	lockdep_assert_held(&view->lock);
	WRITE_ONCE(view->stored, now);
	if (!dv_words_are_good(view, &view->times))
		return;
	WRITE_ONCE(times[0], now);
	WRITE_ONCE(times[1], now);
	arch_wb_cache_pmem(times, 2 * sizeof(u64));
}

/* How far a write may go without a question: not behind the end if the size can't be stored. */
u64 dv_write_limit(struct dv_view *view)
{
	u64 size = i_size_read(&view->inode);

	lockdep_assert_held(&view->lock);
	if (view->tail.end <= size || !dv_words_are_good(view, &view->tail.size_word))
		return size;
	return view->tail.end;
}

/* Bytes have been stored up to `size`, behind the view's. */
void dv_grow_locked(struct dv_view *view, u64 size)
{
	u64 *word = view->tail.size_word.at;

	lockdep_assert_held(&view->lock);
	lockdep_assert_held(&view->inode.i_rwsem);
	pmem_wmb();
	i_size_write(&view->inode, size);
	dv_stamp_locked(view);
	WRITE_ONCE(*word, size);
	arch_wb_cache_pmem(word, sizeof(*word));
	pmem_wmb();
}

/* What is left of it is unknown from now on. */
int dv_take_tail_locked(struct dv_view *view)
{
	pgoff_t at = view->tail.first, last = view->tail.last;
	struct dv_place place;
	int err = 0;

	lockdep_assert_held_write(&view->lock);
	if (!view->tail.end)
		return 0;
	view->tail.end = 0;
	for (; !err && at <= last; at = place.last + 1) {
		dv_look(view, at, &place);
		place.last = min(place.last, last); /* the unknown may go on for ever */
		if (place.is_tail)
			err = dv_forget_locked(view, at, place.last);
	}
	return err;
}

int dv_take_tail(struct dv_view *view)
{
	int err;

	down_write(&view->lock);
	err = dv_take_tail_locked(view);
	WRITE_ONCE(view->generation, view->generation + 1);
	up_write(&view->lock);
	return err;
}

/* They lie one behind the other, and cover the tail. */
static bool dv_pieces_fit(const struct daxview_tail *tail, u64 size,
			  const struct daxview_piece *pieces)
{
	u64 at = round_up(size, PAGE_SIZE);
	u32 i;

	if (tail->count && pieces[0].offset < at)
		at = round_down(size, PAGE_SIZE);
	for (i = 0; i < tail->count; i++) {
		if (pieces[i].offset != at || pieces[i].flags || pieces[i].device == DAXVIEW_HOLE)
			return false;
		at += pieces[i].length;
	}
	return at == round_up(tail->end, PAGE_SIZE);
}

/* The page that the size lies in may be mapped. */
static bool dv_keeps_page(struct dv_view *view, pgoff_t page)
{
	struct dv_place place;

	if (page >= dv_view_pages(view))
		return false;
	dv_look(view, page, &place);
	return place.kind == DV_EXTENT && !place.reads_only;
}

static int dv_put_tail_locked(struct dv_view *view, const struct daxview_tail *tail,
			      const struct daxview_piece *pieces)
{
	int err = 0;
	u32 i;

	for (i = 0; i < tail->count && !err; i++) {
		struct daxview_piece piece = pieces[i];

		if (!i && dv_keeps_page(view, piece.offset >> PAGE_SHIFT)) {
			piece.offset += PAGE_SIZE;
			piece.device += PAGE_SIZE;
			piece.length -= PAGE_SIZE;
		}
		if (piece.length)
			err = dv_put_tail_piece_locked(view, &piece);
	}
	return err;
}

static int dv_give_tail_locked(struct dv_view *view, const struct daxview_tail *tail,
			       const struct daxview_piece *pieces, const struct dv_words *word)
{
	u64 size = i_size_read(&view->inode);
	int err;

	if (view->revoked)
		return -ESTALE;
	if (tail->end <= size || tail->end > MAX_LFS_FILESIZE || !dv_pieces_fit(tail, size, pieces))
		return -EINVAL;
	err = dv_take_tail_locked(view);
	if (err)
		return err;
	/* All of it, before anything can fail: so it can be taken. */
	view->tail.end = tail->end;
	view->tail.size_word = *word;
	view->tail.first = size >> PAGE_SHIFT;
	view->tail.last = (tail->end - 1) >> PAGE_SHIFT;
	return dv_put_tail_locked(view, tail, pieces);
}

int dv_give_tail(struct dv_view *view, const struct daxview_tail *tail,
		 const struct daxview_piece *pieces)
{
	struct dv_words word;
	bool is_left;
	int err = dv_find_words(view->session->device, tail->size_word, 1, &word);

	if (err)
		return err;
	if (down_write_killable(&view->lock))
		return -EINTR;
	err = dv_give_tail_locked(view, tail, pieces, &word);
	is_left = err && dv_take_tail_locked(view);
	WRITE_ONCE(view->generation, view->generation + 1);
	up_write(&view->lock);
	/* The caller takes it for not given. */
	if (is_left)
		dv_revoke(view);
	return err;
}
