/* SPDX-License-Identifier: BSD-3-Clause */
/* The journals: one redo record each, see journal.c. */
#ifndef DAXFUSE_MEDIA_JOURNAL_H
#define DAXFUSE_MEDIA_JOURNAL_H

#include "request.h"
#include "volume.h"
#include "daxfuse/base/errint.h"

#define JOURNAL_RECORD_MAX (DXF_JOURNAL_SIZE - sizeof(struct dxf_journal_header))

/* A record in memory: the header, and behind it the operations. */
struct journal_record {
	struct dxf_journal_header header;
	char ops[JOURNAL_RECORD_MAX];
};

/* Allocate vol->journals. 0 or -ENOMEM. */
errint_t journal_open(struct volume *vol);
void journal_close(struct volume *vol);

/*
 * Replay every live record. *ret_replayed counts them. A record with a right
 * CRC that points outside of what a transaction may change is -EUCLEAN; with
 * read_only nothing is stored and a live record is -EROFS.
 */
errint_t journal_replay(struct volume *vol, bool read_only, unsigned *ret_replayed);

/*
 * Make a record durable and carry it out; `request` is told when it is durable (NULL: it is
 * nobody's). The caller has filled in ops and header.bytes, .opcode, .unique and .result.
 * Order: see journal.c. After it returns everything is durable in place; -EIO: all
 * journals are poisoned, nothing has happened.
 */
errint_t journal_commit(struct volume *vol, struct journal_record *record,
			const struct tx_request *request);

#endif
