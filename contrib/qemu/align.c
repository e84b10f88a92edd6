/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * To be preloaded into QEMU: pieces of a DAX window at addresses that device-dax can be mapped at,
 * and that huge pages can (README.md). QEMU reserves a multiple of 2 MiB and a page more without
 * access, and maps at the first page in there; such a reservation gets an address that is a
 * multiple of 2 MiB.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define UNIT ((size_t)2 << 20)
#define PAGE ((size_t)4096)

static void *map(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

/* A unit more than is wanted, of which both ends are given back. */
static void *reserve(size_t length, int flags)
{
	char *at = map(NULL, length + UNIT, PROT_NONE, flags, -1, 0), *aligned;

	if (at == MAP_FAILED)
		return at;
	aligned = (char *)(((uintptr_t)at + UNIT - 1) & ~(UNIT - 1));
	if (aligned > at)
		munmap(at, (size_t)(aligned - at));
	munmap(aligned + length, (size_t)(at + UNIT - aligned));
	return aligned;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	if (!address && protection == PROT_NONE && fd < 0 && length > UNIT && length % UNIT == PAGE)
		return reserve(length, flags);
	return map(address, length, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	return mmap(address, length, protection, flags, fd, offset);
}
