/* SPDX-License-Identifier: BSD-3-Clause */
/* dxm_sync(): flush the CPU's caches, where stores need that to be durable. */
#include <errno.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/daxmap.h"
#include "daxfuse/daxmap/object.h"
#include "daxfuse/daxmap/region.h"
#include "daxfuse/daxmap/session.h"
#include "daxfuse/daxmap/sys.h"
#include "daxfuse/daxmap/walk.h"
#include "daxfuse/direct.h"

enum { RANGES = 32 };

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

/* What is not mapped for writing holds no stores of ours. */
static int flush_part(const struct walk_part *part)
{
	struct dxm_range range[RANGES];
	uintptr_t at = part->start;
	ssize_t n;

	do {
		n = dxm_query((void *)at, part->end - at, range, RANGES);
		for (ssize_t i = 0; i < n; i++) {
			const char *start = range[i].addr;

			if (range[i].writable)
				flush(start, start + range[i].length);
			at = (uintptr_t)start + range[i].length;
		}
	} while (n == RANGES);
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
