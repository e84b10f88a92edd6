/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A queue of a device with the thread that serves it. All functions are called by the thread of the
 * front end's connection; the queue is set up and changed only while its thread does not run.
 */
#ifndef DAXFUSE_VHOST_RING_H
#define DAXFUSE_VHOST_RING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "guest.h"
#include "queue.h"

struct ring {
	struct queue queue;
	struct guest *guest;
	uint64_t desc_user, avail_user, used_user; /* as the VMM names them */
	bool placed;                               /* they were said */
	bool enabled;
	int kick, call; /* eventfds; -1: none */
	int stop;       /* ours: the thread is to end */
	bool running;
	atomic_bool stopping;
	atomic_bool broken;           /* there is nothing to go on with, until it is set up anew */
	_Atomic uint64_t *bad_chains; /* counts */
	pthread_t thread;
	char *in, *out; /* buffers of the thread */
	struct chain *chain;
};

/* -errno */
errint_t ring_open(struct ring *ring, struct guest *guest, _Atomic uint64_t *bad_chains);
void ring_close(struct ring *ring);
/* Start its thread, if all that it needs is there and lies in the memory. -ENOMEM, -EAGAIN */
errint_t ring_start(struct ring *ring, const struct memory *memory);
/* Its thread has done its last request when this returns. */
void ring_stop(struct ring *ring);

#endif
