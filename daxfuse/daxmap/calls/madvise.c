/* SPDX-License-Identifier: BSD-3-Clause */
/* dxm_advise(), dxm_populate(): what is mapped ahead of an access, and advice that is an order. */
#include "answer.h"
#include "walk.h"
#include "daxfuse/base/errint.h"

#include <errno.h>

#include "daxfuse/daxmap.h"
#include "daxfuse/daxmap/faults/fault.h"
#include "daxfuse/daxmap/regions/part.h"
#include "daxfuse/daxmap/regions/region.h"
#include "daxfuse/daxmap/session/daemon.h"
#include "daxfuse/daxmap/sys.h"

static errint_t promote_part(const struct walk_part *part)
{
	int err = daemon_promote(part->object->fd, part->offset, part->end - part->start);

	/* the promotion has taken back what was mapped, also units that stay as they are */
	if (fault_fill_region(part->start, part->end, part->offset, part->prot, 0))
		return part_to_kernel(part->start, part->end);
	return err;
}

static errint_t advise_part(const struct walk_part *part, const void *argument)
{
	int advice = *(const int *)argument;

	if (!part->object)
		return sys_madvise(part->start, part->end - part->start, advice);
	switch (advice) {
	case MADV_HUGEPAGE:
		return promote_part(part);
	case MADV_WILLNEED:
		fault_populate(part->start, part->end, false);
		return 0;
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		return fault_populate(part->start, part->end, advice == MADV_POPULATE_WRITE);
	case MADV_REMOVE:
		return fallocate(part->object->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 (off_t)part->offset, (off_t)(part->end - part->start))
			       ? -errno
			       : 0;
	case MADV_FREE:
		return -EINVAL;
	default:
		return 0;
	}
}

int dxm_advise(void *addr, size_t length, int advice)
{
	uintptr_t start = (uintptr_t)addr, end = range_end(start, length);

	if (start % PAGE_BYTES || end <= start || !regions_near(start, end))
		return answer(sys_madvise(start, length, advice));
	return answer(walk_range(start, end, advise_part, &advice));
}

int dxm_populate(void *addr, size_t length, int prot)
{
	uintptr_t start = (uintptr_t)addr;

	if (!regions_near(start, start + length))
		return 0;
	return answer(fault_populate(start, start + length, prot & PROT_WRITE));
}
