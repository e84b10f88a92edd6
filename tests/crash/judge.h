/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The verdict on one crash state: recover it, look at it, use it, recover again.
 * The image is left as it was found.
 */
#ifndef CRASH_JUDGE_H
#define CRASH_JUDGE_H

#include "tests/crash/image.h"
#include "tests/crash/model.h"

enum {
	JUDGE_BEFORE = 1, /* it is the model before the operation */
	JUDGE_AFTER = 2,  /* it is the model after it */
	JUDGE_BETWEEN = 4, /* torn where it may be, or one of its steps */
};

struct judge {
	struct image *image;
	/* before the operation, after each of its steps (most have one) */
	const struct model *const *model;
	unsigned models;
	unsigned torn_node;      /* see struct compare */
	bool torn_anywhere;
	int64_t read_time;
	uint64_t inode_units;
	uint64_t empty_blocks;   /* free ones of an empty pool */
	bool super_differs;      /* of the superblocks only one may be current */
	unsigned problems;       /* that the checker found */
	bool tight;              /* space may run out while it is used */
	struct log *recovery;    /* what the first mount stores; NULL: not wanted */
	char diff[640];
};

/* JUDGE_* bits; 0: a violation, judge->diff says which. */
unsigned judge_state(struct judge *judge);
/* Free blocks when nothing but the root is there; fills judge->empty_blocks. */
int judge_calibrate(struct judge *judge);

#endif
