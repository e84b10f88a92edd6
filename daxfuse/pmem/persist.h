/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to the pmem room: the flush policy of one mapping. */
#ifndef DAXFUSE_PMEM_PERSIST_H
#define DAXFUSE_PMEM_PERSIST_H

#include <libpmem2.h>

#include "pmem.h"

struct pmem_ops {
	pmem2_memcpy_fn copy;
	pmem2_memset_fn set;
	pmem2_flush_fn flush;
	pmem2_drain_fn drain;
};

/* What libpmem2 chose for the map's granularity and this CPU. */
void pmem_ops_choose(struct pmem2_map *map, struct pmem_ops *ret_ops);

#endif
