/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests in progress, written where they outlive this process, so that each is
 * executed once though the process that took it may die at any moment: the
 * kernel sends what was not answered again (bit 63 of its unique set), and the
 * slot of the first life says whether its transaction was committed.
 *
 * A slot is taken when a request is received, marked by the transaction that
 * decides the request while its journal record is still live (so recovery marks
 * it if we die in between), and free again when the reply has been written.
 */
#ifndef DAXFUSE_FUSE_REQUESTS_H
#define DAXFUSE_FUSE_REQUESTS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/media/request.h"
#include "kept.h"

struct requests {
	struct kept *kept;
	pthread_mutex_t lock;      /* of all slots that are not in use */
	bool in_use[KEPT_REQUESTS]; /* belongs to a thread of this process */
};

struct fuse_in_header;

void requests_open(struct requests *r, struct kept *kept);
void requests_close(struct requests *r);

/*
 * This thread begins with a request as it was read from /dev/fuse (bytes, header
 * included). False: it has taken the process down several times already, and is
 * not to be tried again. Without a free slot it is served like any other, but not
 * known to the next process.
 */
bool requests_begin(struct requests *r, const struct fuse_in_header *header, size_t bytes);
/* It is answered, unless somebody else has taken it over. */
void requests_end(struct requests *r);
/* Another thread will answer what this one has begun: it attaches what this one
 * got when detaching (NULL if there is no request, or no slot), and ends it. */
struct kept_request *requests_detach(void);
void requests_attach(struct kept_request *request);
/* Whether an earlier process has executed this thread's request: its result. */
bool requests_was_executed(int64_t *ret_result);

/* This thread's request, for what executes it; unique 0: it has none, or no slot. */
struct tx_request requests_once(void);
/* For struct fs_options. */
void requests_replayed(void *arg, uint64_t unique, uint32_t opcode, int64_t result);

/* Whether this thread's request is one that an earlier process has had. */
bool requests_is_repeated(void);

/* Whether this header is of a request that the kernel sends again. */
bool requests_is_resent(const struct fuse_in_header *header);
/* Whether, with this one, all that the kernel sends again has come. */
bool requests_is_new(const struct fuse_in_header *header);
/*
 * All that was sent again has come. What is left of earlier lives was withdrawn,
 * as its program was killed; settle() is called for each: if it had been executed,
 * the kernel does not know of its effect. The slot is free after that, not before.
 */
void requests_settle(struct requests *r, void (*settle)(void *arg, const struct kept_request *lost),
		     void *arg);

#endif
