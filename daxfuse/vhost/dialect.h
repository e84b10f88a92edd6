/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What VMMs do differently with a window of shared memory. The protocol is described in QEMU's
 * manual; crosvm and alioth each have another part of it. One table, and nothing about a VMM
 * anywhere else.
 */
#ifndef DAXFUSE_VHOST_DIALECT_H
#define DAXFUSE_VHOST_DIALECT_H

#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"
#include "exports.h"

struct dialect {
	uint64_t feature; /* the protocol's bit for shared memory */
	bool asks_size;   /* by GET_SHMEM_CONFIG; else it is told by its own user */
	bool power_of_two;
	/* It answers before what it was asked for is in effect, and what it is asked next, after:
	 * then one request more is made, as a barrier. */
	bool answers_early;
	/* What is mapped for reading can only be read. */
	bool read_only;
	/* A piece can be mapped over another one, with no moment in between. */
	bool maps_over;
	bool memory_slots; /* beside a window */
	uint64_t most;     /* bytes of a window */
};

const struct dialect *dialect_of(enum exports_vmm vmm);
/* Whether it can have a window of that size. -EINVAL: no whole units; -ERANGE: too large, or no
 * power of two; -EROFS: it would be writable. */
errint_t dialect_check(const struct dialect *d, uint64_t size, bool read_only);

#endif
