/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pool in anonymous memory, for tests and benches: mapped and flushed as a
 * real one, gone when freed. Nothing but /proc needs to exist.
 */
#ifndef DAXFUSE_PMEM_MEMORY_H
#define DAXFUSE_PMEM_MEMORY_H

#include "pmem.h"

enum pmem_memory_flags {
	PMEM_MEMORY_HUGETLB = 1, /* of reserved 2 MiB pages; -ENOMEM without them */
};

/* size: a multiple of 2 MiB; only pages that are touched take memory. */
int pmem_memory_new(uint64_t size, unsigned flags, struct pmem **ret_pm);
/* The memfd beneath; cutting it short makes SIGBUS behind the cut. */
int pmem_memory_fd(const struct pmem *pm);
/* NULL is fine. */
void pmem_memory_free(struct pmem *pm);

#endif
