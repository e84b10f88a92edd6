/* SPDX-License-Identifier: BSD-3-Clause */
/* How an aged pool stands: its free space, and what new large files get. */
#ifndef BENCH_AGING_SURVEY_H
#define BENCH_AGING_SURVEY_H

#include "daxfuse/core/fs.h"

/* Share of the data space that is taken, 0 .. 1. */
double survey_fullness(struct fs *fs);

struct survey_space {
	double fullness;
	uint64_t free_bytes;
	uint64_t free_units;
	uint64_t split_units;
	/* free_units, as a share of the whole units that the free space would
	 * make if it lay together: 1 is the best that can be. */
	double whole;
	/* Free space that lies together in runs of a unit's length and more,
	 * wherever they begin: the share of it that is whole units. */
	double whole_of_runs;
};
void survey_space(struct fs *fs, struct survey_space *ret_space);

struct survey_large {
	uint64_t size;    /* of each file */
	uint64_t files;   /* how many whole units there were for */
	uint64_t aligned; /* of these: wholly in whole, aligned units */
	uint64_t extents; /* of all of them: pieces that lie together on the device */
};
/* Write large files while there are whole units for them, look where they lie,
 * and remove them. */
void survey_large(struct fs *fs, uint64_t size, struct survey_large *ret_large);

#endif
