/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking parts of regions out of the table: unmapped, given to the kernel, or replaced by
 * something else. The daemon is told afterwards what is not mapped any more. Without the lock.
 */
#ifndef DAXFUSE_DAXMAP_PART_H
#define DAXFUSE_DAXMAP_PART_H

#include <stdbool.h>
#include <stdint.h>

#include "region.h"
#include "daxfuse/base/errint.h"

/* What lies at [start, end) from now on; with the lock, and room for one region. 0 or a
 * negative errno. */
typedef errint_t part_replace(uintptr_t start, uintptr_t end, const void *argument);

/*
 * Replace whatever is mapped at [start, end), ours or not. The range is handled in ascending
 * order, each address once; on an error what comes behind it is as it was.
 */
errint_t part_replaced(uintptr_t start, uintptr_t end, part_replace *replace, const void *argument);
errint_t part_unmap(uintptr_t start, uintptr_t end);
/*
 * Where the device is mapped in whole units only, a mapping can't be cut inside one: have the
 * kernel map such units at the ends of [start, end). Of those that hold nothing of the program's
 * outside of it nothing is done, or with `whole` they are unmapped.
 */
errint_t part_settle(uintptr_t start, uintptr_t end, bool whole);
/* Have the kernel map the regions there, through its page cache or however it does. In signal
 * handlers, too. */
errint_t part_to_kernel(uintptr_t start, uintptr_t end);
/* How often something has left the table. A thread that has faulted on an address which is not in
 * it looks at this, as something else may be mapped there now. */
uint64_t part_replacements(void);

#endif
