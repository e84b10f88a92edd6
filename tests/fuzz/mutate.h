/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mutations that know the format: a word of a superblock, inode, table, bucket,
 * ... is changed, and checksums are put right again, so that what is behind the
 * checksums is reached.
 */
#ifndef DAXFUSE_TESTS_FUZZ_MUTATE_H
#define DAXFUSE_TESTS_FUZZ_MUTATE_H

#include <stddef.h>
#include <stdint.h>

#include "daxfuse/pmem/pmem.h"

struct anatomy; /* where everything is in a pool */

/* Learn where things are in a sound pool. Aborts without memory. */
struct anatomy *anatomy_new(const struct pmem *pm);
/* Change pm, a copy of that pool, as data says. */
void mutate(const struct anatomy *anatomy, const struct pmem *pm, const uint8_t *data, size_t size);

#endif
