// SPDX-License-Identifier: GPL-2.0
/*
 * Which pages were stored to.
 *
 * A page that somebody may store to through a mapping is dirty: the tag is set
 * before the page is mapped writable, below the shared view->lock; and below the
 * exclusive one it is cleared, and the mapping write-protected (or taken away, where
 * the kernel exports nothing finer). So there is no store to a clean page. It is
 * flushed afterwards: a store from before is flushed, a later one faults, and
 * sets the tag anew. view->sync makes a second flush wait for the first, whose
 * tags it finds cleared. What leaves a view is flushed before it does, as nobody would
 * find it afterwards; a flush that looks for tags below the shared lock waits for
 * that, too. A unit that has a dirty page is marked, so a flush goes to these alone.
 * A page that a device may be storing to, by direct I/O into a mapping, stays dirty: it
 * was given the page before, and stores when it likes.
 *
 * That a page becomes dirty is the store that moves the file's times.
 *
 * A page that was written, or became dirty, has changed, until DAXVIEW_IOC_PROTECT
 * has told of it. A page of a unit that is mapped whole shares its fate.
 */
#include <linux/bitmap.h>
#include <linux/libnvdimm.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "daxview.h"

#define DV_DIRTY XA_MARK_0 /* of a unit */

struct dv_tags {
	DECLARE_BITMAP(dirty, DV_UNIT_PAGES);
	DECLARE_BITMAP(changed, DV_UNIT_PAGES);
};

static struct dv_tags *dv_tags_of(struct dv_view *view, pgoff_t unit)
{
	struct dv_tags *tags = xa_load(&view->tags, unit), *old;

	if (tags)
		return tags;
	tags = kzalloc(sizeof(*tags), GFP_KERNEL);
	if (!tags)
		return NULL;
	old = xa_cmpxchg(&view->tags, unit, NULL, tags, GFP_KERNEL);
	if (!old)
		return tags;
	kfree(tags);
	return xa_is_err(old) ? NULL : old;
}

/*
 * Bits are only set by threads that share the lock, so no one's are lost; and most are set
 * already. A word at a time.
 */
static void dv_set_bits(unsigned long *bits, const unsigned long *mask)
{
	unsigned int i;

	for (i = 0; i < BITS_TO_LONGS(DV_UNIT_PAGES); i++)
		if (mask[i] & ~READ_ONCE(bits[i]))
			atomic_long_or(mask[i], (atomic_long_t *)&bits[i]);
}

/* Those of the mask, out of the bits. Exclusive. */
static void dv_take_bits(unsigned long *taken, unsigned long *bits, const unsigned long *mask)
{
	bitmap_and(taken, bits, mask, DV_UNIT_PAGES);
	bitmap_andnot(bits, bits, mask, DV_UNIT_PAGES);
}

static void dv_set_bit(unsigned long *bits, unsigned int bit)
{
	if (!test_bit(bit, bits))
		set_bit(bit, bits);
}

/* So many pages of a unit. Most writes, and stores to pages, are to one. */
static void dv_set_range(unsigned long *bits, unsigned int from, unsigned int count)
{
	DECLARE_BITMAP(mask, DV_UNIT_PAGES);

	if (count == 1) {
		dv_set_bit(bits, from);
		return;
	}
	bitmap_zero(mask, DV_UNIT_PAGES);
	bitmap_set(mask, from, count);
	dv_set_bits(bits, mask);
}

int dv_tag(struct dv_view *view, pgoff_t first, unsigned long pages, bool dirty)
{
	pgoff_t page = first, end = first + pages;

	lockdep_assert_held(&view->lock);
	while (page < end) {
		unsigned int from = page % DV_UNIT_PAGES;
		unsigned int count = min(end - page, DV_UNIT_PAGES - from);
		unsigned long unit = page / DV_UNIT_PAGES;
		struct dv_tags *tags = dv_tags_of(view, unit);

		if (!tags)
			return -ENOMEM;
		if (dirty) {
			dv_set_range(tags->dirty, from, count);
			if (!xa_get_mark(&view->tags, unit, DV_DIRTY))
				xa_set_mark(&view->tags, unit, DV_DIRTY);
		}
		dv_set_range(tags->changed, from, count);
		page += count;
	}
	if (dirty)
		dv_stamp_locked(view);
	return 0;
}

