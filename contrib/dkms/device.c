// SPDX-License-Identifier: GPL-2.0
/*
 * A device-dax: where its pages are, which of them have failed, which are in use.
 *
 * Where they are is asked of the kernel, not of the driver's private structs:
 * a page of a short mapping of the device leads to its dev_pagemap, which lists
 * the ranges; the first and the last page of each are looked at in the same way.
 * The reference to the pagemap keeps the driver from being unbound.
 */
#include <linux/file.h>
#include <linux/jiffies.h>
#include <linux/mman.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "compat.h"
#include "daxview.h"

static LIST_HEAD(dv_devices); /* dv_lock */
static atomic_t dv_failing = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(dv_failed);

/* The page that a mapping of the device has at this offset. */
static int dv_probe_page(struct file *file, u64 page, unsigned long *pfn,
			 struct dev_pagemap **pgmap)
{
	u64 start = round_down(page, DV_UNIT_PAGES);
	unsigned long address;
	struct page *found;
	int ret;

	address = vm_mmap(file, 0, PMD_SIZE, PROT_READ, MAP_SHARED, start << PAGE_SHIFT);
	if (IS_ERR_VALUE(address))
		return (int)address;
	ret = get_user_pages_fast(address + ((page - start) << PAGE_SHIFT), 1, 0, &found);
	if (ret == 1) {
		*pfn = page_to_pfn(found);
		*pgmap = is_zone_device_page(found) ? dv_pgmap_of(found) : NULL;
		put_page(found);
	}
	vm_munmap(address, PMD_SIZE);
	if (ret != 1)
		return ret < 0 ? ret : -EFAULT;
	return *pgmap ? 0 : -ENODEV;
}

/* Is the page at this offset of the device that one? */
static bool dv_page_is(struct dv_device *device, u64 page, unsigned long pfn)
{
	struct dev_pagemap *pgmap;
	unsigned long found;

	return !dv_probe_page(device->file, page, &found, &pgmap) && found == pfn &&
	       pgmap == device->pgmap;
}

/* The first range may begin behind the pagemap's own data; the others are as they are listed. */
static int dv_fill_ranges(struct dv_device *device, unsigned long first)
{
	u64 unit = device->align >> PAGE_SHIFT;
	unsigned int i;

	for (i = 0; i < device->ranges; i++) {
		const struct range *range = &device->pgmap->ranges[i];
		struct dv_range *mine = &device->range[i];

		mine->pfn = i ? PHYS_PFN(range->start) : first;
		mine->first = device->pages;
		mine->pages = round_down(PHYS_PFN(range->end + 1) - mine->pfn, unit);
		if (!mine->pages || PHYS_PFN(range->start) > mine->pfn ||
		    !dv_page_is(device, mine->first, mine->pfn) ||
		    !dv_page_is(device, mine->first + mine->pages - 1, mine->pfn + mine->pages - 1))
			return -EOPNOTSUPP;
		device->pages += mine->pages;
	}
	return 0;
}

static struct dv_device *dv_device_make(struct file *file, u32 *reason)
{
	struct dv_device *device;
	struct dev_pagemap *pgmap;
	unsigned long pfn;
	int err;

