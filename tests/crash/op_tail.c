/* SPDX-License-Identifier: BSD-3-Clause */
/* The holder of tails: stores to files as the kernel's view of one does, past the filesystem under
 * test but through the persist layer. */
#include <errno.h>
#include <stdlib.h>

#include "daxfuse/base/bits.h"
#include "tests/crash/op.h"

static int give(void *arg, void *cookie, const struct fs_tail *tail)
{
	struct op_state *state = arg;

	if (cookie != state || state->lent)
		abort();
	state->tail = *tail;
	state->tail_size = tail->size;
	state->lent = true;
	return 0;
}

static void take(void *arg, void *cookie)
{
	struct op_state *state = arg;

	if (cookie != state || !state->lent)
		abort();
	state->lent = false;
}

void op_hold_tails(struct op_state *state)
{
	const struct fs_tail_holder holder = { .arg = state, .give = give, .take = take };

	fs_set_tail_holder(state->fs, &holder);
}

/* Where a byte of the tail lies. */
static uint64_t place_of(const struct op_state *state, uint64_t offset)
{
	const struct fs_tail *tail = &state->tail;

	if (tail->last_page && offset < round_up(tail->size, DXF_BLOCK_SIZE))
		return tail->last_page + offset % DXF_BLOCK_SIZE;
	for (unsigned i = 0; i < tail->count; i++)
		if (offset >= tail->extent[i].file_offset &&
		    offset - tail->extent[i].file_offset < tail->extent[i].length)
			return tail->extent[i].device_offset + offset - tail->extent[i].file_offset;
	abort();
}

/* bytes NULL: zeroes. */
static void store(const struct op_state *state, const uint8_t *bytes, uint64_t from, uint64_t to)
{
	const struct pmem *pm = fs_pmem(state->fs);

	while (from < to) {
		void *at = pmem_at(pm, place_of(state, from));
		uint64_t n = MIN(to - from, DXF_BLOCK_SIZE - from % DXF_BLOCK_SIZE);

		if (bytes) {
			pmem_copy_nt(pm, at, bytes, n);
			bytes += n;
		} else {
			pmem_zero_nt(pm, at, n);
		}
		from += n;
	}
}

/* Order: bytes, and zeroes before and behind them; fence; times and size, flushed; fence. */
int64_t op_tail_append(struct op_state *state, uint64_t gap, uint64_t length)
{
	const struct pmem *pm = fs_pmem(state->fs);
	uint64_t at = state->tail_size + gap, end = at + length;
	uint64_t *times = pmem_at(pm, state->tail.times);
	char *size = pmem_at(pm, state->tail.size_word);
	uint8_t *bytes;

	if (!state->lent || end > state->tail.end)
		return -ENOSPC;
	bytes = malloc(length);
	if (!bytes)
		abort();
	op_fill(bytes, state->data_seed, at, length);
	store(state, NULL, state->tail_size, at);
	store(state, bytes, at, end);
	store(state, NULL, end, round_up(end, DXF_BLOCK_SIZE));
	free(bytes);
	pmem_fence(pm);
	pmem_store64(pm, &times[0], (uint64_t)state->now);
	pmem_store64(pm, &times[1], (uint64_t)state->now);
	pmem_store64(pm, size, end);
	pmem_flush(pm, times, (size_t)(size + 8 - (char *)times)); /* one line */
	pmem_fence(pm);
	state->tail_size = end;
	return (int64_t)length;
}
