/* SPDX-License-Identifier: BSD-3-Clause */
/* What a mapping needs of a file: whole units, zeroes behind the end, the same bytes as
 * before. Each pool is checked when its test is over. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include "daxfuse/base/bits.h"
#include "pool.h"

enum { UNITS = 16, KIB = 1 << 10, MIB = 1 << 20 };

static char data[5 * MIB], back[5 * MIB];

static struct fs_iomap iomap_of(struct pool *pool, uint64_t ino, uint64_t offset, uint64_t length)
{
	struct fs_iomap map;

	assert_int_equal(fs_iomap(pool->fs, ino, offset, length, &map), 0);
	return map;
}

/* The unit at offset is a whole one, and reads so on the device: bytes of the file, then
 * zeroes. */
static void expect_unit(struct pool *pool, uint64_t ino, uint64_t offset)
{
	struct fs_iomap map = iomap_of(pool, ino, offset, 1);
	const char *unit = pmem_at(pool->pm, map.device_offset);
	struct fs_attr attr;
	size_t in_file;

	assert_true(map.unit);
	assert_int_equal(map.kind, FS_IOMAP_MAPPED);
	assert_int_equal(map.device_offset % DXF_UNIT_SIZE, 0);
	assert_int_equal(fs_getattr(pool->fs, ino, &attr), 0);
	in_file = MIN(attr.size - offset, DXF_UNIT_SIZE);
	assert_int_equal(iomap_of(pool, ino, offset, in_file).length, in_file);
	assert_int_equal(fs_pread(pool->fs, ino, back, in_file, offset), in_file);
	assert_memory_equal(unit, back, in_file);
	for (size_t i = in_file; i < DXF_UNIT_SIZE; i++)
		assert_int_equal(unit[i], 0);
}

static void fill_random(uint64_t seed)
{
	for (size_t i = 0; i < sizeof(data); i += 8) {
		uint64_t word = next_random(&seed);

		memcpy(data + i, &word, 8);
	}
}

/* Files of all shapes: their bytes are the same before and after. */
static void test_keeps_bytes(void **state)
{
	static const struct {
		uint64_t from, length, size;
		bool reserve;
	} shapes[] = {
		{ 0, 5, 5, false },
		{ 0, 100, 100, false },
		{ 0, 5000, 5000, false },
		{ 0, 60 * KIB, 70 * KIB, false },
		{ 0, 200 * KIB, 200 * KIB, false },
		{ 0, 400 * KIB, 400 * KIB, false },
		{ 0, 2 * MIB, 2 * MIB, false },
		{ 300 * KIB, 10 * KIB, MIB, false },
		{ 0, 0, MIB, false },
		{ 0, 0, 3 * MIB, true },
		{ 100, 5000, 2 * MIB + 1, true },
		{ 0, 700 * KIB, MIB + 77, true },
	};
	struct fs_setattr set = { .valid = FS_SET_SIZE };
	struct pool pool;

	fill_random(5);
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		uint64_t ino, size = shapes[i].size;

		pool_make(&pool, UNITS);
		ino = make_file(&pool, "f");
		if (shapes[i].reserve)
			assert_int_equal(fs_fallocate(pool.fs, NULL, ino, 0, 0, size), 0);
		assert_int_equal(fs_write(pool.fs, NULL, ino, data, shapes[i].length,
					  shapes[i].from, 0),
				 shapes[i].length);
		set.size = size;
		assert_int_equal(fs_setattr(pool.fs, ino, &set, NULL), 0);
		assert_int_equal(fs_map_allocate(pool.fs, ino, 0, DXF_UNIT_SIZE), 0);
		expect_unit(&pool, ino, 0);
		assert_int_equal(fs_pread(pool.fs, ino, back, size, 0), size);
		for (uint64_t at = 0; at < size; at++) {
			uint64_t in = at - shapes[i].from;

			assert_int_equal(back[at], at >= shapes[i].from && in < shapes[i].length
							   ? data[in]
							   : 0);
		}
		/* once more changes nothing */
		assert_int_equal(fs_map_promote(pool.fs, ino, 4096), size > 4096 ? 0 : -ENXIO);
		expect_unit(&pool, ino, 0);
		pool_free(&pool);
	}
}

