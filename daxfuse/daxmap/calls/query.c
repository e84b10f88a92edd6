/* SPDX-License-Identifier: BSD-3-Clause */
/* dxm_query(): how a range is mapped, as the table has it. */
#include <errno.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/daxmap.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/regions/region.h"
#include "daxfuse/ioctl.h"

const char *dxm_reason_name(unsigned reason)
{
	static const char *const names[] = {
		[DXF_REASON_NONE] = "none",     [DXF_REASON_START] = "start",
		[DXF_REASON_END] = "end",       [DXF_REASON_EOF] = "eof",
		[DXF_REASON_SHORT] = "short",   [DXF_REASON_ALIGN] = "align",
		[DXF_REASON_DEVICE] = "device", [DXF_REASON_PTES] = "ptes",
		[DXF_REASON_PUD] = "pud",       [DXF_REASON_ADDRESS] = "address",
	};

	return reason < ARRAY_SIZE(names) ? names[reason] : "unknown";
}

static void describe_page(const struct region *region, uintptr_t addr, struct dxm_range *ret_range)
{
	uint64_t offset = region_offset(region, addr);
	enum page_state state = area_page(region->area, offset);
	bool data = state >= PAGE_READ;

	*ret_range = (struct dxm_range){ .addr = (void *)addr,
					 .offset = offset,
					 .writable = state == PAGE_WRITE };
	if (!data)
		ret_range->kind = state == PAGE_ZERO ? DXM_ZERO : DXM_ABSENT;
	else if (area_is_huge(region->area, offset))
		ret_range->kind = DXM_HUGE;
	else
		ret_range->kind = DXM_PAGES, ret_range->reason = area_reason(region->area, offset);
}

static bool is_alike(const struct dxm_range *a, const struct dxm_range *b)
{
	return a->kind == b->kind && a->reason == b->reason && a->writable == b->writable;
}

/* From addr on as far as it is alike, up to end. */
static void describe_range(const struct region *region, uintptr_t addr, uintptr_t end,
			   struct dxm_range *ret_range)
{
	struct dxm_range next;
	uintptr_t at = addr;

	describe_page(region, addr, ret_range);
	next = *ret_range;
	while (at < end && is_alike(ret_range, &next)) {
		at += area_alike(region->area, region_offset(region, at));
		if (at < end)
			describe_page(region, at, &next);
	}
	ret_range->length = MIN(at, end) - addr;
}

ssize_t dxm_query(const void *addr, size_t length, struct dxm_range *range, size_t count)
{
	uintptr_t at = (uintptr_t)addr, end = at + length;
	struct lock_guard guard;
	ssize_t n = 0;

	if (at % PAGE_BYTES || end < at) {
		errno = EINVAL;
		return -1;
	}
	guard = lock_take();
	while (at < end && (size_t)n < count) {
		struct region *region = region_from(at);

		if (region && region->start <= at)
			describe_range(region, at, MIN(end, region->end), &range[n]);
		else
			range[n] = (struct dxm_range){
				.addr = (void *)at,
				.length = (region ? MIN(end, region->start) : end) - at,
			};
		at += range[n++].length;
	}
	lock_release(guard);
	return n;
}
