/* SPDX-License-Identifier: BSD-3-Clause */
/* The inode allocator: slots in chunks of 4096, see ialloc.c. */
#ifndef DAXFUSE_MEDIA_IALLOC_H
#define DAXFUSE_MEDIA_IALLOC_H

#include "tx.h"
#include "daxfuse/base/errint.h"

/* Load the chunks' bitmaps. 0, -ENOMEM, -EUCLEAN. */
errint_t ialloc_open(struct volume *vol);
void ialloc_close(struct volume *vol);

/* Reserve an inode and mark it used in tx. orphan: mark that as well. -ENOSPC. */
errint_t ialloc_get(struct tx *tx, bool orphan, uint32_t *ret_ino);
/* Free ino (and its orphan bit) in tx. */
void ialloc_put(struct tx *tx, uint32_t ino);
/* Of tx.c: a reservation was given up, or a free has become durable. */
void ialloc_release(struct volume *vol, uint32_t ino);

/* Where ino lies on media. -ESTALE: there is no such slot or it is not in use; -EIO:
 * what would tell is poisoned. */
errint_t ialloc_inode(const struct volume *vol, uint32_t ino, struct dxf_inode **ret_inode);
/* Where a slot lies, in use or not; NULL if there is no such slot. */
struct dxf_inode *ialloc_slot(const struct volume *vol, uint32_t ino);

void ialloc_set_orphan(struct tx *tx, uint32_t ino, bool orphan);
/* Call fn for each orphan that can be known, until it returns non-zero. */
errint_t ialloc_for_each_orphan(struct volume *vol, errint_t (*fn)(uint32_t ino, void *arg),
				void *arg);

/* Inodes in use, and how many there can ever be, both without those that can't be read. */
void ialloc_count(const struct volume *vol, uint64_t *ret_used, uint64_t *ret_max);

#endif