static void test_pages(void **state)
{
	struct fs_setattr set = { .valid = FS_SET_SIZE, .size = MIB };
	struct fs_attr attr;
	struct pool pool;
	uint64_t ino;

	pool_make(&pool, UNITS);
	ino = make_file(&pool, "f");
	assert_int_equal(fs_setattr(pool.fs, ino, &set, NULL), 0);
	assert_int_equal(fs_map_allocate(pool.fs, ino, 40960, 4096), 0);
	assert_int_equal(iomap_of(&pool, ino, 40960, 4096).kind, FS_IOMAP_MAPPED);
	assert_int_equal(iomap_of(&pool, ino, 0, MIB).kind, FS_IOMAP_HOLE);
	assert_int_equal(iomap_of(&pool, ino, 45056, 4096).kind, FS_IOMAP_HOLE);
	assert_int_equal(fs_getattr(pool.fs, ino, &attr), 0);
	assert_int_equal(attr.blocks, 8);
	assert_int_equal(fs_pread(pool.fs, ino, back, 4096, 40960), 4096);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(back[i], 0);
	/* reserved ones */
	assert_int_equal(fs_fallocate(pool.fs, NULL, ino, 0, 0, 8192), 0);
	assert_int_equal(iomap_of(&pool, ino, 4096, 4096).kind, FS_IOMAP_UNWRITTEN);
	assert_int_equal(fs_map_allocate(pool.fs, ino, 4096, 4096), 0);
	assert_int_equal(iomap_of(&pool, ino, 4096, 4096).kind, FS_IOMAP_MAPPED);
	assert_int_equal(iomap_of(&pool, ino, 0, 4096).kind, FS_IOMAP_UNWRITTEN);
	pool_free(&pool);
}

/* What lies behind the end is gone, however it came there. */
static void test_behind_the_end(void **state)
{
	struct fs_setattr set = { .valid = FS_SET_SIZE };
	struct fs_iomap map;
	struct pool pool;
	uint64_t ino;
	char *unit;

	fill_random(6);
	pool_make(&pool, UNITS);
	ino = make_file(&pool, "f");
	assert_int_equal(fs_write(pool.fs, NULL, ino, data, 2 * MIB, 0, 0), 2 * MIB);
	set.size = 5000;
	assert_int_equal(fs_setattr(pool.fs, ino, &set, NULL), 0);
	assert_int_equal(fs_map_allocate(pool.fs, ino, 0, DXF_UNIT_SIZE), 0);
	expect_unit(&pool, ino, 0);
	/* a program stores there through its mapping, and the file grows over it */
	map = iomap_of(&pool, ino, 0, 1);
	unit = pmem_at(pool.pm, map.device_offset);
	memset(unit + 5000, 'x', MIB);
	assert_int_equal(fs_map_zero(pool.fs, ino, 5000, DXF_UNIT_SIZE - 5000), 0);
	set.size = MIB;
	assert_int_equal(fs_setattr(pool.fs, ino, &set, NULL), 0);
	assert_int_equal(fs_map_allocate(pool.fs, ino, 0, DXF_UNIT_SIZE), 0);
	assert_ptr_equal(unit, pmem_at(pool.pm, iomap_of(&pool, ino, 0, 1).device_offset));
	expect_unit(&pool, ino, 0);
	assert_int_equal(unit[4999], data[4999]);
	assert_int_equal(unit[5000], 0);
	/* now it is the file's: read() sees what is stored */
	unit[MIB - 1] = 'y';
	assert_int_equal(fs_pread(pool.fs, ino, back, 1, MIB - 1), 1);
	assert_int_equal(back[0], 'y');
	pool_free(&pool);
}

