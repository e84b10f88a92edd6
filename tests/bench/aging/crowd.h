/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pool whose whole units have run out while large files were written: these lie in
 * blocks, in the holes that small files have left.
 */
#ifndef BENCH_AGING_CROWD_H
#define BENCH_AGING_CROWD_H

#include "daxfuse/core/fs.h"

struct crowd;

/*
 * Fill an empty pool: large files (2 MiB to a 128th of it) and as many bytes of small
 * ones (up to 128 KiB) in between, until it is full; three small ones in four go; large
 * ones again, until it is full.
 */
struct crowd *crowd_new(struct fs *fs);
/* Remove that share of all files, at random. */
void crowd_thin(struct crowd *crowd, double share);
void crowd_free(struct crowd *crowd);

#endif
