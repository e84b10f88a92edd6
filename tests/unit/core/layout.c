/* SPDX-License-Identifier: BSD-3-Clause */
/* A file whose layout is kept: whatever is done to it, what it has stays where it lies, until
 * it is freed by its range; and it reads as any other. Each pool is checked when its test is
 * over. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include "daxfuse/base/bits.h"
#include "pool.h"

enum { UNITS = 40, KIB = 1 << 10, MIB = 1 << 20 };
enum { PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE };

static char data[6 * MIB], back[6 * MIB];

static int setup(void **state)
{
	uint64_t seed = 9;

	for (size_t i = 0; i < sizeof(data); i += 8) {
		uint64_t word = next_random(&seed);

		memcpy(data + i, &word, 8);
	}
	*state = pool_new(UNITS);
	return 0;
}

static struct fs_iomap iomap_of(struct pool *pool, uint64_t ino, uint64_t offset)
{
	struct fs_iomap map;

	assert_int_equal(fs_iomap(pool->fs, ino, offset, 1, &map), 0);
	return map;
}

static void set_size(struct pool *pool, uint64_t ino, uint64_t size)
{
	struct fs_setattr set = { .valid = FS_SET_SIZE, .size = size };

	assert_int_equal(fs_setattr(pool->fs, ino, &set, NULL), 0);
}

static void write_at(struct pool *pool, uint64_t ino, uint64_t offset, size_t length)
{
	assert_int_equal(fs_write(pool->fs, NULL, ino, data, length, offset, 0), length);
}

static uint64_t kept_file(struct pool *pool, const char *name)
{
	uint64_t ino = make_file(pool, name);

	assert_int_equal(fs_keep_layout(pool->fs, ino, true), 0);
	return ino;
}

static void let_go(struct pool *pool, uint64_t ino)
{
	assert_int_equal(fs_keep_layout(pool->fs, ino, false), 0);
}

/* Blocks stay blocks, however much is written beside them. */
static void test_no_unit_by_the_way(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = kept_file(pool, "f"), at;

	write_at(pool, ino, 0, 4096);
	at = iomap_of(pool, ino, 0).device_offset;
	write_at(pool, ino, 4096, MIB);
	assert_int_equal(iomap_of(pool, ino, 0).device_offset, at);
	assert_false(iomap_of(pool, ino, 4096).unit);
	assert_int_equal(fs_fallocate(pool->fs, NULL, ino, 0, 0, 2 * MIB), 0);
	assert_int_equal(iomap_of(pool, ino, 0).device_offset, at);
	assert_int_equal(fs_fallocate(pool->fs, NULL, ino, FALLOC_FL_ZERO_RANGE, 0, 2 * MIB), 0);
	assert_int_equal(iomap_of(pool, ino, 0).device_offset, at);
	assert_false(iomap_of(pool, ino, 0).unit);
	/* a whole region of nothing has nothing to move */
	write_at(pool, ino, 2 * MIB, 2 * MIB);
	assert_true(iomap_of(pool, ino, 2 * MIB).unit);
	assert_int_equal(fs_fallocate(pool->fs, NULL, ino, 0, 4 * MIB, 2 * MIB), 0);
	assert_true(iomap_of(pool, ino, 4 * MIB).unit);
	/* asked for */
	assert_int_equal(fs_map_promote(pool->fs, ino, 0), 0);
	assert_true(iomap_of(pool, ino, 0).unit);
	let_go(pool, ino);
}

static void test_no_trim(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = kept_file(pool, "f"), at;

	assert_int_equal(fs_open(pool->fs, ino, O_RDWR, NULL), 0);
	write_at(pool, ino, 0, 400 * KIB);
	at = iomap_of(pool, ino, 0).device_offset;
	assert_true(iomap_of(pool, ino, 0).unit);
	assert_int_equal(fs_keep_layout(pool->fs, ino, true), 0);
	fs_release(pool->fs, ino);
	assert_int_equal(iomap_of(pool, ino, 0).device_offset, at);
	let_go(pool, ino);
	assert_int_equal(iomap_of(pool, ino, 0).device_offset, at);
	/* the last one */
	let_go(pool, ino);
	assert_false(iomap_of(pool, ino, 0).unit);
	/* one too many says nothing */
	let_go(pool, ino);
}

/* A file without a name, nor an open description: it is there while it is mapped. */
static void test_orphan(void **state)
{
	struct pool *pool = *state;
	struct fs_attr attr;
	uint64_t ino, left;

	make_file(pool, "keeps the directory's block");
	left = free_space(pool);
	ino = kept_file(pool, "f");
	write_at(pool, ino, 0, 2 * MIB);
	remove_file(pool, ROOT, "f", ino);
	assert_int_equal(fs_getattr(pool->fs, ino, &attr), 0);
	assert_int_equal(attr.nlink, 0);
	let_go(pool, ino);
	assert_int_equal(fs_getattr(pool->fs, ino, &attr), -ESTALE);
	assert_int_equal(free_space(pool), left);
	assert_int_equal(fs_keep_layout(pool->fs, ino, true), -ESTALE);
	assert_int_equal(fs_keep_layout(pool->fs, ROOT, true), -ENODEV);
}