/* One unit of a clean-up: what was found in it. */
struct dv_found {
	pgoff_t unit;
	unsigned int from, to; /* of its pages */
	bool whole;            /* all of the unit was dirty */
	DECLARE_BITMAP(dirty, DV_UNIT_PAGES);
	DECLARE_BITMAP(changed, DV_UNIT_PAGES);
};

/* The first of these pages, and how many lie behind it in memory; NULL: it has no memory. */
static struct page *dv_run(struct dv_view *view, pgoff_t page, unsigned long *pages)
{
	struct dv_place place;
	unsigned long pfn;
	u64 run;

	dv_look(view, page, &place);
	*pages = min(*pages - 1, place.last - page) + 1;
	if (place.kind != DV_EXTENT)
		return NULL;
	pfn = dv_device_pfn(view->session->device, place.device, &run);
	if (!run)
		return NULL;
	*pages = min(*pages, run);
	return pfn_to_page(pfn);
}

/* From now on a store to these pages of a unit faults. */
static void dv_protect_locked(struct dv_view *view, pgoff_t first, unsigned long count)
{
	struct address_space *mapping = view->inode.i_mapping;
	unsigned long run;

	for (; count; first += run, count -= run) {
		struct page *page;

		run = count;
		page = DV_CAN_PROTECT ? dv_run(view, first, &run) : NULL;
		if (page)
			dv_wrprotect(mapping, first, page, run);
		else
			unmap_mapping_pages(mapping, first, run, false);
	}
}

static void dv_take_tags_locked(struct dv_view *view, struct dv_tags *tags, struct dv_found *found,
				bool changed)
{
	DECLARE_BITMAP(mask, DV_UNIT_PAGES);

	found->whole = bitmap_full(tags->dirty, DV_UNIT_PAGES);
	bitmap_zero(mask, DV_UNIT_PAGES);
	bitmap_set(mask, found->from, found->to - found->from + 1);
	dv_take_bits(found->dirty, tags->dirty, mask);
	bitmap_zero(found->changed, DV_UNIT_PAGES);
	if (changed)
		dv_take_bits(found->changed, tags->changed, mask);
	if (bitmap_empty(tags->dirty, DV_UNIT_PAGES))
		xa_clear_mark(&view->tags, found->unit, DV_DIRTY);
}

/* A unit that is mapped whole for stores can't be protected in part. */
static void dv_protect_found_locked(struct dv_view *view, const struct dv_found *found)
{
	unsigned int first = find_first_bit(found->dirty, DV_UNIT_PAGES);
	unsigned int last = find_last_bit(found->dirty, DV_UNIT_PAGES);
	pgoff_t base = found->unit * DV_UNIT_PAGES;

	if (first >= DV_UNIT_PAGES)
		return;
	if (found->whole)
		dv_protect_locked(view, base, DV_UNIT_PAGES);
	else
		dv_protect_locked(view, base + first, last - first + 1);
}

static void dv_flush_run(struct dv_view *view, pgoff_t first, unsigned long count)
{
	unsigned long run;

	for (; count; first += run, count -= run) {
		struct page *page;

		run = count;
		page = dv_run(view, first, &run);
		if (page) {
			arch_wb_cache_pmem(page_address(page), run << PAGE_SHIFT);
			atomic64_add(run, &view->flushed);
		}
	}
}

static void dv_flush_locked(struct dv_view *view, const struct dv_found *found)
{
	pgoff_t base = found->unit * DV_UNIT_PAGES;
	unsigned int first, end;

	for_each_set_bitrange(first, end, found->dirty, DV_UNIT_PAGES)
		dv_flush_run(view, base + first, end - first);
}

/* Nobody becomes a user of a page that is protected: one that is has been before. */
static bool dv_keep_busy_run(struct dv_view *view, struct dv_tags *tags, pgoff_t unit,
			     unsigned int at, unsigned int end)
{
	bool kept = false;
	unsigned long run;

	for (; at < end; at += run) {
		struct page *page;

		run = end - at;
		page = dv_run(view, unit * DV_UNIT_PAGES + at, &run);
		if (page && dv_page_busy(page, &run)) {
			bitmap_set(tags->dirty, at, run);
			kept = true;
		}
	}
	return kept;
}

