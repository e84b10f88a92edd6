/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Project quotas: records in a hash table on media, changed in the transaction that changes the
 * things counted.
 */
#ifndef DAXFUSE_MEDIA_QUOTA_H
#define DAXFUSE_MEDIA_QUOTA_H

#include "tx.h"
#include "daxfuse/base/errint.h"

enum { QUOTA_CHARGES_MAX = 16 };

/* What one transaction changes of one project. */
struct quota_charge {
	uint32_t project;
	uint32_t slot;
	int64_t blocks;
	int64_t inodes;
};

/* All of a transaction's charges; their records are locked from quota_apply()
 * to quota_release(). */
struct quota_hold {
	unsigned count;
	unsigned locked;
	struct quota_charge charge[QUOTA_CHARGES_MAX];
};

/* Note a charge; project 0 and zeroes are ignored. -EOVERFLOW. */
errint_t quota_charge(struct quota_hold *hold, uint32_t project, int64_t blocks, int64_t inodes);
/* Lock the records, check the limits, edit. -EDQUOT; -ENOSPC: table full; -EIO: a record that is
 * charged more is poisoned (giving back is not counted then, fsck counts anew). */
errint_t quota_apply(struct tx *tx, struct quota_hold *hold);
void quota_release(struct volume *vol, struct quota_hold *hold);

/* A copy of the project's record; -ENOENT, -EIO. */
errint_t quota_read(struct volume *vol, uint32_t project, struct dxf_quota *ret_quota);
/* 4 KiB blocks and inodes; 0 = none. -ENOSPC: table full; -EIO. */
errint_t quota_set_limits(struct volume *vol, uint32_t project, uint64_t blocks, uint64_t inodes);

#endif
