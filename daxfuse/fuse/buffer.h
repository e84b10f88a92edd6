/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that the kernel copies requests to.
 */
#ifndef DAXFUSE_FUSE_BUFFER_H
#define DAXFUSE_FUSE_BUFFER_H

#include <stddef.h>

#include "daxfuse/base/errint.h"

struct buffer {
	void *at;
	size_t size; /* bytes, whole pages */
	int pin;     /* a descriptor that keeps it where it is; -1: nothing does */
};

/* -ENOMEM */
errint_t buffer_alloc(size_t size, struct buffer *ret_buffer);
void buffer_free(struct buffer *b);

#endif
