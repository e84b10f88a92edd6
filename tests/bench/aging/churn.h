/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ages a file system: creates, appends to, truncates and removes files so that
 * it stays at a given fullness, until enough was written.
 */
#ifndef BENCH_AGING_CHURN_H
#define BENCH_AGING_CHURN_H

#include "daxfuse/core/fs.h"

struct churn; /* one thread's files */

/* Works in a directory of its own below the root. */
struct churn *churn_new(struct fs *fs, unsigned number, uint64_t size_cap);
void churn_free(struct churn *churn);

/* Write `bytes`, keeping the pool's fullness at `fullness` (0 .. 1). */
void churn_run(struct churn *churn, double fullness, uint64_t bytes);

struct churn_totals {
	uint64_t written; /* bytes */
	uint64_t created, appended, truncated, removed;
	uint64_t refused; /* writes that met a full pool */
	uint64_t files;   /* now */
	uint64_t bytes;   /* now, in all files */
};
void churn_add_totals(const struct churn *churn, struct churn_totals *totals);

#endif
