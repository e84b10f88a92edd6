// SPDX-License-Identifier: GPL-2.0
/*
 * Loads and stores to mappings of a view.
 *
 * A fault looks and maps below the shared view->lock, so a change of the view,
 * which takes mappings away below the exclusive one, either comes before it
 * looks or finds what it has mapped. It maps 2 MiB where the unit lies in one
 * piece, aligned in the device and in the program, inside the mapping and the
 * file, and without a failed page; else 4 KiB. A load maps read-only, so the
 * first store to anything comes here, too.
 *
 * What is not known, and a hole that is stored to, the daemon is asked about: with
 * mmap_lock dropped at the first attempt; with it at the second one, as a
 * fault that has dropped it can't say any more that it has failed.
 *
 * A thread that maps a page while another one maps the whole unit would meet a
 * page table where there must be none: a mutex for the unit keeps them apart, and
 * each looks at what the other one has left (of two views in one mutex only
 * time is lost).
 */
#include <linux/file.h>
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "daxview.h"

#define DV_UNIT_BITS 6

static struct mutex dv_unit_mutex[1 << DV_UNIT_BITS];
struct page *dv_zeroes; /* one page, for private copies of holes */
static struct folio *dv_huge_zeroes;

static struct mutex *dv_mutex_of(struct dv_view *view, pgoff_t page)
{
	return &dv_unit_mutex[hash_long((unsigned long)view + page / DV_UNIT_PAGES, DV_UNIT_BITS)];
}

static bool dv_is_shared_store(struct vm_fault *vmf)
{
	return (vmf->flags & FAULT_FLAG_WRITE) && (vmf->vma->vm_flags & VM_SHARED);
}

/* The part of the page's unit of which nothing else is known, as far as the file goes. */
static void dv_want_unit(struct dv_view *view, struct vm_fault *vmf, const struct dv_place *place,
			 struct dv_want *want)
{
	pgoff_t first = round_down(vmf->pgoff, DV_UNIT_PAGES);
	pgoff_t last = min3(place->last, vmf->pgoff | (DV_UNIT_PAGES - 1), dv_view_pages(view) - 1);
	struct dv_place before;

	dv_look(view, first, &before);
	if (before.kind != place->kind || before.last < vmf->pgoff)
		first = vmf->pgoff;
	want->kind = dv_is_shared_store(vmf) ? DAXVIEW_ASK_WRITE : DAXVIEW_ASK_READ;
	want->offset = (u64)first << PAGE_SHIFT;
	want->length = (u64)(last - first + 1) << PAGE_SHIFT;
	want->generation = view->generation;
}

static bool dv_must_ask(struct vm_fault *vmf, const struct dv_place *place)
{
	return place->kind == DV_UNKNOWN || place->is_tail ||
	       ((place->kind == DV_HOLE || place->reads_only) && dv_is_shared_store(vmf));
}

/* A private mapping's first store: the kernel copies this page. */
static vm_fault_t dv_give_page(struct vm_fault *vmf, struct page *page)
{
	get_page(page);
	lock_page(page);
	vmf->page = page;
	return VM_FAULT_LOCKED;
}

static vm_fault_t dv_map_page(struct dv_view *view, struct vm_fault *vmf,
			      const struct dv_place *place)
{
	struct dv_device *device = view->session->device;
	unsigned long pfn;
	u64 run = 1;

	if (place->kind == DV_HOLE) {
		atomic64_inc(&view->hole);
		return vmf->cow_page ? dv_give_page(vmf, dv_zeroes) : dv_insert_zero(vmf);
	}
	if (dv_device_bad(device, place->device, &run))
		return VM_FAULT_HWPOISON;
	pfn = dv_device_pfn(device, place->device, &run);
	if (!run)
		return VM_FAULT_SIGBUS;
	atomic64_inc(&view->small);
	if (vmf->cow_page)
		return dv_give_page(vmf, pfn_to_page(pfn));
	if (dv_is_shared_store(vmf) && dv_tag(view, vmf->pgoff, 1, true))
		return VM_FAULT_OOM;
	return dv_insert_pte(vmf, pfn, dv_is_shared_store(vmf));
}

