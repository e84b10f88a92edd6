/* SPDX-License-Identifier: BSD-3-Clause */
/* Telling the daemon what is not mapped any more. */
#ifndef DAXFUSE_DAXMAP_RELEASE_H
#define DAXFUSE_DAXMAP_RELEASE_H

#include <stdint.h>

#include "daxfuse/daxmap/session/object.h"

/*
 * Let go of those whole units of [offset, end) that no region touches, as far as they were
 * granted up to `grant`: flights must know that already (flights_void_locked()). Then the object
 * is put. Without the lock.
 */
void release_units(struct object *object, uint64_t offset, uint64_t end, uint64_t grant);

#endif
