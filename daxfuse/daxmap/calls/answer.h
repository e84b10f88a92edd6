/* SPDX-License-Identifier: BSD-3-Clause */
/* What the calls have in common: the kernel's arithmetic, and libc's way to fail. */
#ifndef DAXFUSE_DAXMAP_ANSWER_H
#define DAXFUSE_DAXMAP_ANSWER_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "daxfuse/daxmap/regions/area.h"

static inline uint64_t round_to_pages(uint64_t length)
{
	return (length + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

/* Of a range that a call is given; below its start, if that can't be. */
static inline uintptr_t range_end(uintptr_t start, size_t length)
{
	return start + round_to_pages(length);
}

/* 0, or -1 and errno. */
static inline int answer(int err)
{
	if (!err)
		return 0;
	errno = -err;
	return -1;
}

#endif
