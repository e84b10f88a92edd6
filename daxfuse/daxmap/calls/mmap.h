/* SPDX-License-Identifier: BSD-3-Clause */
/* Making regions, for mremap() beside dxm_map(). 0 or a negative errno. */
#ifndef DAXFUSE_DAXMAP_MMAP_H
#define DAXFUSE_DAXMAP_MMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"

struct object;
struct region;

struct map_request {
	uintptr_t addr;
	size_t length;
	int prot;
	int flags;
	int fd;
	uint64_t offset;
};

/* mmap(2) of a file that has an object; through the kernel if it must be. */
errint_t map_object(const struct map_request *request, struct object *object, uintptr_t *ret_addr);
/* Put a region (its area is made) where something else is mapped. Nothing is filled. */
errint_t map_region(const struct region *wanted);
/* Whether a file's range, at an address, has units that could be huge and are not, as the
 * address does not line up with it. */
bool map_needs_pages(uintptr_t addr, uint64_t offset, uint64_t length);

#endif
