/* SPDX-License-Identifier: BSD-3-Clause */
/* The CPU's caches. Unit tests replace this, to see what is flushed. */
#ifndef DAXFUSE_DAXMAP_CACHE_H
#define DAXFUSE_DAXMAP_CACHE_H

#include <stdbool.h>
#include <stdint.h>

/* All lines of [start, end), which must be readable, are on the device when it returns. False:
 * this machine has no instruction for that, the daemon must be asked. */
bool cache_flush(uintptr_t start, uintptr_t end);

#endif
