/* SPDX-License-Identifier: BSD-3-Clause */
/* The library's side of the preload; that of signals is in faults/handler.c. */
#include "daxfuse/daxmap/preload.h"

#include "daxfuse/daxmap/faults/fork.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/regions/pieces.h"
#include "daxfuse/daxmap/regions/region.h"
#include "daxfuse/daxmap/session/connection.h"
#include "daxfuse/daxmap/session/descriptor.h"
#include "daxfuse/daxmap/session/object.h"

bool dxm_preload_near(const void *addr, size_t length)
{
	return regions_near((uintptr_t)addr, (uintptr_t)addr + length);
}

bool dxm_preload_owns(int fd)
{
	return descriptor_is_own(fd);
}

int dxm_preload_next_fd(int fd)
{
	return descriptor_from(fd);
}

void dxm_preload_yield_fd(int fd)
{
	struct lock_guard guard;
	int other;

	if (!descriptor_is_own(fd) || fork_is_foreign())
		return;
	guard = lock_take();
	other = descriptor_move(fd);
	if (other >= 0) {
		objects_renumber_locked(fd, other);
		sessions_renumber_locked(fd, other);
		pieces_renumber_locked(fd, other);
	}
	lock_release(guard);
}
