/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The verdict on one crash state: recover it, look at it, use it, recover again.
 * The image is left as it was found.
 */
#ifndef CRASH_JUDGE_H
#define CRASH_JUDGE_H

#include "tests/crash/image.h"
#include "tests/crash/model.h"

/* What a state may be: tried in order, the first that it is gives the verdict. */
struct judge_candidate {
	const struct model *model;
	const struct model *other; /* torn between these two; NULL: not torn */
	unsigned verdict;          /* one bit, of the caller's choice */
};
#define JUDGE_CANDIDATES_MAX 72

struct judge {
	struct image *image;
	struct judge_candidate candidate[JUDGE_CANDIDATES_MAX];
	unsigned candidates;
	unsigned torn_node; /* see struct compare */
	bool torn_anywhere;
	int64_t read_time;
	uint64_t inode_units;
	uint64_t empty_blocks; /* free ones of an empty pool */
	bool super_differs;    /* of the superblocks only one may be current */
	unsigned no_pool;      /* verdict where there is nothing to mount; 0: a violation */
	int mount_error;       /* of the last mount */
	unsigned problems;     /* that the checker found */
	bool tight;            /* space may run out while it is used */
	struct log *recovery;  /* what the first mount stores; NULL: not wanted */
	char diff[640];
};

/* The verdict of what it is; 0: a violation, judge->diff says which. */
unsigned judge_state(struct judge *judge);
void judge_add(struct judge *judge, const struct model *model, const struct model *other,
	       unsigned verdict);
/* Free blocks when nothing but the root is there; fills judge->empty_blocks. */
int judge_calibrate(struct judge *judge);

#endif