/* A program has the last unit mapped, and stores to it while the file grows and shrinks. */
static void test_grows_over_mapped_unit(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = kept_file(pool, "f");
	char *unit;

	write_at(pool, ino, 0, 5000);
	assert_int_equal(fs_map_allocate(pool->fs, ino, 0, DXF_UNIT_SIZE), 0);
	unit = pmem_at(pool->pm, iomap_of(pool, ino, 0).device_offset);
	memset(unit + 5000, 'x', 2 * MIB - 5000);
	set_size(pool, ino, MIB + 100);
	assert_int_equal(iomap_of(pool, ino, MIB).kind, FS_IOMAP_MAPPED);
	assert_int_equal(fs_pread(pool->fs, ino, back, MIB + 100, 0), MIB + 100);
	assert_memory_equal(back, data, 5000);
	for (unsigned i = 5000; i < MIB + 100; i++)
		assert_int_equal(back[i], 0);
	/* it is the program's from now on */
	memset(unit + 5000, 'y', MIB - 5000);
	write_at(pool, ino, MIB, 1);
	set_size(pool, ino, 2 * MIB + 5000);
	assert_int_equal(fs_pread(pool->fs, ino, back, MIB, 0), MIB);
	assert_int_equal(back[5000], 'y');
	assert_int_equal(back[MIB - 1], 'y');
	assert_int_equal(unit[2 * MIB - 1], 0);
	assert_int_equal(iomap_of(pool, ino, 2 * MIB - 1).kind, FS_IOMAP_MAPPED);
	assert_int_equal(iomap_of(pool, ino, 2 * MIB).kind, FS_IOMAP_HOLE);
	/* by a write that begins beyond the unit */
	set_size(pool, ino, 3000);
	memset(unit + 3000, 'z', 2 * MIB - 3000);
	write_at(pool, ino, 3 * MIB, 10);
	assert_int_equal(unit[2999], data[2999]);
	assert_int_equal(unit[3000], 0);
	assert_int_equal(unit[2 * MIB - 1], 0);
	unit[MIB] = 'w';
	assert_int_equal(fs_pread(pool->fs, ino, back, 1, MIB), 1);
	assert_int_equal(back[0], 'w');
	assert_ptr_equal(unit, pmem_at(pool->pm, iomap_of(pool, ino, 0).device_offset));
	let_go(pool, ino);
}

/* Nobody has mapped a unit that was only reserved: what another file has left there is not
 * shown. */
static void test_grows_over_reserved_unit(void **state)
{
	struct pool *pool = *state;
	uint64_t old, ino;

	for (unsigned i = 0; i < 8; i++) {
		old = make_file(pool, "old");
		for (uint64_t at = 0; at < 12 * MIB; at += 2 * MIB)
			write_at(pool, old, at, 2 * MIB);
		remove_file(pool, ROOT, "old", old);
	}
	ino = kept_file(pool, "f");
	assert_int_equal(fs_fallocate(pool->fs, NULL, ino, FALLOC_FL_KEEP_SIZE, 0, 2 * MIB), 0);
	write_at(pool, ino, 0, 10);
	set_size(pool, ino, 100 * KIB);
	set_size(pool, ino, 2 * MIB);
	assert_int_equal(fs_pread(pool->fs, ino, back, 2 * MIB, 0), 2 * MIB);
	for (unsigned i = 10; i < 2 * MIB; i++)
		assert_int_equal(back[i], 0);
	let_go(pool, ino);
}

/* A part of a unit is zeroed, and counts as written still: who has it mapped goes on storing
 * there. */
static void test_punch_inside_unit(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = kept_file(pool, "f");
	char *unit;

	write_at(pool, ino, 0, 2 * MIB);
	unit = pmem_at(pool->pm, iomap_of(pool, ino, 0).device_offset);
	assert_int_equal(fs_fallocate(pool->fs, NULL, ino, PUNCH, MIB, MIB), 0);
	assert_int_equal(unit[MIB], 0);
	assert_int_equal(unit[2 * MIB - 1], 0);
	unit[2 * MIB - 5000] = 's';
	write_at(pool, ino, 2 * MIB - 1, 1);
	assert_int_equal(fs_pread(pool->fs, ino, back, 5000, 2 * MIB - 5000), 5000);
	assert_int_equal(back[0], 's');
	assert_int_equal(fs_fallocate(pool->fs, NULL, ino, PUNCH, 0, 2 * MIB), 0);
	assert_int_equal(iomap_of(pool, ino, 0).kind, FS_IOMAP_HOLE);
	let_go(pool, ino);
}

