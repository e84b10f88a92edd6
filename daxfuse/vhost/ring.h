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

/*
 * What of it outlives the serving process. Requests are served one after another, so between two of
 * them as many were taken as were given back: while the thread runs, the guest's used index says
 * where it is, and a request that was not given back is simply taken once more. A guest that
 * changes that index has its own requests done wrongly.
 */
struct ring_record {
	uint64_t desc, avail, used; /* as the VMM names them */
	uint32_t size;
	uint32_t turns;      /* how often it was set up */
	uint16_t next_avail; /* where it begins, unless it runs */
	uint16_t ahead;      /* while it runs: of next_avail before the used index */
	bool placed;         /* the addresses were said */
	bool enabled;
	atomic_bool runs;
	atomic_bool broken; /* there is nothing to go on with, until it is set up anew */
};

struct ring {
	struct queue queue;
	const struct ring_config *config;
	struct ring_record *record;
	unsigned index;
	int kick, call; /* eventfds; -1: none */
	int stop;       /* ours: the thread is to end */
	bool running;
	bool adopted; /* it was running when an earlier process died */
	atomic_bool stopping;
	struct guest_once once; /* of the request that the thread has, or takes next */
	pthread_t thread;
	bool told_refused;
	char *in, *out; /* buffers of the thread */
	struct chain *chain;
};

/* Of all queues of a device. */
struct ring_config {
	struct guest *guest;
	_Atomic uint64_t *bad_chains; /* counts */
	struct vfs_answers *answers;  /* NULL: nothing outlives us */
	unsigned number;              /* of the device: no other has it */
	unsigned ioctls;              /* of confine_thread() */
	/* A request has made a system call that it may not make; once for each thread. */
	void (*refused)(void *arg, long call);
	void *arg;
};

/* Where the record says. -errno */
errint_t ring_open(struct ring *ring, const struct ring_config *config, unsigned index,
		   struct ring_record *record);
void ring_close(struct ring *ring);
/* Where it begins from now on; it does not run. */
void ring_set_base(struct ring *ring, uint16_t next_avail);
/* Start its thread, if all that it needs is there and lies in the memory. -ENOMEM, -EAGAIN */
errint_t ring_start(struct ring *ring, const struct memory *memory);
/* Its thread has done its last request when this returns. */
void ring_stop(struct ring *ring);

#endif
