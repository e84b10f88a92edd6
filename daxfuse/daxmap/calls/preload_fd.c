/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libdaxmap-preload: some programs close all descriptors that they do not know (daemons, before
 * they execute others). Ours look to them as if they were not open.
 */
#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "next.h"
#include "daxfuse/daxmap/preload.h"

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4
#endif

EXPORTED int close(int fd)
{
	if (dxm_preload_owns(fd)) {
		errno = EBADF;
		return -1;
	}
	return NEXT(close)(fd);
}

/* What lies between ours. */
EXPORTED int close_range(unsigned first, unsigned last, int flags)
{
	int own = first <= INT_MAX ? dxm_preload_next_fd((int)first) : -1;

	if (first > last || flags & CLOSE_RANGE_CLOEXEC)
		return NEXT(close_range)(first, last, flags);
	while (own >= 0 && (unsigned)own <= last) {
		if ((unsigned)own > first && NEXT(close_range)(first, (unsigned)own - 1, flags))
			return -1;
		first = (unsigned)own + 1;
		own = dxm_preload_next_fd((int)first);
	}
	return first <= last ? NEXT(close_range)(first, last, flags) : 0;
}

EXPORTED void closefrom(int low)
{
	close_range(low < 0 ? 0 : (unsigned)low, UINT_MAX, 0);
}

EXPORTED int dup2(int old, int fd)
{
	if (old != fd)
		dxm_preload_yield_fd(fd);
	return NEXT(dup2)(old, fd);
}

EXPORTED int dup3(int old, int fd, int flags)
{
	if (old != fd)
		dxm_preload_yield_fd(fd);
	return NEXT(dup3)(old, fd, flags);
}
