/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The only file that stores to a mapped pool.
 *
 * The policy is libpmem2's: for the granularity of the mapping and the CPU it
 * hands out functions once (clwb, clflushopt or clflush; which non-temporal
 * moves), and they are called through pointers from then on. With granularity
 * "byte" (the platform flushes its caches) flushing is empty and the fence only
 * orders.
 *
 * Invariant: no function here fences except pmem_fence(), so callers decide how
 * many fences an operation has.
 */
#include "persist.h"

#include <stdatomic.h>
#include <string.h>

#define NT_FLAGS (PMEM2_F_MEM_NONTEMPORAL | PMEM2_F_MEM_NODRAIN)

void pmem_ops_choose(struct pmem2_map *map, struct pmem_ops *ret_ops)
{
	ret_ops->copy = pmem2_get_memcpy_fn(map);
	ret_ops->set = pmem2_get_memset_fn(map);
	ret_ops->flush = pmem2_get_flush_fn(map);
	ret_ops->drain = pmem2_get_drain_fn(map);
}

/*
 * A word that is wholly overwritten must never be seen half old and half new
 * after a crash. memcpy() promises nothing about that, so aligned words are
 * stored as words.
 */
void pmem_store(const struct pmem *pm, void *dst, const void *src, size_t len)
{
	const char *from = src;
	char *to = dst;

	while (len > 0) {
		size_t step = 8 - ((uintptr_t)to & 7);

		if (step > len)
			step = len;
		if (step == 8) {
			uint64_t word;

			memcpy(&word, from, 8);
			atomic_store_explicit((_Atomic uint64_t *)(void *)to, word,
					      memory_order_relaxed);
		} else {
			memcpy(to, from, step);
		}
		to += step;
		from += step;
		len -= step;
	}
}

void pmem_store64(const struct pmem *pm, void *dst, uint64_t value)
{
	atomic_store_explicit((_Atomic uint64_t *)dst, value, memory_order_release);
}

void pmem_set_bits(const struct pmem *pm, uint64_t *word, uint64_t mask)
{
	atomic_fetch_or_explicit((_Atomic uint64_t *)word, mask, memory_order_acq_rel);
}

void pmem_clear_bits(const struct pmem *pm, uint64_t *word, uint64_t mask)
{
	atomic_fetch_and_explicit((_Atomic uint64_t *)word, ~mask, memory_order_acq_rel);
}

void pmem_copy_nt(const struct pmem *pm, void *dst, const void *src, size_t len)
{
	pm->ops->copy(dst, src, len, NT_FLAGS);
}

void pmem_zero_nt(const struct pmem *pm, void *dst, size_t len)
{
	pm->ops->set(dst, 0, len, NT_FLAGS);
}

void pmem_flush(const struct pmem *pm, const void *p, size_t len)
{
	pm->ops->flush(p, len);
}

void pmem_fence(const struct pmem *pm)
{
	pm->ops->drain();
}
