/* SPDX-License-Identifier: BSD-3-Clause */
/* Flushing lines of the CPU's caches, by the best instruction that it has. */
#include "cache.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <stdatomic.h>
#include <stddef.h>

enum { LINE = 64 };

typedef void flush_line_function(const char *line);

static void flush_by_clwb(const char *line)
{
	__asm__ volatile("clwb %0" : : "m"(*line) : "memory");
}

static void flush_by_clflushopt(const char *line)
{
	__asm__ volatile("clflushopt %0" : : "m"(*line) : "memory");
}

static void flush_by_clflush(const char *line)
{
	__asm__ volatile("clflush %0" : : "m"(*line) : "memory");
}

/* CPUID is slow, and slower in a guest: once. */
static flush_line_function *choose_flush(void)
{
	static _Atomic(flush_line_function *) chosen;
	flush_line_function *flush = atomic_load_explicit(&chosen, memory_order_relaxed);
	unsigned a, b = 0, c, d;

	if (flush)
		return flush;
	__get_cpuid_count(7, 0, &a, &b, &c, &d);
	flush = b & bit_CLWB         ? flush_by_clwb
		: b & bit_CLFLUSHOPT ? flush_by_clflushopt
				     : flush_by_clflush;
	atomic_store_explicit(&chosen, flush, memory_order_relaxed);
	return flush;
}

bool cache_flush(uintptr_t start, uintptr_t end)
{
	flush_line_function *flush = choose_flush();

	for (uintptr_t line = start / LINE * LINE; line < end; line += LINE)
		flush((const char *)line);
	__asm__ volatile("sfence" : : : "memory");
	return true;
}
#else
bool cache_flush(uintptr_t start, uintptr_t end)
{
	return false;
}
#endif
