/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file's data against a flat reference: random operations of every kind, small
 * and unit-sized, at and across every boundary, with remounts between them.
 */
#include <linux/falloc.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "pool.h"

#define SPAN (UINT64_C(7) << 20) /* of the file that operations touch */
#define UNITS 32

struct subject {
	struct pool pool;
	uint64_t ino, rng;
	char *want, *got; /* SPAN bytes, zero behind size */
	uint64_t size;
};

static uint64_t pick(struct subject *s, uint64_t below)
{
	return next_random(&s->rng) % below;
}

/* Sizes and places near what matters: bytes, inline, blocks, direct, regions. */
static uint64_t pick_near(struct subject *s, uint64_t below)
{
	static const uint64_t step[] = { 1,
					 64,
					 DXF_INLINE_MAX,
					 DXF_BLOCK_SIZE,
					 16 * DXF_BLOCK_SIZE,
					 64 * DXF_BLOCK_SIZE,
					 DXF_UNIT_SIZE,
					 DXF_UNIT_SIZE };
	uint64_t unit = step[pick(s, ARRAY_SIZE(step))], at = pick(s, 1 + below / unit) * unit;

	if (pick(s, 3) == 0)
		at += pick(s, 200);
	else if (pick(s, 6) == 0 && at > 100)
		at -= pick(s, 100);
	return MIN(at, below);
}

static void pick_range(struct subject *s, uint64_t below, uint64_t *offset, uint64_t *length)
{
	*offset = pick_near(s, pick(s, 2) ? below - 1 : MIN(below - 1, 3 * DXF_BLOCK_SIZE));
	*length = pick_near(s, pick(s, 4) ? MIN(below - *offset, 20 * DXF_BLOCK_SIZE)
					  : below - *offset);
	if (!*length)
		*length = 1;
}

static void do_write(struct subject *s)
{
	uint64_t offset, length;
	unsigned flags = pick(s, 8) ? 0 : FS_WRITE_APPEND;

	pick_range(s, SPAN, &offset, &length);
	if (flags) {
		offset = s->size;
		length = MIN(length, SPAN - offset);
	}
	for (uint64_t i = 0; i < length; i++)
		s->want[offset + i] = (char)(next_random(&s->rng) | 1);
	assert_int_equal(fs_write(s->pool.fs, NULL, s->ino, s->want + offset, length,
				  flags ? 0 : offset, flags),
			 length);
	s->size = length ? MAX(s->size, offset + length) : s->size;
}

static void do_truncate(struct subject *s)
{
	struct fs_setattr set = { .valid = FS_SET_SIZE };
	struct fs_attr attr;

	set.size = pick_near(s, pick(s, 3) ? SPAN : 2 * DXF_BLOCK_SIZE);
	assert_int_equal(fs_setattr(s->pool.fs, s->ino, &set, &attr), 0);
	assert_int_equal(attr.size, set.size);
	if (set.size < s->size)
		memset(s->want + set.size, 0, s->size - set.size);
	s->size = set.size;
}

static void do_fallocate(struct subject *s)
{
	static const int modes[] = {
		0,
		FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	};
	int mode = modes[pick(s, ARRAY_SIZE(modes))];
	uint64_t offset, length;

	pick_range(s, SPAN, &offset, &length);
	assert_int_equal(fs_fallocate(s->pool.fs, NULL, s->ino, mode, offset, length), 0);
	if (mode & (FALLOC_FL_ZERO_RANGE | FALLOC_FL_PUNCH_HOLE))
		memset(s->want + offset, 0, length);
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		s->size = MAX(s->size, offset + length);
}

static void do_shift(struct subject *s)
{
	bool collapse = pick(s, 2);
	uint64_t at = round_down(pick(s, s->size + 1), DXF_BLOCK_SIZE);
	uint64_t length = (1 + pick(s, pick(s, 2) ? 3 : 600)) * DXF_BLOCK_SIZE;
	int mode = collapse ? FALLOC_FL_COLLAPSE_RANGE : FALLOC_FL_INSERT_RANGE;
	bool fits = at < s->size && (collapse ? at + length < s->size : s->size + length <= SPAN);

	if (!collapse && s->size + length > SPAN)
		return;
	assert_int_equal(fs_fallocate(s->pool.fs, NULL, s->ino, mode, at, length),
			 fits ? 0 : -EINVAL);
	if (!fits)
		return;
	if (collapse) {
		memmove(s->want + at, s->want + at + length, s->size - at - length);
		memset(s->want + s->size - length, 0, length);
		s->size -= length;
	} else {
		memmove(s->want + at + length, s->want + at, s->size - at);
		memset(s->want + at, 0, length);
		s->size += length;
	}
}

static void do_copy(struct subject *s)
{
	uint64_t from, to, length;
	ssize_t n;

	pick_range(s, SPAN, &from, &length);
	to = pick_near(s, SPAN - length);
	n = fs_copy_range(s->pool.fs, NULL, s->ino, from, s->ino, to, length);
	if (from < to + length && to < from + length) {
		assert_int_equal(n, -EINVAL);
		return;
	}
	length = from < s->size ? MIN(length, s->size - from) : 0;
	/* what is copied may make the file longer while it is read */
	assert_true(n >= (ssize_t)length);
	memmove(s->want + to, s->want + from, (size_t)n);
	s->size = n ? MAX(s->size, to + (uint64_t)n) : s->size;
}

