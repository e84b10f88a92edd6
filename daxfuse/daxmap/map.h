/* SPDX-License-Identifier: BSD-3-Clause */
/* Making regions, for those who do it beside dxm_map(). 0 or a negative errno. */
#ifndef DAXFUSE_DAXMAP_MAP_H
#define DAXFUSE_DAXMAP_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "daxfuse/daxmap/object.h"
#include "daxfuse/daxmap/region.h"

struct map_request {
	uintptr_t addr;
	size_t length;
	int prot;
	int flags;
	int fd;
	uint64_t offset;
};

/* mmap(2) of a file that has an object; through the kernel if it must be. */
int map_object(const struct map_request *request, struct object *object, uintptr_t *ret_addr);
/* Put a region (its area is made) where something else is mapped. Nothing is filled. */
int map_enter(const struct region *wanted);
/* Map what can be mapped of a region's range now. flags: MAP_POPULATE. An error: the kernel
 * should have it. */
int map_fill(uintptr_t start, uintptr_t end, uint64_t offset, int prot, int flags);

#endif
