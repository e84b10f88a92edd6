/* SPDX-License-Identifier: BSD-3-Clause */
/* A pool in anonymous memory: a memfd, mapped as an image is. */
#include "memory.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "map.h"

#define MEMORY_ALIGN (UINT64_C(2) << 20)

int pmem_memory_new(uint64_t size, unsigned flags, struct pmem **ret_pm)
{
	unsigned memfd_flags = MFD_CLOEXEC;
	struct pmem_map *map;
	CLEANUP_FD int fd = -1;
	int err;

	if (!size || !is_aligned(size, MEMORY_ALIGN))
		return -EINVAL;
	if (flags & PMEM_MEMORY_HUGETLB)
		memfd_flags |= MFD_HUGETLB;
	fd = memfd_create("daxfuse", memfd_flags);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return -errno;
	err = pmem_map_fd(fd, size, MEMORY_ALIGN, false, &map);
	if (err)
		return err;
	TAKE_FD(fd);
	*ret_pm = &map->pm;
	return 0;
}

int pmem_memory_fd(const struct pmem *pm)
{
	const struct pmem_map *map = container_of(pm, struct pmem_map, pm);
	int fd = -1;

	pmem2_source_get_fd(map->source, &fd);
	return fd;
}

void pmem_memory_free(struct pmem *pm)
{
	int fd;

	if (!pm)
		return;
	fd = pmem_memory_fd(pm);
	pmem_map_free(container_of(pm, struct pmem_map, pm));
	close(fd);
}
