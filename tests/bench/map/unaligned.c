/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * To be preloaded, before libdaxmap's: shared mappings of a unit and more get addresses that
 * do not line up with their files, so that no page of 2 MiB fits.
 */
#undef _FILE_OFFSET_BITS /* else the header calls mmap() mmap64() */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#define UNIT ((size_t)2 << 20)
#define PAGE 4096

typedef void *map_function(void *, size_t, int, int, int, off_t);

/* One page behind an address that would line up. */
static void *skewed(map_function *map, size_t length, off_t offset)
{
	char *room = map(NULL, length + 2 * UNIT, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return room == MAP_FAILED ? NULL : room + ((size_t)offset - (uintptr_t)room) % UNIT + PAGE;
}

void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	map_function *map = (map_function *)dlsym(RTLD_NEXT, "mmap");

	if (!addr && length >= UNIT && fd >= 0 && (flags & MAP_TYPE) == MAP_SHARED) {
		addr = skewed(map, length, offset);
		flags |= addr ? MAP_FIXED : 0;
	}
	return map(addr, length, prot, flags, fd, offset);
}

void *mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
	__attribute__((alias("mmap")));
