/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests to the front end: pieces of a file into the window, and out of it. One at a time; each
 * is answered, but a thread need not wait for that to the end: it has to give up when its queue is
 * stopped, as a VMM that stops a queue may answer nothing else until that is done. The answer is
 * owed then, and taken before the next request is made.
 */
#ifndef DAXFUSE_VHOST_SHMEM_H
#define DAXFUSE_VHOST_SHMEM_H

#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"

enum shmem_kind { SHMEM_BARRIER = 7, SHMEM_MAP = 9, SHMEM_UNMAP = 10 };

struct shmem {
	int channel; /* -1: there is none */
	bool broken; /* what came is no answer: it is not used any more */
	bool owed;   /* an answer, to a request of: */
	enum shmem_kind kind;
};

struct shmem_piece {
	uint64_t file_offset, window_offset, length;
	bool writable;
	int fd;
};

/* For how long somebody waits. */
struct shmem_patience {
	int stop;         /* a descriptor that can be read when it is to give up; -1: none */
	int64_t deadline; /* of CLOCK_MONOTONIC, ns; 0: none */
};

/* The channel is its own from now on. */
void shmem_open(struct shmem *s, int channel);
void shmem_close(struct shmem *s);

/* No answer is owed. 0: it was done; -EREMOTEIO: the front end says no; -ECANCELED: the answer is
 * owed now; -ENOTCONN: the front end is gone, or says what is no answer. */
errint_t shmem_ask(struct shmem *s, enum shmem_kind kind, const struct shmem_piece *piece,
		   const struct shmem_patience *patience);
/* The answer that is owed: the same. */
errint_t shmem_settle(struct shmem *s, const struct shmem_patience *patience);

#endif
