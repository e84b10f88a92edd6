/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The workloads: what is prepared, and the operation that is judged.
 *
 * As in ACE, an operation says what it needs of its paths, and what is missing
 * is made before it; so any two operations make a pair.
 */
#ifndef CRASH_WORKLOAD_H
#define CRASH_WORKLOAD_H

#include "tests/crash/op.h"

enum workload_need {
	NEED_NOTHING,
	NEED_ABSENT,
	NEED_FILE,     /* a regular file with some data, one link */
	NEED_EMPTY,    /* an empty regular file */
	NEED_DIR,      /* an empty directory */
	NEED_FULL_DIR, /* a directory with something in it */
};

enum {
	WORKLOAD_PAIR = 1,   /* one of the 56 of which all pairs are tried */
	WORKLOAD_TIGHT = 2,  /* also on a pool with only few blocks left */
	WORKLOAD_UNTIL = 4,  /* op is a series; judged where the space of its directory changes */
	WORKLOAD_SLOW = 8,   /* each state is costly: few of them */
	WORKLOAD_CHUNK = 16, /* a second unit of inodes may appear */
	WORKLOAD_LIMIT = 32, /* a quota may say no */
};

struct workload {
	const char *name;
	unsigned flags;
	struct op op;
	enum workload_need need_a, need_b;
	const struct op *before; /* more preparations, up to OP_NONE; may be NULL */
};

/* Of all topics (workloads/), one after the other. */
unsigned workload_count(void);
const struct workload *workload_at(unsigned i);

/* Make what w needs, and the base tree the first time. 0, or -1 with a reason. */
int workload_prepare(struct op_state *state, const struct workload *w, char *why, size_t why_size);
/* Leave only `left` blocks of space. */
int workload_fill(struct op_state *state, unsigned left, char *why, size_t why_size);
/* One operation, on both sides; tight: out of space is an answer. */
int workload_do(struct op_state *state, const struct op *op, bool tight, char *why,
		size_t why_size);
/* The i-th operation of a series (OP_*_MANY); name is room for it. */
struct op workload_series(const struct op *op, unsigned i, char name[512]);

#endif