/* Zeroed before it grows, stored to since: it stays as it is, and counts as written. */
static void test_grown(void **state)
{
	struct fs_setattr set = { .valid = FS_SET_SIZE };
	struct pool pool;
	uint64_t ino;
	char *unit;

	fill_random(8);
	pool_make(&pool, UNITS);
	ino = make_file(&pool, "f");
	assert_int_equal(fs_write(pool.fs, NULL, ino, data, 2 * MIB, 0, 0), 2 * MIB);
	set.size = 5000;
	assert_int_equal(fs_setattr(pool.fs, ino, &set, NULL), 0);
	unit = pmem_at(pool.pm, iomap_of(&pool, ino, 0, 1).device_offset);
	assert_int_equal(fs_map_grown(pool.fs, ino, 5000), 0);
	assert_int_equal(fs_map_zero(pool.fs, ino, 5000, UINT64_MAX), 0);
	assert_int_equal(unit[4999], data[4999]);
	for (unsigned i = 5000; i < 2 * MIB; i++)
		assert_int_equal(unit[i], 0);
	set.size = MIB;
	assert_int_equal(fs_setattr(pool.fs, ino, &set, NULL), 0);
	unit[MIB - 5] = 's';
	assert_int_equal(fs_map_grown(pool.fs, ino, 5000), 0);
	assert_int_equal(iomap_of(&pool, ino, 0, MIB).length, MIB);
	assert_int_equal(fs_pread(pool.fs, ino, back, 5, MIB - 5), 5);
	assert_int_equal(back[0], 's');
	/* nor does a write zero it */
	assert_int_equal(fs_write(pool.fs, NULL, ino, "e", 1, MIB, 0), 1);
	assert_int_equal(unit[MIB - 5], 's');
	expect_unit(&pool, ino, 0);
	pool_free(&pool);
}

/* What was not even written before it grew is nobody's store. */
static void test_grown_over_reserved(void **state)
{
	struct fs_setattr set = { .valid = FS_SET_SIZE };
	struct pool pool;
	uint64_t ino;
	char *unit;

	pool_make(&pool, UNITS);
	ino = make_file(&pool, "f");
	assert_int_equal(fs_fallocate(pool.fs, NULL, ino, 0, 0, 2 * MIB), 0);
	set.size = 9000;
	assert_int_equal(fs_setattr(pool.fs, ino, &set, NULL), 0);
	unit = pmem_at(pool.pm, iomap_of(&pool, ino, 0, 1).device_offset);
	memset(unit, 'o', 9000);
	assert_int_equal(fs_map_zero(pool.fs, ino, 9000, 2 * MIB - 9000), 0);
	set.size = 3 * MIB;
	assert_int_equal(fs_setattr(pool.fs, ino, &set, NULL), 0);
	unit[9000] = 's';
	assert_int_equal(fs_map_grown(pool.fs, ino, 9000), 0);
	assert_int_equal(fs_pread(pool.fs, ino, back, 2 * MIB, 0), 2 * MIB);
	assert_int_equal(back[9000], 's');
	back[9000] = 0;
	for (unsigned i = 0; i < 2 * MIB; i++)
		assert_int_equal(back[i], 0);
	/* no unit, no file */
	assert_int_equal(fs_map_grown(pool.fs, ino, 2 * MIB + 100), 0);
	assert_int_equal(iomap_of(&pool, ino, 2 * MIB, 1).kind, FS_IOMAP_HOLE);
	assert_int_equal(fs_map_grown(pool.fs, ino, UINT64_MAX), 0);
	assert_int_equal(fs_map_grown(pool.fs, ROOT, 0), -ENODEV);
	pool_free(&pool);
}

/* Lengths that end nowhere, offsets behind everything. */
static void test_zero_to_the_end(void **state)
{
	struct pool pool;
	uint64_t ino;

	fill_random(9);
	pool_make(&pool, UNITS);
	ino = make_file(&pool, "f");
	assert_int_equal(fs_write(pool.fs, NULL, ino, data, 5 * MIB, 0, 0), 5 * MIB);
	assert_int_equal(fs_map_zero(pool.fs, ino, UINT64_MAX, UINT64_MAX), 0);
	assert_int_equal(fs_map_zero(pool.fs, ino, UINT64_MAX - 4095, 4096), 0);
	assert_int_equal(fs_map_zero(pool.fs, ino, DXF_FILE_MAX, 1), 0);
	assert_int_equal(fs_pread(pool.fs, ino, back, 5 * MIB, 0), 5 * MIB);
	assert_memory_equal(back, data, 5 * MIB);
	assert_int_equal(fs_map_zero(pool.fs, ino, 3 * MIB + 1, UINT64_MAX), 0);
	assert_int_equal(fs_pread(pool.fs, ino, back, 5 * MIB, 0), 5 * MIB);
	assert_memory_equal(back, data, 3 * MIB + 1);
	for (unsigned i = 3 * MIB + 1; i < 5 * MIB; i++)
		assert_int_equal(back[i], 0);
	pool_free(&pool);
}

