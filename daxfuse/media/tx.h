/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transactions: a set of changes to metadata that a crash shows whole or not at
 * all. Changes are made to shadow copies in memory; tx_commit() writes what
 * differs as one redo record into a journal, then in place (see journal.c for
 * the order of stores).
 *
 * A transaction belongs to one thread. All that it edits must be protected by a lock of the
 * caller's from the first tx_edit() until tx_commit() or tx_abort() has returned; both end the
 * transaction. Bits of shared words (block and inode bitmaps) need no lock: each bit belongs to the
 * transaction that reserved it.
 *
 * Errors stick: a transaction that grew beyond a record makes tx_commit() fail
 * with -EOVERFLOW, and editors needn't check in between.
 */
#ifndef DAXFUSE_MEDIA_TX_H
#define DAXFUSE_MEDIA_TX_H

#include "request.h"
#include "volume.h"
#include "daxfuse/base/errint.h"

struct tx;

/* 0 or -ENOMEM. */
errint_t tx_begin(struct volume *vol, struct tx **ret_tx);
struct volume *tx_volume(struct tx *tx);

/*
 * The shadow of [media, media + len), 8-byte aligned; later calls for a part of
 * the same range return a pointer into the same shadow. Ranges must not overlap
 * otherwise.
 */
void *tx_edit(struct tx *tx, void *media, size_t len);
/* A shadow of zeroes of a range that nothing durable refers to: it is written
 * whole, before the record, and not logged. */
void *tx_edit_fresh(struct tx *tx, void *media, size_t len);
/* The shadow of an inode; its CRC is computed at commit, and what its blocks
 * changed by is charged to its project. */
struct dxf_inode *tx_edit_inode(struct tx *tx, struct dxf_inode *media);
/* ino was born (+1) or freed (-1) in this transaction: charged likewise. */
void tx_count_inode(struct tx *tx, struct dxf_inode *media, int delta);
/* The shadow if there is one, else the media itself; tx may be NULL. */
const void *tx_view(struct tx *tx, const void *media);
/* Forget an edit of a range that this transaction frees. */
void tx_drop(struct tx *tx, const void *media);

void tx_set_bits(struct tx *tx, uint64_t *word, uint64_t mask);
void tx_clear_bits(struct tx *tx, uint64_t *word, uint64_t mask);

/* New data was stored non-temporally: fence before the record is written. */
void tx_wrote_data(struct tx *tx);

/* 0, -EDQUOT, -EOVERFLOW, -EIO (poison in what it would change). On error nothing
 * has changed. */
errint_t tx_commit(struct tx *tx);
void tx_abort(struct tx *tx);

/*
 * The transaction carries out a request, with this result: its record carries both, and
 * request->executed() is called while the record is live. NULL, or unique 0: none does.
 */
void tx_decides(struct tx *tx, const struct tx_request *request, int64_t result);

/* Of the room: reservations of the allocators that commit keeps and abort gives
 * back, and frees that happen once the transaction is over. */
enum tx_space { TX_BLOCK, TX_UNIT, TX_INODE };
void tx_on_abort(struct tx *tx, enum tx_space kind, uint64_t where);
void tx_on_commit(struct tx *tx, enum tx_space kind, uint64_t where);

#endif
