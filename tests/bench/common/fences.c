/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/bench/common/fences.h"

#include "daxfuse/pmem/pmem.h"

/* Names that the linker's --wrap prescribes. */
void __real_pmem_fence(const struct pmem *pm);
void __wrap_pmem_fence(const struct pmem *pm);

static __thread uint64_t issued;

void __wrap_pmem_fence(const struct pmem *pm)
{
	issued++;
	__real_pmem_fence(pm);
}

uint64_t fences_issued(void)
{
	return issued;
}
