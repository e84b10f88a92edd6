// SPDX-License-Identifier: GPL-2.0
/*
 * Which pages were stored to.
 *
 * A page that somebody may store to through a mapping is dirty: the tag is set
 * before the page is mapped writable, below the shared view->lock; and below the
 * exclusive one it is cleared together with the mapping. So there is no store
 * to a clean page. It is flushed afterwards: a store from before the mapping
 * went is flushed, a later one faults, and sets the tag anew. view->sync makes
 * a second flush wait for the first, whose tags it finds cleared. What leaves a
 * view is flushed before it does, as nobody would find it afterwards.
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

/* Bits are only set by threads that share the lock, so no one's are lost. */
static void dv_set_bits(unsigned long *bits, unsigned int first, unsigned int count)
{
	unsigned int i;

	for (i = first; i < first + count; i++)
		if (!test_bit(i, bits))
			set_bit(i, bits);
}

int dv_tag(struct dv_view *view, pgoff_t first, unsigned long pages, bool dirty)
{
	pgoff_t page = first, end = first + pages;

	lockdep_assert_held(&view->lock);
	while (page < end) {
		unsigned int from = page % DV_UNIT_PAGES;
		unsigned int count = min(end - page, DV_UNIT_PAGES - from);
		struct dv_tags *tags = dv_tags_of(view, page / DV_UNIT_PAGES);

		if (!tags)
			return -ENOMEM;
		if (dirty)
			dv_set_bits(tags->dirty, from, count);
		dv_set_bits(tags->changed, from, count);
		page += count;
	}
	if (dirty)
		WRITE_ONCE(view->stored, ktime_get_real_ns());
	return 0;
}

/* One unit of a clean-up: what was found in it. */
struct dv_found {
	pgoff_t unit;
	unsigned int from, to; /* of its pages */
	DECLARE_BITMAP(dirty, DV_UNIT_PAGES);
	DECLARE_BITMAP(changed, DV_UNIT_PAGES);
};

/* Take tags away, and the mappings that let programs store without a new one. */
static void dv_take_tags_locked(struct dv_view *view, struct dv_tags *tags, struct dv_found *found,
				bool changed)
{
	pgoff_t base = found->unit * DV_UNIT_PAGES;
	unsigned int i, first, last;

	bitmap_zero(found->dirty, DV_UNIT_PAGES);
	bitmap_zero(found->changed, DV_UNIT_PAGES);
	for (i = found->from; i <= found->to; i++) {
		if (test_and_clear_bit(i, tags->dirty))
			__set_bit(i, found->dirty);
		if (changed && test_and_clear_bit(i, tags->changed))
			__set_bit(i, found->changed);
	}
	first = find_first_bit(found->dirty, DV_UNIT_PAGES);
	if (first >= DV_UNIT_PAGES)
		return;
	last = find_last_bit(found->dirty, DV_UNIT_PAGES);
	unmap_mapping_pages(view->inode.i_mapping, base + first, last - first + 1, false);
}

static void dv_flush_locked(struct dv_view *view, const struct dv_found *found)
{
	struct dv_device *device = view->session->device;
	struct dv_place place;
	unsigned int i;
	u64 run;

	for_each_set_bit(i, found->dirty, DV_UNIT_PAGES) {
		unsigned long pfn;

		dv_look(view, found->unit * DV_UNIT_PAGES + i, &place);
		if (place.kind != DV_EXTENT)
			continue;
		pfn = dv_device_pfn(device, place.device, &run);
		if (run)
			arch_wb_cache_pmem(page_address(pfn_to_page(pfn)), PAGE_SIZE);
		atomic64_inc(&view->flushed);
	}
}

/* Below the exclusive lock, while the map still says where they are. */
void dv_flush_leaving(struct dv_view *view, pgoff_t first, pgoff_t last)
{
	unsigned long unit = first / DV_UNIT_PAGES;
	struct dv_found found;
	struct dv_tags *tags;

	while ((tags = xa_find(&view->tags, &unit, last / DV_UNIT_PAGES, XA_PRESENT))) {
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

	if (!tags)
		return 0;
	if (down_write_killable(&view->lock))
		return -EINTR;
	dv_take_tags_locked(view, tags, found, bitmap);
	downgrade_write(&view->lock);
	dv_flush_locked(view, found);
	up_read(&view->lock);
	err = bitmap ? dv_tell_changed(found, first, bitmap) : 0;
	if (err) {
		unsigned int i;

		down_read(&view->lock);
		for_each_set_bit(i, found->changed, DV_UNIT_PAGES)
			set_bit(i, tags->changed);
		up_read(&view->lock);
	}
	return err;
}

int dv_clean(struct dv_view *view, pgoff_t first, pgoff_t last, u64 __user *bitmap)
{
	struct dv_found *found = kmalloc(sizeof(*found), GFP_KERNEL);
	unsigned long unit = first / DV_UNIT_PAGES;
	int err = 0;

	if (!found)
		return -ENOMEM;
	if (mutex_lock_killable(&view->sync)) {
		kfree(found);
		return -EINTR;
	}
	for (; !err && xa_find(&view->tags, &unit, last / DV_UNIT_PAGES, XA_PRESENT); unit++) {
		pgoff_t base = unit * DV_UNIT_PAGES;

		found->unit = unit;
		found->from = base < first ? first - base : 0;
		found->to = min(last - base, DV_UNIT_PAGES - 1);
		err = dv_clean_unit(view, found, first, bitmap);
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
