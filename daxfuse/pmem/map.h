/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to the pmem room: a file or device mapped as a pool. */
#ifndef DAXFUSE_PMEM_MAP_H
#define DAXFUSE_PMEM_MAP_H

#include <libpmem2.h>
#include <pthread.h>

#include "persist.h"
#include "daxfuse/base/errint.h"

struct pmem_map {
	struct pmem pm;
	struct pmem_ops ops;
	enum pmem2_granularity granularity; /* as libpmem2 reported it */
	bool known_to_pmem2;                /* a file, or an NVDIMM's device */
	struct pmem_range *bad;             /* pm.bad */
	size_t bad_room;
	pthread_mutex_t bad_lock; /* over adding to it */
	struct pmem2_source *source;
	struct pmem2_map *map;                    /* NULL: `base` is our own mmap */
	struct pmem2_vm_reservation *reservation; /* of map */
};

/*
 * Map [0, size) of fd at an address aligned to `align`, shared. size: a multiple
 * of align; align: a power of two, at least 2 MiB.
 */
int pmem_map_fd(int fd, uint64_t size, uint64_t align, bool read_only, struct pmem_map **ret_map);
void pmem_map_free(struct pmem_map *map);

/* bad.c: learn what is known to be bad; a source that can't tell has nothing. */
errint_t pmem_bad_load(struct pmem_map *map);
/* pm->clear_bad and pm->add_bad of a mapping. */
errint_t pmem_bad_clear(const struct pmem *pm, uint64_t offset, uint64_t length);
errint_t pmem_bad_add(const struct pmem *pm, uint64_t offset, uint64_t length);

#endif