	err = dv_probe_page(file, 0, &pfn, &pgmap);
	if (err) {
		*reason = err == -EINVAL ? DAXVIEW_REASON_ALIGN : DAXVIEW_REASON_DEVICE;
		return ERR_PTR(err == -ENOMEM || err == -EINTR ? err : -EOPNOTSUPP);
	}
	pgmap = dv_get_pgmap(pfn);
	if (!pgmap || pgmap->type != MEMORY_DEVICE_GENERIC) {
		if (pgmap)
			put_dev_pagemap(pgmap);
		*reason = DAXVIEW_REASON_DEVICE;
		return ERR_PTR(-EOPNOTSUPP);
	}
	device = kzalloc(struct_size(device, range, pgmap->nr_range), GFP_KERNEL);
	if (!device) {
		put_dev_pagemap(pgmap);
		return ERR_PTR(-ENOMEM);
	}
	device->ranges = pgmap->nr_range;
	device->pgmap = pgmap;
	device->file = get_file(file);
	device->align = PAGE_SIZE << pgmap->vmemmap_shift;
	kref_init(&device->kref);
	INIT_LIST_HEAD(&device->list);
	xa_init_flags(&device->views, XA_FLAGS_ALLOC1);
	xa_init(&device->bad);
	err = dv_fill_ranges(device, pfn);
	if (err) {
		*reason = DAXVIEW_REASON_LAYOUT;
		mutex_lock(&dv_lock);
		dv_device_put_locked(device);
		mutex_unlock(&dv_lock);
		return ERR_PTR(err);
	}
	return device;
}

/* A page that programs reach through views has failed: they lose that page, and nothing else. */
static int dv_memory_failure(struct dev_pagemap *pgmap, unsigned long pfn, unsigned long pages,
			     int flags);

static const struct dev_pagemap_ops dv_pgmap_ops = {
	.memory_failure = dv_memory_failure,
};

static struct dv_device *dv_device_of_locked(struct dev_pagemap *pgmap)
{
	struct dv_device *device;

	list_for_each_entry(device, &dv_devices, list)
		if (device->pgmap == pgmap)
			return device;
	return NULL;
}

struct dv_device *dv_device_get(int fd, u32 *reason)
{
	struct dv_device *device, *known;
	struct file *file = fget(fd);

	if (!file)
		return ERR_PTR(-EBADF);
	if (!S_ISCHR(file_inode(file)->i_mode)) {
		*reason = DAXVIEW_REASON_DEVICE;
		device = ERR_PTR(-EOPNOTSUPP);
	} else if ((file->f_mode & (FMODE_READ | FMODE_WRITE)) != (FMODE_READ | FMODE_WRITE)) {
		*reason = DAXVIEW_REASON_READONLY;
		device = ERR_PTR(-EOPNOTSUPP);
	} else {
		device = dv_device_make(file, reason);
	}
	fput(file);
	if (IS_ERR(device))
		return device;
	mutex_lock(&dv_lock);
	known = dv_device_of_locked(device->pgmap);
	if (known) {
		kref_get(&known->kref);
		dv_device_put_locked(device);
		device = known;
	} else {
		list_add(&device->list, &dv_devices);
		cmpxchg(&device->pgmap->ops, NULL, &dv_pgmap_ops);
	}
	mutex_unlock(&dv_lock);
	return device;
}

static void dv_device_free(struct kref *kref)
{
	struct dv_device *device = container_of(kref, struct dv_device, kref);

	if (!list_empty(&device->list)) {
		list_del(&device->list);
		cmpxchg(&device->pgmap->ops, &dv_pgmap_ops, NULL);
	}
	xa_destroy(&device->bad);
	WARN_ON_ONCE(!xa_empty(&device->views));
	put_dev_pagemap(device->pgmap);
	fput(device->file);
	kfree(device);
}

void dv_device_put_locked(struct dv_device *device)
{
	lockdep_assert_held(&dv_lock);
	kref_put(&device->kref, dv_device_free);
}

/* The page frame of a page of the device, and how many follow it in memory. */
unsigned long dv_device_pfn(struct dv_device *device, u64 page, u64 *run)
{
	unsigned int i;

	for (i = 0; i < device->ranges; i++) {
		const struct dv_range *range = &device->range[i];

		if (page - range->first >= range->pages)
			continue;
		*run = range->pages - (page - range->first);
		return range->pfn + (page - range->first);
	}
	WARN_ON_ONCE(1); /* pieces have been checked */
	*run = 0;
	return 0;
}

/* Some have: see dv_device_bad(). */
bool dv_find_bad(struct dv_device *device, u64 page, u64 *run)
{
	unsigned long at = page;

	if (!xa_find(&device->bad, &at, page + *run - 1, XA_PRESENT))
		return false;
	*run = at - page;
	return at == page;
}

