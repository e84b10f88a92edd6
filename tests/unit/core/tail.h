/* SPDX-License-Identifier: BSD-3-Clause */
/* A holder of tails, as the kernel's view of a file is: one file at a time, stored to as fs.h says. */
#ifndef DAXFUSE_TESTS_UNIT_CORE_TAIL_H
#define DAXFUSE_TESTS_UNIT_CORE_TAIL_H

#include "daxfuse/base/bits.h"
#include "pool.h"

enum { UNIT = 2 << 20, PAGE = 4096 };

struct holder {
	struct fs_tail_holder calls;
	struct pool *pool;
	struct fs_tail tail; /* the last one that was given */
	uint64_t size;       /* of its file */
	errint_t refuses;    /* what give() says */
	bool given;          /* and not taken */
	unsigned taken;
	int64_t time;
};

static struct holder the_holder;

static errint_t holder_give(void *arg, void *cookie, const struct fs_tail *tail)
{
	struct holder *holder = arg;
	uint64_t at = round_up(tail->size, DXF_BLOCK_SIZE);

	assert_ptr_equal(cookie, holder);
	if (holder->refuses)
		return holder->refuses;
	for (unsigned i = 0; i < tail->count; i++) {
		assert_int_equal(tail->extent[i].file_offset, at);
		assert_int_equal(tail->extent[i].length % DXF_BLOCK_SIZE, 0);
		assert_int_equal(tail->extent[i].device_offset % DXF_BLOCK_SIZE, 0);
		at += tail->extent[i].length;
	}
	assert_int_equal(at, tail->end);
	holder->tail = *tail;
	holder->size = tail->size;
	holder->given = true;
	return 0;
}

static void holder_take(void *arg, void *cookie)
{
	struct holder *holder = arg;

	holder->given = false;
	holder->taken++;
}

static inline struct holder *holder_set(struct pool *pool)
{
	the_holder = (struct holder){
		.calls = { .arg = &the_holder, .give = holder_give, .take = holder_take },
		.pool = pool,
	};
	fs_set_tail_holder(pool->fs, &the_holder.calls);
	return &the_holder;
}

/* Where a byte lies, and how many behind it lie there, too. */
static inline char *holder_at(struct holder *holder, uint64_t offset, uint64_t *ret_length)
{
	const struct fs_tail *tail = &holder->tail;
	uint64_t page = round_down(offset, DXF_BLOCK_SIZE);

	assert_true(holder->given);
	if (tail->last_page && page == round_down(tail->size, DXF_BLOCK_SIZE)) {
		*ret_length = DXF_BLOCK_SIZE - offset % DXF_BLOCK_SIZE;
		return pmem_at(holder->pool->pm, tail->last_page + offset % DXF_BLOCK_SIZE);
	}
	for (unsigned i = 0; i < tail->count; i++) {
		uint64_t in = offset - tail->extent[i].file_offset;

		if (offset >= tail->extent[i].file_offset && in < tail->extent[i].length) {
			*ret_length = tail->extent[i].length - in;
			return pmem_at(holder->pool->pm, tail->extent[i].device_offset + in);
		}
	}
	fail_msg("offset %llu is not in the tail", (unsigned long long)offset);
	return NULL;
}

static inline void holder_fill(struct holder *holder, uint64_t from, uint64_t to, char byte)
{
	static char bytes[DXF_BLOCK_SIZE];

	memset(bytes, byte, sizeof(bytes));
	while (from < to) {
		uint64_t length = 0;
		char *at = holder_at(holder, from, &length);

		length = MIN(length, DXF_BLOCK_SIZE - from % DXF_BLOCK_SIZE);
		length = MIN(length, to - from);
		pmem_copy_nt(holder->pool->pm, at, bytes, length);
		from += length;
	}
}

/* Order: bytes and zeroes, fence; times and size, flushed; fence. */
static inline void holder_append(struct holder *holder, uint64_t offset, uint64_t length, char byte)
{
	const struct pmem *pm = holder->pool->pm;
	uint64_t *times = pmem_at(pm, holder->tail.times);
	uint64_t *size = pmem_at(pm, holder->tail.size_word), end = offset + length;

	holder_fill(holder, holder->size, offset, 0);
	holder_fill(holder, offset, end, byte);
	holder_fill(holder, end, round_up(end, DXF_BLOCK_SIZE), 0);
	pmem_fence(pm);
	holder->time = fs_clock();
	pmem_store64(pm, &times[0], (uint64_t)holder->time);
	pmem_store64(pm, &times[1], (uint64_t)holder->time + 1);
	pmem_store64(pm, size, end);
	pmem_flush(pm, size, 8);
	pmem_flush(pm, times, 16);
	pmem_fence(pm);
	holder->size = end;
}

/* ---- files ------------------------------------------------------------------------- */

static char page[PAGE];

static inline uint64_t size_of(struct pool *pool, uint64_t ino)
{
	struct fs_attr attr;

	assert_int_equal(fs_getattr(pool->fs, ino, &attr), 0);
	return attr.size;
}

static inline uint64_t blocks_held(struct pool *pool, uint64_t ino)
{
	struct fs_attr attr;

	assert_int_equal(fs_getattr(pool->fs, ino, &attr), 0);
	return attr.blocks / (PAGE / 512);
}

static inline void set_size(struct pool *pool, uint64_t ino, uint64_t size)
{
	const struct fs_setattr set = { .valid = FS_SET_SIZE, .size = size };

	assert_int_equal(fs_setattr(pool->fs, ino, &set, NULL), 0);
}

static inline void write_bytes(struct pool *pool, uint64_t ino, uint64_t offset, uint64_t length)
{
	memset(page, 'w', sizeof(page));
	for (uint64_t done = 0; done < length; done += PAGE) {
		size_t n = MIN(length - done, (uint64_t)PAGE);

		assert_int_equal(fs_write(pool->fs, NULL, ino, page, n, offset + done, 0), n);
	}
}

/* All of [from, to) is that byte. */
static inline void assert_bytes(struct pool *pool, uint64_t ino, uint64_t from, uint64_t to,
				char byte)
{
	while (from < to) {
		size_t n = MIN(to - from, (uint64_t)PAGE);

		assert_int_equal(fs_pread(pool->fs, ino, page, n, from), n);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(page[i], byte);
		from += n;
	}
}

/* After pool_teardown(), which ends all tails, there is no holder. */
static inline int tail_teardown(void **state)
{
	int err = pool_teardown(state);

	assert_false(the_holder.given);
	return err;
}

#endif
