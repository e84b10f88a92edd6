/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Split virtqueues: descriptors are walked here, into lists of pieces of the guest's memory.
 *
 * Bounds. A chain has no more descriptors than the queue (so one that goes round ends), whether
 * they are in the ring or in one indirect table; those for reading come before those for writing.
 */
#include "queue.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/pmem/pmem.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };
enum { AVAIL_NO_INTERRUPT = 1 };

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct used_element {
	uint32_t id, len;
};

/* Both rings: flags, index, entries, and the other side's event index. */
struct ring_head {
	uint16_t flags, index;
};

static uint16_t *avail_entry(const struct queue *q, unsigned i)
{
	return (uint16_t *)((char *)q->avail + sizeof(struct ring_head)) + i;
}

static struct used_element *used_entry(const struct queue *q, unsigned i)
{
	return (struct used_element *)((char *)q->used + sizeof(struct ring_head)) + i;
}

static uint16_t *index_of(void *ring)
{
	return &((struct ring_head *)ring)->index;
}

/* Written by the driver: up to which used entry it wants no interrupt. */
static uint16_t *used_event(const struct queue *q)
{
	return avail_entry(q, q->size);
}

/* Written by us: up to which available entry we want no kick. */
static uint16_t *avail_event(const struct queue *q)
{
	return (uint16_t *)used_entry(q, q->size);
}

errint_t queue_begin(struct queue *q)
{
	return pmem_foreign_load16(index_of(q->used), &q->next_used) ? -EIO : 0;
}

/* ---- chains ------------------------------------------------------------------------- */

static errint_t add_piece(const struct queue *q, struct chain *chain, const struct desc *desc)
{
	bool out = desc->flags & DESC_WRITE;
	struct iovec *iov = out ? chain->out : chain->in;
	unsigned *count = out ? &chain->out_count : &chain->in_count;
	uint64_t addr = desc->addr, left = desc->len;

	if (!out && chain->out_count)
		return -EINVAL; /* all that is for reading comes first */
	while (left) {
		uint64_t length;
		void *at = memory_at(q->memory, addr, left, &length);

		if (!at || *count == ARRAY_SIZE(chain->in))
			return -EINVAL;
		iov[(*count)++] = (struct iovec){ at, (size_t)length };
		addr += length;
		left -= length;
	}
	*(out ? &chain->out_bytes : &chain->in_bytes) += desc->len;
	return 0;
}

/* Read a table's entry once. The table may lie across regions. */
static errint_t read_indirect(const struct queue *q, uint64_t table, unsigned i,
			      struct desc *ret_desc)
{
	uint64_t at = table + i * sizeof(*ret_desc), left = sizeof(*ret_desc);
	char *to = (char *)ret_desc;

	while (left) {
		uint64_t length;
		const void *from = memory_at(q->memory, at, left, &length);

		if (!from || pmem_foreign_read(to, from, (size_t)length))
			return -EINVAL;
		to += length;
		at += length;
		left -= length;
	}
	return 0;
}

static errint_t walk_indirect(const struct queue *q, struct chain *chain, const struct desc *table)
{
	unsigned count = table->len / sizeof(struct desc), i = 0;

	/* whether it is for writing says nothing here */
	if (!q->indirect || (table->flags & DESC_NEXT) || !count ||
	    table->len % sizeof(struct desc) || count > QUEUE_SIZE_MAX ||
	    table->addr > UINT64_MAX - table->len)
		return -EINVAL;
	for (unsigned steps = 0; steps < count; steps++) {
		struct desc desc;
		int err = read_indirect(q, table->addr, i, &desc);

		if (!err && (desc.flags & DESC_INDIRECT))
			err = -EINVAL;
		if (!err)
			err = add_piece(q, chain, &desc);
		if (err || !(desc.flags & DESC_NEXT))
			return err;
		i = desc.next;
		if (i >= count)
			return -EINVAL;
	}
	return -EINVAL; /* it goes round */
}