static u64 dv_page_of(struct dv_device *device, unsigned long pfn)
{
	unsigned int i;

	for (i = 0; i < device->ranges; i++)
		if (pfn - device->range[i].pfn < device->range[i].pages)
			return device->range[i].first + (pfn - device->range[i].pfn);
	return U64_MAX;
}

static void dv_fail_pages(struct dv_device *device, u64 page, u64 pages)
{
	struct dv_view *view;
	u64 at = 0, i;

	for (i = 0; i < pages; i++)
		xa_store(&device->bad, page + i, xa_mk_value(1), GFP_KERNEL | __GFP_NOFAIL);
	while ((view = dv_view_next(device, at))) {
		at = view->number;
		dv_unmap_device(view, page, pages);
		iput(&view->inode);
	}
	dv_tell_sessions(device, page, pages);
}

static int dv_memory_failure(struct dev_pagemap *pgmap, unsigned long pfn, unsigned long pages,
			     int flags)
{
	struct dv_device *device;
	u64 page;

	atomic_inc(&dv_failing);
	mutex_lock(&dv_lock);
	device = dv_device_of_locked(pgmap);
	if (device)
		kref_get(&device->kref);
	mutex_unlock(&dv_lock);
	if (device) {
		page = dv_page_of(device, pfn);
		if (page != U64_MAX)
			dv_fail_pages(device, page, min(pages, device->pages - page));
		mutex_lock(&dv_lock);
		dv_device_put_locked(device);
		mutex_unlock(&dv_lock);
	}
	if (atomic_dec_and_test(&dv_failing))
		wake_up_all(&dv_failed);
	/*
	 * The kernel's own handler goes on with mappings of the device itself. It fails if there
	 * has never been one of that folio.
	 */
	return READ_ONCE(page_folio(pfn_to_page(pfn))->mapping) ? -EOPNOTSUPP : 0;
}

/*
 * The handler may have been found before it was taken out of the pagemap, and
 * nothing else says that it has returned.
 */
void dv_device_exit(void)
{
	synchronize_rcu_tasks();
	wait_event(dv_failed, !atomic_read(&dv_failing));
	synchronize_rcu_tasks();
}

/* References other than a mapping's: direct I/O, or a device that reads or writes the page. */
static bool dv_folio_busy(struct folio *folio)
{
	return folio_ref_count(folio) - folio_mapcount(folio) > 1;
}

/* Of *run pages: and of how many that can be said. */
bool dv_page_busy(struct page *page, unsigned long *run)
{
	struct folio *folio = page_folio(page);

	*run = min(*run, folio_nr_pages(folio) - (page_to_pfn(page) - folio_pfn(folio)));
	return dv_folio_busy(folio);
}

static bool dv_find_busy(struct dv_device *device, u64 first, u64 end, u64 *where)
{
	u64 page = first, run;

	while (page < end) {
		unsigned long pfn = dv_device_pfn(device, page, &run);
		struct folio *folio = page_folio(pfn_to_page(pfn));

		if (dv_folio_busy(folio)) {
			*where = page;
			return true;
		}
		page += folio_nr_pages(folio) - (pfn - folio_pfn(folio));
		cond_resched();
	}
	return false;
}

int dv_device_busy(struct dv_device *device, u64 first, u64 pages, u32 timeout_ms, u64 *where)
{
	unsigned long end = jiffies + msecs_to_jiffies(timeout_ms);
	long pause = 1;

	if (first >= device->pages || pages > device->pages - first)
		return -EINVAL;
	while (dv_find_busy(device, first, first + pages, where)) {
		if (!timeout_ms || time_after(jiffies, end))
			return -EBUSY;
		if (schedule_timeout_killable(pause) && fatal_signal_pending(current))
			return -EINTR;
		pause = min(pause * 2, HZ / 10);
	}
	return 0;
}
