/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations that the bench of the core times, in the order they run. */
#ifndef BENCH_CORE_OPERATIONS_H
#define BENCH_CORE_OPERATIONS_H

#include "daxfuse/core/fs.h"
#include "tests/bench/common/measure.h"

#define WORKER_FILE_SIZE (UINT64_C(64) << 20)

/* What one thread works on; nothing of it belongs to another thread. */
struct worker {
	struct fs *fs;
	uint64_t directory;                            /* holds what create makes */
	uint64_t file;                                 /* WORKER_FILE_SIZE bytes, in whole units */
	char *units[WORKER_FILE_SIZE / DXF_UNIT_SIZE]; /* where they lie */
	uint64_t log;                                  /* what append fills */
	uint64_t random;
	char *buffer; /* a block */
	char *line;   /* 64 bytes of memory that nobody else touches */
};

struct operation {
	const char *name;
	bench_operation run;
	/* How often: a share of the count asked for, in percent. */
	unsigned share;
	/* ns that the project aims at, 0 = none; "copy_4k" is what overwrite_4k
	 * is allowed on top of. */
	unsigned target_ns;
};

extern const struct operation operations[];
extern const unsigned operation_count;

/* Makes the worker's directory and files below the root; exits if it fails. */
void worker_init(struct worker *worker, struct fs *fs, const char *name);
void worker_free(struct worker *worker);
/* Create, write (at most a block) and close file number i, as a program would. */
void worker_make_small(struct worker *worker, uint64_t i, uint64_t bytes);

/* Parts of the table that the bench of the large directory uses on its own. */
void operation_create(void *context, uint64_t i);
/* Looks up a random one of the names 0 .. range - 1. */
struct lookup_worker {
	struct worker *worker;
	uint64_t range;
};
void operation_lookup_random(void *context, uint64_t i);

#endif
