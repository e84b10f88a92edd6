/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mapped pool, and the only ways to change it durably.
 *
 * The pool is read through plain pointers (`base`). Every store to it goes
 * through the functions below and no other: persist.c implements them for
 * production (flush policy chosen once, from the granularity that libpmem2
 * reports), tests/crash replaces them at link time by a recorder and maps
 * `base` read-only, so that a store that bypasses them is a crash of the test.
 *
 * Model (x86 and arm64 alike): a cached store reaches the media at any time
 * after it was made, 8 aligned bytes at a time. It is durable once its line was
 * flushed and the same thread has fenced. A non-temporal store needs the fence
 * only. Functions that end in nothing neither flush nor fence.
 *
 * Thread-safety: all functions may be called from any thread; a fence covers
 * what its own thread stored and flushed.
 */
#ifndef DAXFUSE_PMEM_PMEM_H
#define DAXFUSE_PMEM_PMEM_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"

/* [offset, offset + length) of the pool that is known to be poisoned, bytes */
struct pmem_range {
	uint64_t offset;
	uint64_t length;
};

struct pmem_ops; /* private to persist.c */

struct pmem {
	char *base;    /* aligned to 2 MiB */
	uint64_t size; /* bytes, a multiple of 2 MiB */
	const struct pmem_ops *ops;
	const struct pmem_range *bad; /* known bad ranges, in any order; read the count first */
	_Atomic size_t bad_count;     /* grows by pmem_add_bad() */
	bool read_only;
	/* Of pmem_clear_bad(); NULL: there is no way. Tests put theirs here. */
	errint_t (*clear_bad)(const struct pmem *pm, uint64_t offset, uint64_t length);
	errint_t (*add_bad)(const struct pmem *pm, uint64_t offset, uint64_t length);
};

enum {
	PMEM_SECTOR = 512, /* what poison is counted in */
	PMEM_PAGE = 4096,  /* what the kernel takes away where memory fails */
};
#define PMEM_HUGE_PAGE (UINT64_C(2) << 20) /* what one PMD maps */

/* Pool offset -> pointer. The caller has checked that it lies inside. */
static inline void *pmem_at(const struct pmem *pm, uint64_t offset)
{
	return pm->base + offset;
}

/* Pointer into the pool -> pool offset. */
static inline uint64_t pmem_offset(const struct pmem *pm, const void *p)
{
	return (uint64_t)((const char *)p - pm->base);
}

/* Whether [offset, offset + length) lies inside the pool; no overflow. */
static inline bool pmem_contains(const struct pmem *pm, uint64_t offset, uint64_t length)
{
	return offset <= pm->size && length <= pm->size - offset;
}

/* An aligned word that others may store meanwhile: it is read once, and whole. */
static inline uint32_t pmem_read_once32(const void *word)
{
	return atomic_load_explicit((const _Atomic uint32_t *)word, memory_order_relaxed);
}

static inline uint64_t pmem_read_once64(const void *word)
{
	return atomic_load_explicit((const _Atomic uint64_t *)word, memory_order_relaxed);
}

/* Cached stores. dst, and len of pmem_store, need no alignment; a word does. */
void pmem_store(const struct pmem *pm, void *dst, const void *src, size_t len);
void pmem_store64(const struct pmem *pm, void *dst, uint64_t value);        /* atomic */
void pmem_set_bits(const struct pmem *pm, uint64_t *word, uint64_t mask);   /* atomic */
void pmem_clear_bits(const struct pmem *pm, uint64_t *word, uint64_t mask); /* atomic */

/* Non-temporal: durable after the next fence (edges that are not whole lines
 * are flushed inside). */
void pmem_copy_nt(const struct pmem *pm, void *dst, const void *src, size_t len);
void pmem_zero_nt(const struct pmem *pm, void *dst, size_t len);

/* Write back all lines that [p, p + len) touches. */
void pmem_flush(const struct pmem *pm, const void *p, size_t len);

/* Order: everything this thread stored and flushed before is durable after. */
void pmem_fence(const struct pmem *pm);

/*
 * Reading what may be poisoned. Plain loads are fine for memory that was read safely before; the
 * first touch of an object, and all file data, goes through these. They return 0, or -EIO when the
 * media answers with SIGBUS (poison).
 */
errint_t pmem_read(const struct pmem *pm, void *dst, const void *src, size_t len);
errint_t pmem_load64(const struct pmem *pm, const uint64_t *word, uint64_t *ret_value);
/* Touch every line of [p, p + len). */
errint_t pmem_probe(const struct pmem *pm, const void *p, size_t len);

/*
 * pmem_copy_nt() over what may be poisoned. Whole lines overwrite poison; -EIO
 * where the kernel has taken the page away, and then part of it may be stored.
 */
errint_t pmem_write_nt(const struct pmem *pm, void *dst, const void *src, size_t len);
/* The same with zeroes. */
errint_t pmem_write_zero_nt(const struct pmem *pm, void *dst, size_t len);

/*
 * Let the device clear what it knows to be bad of [p, p + len), whole sectors: they
 * are zeroes then, and can be touched again. -EOPNOTSUPP: nothing there is known to
 * be bad, or it can't be cleared here (an image in the page cache); -EIO: the device
 * could not.
 */
static inline errint_t pmem_clear_bad(const struct pmem *pm, const void *p, size_t len)
{
	return pm->clear_bad ? pm->clear_bad(pm, pmem_offset(pm, p), len) : -EOPNOTSUPP;
}

/* A range has turned bad, as somebody else has met: it is known to be from now on, until the pool
 * is mapped anew. -ENOSPC: too many have; -EINVAL: it is not in the pool. */
static inline errint_t pmem_add_bad(const struct pmem *pm, uint64_t offset, uint64_t length)
{
	return pm->add_bad ? pm->add_bad(pm, offset, length) : -EOPNOTSUPP;
}

/* Whether any of [offset, offset + length) is known to be bad. */
static inline bool pmem_is_bad(const struct pmem *pm, uint64_t offset, uint64_t length)
{
	size_t count = atomic_load_explicit(&pm->bad_count, memory_order_acquire);

	for (size_t i = 0; i < count; i++) {
		if (pm->bad[i].offset < offset + length &&
		    offset < pm->bad[i].offset + pm->bad[i].length)
			return true;
	}
	return false;
}

/*
 * Memory that is not the pool's, and that its owner may take away while it is used (a guest's, in a
 * file that is cut): the same guard, -EFAULT, and it is no poison.
 */
errint_t pmem_foreign_read(void *dst, const void *src, size_t len);
errint_t pmem_foreign_write(void *dst, const void *src, size_t len);
errint_t pmem_foreign_load16(const uint16_t *word, uint16_t *ret_value); /* acquire */
errint_t pmem_foreign_store16(uint16_t *word, uint16_t value);           /* release */

/* Install the SIGBUS handler (idempotent); 0 or negative errno. */
errint_t pmem_poison_init(void);
/* How many times poison was met since the start of the process. */
uint64_t pmem_poison_count(void);

#endif
