/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between kernels. From 6.15 on a mapping of device memory counts
 * as a reference and as a mapping of its folio; before, it counts as neither.
 * Tried on 6.12 and 7.3.
 */
#ifndef DAXVIEW_COMPAT_H
#define DAXVIEW_COMPAT_H

#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/rmap.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
#error "daxview needs Linux 6.12 or later"
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
#include <linux/pfn_t.h>
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 15, 0)

#define DV_HUGE_HOLES 1

static inline struct dev_pagemap *dv_pgmap_of(struct page *page)
{
	return page_pgmap(page);
}

static inline vm_fault_t dv_insert_pmd(struct vm_fault *vmf, unsigned long pfn, bool write)
{
	return vmf_insert_folio_pmd(vmf, page_folio(pfn_to_page(pfn)), write);
}

static inline vm_fault_t dv_insert_pte(struct vm_fault *vmf, unsigned long pfn, bool write)
{
	return vmf_insert_page_mkwrite(vmf, pfn_to_page(pfn), write);
}

#else

#define DV_HUGE_HOLES 0

static inline struct dev_pagemap *dv_pgmap_of(struct page *page)
{
	return compound_head(page)->pgmap;
}

static inline vm_fault_t dv_insert_pmd(struct vm_fault *vmf, unsigned long pfn, bool write)
{
	return vmf_insert_pfn_pmd(vmf, phys_to_pfn_t(PFN_PHYS(pfn), PFN_DEV | PFN_MAP), write);
}

/* Read-only always: the store faults once more, and pfn_mkwrite() hears of it. */
static inline vm_fault_t dv_insert_pte(struct vm_fault *vmf, unsigned long pfn, bool write)
{
	return vmf_insert_mixed(vmf->vma, vmf->address,
				phys_to_pfn_t(PFN_PHYS(pfn), PFN_DEV | PFN_MAP));
}

#endif

/*
 * Shared mappings of pages of a file become read-only, wherever they are; of one huge page at most.
 * Where the kernel does not export that, mappings are taken away.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0)
#define DV_CAN_PROTECT 1
static inline void dv_wrprotect(struct address_space *mapping, pgoff_t first, struct page *page,
				unsigned long pages)
{
	mapping_wrprotect_range(mapping, first, page_to_pfn(page), pages);
}
#else
#define DV_CAN_PROTECT 0
static inline void dv_wrprotect(struct address_space *mapping, pgoff_t first, struct page *page,
				unsigned long pages)
{
}
#endif

/* The zero page, as a special entry of the page table. */
static inline vm_fault_t dv_insert_zero(struct vm_fault *vmf)
{
	unsigned long pfn = page_to_pfn(ZERO_PAGE(vmf->address));

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0)
	return vmf_insert_mixed(vmf->vma, vmf->address, pfn);
#else
	return vmf_insert_mixed(vmf->vma, vmf->address, __pfn_to_pfn_t(pfn, 0));
#endif
}

static inline struct dev_pagemap *dv_get_pgmap(unsigned long pfn)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	return get_dev_pagemap(pfn);
#else
	return get_dev_pagemap(pfn, NULL);
#endif
}

#endif
