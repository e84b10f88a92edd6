/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A split virtqueue, from the device's side (virtio 1.2, section 2.7). It lies in the guest's
 * memory, so all of it is hostile: each word is read once, into memory of ours, and checked there.
 *
 * Two kinds of errors. One in the ring itself (an index that jumps, a head that is no descriptor,
 * memory that is gone) leaves nothing to go on with: -EIO, and the queue is not used any more until
 * it is set up anew. One in a chain (a loop, a bad address or direction) is its own matter: the
 * chain is BAD, and given back with nothing written.
 */
#ifndef DAXFUSE_VHOST_QUEUE_H
#define DAXFUSE_VHOST_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "daxfuse/base/errint.h"
#include "memory.h"

#define QUEUE_SIZE_MAX 1024u

struct queue {
	const struct memory *memory;
	unsigned size;  /* descriptors, a power of two */
	bool event_idx; /* VIRTIO_RING_F_EVENT_IDX */
	bool indirect;  /* VIRTIO_RING_F_INDIRECT_DESC */
	void *desc, *avail, *used;
	uint16_t next_avail, next_used;
};

/* A request: what the driver has written, then where it wants the answer. */
struct chain {
	uint16_t head;
	bool bad;
	unsigned in_count, out_count;
	uint64_t in_bytes, out_bytes; /* readable, writable for us */
	struct iovec in[QUEUE_SIZE_MAX + MEMORY_REGIONS];
	struct iovec out[QUEUE_SIZE_MAX + MEMORY_REGIONS];
};

/* The rings are in place (queue.desc and so on): begin at next_avail. -EIO. */
errint_t queue_begin(struct queue *q);
/* The next request: 1, *chain is filled; 0: there is none. -EIO. */
int queue_pop(struct queue *q, struct chain *chain);
/* It was not done: the same comes next. */
void queue_put_back(struct queue *q);
/* It is done, so many bytes were written for the driver. Whether the driver wants to be told: 1, 0.
 * -EIO. */
int queue_push(struct queue *q, const struct chain *chain, uint32_t written);
/* Nothing was there: have the driver tell us of the next. 1: something has come meanwhile. -EIO */
int queue_sleep(struct queue *q);

/* Copy from the beginning of what the driver has written; up to size bytes: the count. -EFAULT */
ssize_t chain_read(const struct chain *chain, void *buf, size_t size);
/* Copy to the driver, `at` bytes from the beginning of the answer. -EFAULT; -ENOBUFS: no room. */
errint_t chain_write(const struct chain *chain, uint64_t at, const void *buf, size_t size);

#endif
