/* SPDX-License-Identifier: BSD-3-Clause */
/* A request that must be executed once, however often it is asked. */
#ifndef DAXFUSE_MEDIA_REQUEST_H
#define DAXFUSE_MEDIA_REQUEST_H

#include <stdint.h>

struct tx_request {
	uint64_t unique; /* 0: it may be executed twice */
	uint32_t opcode; /* the asker's: only carried along */
	/* It has been executed, with this result: the transaction that does it is committed, and
	 * would be replayed. Called in the thread that executes it, with locks held: it must not
	 * call the pool. NULL: nobody wants to know. */
	void (*executed)(const struct tx_request *request, int64_t result);
};

/* It has been executed: its effect is durable already, by a transaction or not. NULL, or unique 0:
 * nobody is told. */
void tx_executed(const struct tx_request *request, int64_t result);

#endif
