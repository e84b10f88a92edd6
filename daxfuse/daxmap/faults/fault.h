/* SPDX-License-Identifier: BSD-3-Clause */
/* Accesses to what is not mapped, and filling ranges ahead of them. */
#ifndef DAXFUSE_DAXMAP_FAULT_H
#define DAXFUSE_DAXMAP_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"

enum fault {
	FAULT_FOREIGN, /* not ours, or not allowed by the mapping: the program's */
	FAULT_AGAIN,   /* resolved: repeat the access */
	FAULT_BUS,     /* nothing can be mapped: behind the end, poison, no space */
};

/* A fault of the calling thread at addr; bus: it was a SIGBUS. Async-signal-safe. */
enum fault fault_resolve(uintptr_t addr, bool write, bool bus);

/*
 * Map all of a region's range that can be mapped now; the rest comes with faults. offset: of the
 * file, at start; flags: MAP_POPULATE. Errors are those which make it useless to go on: the range
 * is to be mapped through the kernel.
 */
errint_t fault_fill_region(uintptr_t start, uintptr_t end, uint64_t offset, int prot, int flags);
/* Whether an answer to a question is one of those. */
bool fault_is_final(int err);

/* Whether no access in [start, end) would fault, as far as it is ours. */
bool fault_is_populated_locked(uintptr_t start, uintptr_t end, bool write);
/* Make [start, end) accessible where regions are, for a system call that is given it: those see
 * no signal. -EFAULT: a part of it can't be. */
errint_t fault_populate(uintptr_t start, uintptr_t end, bool write);

#endif
