/* SPDX-License-Identifier: BSD-3-Clause */
/* dxm_sync(): flush the CPU's caches, where stores need that to be durable. */
#include <errno.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/daxmap.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/object.h"
#include "daxfuse/daxmap/region.h"
#include "daxfuse/daxmap/session.h"
#include "daxfuse/daxmap/sys.h"
#include "daxfuse/daxmap/walk.h"
#include "daxfuse/direct.h"

#ifdef __x86_64__
#include <cpuid.h>

enum { LINE = 64 };

static void flush_clwb(const char *line)
{
	__asm__ volatile("clwb %0" : : "m"(*line) : "memory");
}

static void flush_clflushopt(const char *line)
{
	__asm__ volatile("clflushopt %0" : : "m"(*line) : "memory");
}

static void flush_clflush(const char *line)
{
	__asm__ volatile("clflush %0" : : "m"(*line) : "memory");
}

static void flush(const char *start, const char *end)
{
	unsigned a, b = 0, c, d;
	void (*line)(const char *) = flush_clflush;

	__get_cpuid_count(7, 0, &a, &b, &c, &d);
	if (b & bit_CLWB)
		line = flush_clwb;
	else if (b & bit_CLFLUSHOPT)
		line = flush_clflushopt;
	for (; start < end; start += LINE)
		line(start);
	__asm__ volatile("sfence" : : : "memory");
}

/* From addr on, as far as it is alike, up to end: flushed, if it is mapped for writing; else it
 * holds no stores of ours. Up to where. With the lock. */
static uintptr_t flush_alike(uintptr_t addr, uintptr_t end)
{
	const struct region *region = region_from(addr);
	uint64_t offset;

	if (!region || region->start > addr)
		return region ? MIN(end, region->start) : end;
	offset = region->offset + (addr - region->start);
	end = MIN(end, region->end);
	end = MIN(end, addr + area_alike(region->area, offset));
	if (area_page(region->area, offset) == PAGE_WRITE)
		flush((const char *)addr, (const char *)end);
	return end;
}

/* With the lock nothing is unmapped: the program would get a SIGBUS if the file was cut. */
static int flush_part(const struct walk_part *part)
{
	uintptr_t at = part->start;

	while (at < part->end) {
		struct held held = lock_take();

		at = flush_alike(at, part->end);
		lock_release(held);
	}
	return 0;
}
#else
/* The daemon does it. */
static int flush_part(const struct walk_part *part)
{
	return fsync(part->object->fd) ? -errno : 0;
}
#endif

static int sync_part(const struct walk_part *part, const void *argument)
{
	if (!part->object)
		return syscall(SYS_msync, part->start, part->end - part->start,
			       *(const int *)argument) ?
			       -errno :
			       0;
	return part->object->session->flags & DIRECT_FLUSH ? flush_part(part) : 0;
}

int dxm_sync(void *addr, size_t length, int flags)
{
	uintptr_t start = (uintptr_t)addr;
	uintptr_t end = start + (length + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
	int err;

	/* the kernel judges the arguments, by a range of no length */
	if (start % PAGE_BYTES || end <= start || !regions_near(start, end))
		return (int)syscall(SYS_msync, addr, length, flags);
	if (syscall(SYS_msync, addr, 0, flags))
		return -1;
	err = walk(start, end, sync_part, &flags);
	if (err)
		errno = -err;
	return err ? -1 : 0;
}