static errint_t walk_chain(const struct queue *q, struct chain *chain)
{
	unsigned i = chain->head;

	for (unsigned steps = 0; steps < q->size; steps++) {
		struct desc desc;
		int err;

		if (pmem_foreign_read(&desc, (struct desc *)q->desc + i, sizeof(desc)))
			return -EIO;
		if (desc.flags & DESC_INDIRECT)
			return walk_indirect(q, chain, &desc);
		err = add_piece(q, chain, &desc);
		if (err || !(desc.flags & DESC_NEXT))
			return err;
		i = desc.next;
		if (i >= q->size)
			return -EINVAL;
	}
	return -EINVAL;
}

int queue_pop(struct queue *q, struct chain *chain)
{
	uint16_t index;
	int err;

	if (pmem_foreign_load16(index_of(q->avail), &index))
		return -EIO;
	if (index == q->next_avail)
		return 0;
	if ((uint16_t)(index - q->next_avail) > q->size)
		return -EIO;
	chain->bad = false;
	chain->in_count = chain->out_count = 0;
	chain->in_bytes = chain->out_bytes = 0;
	if (pmem_foreign_load16(avail_entry(q, q->next_avail & (q->size - 1)), &chain->head) ||
	    chain->head >= q->size)
		return -EIO;
	err = walk_chain(q, chain);
	if (err == -EIO)
		return err;
	chain->bad = err;
	if (err)
		chain->in_count = chain->out_count = 0;
	q->next_avail++;
	return 1;
}

void queue_put_back(struct queue *q)
{
	q->next_avail--;
}

/* ---- giving back --------------------------------------------------------------------- */

/* The entry is there before the index says so; then the driver's wish is read, not before. */
int queue_push(struct queue *q, const struct chain *chain, uint32_t written)
{
	const struct used_element element = { chain->head, written };
	uint16_t old = q->next_used, now = (uint16_t)(old + 1), wish;

	if (pmem_foreign_write(used_entry(q, old & (q->size - 1)), &element, sizeof(element)) ||
	    pmem_foreign_store16(index_of(q->used), now))
		return -EIO;
	q->next_used = now;
	atomic_thread_fence(memory_order_seq_cst);
	if (pmem_foreign_load16(q->event_idx ? used_event(q) : (uint16_t *)q->avail, &wish))
		return -EIO;
	if (q->event_idx)
		return (uint16_t)(now - wish - 1) < (uint16_t)(now - old);
	return !(wish & AVAIL_NO_INTERRUPT);
}

int queue_sleep(struct queue *q)
{
	uint16_t index;

	if (q->event_idx && pmem_foreign_store16(avail_event(q), q->next_avail))
		return -EIO;
	atomic_thread_fence(memory_order_seq_cst);
	if (pmem_foreign_load16(index_of(q->avail), &index))
		return -EIO;
	return index != q->next_avail;
}

/* ---- a chain's bytes ------------------------------------------------------------------ */

ssize_t chain_read(const struct chain *chain, void *buf, size_t size)
{
	size_t done = 0;

	for (unsigned i = 0; i < chain->in_count && done < size; i++) {
		size_t part = MIN(size - done, chain->in[i].iov_len);

		if (pmem_foreign_read((char *)buf + done, chain->in[i].iov_base, part))
			return -EFAULT;
		done += part;
	}
	return (ssize_t)done;
}

errint_t chain_write(const struct chain *chain, uint64_t at, const void *buf, size_t size)
{
	size_t done = 0;

	if (at > chain->out_bytes || size > chain->out_bytes - at)
		return -ENOBUFS;
	for (unsigned i = 0; i < chain->out_count && done < size; i++) {
		const struct iovec *iov = &chain->out[i];
		size_t part;

		if (at >= iov->iov_len) {
			at -= iov->iov_len;
			continue;
		}
		part = MIN(size - done, iov->iov_len - (size_t)at);
		if (pmem_foreign_write((char *)iov->iov_base + at, (const char *)buf + done, part))
			return -EFAULT;
		done += part;
		at = 0;
	}
	return 0;
}
