/* SPDX-License-Identifier: BSD-3-Clause */
/* Questions for pieces. Without the lock. */
#ifndef DAXFUSE_DAXMAP_ASK_H
#define DAXFUSE_DAXMAP_ASK_H

#include <stdint.h>

#include "daxfuse/base/errint.h"

struct region;

/*
 * Ask for the part of a region that is at [addr, end), or its first pieces, and map what comes.
 * *ret_done: up to where; addr, if nothing could be mapped this time (again). Errors: of
 * DXF_IOC_MAP, -ENOENT: there is no region, -ENOMEM: mmap. In signal handlers, too.
 * flags: more for mmap, MAP_POPULATE.
 */
errint_t ask_for_pieces(uintptr_t addr, uintptr_t end, uint32_t access, int flags,
			uintptr_t *ret_done);

/*
 * Ask before there are addresses, then enter a region where the kernel likes: what comes as one
 * piece needs no background, and one mmap. The region has all but an area; its start is a hint, and
 * the address then. *ret_done: up to where it is filled. Errors as above, and -EAGAIN; there is no
 * region then.
 */
errint_t ask_for_region(struct region *region, uint32_t access, uintptr_t *ret_done);

#endif
