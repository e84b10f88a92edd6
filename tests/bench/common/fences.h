/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many fences the calling thread has issued. The linker sends each call of
 * pmem_fence() here first (--wrap).
 */
#ifndef BENCH_COMMON_FENCES_H
#define BENCH_COMMON_FENCES_H

#include <stdint.h>

uint64_t fences_issued(void);

#endif