/* 0: the daemon must be asked. */
static vm_fault_t dv_try_page(struct dv_view *view, struct vm_fault *vmf, struct dv_want *want)
{
	struct mutex *mutex = dv_mutex_of(view, vmf->pgoff);
	vm_fault_t ret = VM_FAULT_NOPAGE;
	struct dv_place place;

	if (view->revoked || vmf->pgoff >= dv_view_pages(view))
		return VM_FAULT_SIGBUS;
	dv_look(view, vmf->pgoff, &place);
	if (dv_must_ask(vmf, &place)) {
		dv_want_unit(view, vmf, &place, want);
		return 0;
	}
	mutex_lock(mutex);
	/* Mapped whole meanwhile: the program tries again, and finds it. */
	if (!pmd_leaf(READ_ONCE(*vmf->pmd)))
		ret = dv_map_page(view, vmf, &place);
	mutex_unlock(mutex);
	return ret;
}

/* May a 2 MiB mapping be here at all? */
static bool dv_unit_fits(struct dv_view *view, struct vm_fault *vmf)
{
	unsigned long address = vmf->address & PMD_MASK;
	pgoff_t first = round_down(vmf->pgoff, DV_UNIT_PAGES);

	if ((vmf->flags & FAULT_FLAG_WRITE) && !(vmf->vma->vm_flags & VM_SHARED))
		return false;
	return address >= vmf->vma->vm_start && address + PMD_SIZE <= vmf->vma->vm_end &&
	       linear_page_index(vmf->vma, address) == first &&
	       first + DV_UNIT_PAGES <= dv_view_pages(view);
}

static vm_fault_t dv_map_hole_unit(struct dv_view *view, struct vm_fault *vmf)
{
	if (!dv_huge_zeroes)
		return VM_FAULT_FALLBACK;
	atomic64_inc(&view->hole);
	return dv_insert_pmd(vmf, folio_pfn(dv_huge_zeroes), false);
}

static vm_fault_t dv_map_unit(struct dv_view *view, struct vm_fault *vmf, pgoff_t first,
			      const struct dv_place *place)
{
	struct dv_device *device = view->session->device;
	unsigned long pfn;
	u64 run;

	pfn = dv_device_pfn(device, place->device, &run);
	if (run < DV_UNIT_PAGES || !IS_ALIGNED(pfn, DV_UNIT_PAGES) ||
	    folio_order(page_folio(pfn_to_page(pfn))) != HPAGE_PMD_ORDER)
		return VM_FAULT_FALLBACK;
	run = DV_UNIT_PAGES;
	if (dv_device_bad(device, place->device, &run) || run < DV_UNIT_PAGES)
		return VM_FAULT_FALLBACK;
	if (dv_is_shared_store(vmf) && dv_tag(view, first, DV_UNIT_PAGES, true))
		return VM_FAULT_OOM;
	atomic64_inc(&view->huge);
	return dv_insert_pmd(vmf, pfn, dv_is_shared_store(vmf));
}

/* 0: the daemon must be asked. */
static vm_fault_t dv_try_unit(struct dv_view *view, struct vm_fault *vmf, struct dv_want *want)
{
	pgoff_t first = round_down(vmf->pgoff, DV_UNIT_PAGES);
	struct mutex *mutex = dv_mutex_of(view, first);
	vm_fault_t ret = VM_FAULT_FALLBACK;
	struct dv_place place;
	pmd_t pmd;

	if (view->revoked || !dv_unit_fits(view, vmf))
		return VM_FAULT_FALLBACK;
	dv_look(view, first, &place);
	if (place.last < first + DV_UNIT_PAGES - 1)
		return VM_FAULT_FALLBACK;
	if (dv_must_ask(vmf, &place)) {
		dv_want_unit(view, vmf, &place, want);
		return 0;
	}
	mutex_lock(mutex);
	pmd = READ_ONCE(*vmf->pmd);
	if (pmd_none(pmd) || pmd_leaf(pmd))
		ret = place.kind == DV_HOLE ? dv_map_hole_unit(view, vmf)
					    : dv_map_unit(view, vmf, first, &place);
	mutex_unlock(mutex);
	return ret;
}

