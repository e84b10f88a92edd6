/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pool in memory for the fuzzer, in the place of dxf_pmem: stores are plain,
 * lines can be poisoned, and a store to a read-only pool is a bug that aborts.
 */
#ifndef DAXFUSE_TESTS_FUZZ_MEDIA_H
#define DAXFUSE_TESTS_FUZZ_MEDIA_H

#include "daxfuse/pmem/pmem.h"

/* A zeroed pool that others are copied from. Aborts without memory. */
void media_new(uint64_t size, struct pmem *ret_pm);
/* What stands in pm now is what media_copy() copies. */
void media_keep(const struct pmem *pm);
/* pm becomes a copy again, without poison; costs only what was changed. */
void media_copy(struct pmem *pm);

/* Reading the line of 64 bytes at offset fails until it is overwritten whole. */
void media_poison(uint64_t offset);
bool media_is_poisoned(void);

/* End the process, with status 1, before the store after so many more. */
void media_exit_after(unsigned stores);

#endif
