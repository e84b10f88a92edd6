/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pools are private mappings of one memfd each: a copy is a new mapping.
 */
#include "tests/fuzz/media.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"

enum { LINE = 64, POISON_MAX = 64, POOLS_MAX = 4 };
#define ALIGN (UINT64_C(2) << 20)

static struct {
	char *base;
	int fd;
} pools[POOLS_MAX];
static unsigned pool_count;

static uint64_t poison[POISON_MAX];
static unsigned poison_count;

static void map(char *base, uint64_t size, int fd)
{
	if (mmap(base, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED)
		abort();
}

void media_new(uint64_t size, struct pmem *ret_pm)
{
	char *reserve = mmap(NULL, size + ALIGN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = memfd_create("pool", MFD_CLOEXEC);
	char *base;

	if (reserve == MAP_FAILED || fd < 0 || ftruncate(fd, (off_t)size) ||
	    pool_count == POOLS_MAX)
		abort();
	base = (char *)round_up((uintptr_t)reserve, ALIGN);
	map(base, size, fd);
	pools[pool_count].base = base;
	pools[pool_count++].fd = fd;
	*ret_pm = (struct pmem){ .base = base, .size = size };
}

static int fd_of(const struct pmem *pm)
{
	for (unsigned i = 0; i < pool_count; i++)
		if (pools[i].base == pm->base)
			return pools[i].fd;
	abort();
}

void media_keep(const struct pmem *pm)
{
	static const char zeroes[4096];

	for (uint64_t at = 0; at < pm->size; at += sizeof(zeroes))
		if (memcmp(pm->base + at, zeroes, sizeof(zeroes)) != 0 &&
		    pwrite(fd_of(pm), pm->base + at, sizeof(zeroes), (off_t)at) != sizeof(zeroes))
			abort();
}

void media_copy(struct pmem *pm)
{
	map(pm->base, pm->size, fd_of(pm));
	pm->read_only = false;
	poison_count = 0;
}

/* ---- poison --------------------------------------------------------------- */

void media_poison(uint64_t offset)
{
	if (poison_count < POISON_MAX)
		poison[poison_count++] = round_down(offset, LINE);
}

bool media_is_poisoned(void)
{
	return poison_count > 0;
}

static bool meets_poison(const struct pmem *pm, const void *p, size_t len)
{
	uint64_t offset = pmem_offset(pm, p);

	for (unsigned i = 0; i < poison_count; i++)
		if (offset < poison[i] + LINE && poison[i] < offset + len)
			return true;
	return false;
}

static void heal(const struct pmem *pm, const void *p, size_t len)
{
	uint64_t offset = pmem_offset(pm, p);

	for (unsigned i = 0; i < poison_count;)
		if (offset <= poison[i] && poison[i] + LINE <= offset + len)
			poison[i] = poison[--poison_count];
		else
			i++;
}

int pmem_read(const struct pmem *pm, void *dst, const void *src, size_t len)
{
	if (meets_poison(pm, src, len))
		return -EIO;
	memcpy(dst, src, len);
	return 0;
}

int pmem_load64(const struct pmem *pm, const uint64_t *word, uint64_t *ret_value)
{
	return pmem_read(pm, ret_value, word, sizeof(*word));
}

int pmem_probe(const struct pmem *pm, const void *p, size_t len)
{
	return meets_poison(pm, p, len) ? -EIO : 0;
}

int pmem_poison_init(void)
{
	return 0;
}

uint64_t pmem_poison_count(void)
{
	return poison_count;
}

/* ---- stores --------------------------------------------------------------- */

static unsigned stores_left = UINT_MAX;

void media_exit_after(unsigned stores)
{
	stores_left = stores;
}

static void must_be_writable(const struct pmem *pm, const void *p, size_t len)
{
	if (stores_left != UINT_MAX && stores_left-- == 0)
		_exit(1);
	if (pm->read_only || !pmem_contains(pm, pmem_offset(pm, p), len))
		abort();
}

void pmem_store(const struct pmem *pm, void *dst, const void *src, size_t len)
{
	must_be_writable(pm, dst, len);
	memcpy(dst, src, len);
}

void pmem_store64(const struct pmem *pm, void *dst, uint64_t value)
{
	must_be_writable(pm, dst, sizeof(value));
	*(uint64_t *)dst = value;
}

void pmem_set_bits(const struct pmem *pm, uint64_t *word, uint64_t mask)
{
	must_be_writable(pm, word, sizeof(*word));
	*word |= mask;
}

void pmem_clear_bits(const struct pmem *pm, uint64_t *word, uint64_t mask)
{
	must_be_writable(pm, word, sizeof(*word));
	*word &= ~mask;
}

void pmem_copy_nt(const struct pmem *pm, void *dst, const void *src, size_t len)
{
	must_be_writable(pm, dst, len);
	memmove(dst, src, len);
	heal(pm, dst, len);
}

int pmem_write_nt(const struct pmem *pm, void *dst, const void *src, size_t len)
{
	pmem_copy_nt(pm, dst, src, len);
	return 0;
}

void pmem_zero_nt(const struct pmem *pm, void *dst, size_t len)
{
	must_be_writable(pm, dst, len);
	memset(dst, 0, len);
	heal(pm, dst, len);
}

int pmem_write_zero_nt(const struct pmem *pm, void *dst, size_t len)
{
	pmem_zero_nt(pm, dst, len);
	return 0;
}

void pmem_flush(const struct pmem *pm, const void *p, size_t len)
{
	if (!pmem_contains(pm, pmem_offset(pm, p), len))
		abort();
}

void pmem_fence(const struct pmem *pm)
{
}

/* ---- memory of a guest, which is there ------------------------------------------------ */

errint_t pmem_foreign_read(void *dst, const void *src, size_t len)
{
	memcpy(dst, src, len);
	return 0;
}

errint_t pmem_foreign_write(void *dst, const void *src, size_t len)
{
	memcpy(dst, src, len);
	return 0;
}

errint_t pmem_foreign_load16(const uint16_t *word, uint16_t *ret_value)
{
	*ret_value = *word;
	return 0;
}

errint_t pmem_foreign_store16(uint16_t *word, uint16_t value)
{
	*word = value;
	return 0;
}