/* 0: look again, with all locks as they were. */
static vm_fault_t dv_ask_for(struct dv_view *view, struct vm_fault *vmf, struct dv_want *want)
{
	struct file *file;

	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;
	if ((vmf->flags & (FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_TRIED)) != FAULT_FLAG_ALLOW_RETRY)
		return dv_ask(view, want) ? VM_FAULT_SIGBUS : 0;
	/* The mapping, and with it the view, may go as soon as the lock is dropped. */
	file = get_file(vmf->vma->vm_file);
	release_fault_lock(vmf);
	dv_ask(view, want);
	fput(file);
	/* "Major" makes a fault that began below a lock of its mapping count as the first try. */
	return VM_FAULT_RETRY | VM_FAULT_MAJOR;
}

static vm_fault_t dv_any_fault(struct vm_fault *vmf,
			       vm_fault_t (*try)(struct dv_view *, struct vm_fault *,
						 struct dv_want *))
{
	struct dv_view *view = dv_view_of(file_inode(vmf->vma->vm_file));
	struct dv_want want;
	vm_fault_t ret;

	do {
		down_read(&view->lock);
		ret = try(view, vmf, &want);
		up_read(&view->lock);
		if (!ret)
			ret = dv_ask_for(view, vmf, &want);
	} while (!ret);
	return ret;
}

static vm_fault_t dv_fault(struct vm_fault *vmf)
{
	return dv_any_fault(vmf, dv_try_page);
}

static vm_fault_t dv_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	return order == HPAGE_PMD_ORDER ? dv_any_fault(vmf, dv_try_unit) : VM_FAULT_FALLBACK;
}

/* The first store to a page that is mapped read-only, where such pages are counted. */
static vm_fault_t dv_page_mkwrite(struct vm_fault *vmf)
{
	struct dv_view *view = dv_view_of(file_inode(vmf->vma->vm_file));
	vm_fault_t ret = VM_FAULT_NOPAGE;
	struct dv_place place;

	down_read(&view->lock);
	dv_look(view, vmf->pgoff, &place);
	/* Anything else: its mapping has gone meanwhile, and the store faults from the start. */
	if (place.reads_only) {
		unmap_mapping_pages(view->inode.i_mapping, vmf->pgoff, 1, false);
	} else if (!view->revoked && vmf->pgoff < dv_view_pages(view) && place.kind == DV_EXTENT &&
		   !place.is_tail) {
		struct mutex *mutex = dv_mutex_of(view, vmf->pgoff);

		mutex_lock(mutex);
		if (!pmd_leaf(READ_ONCE(*vmf->pmd)))
			ret = dv_map_page(view, vmf, &place);
		mutex_unlock(mutex);
	}
	up_read(&view->lock);
	return ret;
}

/*
 * The same where they are not, and for zeroes. The kernel maps the page itself
 * afterwards, if it is mapped still. A hole's zeroes go, and a page of which stores
 * ask, so that the store comes again as a fault that may wait.
 */
static vm_fault_t dv_pfn_mkwrite(struct vm_fault *vmf)
{
	struct dv_view *view = dv_view_of(file_inode(vmf->vma->vm_file));
	vm_fault_t ret = VM_FAULT_NOPAGE;
	struct dv_place place;

	down_read(&view->lock);
	dv_look(view, vmf->pgoff, &place);
	if (view->revoked || vmf->pgoff >= dv_view_pages(view))
		ret = VM_FAULT_SIGBUS;
	else if (place.kind == DV_EXTENT && !place.reads_only && !place.is_tail)
		ret = dv_tag(view, vmf->pgoff, 1, true) ? VM_FAULT_OOM : 0;
	else
		unmap_mapping_pages(view->inode.i_mapping, vmf->pgoff, 1, false);
	up_read(&view->lock);
	return ret;
}

const struct vm_operations_struct dv_vm_ops = {
	.fault = dv_fault,
	.huge_fault = dv_huge_fault,
	.page_mkwrite = dv_page_mkwrite,
	.pfn_mkwrite = dv_pfn_mkwrite,
};

int dv_fault_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(dv_unit_mutex); i++)
		mutex_init(&dv_unit_mutex[i]);
	dv_zeroes = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!dv_zeroes)
		return -ENOMEM;
	/* Without it holes are mapped in pages. */
	if (DV_HUGE_HOLES)
		dv_huge_zeroes = folio_alloc(GFP_KERNEL | __GFP_ZERO | __GFP_COMP | __GFP_NOWARN,
					     HPAGE_PMD_ORDER);
	return 0;
}

void dv_fault_exit(void)
{
	__free_page(dv_zeroes);
	if (dv_huge_zeroes)
		folio_put(dv_huge_zeroes);
}