static void dv_keep_busy_locked(struct dv_view *view, struct dv_tags *tags,
				const struct dv_found *found)
{
	unsigned int first, end;
	bool kept = false;

	for_each_set_bitrange(first, end, found->dirty, DV_UNIT_PAGES)
		kept |= dv_keep_busy_run(view, tags, found->unit, first, end);
	if (kept)
		xa_set_mark(&view->tags, found->unit, DV_DIRTY);
}

/*
 * Below the exclusive lock, while the map still says where they are. Nobody has them
 * mapped any more.
 */
void dv_flush_leaving(struct dv_view *view, pgoff_t first, pgoff_t last)
{
	unsigned long unit = first / DV_UNIT_PAGES;
	struct dv_found found;
	struct dv_tags *tags;

	while ((tags = xa_find(&view->tags, &unit, last / DV_UNIT_PAGES, DV_DIRTY))) {
		pgoff_t base = unit * DV_UNIT_PAGES;

		found.unit = unit++;
		found.from = base < first ? first - base : 0;
		found.to = min(last - base, DV_UNIT_PAGES - 1);
		dv_take_tags_locked(view, tags, &found, false);
		dv_flush_locked(view, &found);
	}
	pmem_wmb();
}

/* Bits of the caller's bitmap are only added: he has zeroed it. */
static int dv_tell_changed(const struct dv_found *found, pgoff_t first, u64 __user *bitmap)
{
	unsigned int i;
	u64 word;

	for_each_set_bit(i, found->changed, DV_UNIT_PAGES) {
		u64 bit = found->unit * DV_UNIT_PAGES + i - first;

		if (get_user(word, &bitmap[bit / 64]) ||
		    put_user(word | BIT_ULL(bit % 64), &bitmap[bit / 64]))
			return -EFAULT;
	}
	return 0;
}

/*
 * A caller whose bitmap can't be written is not told, but nothing is lost: the
 * pages count as changed still.
 */
static int dv_clean_unit(struct dv_view *view, struct dv_found *found, pgoff_t first,
			 u64 __user *bitmap)
{
	struct dv_tags *tags = xa_load(&view->tags, found->unit);
	int err;

	if (down_write_killable(&view->lock))
		return -EINTR;
	dv_take_tags_locked(view, tags, found, bitmap);
	dv_protect_found_locked(view, found);
	dv_keep_busy_locked(view, tags, found);
	downgrade_write(&view->lock);
	dv_flush_locked(view, found);
	up_read(&view->lock);
	err = bitmap ? dv_tell_changed(found, first, bitmap) : 0;
	if (err) {
		down_read(&view->lock);
		dv_set_bits(tags->changed, found->changed);
		up_read(&view->lock);
	}
	return err;
}

/* The next one that has tags: 1; 0: there is none. What is leaving the view has left it then. */
static int dv_find_unit(struct dv_view *view, unsigned long *unit, pgoff_t last, xa_mark_t which)
{
	void *found;

	if (down_read_killable(&view->lock))
		return -EINTR;
	found = xa_find(&view->tags, unit, last / DV_UNIT_PAGES, which);
	up_read(&view->lock);
	return found ? 1 : 0;
}

int dv_clean(struct dv_view *view, pgoff_t first, pgoff_t last, u64 __user *bitmap)
{
	struct dv_found *found = kmalloc(sizeof(*found), GFP_KERNEL);
	xa_mark_t which = bitmap ? XA_PRESENT : DV_DIRTY;
	unsigned long unit = first / DV_UNIT_PAGES;
	int err;

	if (!found)
		return -ENOMEM;
	if (mutex_lock_killable(&view->sync)) {
		kfree(found);
		return -EINTR;
	}
	while ((err = dv_find_unit(view, &unit, last, which)) > 0) {
		pgoff_t base = unit * DV_UNIT_PAGES;

		found->unit = unit++;
		found->from = base < first ? first - base : 0;
		found->to = min(last - base, DV_UNIT_PAGES - 1);
		err = dv_clean_unit(view, found, first, bitmap);
		if (err)
			break;
		cond_resched();
	}
	mutex_unlock(&view->sync);
	kfree(found);
	pmem_wmb();
	return err;
}

void dv_free_tags(struct dv_view *view)
{
	struct dv_tags *tags;
	unsigned long unit;

	xa_for_each(&view->tags, unit, tags)
		kfree(tags);
	xa_destroy(&view->tags);
}
