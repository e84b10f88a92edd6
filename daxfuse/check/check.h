/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checking and repairing a pool that nobody has mounted. Written from the
 * format alone (docs/design/format.md): it shares only the choice of superblock
 * and the journal with the rooms that write pools, so that their mistakes show.
 */
#ifndef DAXFUSE_CHECK_CHECK_H
#define DAXFUSE_CHECK_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "problem.h"
#include "daxfuse/pmem/pmem.h"

/* One thing that is wrong. text is one line, valid during the call. */
struct check_finding {
	enum check_problem problem;
	uint64_t ino; /* 0: not about one inode */
	const char *text;
	bool repaired; /* is being repaired */
};

struct check_options {
	bool repair;  /* otherwise nothing is stored */
	bool preen;   /* repair only what loses nothing, stop repairing at anything else */
	bool settled; /* nothing may be left for a mount: no live records, no orphans */
	void (*found)(const struct check_finding *finding, void *arg); /* may be NULL */
	void (*progress)(const char *what, uint64_t done, uint64_t total,
			 void *arg); /* may be NULL */
	void *arg;
};

struct check_result {
	uint64_t found;    /* problems */
	uint64_t repaired; /* of them */
	uint64_t records;  /* live journal records: replayed, or, without repair, looked through */
	uint64_t inodes, directories, orphans;
	uint64_t units, data_units, split_units, inode_units;
	uint64_t blocks; /* taken in split units */
};

/*
 * Check the pool, of which pm is an exclusive mapping (repair: writable).
 * 0: it was checked, ret_result says what was found. -EINVAL: no superblock of a
 * pool; -EUCLEAN: both are damaged; -EOPNOTSUPP: newer format; -EROFS: newer
 * format, no repair; -EFBIG: the device is shorter than the pool; -ENOMEM; -EIO.
 *
 * A repair that is cut short by a crash is completed by the next one.
 */
int check_pool(const struct pmem *pm, const struct check_options *options,
	       struct check_result *ret_result);

#endif