/* ---- at random ------------------------------------------------------------- */

enum { FILE_BYTES = 6 * MIB, FILE_BLOCKS = FILE_BYTES / 4096, STEPS = 700 };

struct random {
	struct pool *pool;
	uint64_t ino, rng, size;
	uint64_t where[FILE_BLOCKS]; /* 0: nowhere */
	char *model;
};

static uint64_t any_of(struct random *r, uint64_t n)
{
	return next_random(&r->rng) % n;
}

/* All blocks lie where they lay, but for those that were freed. */
static void check_layout(struct random *r, uint64_t freed_from, uint64_t freed_to)
{
	for (uint64_t i = 0; i < FILE_BLOCKS; i++) {
		struct fs_iomap map = iomap_of(r->pool, r->ino, i * 4096);
		bool freed = i * 4096 >= freed_from && (i + 1) * 4096 <= freed_to;

		if (r->where[i] && !freed)
			assert_int_equal(map.device_offset, r->where[i]);
		if (map.kind != FS_IOMAP_HOLE && map.device_offset % 4096 == 0)
			r->where[i] = map.device_offset;
		else
			r->where[i] = 0;
	}
}

static void check_bytes(struct random *r)
{
	assert_int_equal(fs_pread(r->pool->fs, r->ino, back, FILE_BYTES, 0), r->size);
	assert_memory_equal(back, r->model, r->size);
}

static void random_range(struct random *r, uint64_t *from, uint64_t *to)
{
	static const uint64_t sizes[] = { 4096, 9000, 64 * KIB, 300 * KIB, 2 * MIB };

	*from = any_of(r, FILE_BYTES - 1);
	*to = *from + 1 + any_of(r, sizes[any_of(r, ARRAY_SIZE(sizes))]);
	if (any_of(r, 2)) {
		*from = round_down(*from, 4096);
		*to = round_up(*to, 4096);
	}
	if (any_of(r, 6) == 0) {
		*from = round_down(*from, 2 * MIB);
		*to = *from + 2 * MIB;
	}
	*to = MIN(*to, (uint64_t)FILE_BYTES);
}

static void resize(struct random *r, uint64_t size)
{
	if (size < r->size)
		memset(r->model + size, 0, r->size - size);
	r->size = size;
}

static void step(struct random *r)
{
	uint64_t from, to, freed_from = 0, freed_to = 0;
	struct fs *fs = r->pool->fs;

	random_range(r, &from, &to);
	switch (any_of(r, 6)) {
	case 0:
	case 1:
		assert_int_equal(fs_write(fs, NULL, r->ino, data + from / 2, to - from, from, 0),
				 to - from);
		memcpy(r->model + from, data + from / 2, to - from);
		r->size = MAX(r->size, to);
		break;
	case 2:
		assert_int_equal(
			fs_fallocate(fs, NULL, r->ino, FALLOC_FL_KEEP_SIZE, from, to - from), 0);
		break;
	case 3:
		assert_int_equal(
			fs_fallocate(fs, NULL, r->ino, FALLOC_FL_ZERO_RANGE, from, to - from), 0);
		memset(r->model + from, 0, to - from);
		r->size = MAX(r->size, to);
		break;
	case 4:
		assert_int_equal(fs_fallocate(fs, NULL, r->ino, PUNCH, from, to - from), 0);
		memset(r->model + from, 0, to - from);
		freed_from = from;
		freed_to = to;
		break;
	case 5:
		set_size(r->pool, r->ino, from);
		freed_from = r->size > from ? round_up(from, 4096) : UINT64_MAX;
		freed_to = UINT64_MAX;
		resize(r, from);
		break;
	}
	fs_release(fs, r->ino);
	check_layout(r, freed_from, freed_to);
	assert_int_equal(fs_open(fs, r->ino, O_RDWR, NULL), 0);
	check_bytes(r);
}

static void test_random(void **state)
{
	struct random r = { .pool = *state, .rng = 3, .model = calloc(1, FILE_BYTES) };

	r.ino = kept_file(r.pool, "f");
	assert_int_equal(fs_open(r.pool->fs, r.ino, O_RDWR, NULL), 0);
	for (unsigned i = 0; i < STEPS; i++)
		step(&r);
	let_go(r.pool, r.ino);
	free(r.model);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, pool_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_no_unit_by_the_way),
		TEST(test_no_trim),
		TEST(test_orphan),
		TEST(test_grows_over_mapped_unit),
		TEST(test_grows_over_reserved_unit),
		TEST(test_punch_inside_unit),
		TEST(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