/* What SEEK_DATA jumps over is zeroes; what SEEK_HOLE finds is. */
static void check_seek(struct subject *s)
{
	uint64_t at = 0;

	while (at < s->size) {
		off_t data = fs_seek(s->pool.fs, s->ino, at, SEEK_DATA), hole;
		uint64_t end = data == -ENXIO ? s->size : (uint64_t)data;

		assert_true(data >= (off_t)at || data == -ENXIO);
		for (; at < end; at++)
			assert_int_equal(s->want[at], 0);
		if (at == s->size)
			break;
		hole = fs_seek(s->pool.fs, s->ino, at, SEEK_HOLE);
		assert_true(hole > (off_t)at && hole <= (off_t)s->size);
		at = (uint64_t)hole;
	}
	assert_int_equal(fs_seek(s->pool.fs, s->ino, s->size, SEEK_DATA), -ENXIO);
	assert_int_equal(fs_seek(s->pool.fs, s->ino, s->size, SEEK_HOLE), -ENXIO);
}

static void check_all(struct subject *s)
{
	struct fs_attr attr;

	assert_int_equal(fs_getattr(s->pool.fs, s->ino, &attr), 0);
	assert_int_equal(attr.size, s->size);
	assert_int_equal(fs_pread(s->pool.fs, s->ino, s->got, SPAN, 0), s->size);
	assert_memory_equal(s->got, s->want, s->size);
}

static void step(struct subject *s)
{
	switch (pick(s, 16)) {
	case 0 ... 6:
		do_write(s);
		break;
	case 7 ... 8:
		do_truncate(s);
		break;
	case 9 ... 12:
		do_fallocate(s);
		break;
	case 13:
		do_shift(s);
		break;
	case 14:
		do_copy(s);
		break;
	case 15:
		assert_int_equal(fs_open(s->pool.fs, s->ino, 0, NULL), 0);
		fs_release(s->pool.fs, s->ino); /* may trim */
		break;
	}
}

static void run(uint64_t seed, unsigned steps)
{
	struct subject s = { .rng = seed, .want = calloc(1, SPAN), .got = malloc(SPAN) };
	uint64_t before;

	pool_make(&s.pool, UNITS);
	before = free_space(&s.pool);
	s.ino = make_file(&s.pool, "file");
	for (unsigned i = 0; i < steps; i++) {
		step(&s);
		check_all(&s);
		if (i % 8 == 0)
			check_seek(&s);
		if (i % 16 == 0)
			pool_remount(&s.pool);
	}
	remove_file(&s.pool, ROOT, "file", s.ino);
	assert_int_equal(free_space(&s.pool), before);
	pool_free(&s.pool);
	free(s.want);
	free(s.got);
}

static void test_random(void **state)
{
	for (uint64_t seed = 1; seed <= 12; seed++)
		run(seed * UINT64_C(0x9e3779b97f4a7c15), 60);
}

/* A sparse region becomes a unit by a write that begins and ends within blocks that
 * hold data: what it does not reach stays. */
static void test_promotion(void **state)
{
	static const uint64_t edges[] = { 0, 1, 100, DXF_BLOCK_SIZE - 1 };
	struct subject s = { .rng = 5, .want = calloc(1, SPAN), .got = malloc(SPAN) };
	struct fs_attr attr;

	pool_make(&s.pool, UNITS);
	for (unsigned i = 0; i < ARRAY_SIZE(edges) * ARRAY_SIZE(edges); i++) {
		uint64_t from = 10 * DXF_BLOCK_SIZE + edges[i % 4],
			 to = 100 * DXF_BLOCK_SIZE + edges[i / 4];

		memset(s.want, 0, SPAN);
		s.size = 130 * DXF_BLOCK_SIZE;
		s.ino = make_file(&s.pool, "file");
		for (uint64_t block = 0; block < 130; block += 5) { /* every fifth one */
			memset(s.want + block * DXF_BLOCK_SIZE, 'a' + (int)(block + i) % 26,
			       DXF_BLOCK_SIZE);
			assert_int_equal(fs_write(s.pool.fs, NULL, s.ino,
						  s.want + block * DXF_BLOCK_SIZE, DXF_BLOCK_SIZE,
						  block * DXF_BLOCK_SIZE, 0),
					 DXF_BLOCK_SIZE);
		}
		memset(s.want + from, 'Z', to - from);
		assert_int_equal(fs_write(s.pool.fs, NULL, s.ino, s.want + from, to - from, from,
					  0),
				 to - from);
		s.size = 126 * DXF_BLOCK_SIZE;
		check_all(&s);
		assert_int_equal(fs_getattr(s.pool.fs, s.ino, &attr), 0);
		assert_int_equal(attr.blocks, DXF_UNIT_SIZE / 512);
		remove_file(&s.pool, ROOT, "file", s.ino);
	}
	pool_free(&s.pool);
	free(s.want);
	free(s.got);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random),
					    cmocka_unit_test(test_promotion) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