/* No whole unit is free: the file gets blocks, promotion says so. */
static void test_no_unit(void **state)
{
	struct fs_setattr set = { .valid = FS_SET_SIZE, .size = 20000 };
	struct fs_space space;
	struct pool pool;
	uint64_t ino, filler;

	pool_make(&pool, UNITS);
	ino = make_file(&pool, "f");
	assert_int_equal(fs_write(pool.fs, NULL, ino, "data", 4, 4096, 0), 4);
	assert_int_equal(fs_setattr(pool.fs, ino, &set, NULL), 0);
	filler = make_file(&pool, "filler");
	fs_get_space(pool.fs, &space);
	assert_int_equal(
		fs_fallocate(pool.fs, NULL, filler, 0, 0, space.free_units * DXF_UNIT_SIZE), 0);
	fs_get_space(pool.fs, &space);
	assert_int_equal(space.free_units, 0);
	assert_int_equal(fs_map_promote(pool.fs, ino, 0), -ENOSPC);
	assert_int_equal(iomap_of(&pool, ino, 0, 4096).kind, FS_IOMAP_HOLE);
	assert_int_equal(fs_map_allocate(pool.fs, ino, 0, DXF_UNIT_SIZE), 0);
	for (uint64_t at = 0; at < 20000; at += 4096) {
		assert_int_equal(iomap_of(&pool, ino, at, 1).kind, FS_IOMAP_MAPPED);
		assert_false(iomap_of(&pool, ino, at, 1).unit);
	}
	assert_int_equal(fs_pread(pool.fs, ino, back, 20000, 0), 20000);
	assert_memory_equal(back + 4096, "data\0\0", 6);
	pool_free(&pool);
}

static void test_refused(void **state)
{
	struct fs_attr attr;
	struct pool pool;
	uint64_t ino, dir;

	pool_make(&pool, UNITS);
	ino = make_file(&pool, "f");
	dir = make_dir(&pool, ROOT, "d");
	assert_int_equal(fs_map_allocate(pool.fs, ino, 0, DXF_UNIT_SIZE), -ENXIO);
	assert_int_equal(fs_write(pool.fs, NULL, ino, "x", 1, 0, 0), 1);
	assert_int_equal(fs_map_allocate(pool.fs, ino, DXF_UNIT_SIZE, DXF_UNIT_SIZE), -ENXIO);
	assert_int_equal(fs_map_allocate(pool.fs, ino, 4096, 4096), -ENXIO);
	assert_int_equal(fs_map_allocate(pool.fs, ino, 1, 4096), -EINVAL);
	assert_int_equal(fs_map_allocate(pool.fs, ino, 0, 8192), -EINVAL);
	assert_int_equal(fs_map_allocate(pool.fs, dir, 0, 4096), -ENODEV);
	assert_int_equal(fs_map_promote(pool.fs, ino, DXF_UNIT_SIZE), -ENXIO);
	assert_int_equal(fs_map_touch(pool.fs, ino), 0);
	pool_remount(&pool);
	fs_unmount(pool.fs);
	pool_mount(&pool, true);
	assert_int_equal(fs_getattr(pool.fs, ino, &attr), 0);
	assert_int_equal(fs_map_allocate(pool.fs, ino, 0, 4096), -EROFS);
	assert_int_equal(fs_map_zero(pool.fs, ino, 0, 4096), -EROFS);
	pool_free(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keeps_bytes),     cmocka_unit_test(test_pages),
		cmocka_unit_test(test_behind_the_end),  cmocka_unit_test(test_no_unit),
		cmocka_unit_test(test_grown),           cmocka_unit_test(test_grown_over_reserved),
		cmocka_unit_test(test_zero_to_the_end), cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
