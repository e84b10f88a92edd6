/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many requests of each kind a thread has served, and how long that took: from when it was read
 * until its handler is done (one that is put off is answered later). Only the thread itself adds;
 * anybody may read meanwhile.
 */
#ifndef DAXFUSE_FUSE_TIMES_H
#define DAXFUSE_FUSE_TIMES_H

#include <stdatomic.h>
#include <stdint.h>

#include "daxfuse/ioctl.h"

struct times {
	struct {
		_Atomic uint64_t ns;
		_Atomic uint64_t bucket[DXF_IOC_REQUEST_BUCKETS];
	} kind[DXF_IOC_REQUEST_KINDS];
};

/* CLOCK_MONOTONIC, in ns. */
uint64_t times_now(void);
/* A request that was begun at such a time is done. Kinds that have no room are not counted. */
void times_add(struct times *times, uint32_t opcode, uint64_t begun);
/* Add those of a thread to the sum of all. */
void times_sum(const struct times *times, struct dxf_ioc_requests *sum);

#endif
