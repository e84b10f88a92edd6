/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mapping a pool: at an address aligned to 2 MiB (so that a unit of the pool
 * can be one huge mapping), whole, shared, through libpmem2.
 *
 * libpmem2 reports the granularity. "page" means that the pool lies in the page cache of an
 * ordinary file, and libpmem2's own functions would call msync() on every flush. Such a pool is an
 * emulation: stores are safe from the death of the daemon, not from the loss of power, and msync()
 * would not make an ordered journal of it either (the kernel writes pages back when it likes). So
 * the mapping is made once more by us, and libpmem2 asked for the functions of cache-line
 * granularity: the same instructions as on the real thing, at the price of the real thing. The
 * daemon's status says "durability": "process".
 *
 * A device-dax that is no NVDIMM's (CXL memory, reserved DRAM) is mapped by us, too: libpmem2 asks
 * libndctl for its alignment, which knows NVDIMMs only, and uses what it has not found (1.12).
 */
#include "map.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"

/* Another thread may take the address between our look and our use. */
#define RESERVE_TRIES 8

/* libpmem2 rounds large reservations up to its own alignment of 1 GiB. */
#define RESERVE_SLACK (UINT64_C(2) << 30)

/* libpmem2 returns a negative errno, or a code of its own far below those. */
static int pmem2_result(int result)
{
	if (result >= 0)
		return 0;
	if (result > PMEM2_E_UNKNOWN)
		return result;
	switch (result) {
	case PMEM2_E_NO_ACCESS:
		return -EACCES;
	case PMEM2_E_MAPPING_EXISTS:
		return -EEXIST;
	default:
		return -ENOTSUP;
	}
}

static errint_t find_address(uint64_t size, uint64_t align, void **ret_address)
{
	size_t length = size + align + RESERVE_SLACK;
	char *p = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, length);
	*ret_address = (void *)(uintptr_t)round_up((uintptr_t)p, align);
	return 0;
}

static int reserve(uint64_t size, uint64_t align, struct pmem2_vm_reservation **ret_reservation)
{
	int err = -ENOMEM;

	for (unsigned i = 0; i < RESERVE_TRIES; i++) {
		void *address;

		err = find_address(size, align, &address);
		if (err)
			return err;
		err = pmem2_result(pmem2_vm_reservation_new(ret_reservation, address, size));
		if (!err)
			return 0;
	}
	return err;
}

/* The kernel's name of it leads through a bus of NVDIMMs. */
static bool is_known_to_pmem2(int fd)
{
	char path[64], target[512];
	struct stat st;
	ssize_t length;

	if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode))
		return true;
	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u", major(st.st_rdev), minor(st.st_rdev));
	length = readlink(path, target, sizeof(target) - 1);
	target[MAX(length, 0)] = '\0';
	return strstr(target, "/ndbus");
}

static int map_by_pmem2(struct pmem_map *map, uint64_t size, uint64_t align)
{
	struct pmem2_config *config;
	int err;

	err = pmem2_result(pmem2_config_new(&config));
	if (err)
		return err;
	err = reserve(size, align, &map->reservation);
	if (err)
		goto out;
	pmem2_config_set_required_store_granularity(config, PMEM2_GRANULARITY_PAGE);
	pmem2_config_set_length(config, size);
	pmem2_config_set_protection(config, map->pm.read_only ? PMEM2_PROT_READ
							      : PMEM2_PROT_READ | PMEM2_PROT_WRITE);
	err = pmem2_result(pmem2_config_set_vm_reservation(config, map->reservation, 0));
	if (!err)
		err = pmem2_result(pmem2_map_new(&map->map, config, map->source));
	if (!err) {
		map->pm.base = pmem2_map_get_address(map->map);
		map->granularity = pmem2_map_get_store_granularity(map->map);
	}
out:
	pmem2_config_delete(&config);
	return err;
}

static void unmap_by_pmem2(struct pmem_map *map)
{
	if (map->map)
		pmem2_map_delete(&map->map);
	if (map->reservation)
		pmem2_vm_reservation_delete(&map->reservation);
	map->pm.base = NULL;
}

/*
 * libpmem2 hands out its functions for a mapping. One page, declared to be of
 * cache-line granularity, stands for all pools that are mapped by us and is kept
 * until the process ends.
 */
static struct {
	pthread_once_t once;
	int err;
	struct pmem2_map *map;
} cache_line = { .once = PTHREAD_ONCE_INIT };

static void make_cache_line_map(void)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	struct pmem2_source *source;
	void *page;

	page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED) {
		cache_line.err = -errno;
		return;
	}
	cache_line.err = pmem2_result(pmem2_source_from_anon(&source, size));
	if (cache_line.err)
		return;
	cache_line.err = pmem2_result(pmem2_map_from_existing(&cache_line.map, source, page, size,
							      PMEM2_GRANULARITY_CACHE_LINE));
	pmem2_source_delete(&source);
}

static errint_t map_by_us(struct pmem_map *map, int fd, uint64_t size, uint64_t align)
{
	int protection = PROT_READ | (map->pm.read_only ? 0 : PROT_WRITE);
	int err;

	pthread_once(&cache_line.once, make_cache_line_map);
	err = cache_line.err;
	for (unsigned i = 0; !err && i < RESERVE_TRIES; i++) {
		void *address, *p;

		err = find_address(size, align, &address);
		if (err)
			return err;
		p = mmap(address, size, protection,
			 MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fd, 0);
		if (p == MAP_FAILED) {
			if (errno != EEXIST || i + 1 == RESERVE_TRIES)
				err = -errno;
			continue;
		}
		/* Only a hint, and only for tmpfs with huge=advise. */
		madvise(p, size, MADV_HUGEPAGE);
		map->pm.base = p;
		return 0;
	}
	return err;
}

static void cleanup_map(struct pmem_map **map)
{
	pmem_map_free(*map);
}

int pmem_map_fd(int fd, uint64_t size, uint64_t align, bool read_only, struct pmem_map **ret_map)
{
	CLEANUP(cleanup_map) struct pmem_map *map = calloc(1, sizeof(*map));
	int err;

	if (!map)
		return -ENOMEM;
	map->pm.read_only = read_only;
	map->pm.size = size;
	pthread_mutex_init(&map->bad_lock, NULL);
	map->known_to_pmem2 = is_known_to_pmem2(fd);
	map->granularity = PMEM2_GRANULARITY_CACHE_LINE;
	err = pmem2_result(pmem2_source_from_fd(&map->source, fd));
	if (!err && map->known_to_pmem2)
		err = map_by_pmem2(map, size, align);
	if (!err && map->granularity == PMEM2_GRANULARITY_PAGE)
		unmap_by_pmem2(map);
	if (!err && !map->map)
		err = map_by_us(map, fd, size, align);
	if (!err)
		err = pmem_bad_load(map);
	if (err)
		return err;
	pmem_ops_choose(map->map ? map->map : cache_line.map, &map->ops);
	map->pm.ops = &map->ops;
	map->pm.clear_bad = read_only ? NULL : pmem_bad_clear;
	map->pm.add_bad = pmem_bad_add;
	*ret_map = TAKE_POINTER(map);
	return 0;
}

void pmem_map_free(struct pmem_map *map)
{
	if (!map)
		return;
	if (!map->map && map->pm.base)
		munmap(map->pm.base, map->pm.size);
	unmap_by_pmem2(map);
	if (map->source)
		pmem2_source_delete(&map->source);
	pthread_mutex_destroy(&map->bad_lock);
	free(map->bad);
	free(map);
}
