/* SPDX-License-Identifier: BSD-3-Clause */
/* Going through a range of addresses, what is ours and what is not. Without the lock. */
#ifndef DAXFUSE_DAXMAP_WALK_H
#define DAXFUSE_DAXMAP_WALK_H

#include <stdint.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/daxmap/session/object.h"

struct walk_part {
	uintptr_t start, end;
	struct object *object; /* held for the while; NULL: not ours */
	uint64_t offset;       /* in the file */
	int prot;
};

typedef errint_t walk_function(const struct walk_part *part, const void *argument);

/* In ascending order, until one fails: its error, and where that was. */
errint_t walk_range_to(uintptr_t start, uintptr_t end, walk_function *function,
		       const void *argument, uintptr_t *ret_at);
errint_t walk_range(uintptr_t start, uintptr_t end, walk_function *function, const void *argument);

#endif
