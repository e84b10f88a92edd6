/* SPDX-License-Identifier: BSD-3-Clause */
/* A pool with one of everything, for what mutates pools. */
#ifndef DAXFUSE_TESTS_FUZZ_POPULATION_H
#define DAXFUSE_TESTS_FUZZ_POPULATION_H

#include "daxfuse/pmem/pmem.h"

#define POPULATION_SIZE (UINT64_C(32) << 20) /* bytes that a pool needs at least */

/* Make a pool of all of pm, the same one each time. orphans: also leave inodes
 * behind that a mount must free, and one that has a tail. 0 or negative errno. */
int population_make(const struct pmem *pm, bool orphans);

#endif
