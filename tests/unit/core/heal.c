/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Poison that the device can clear: a sector of 512 bytes is bad, and for it the kernel
 * has taken the whole page away. The device is the hook in struct pmem; it lifts the
 * simulated poison and leaves zeroes, as the real one does.
 */
#include <linux/falloc.h>
#include <sys/stat.h>

#include "daxfuse/base/bits.h"
#include "poison.h"

enum { UNITS = 24 };

static struct {
	struct pool *pool;
	uint64_t bad[4]; /* sectors, each in another page; 0: none */
	unsigned cleared;
} device;

static char buf[2 << 20], got[2 << 20];

static int clear_bad(const struct pmem *pm, uint64_t offset, uint64_t length)
{
	int err = -EOPNOTSUPP;

	assert_true(is_aligned(offset, PMEM_SECTOR) && is_aligned(length, PMEM_SECTOR));
	for (unsigned i = 0; i < ARRAY_SIZE(device.bad); i++) {
		uint64_t bad = device.bad[i];

		if (!bad || offset >= bad + PMEM_SECTOR || bad >= offset + length)
			continue;
		heal(device.pool, bad);
		memset(pmem_at(pm, bad), 0, PMEM_SECTOR);
		device.bad[i] = 0;
		device.cleared++;
		err = 0;
	}
	return err;
}

static void spoil(unsigned i, uint64_t offset)
{
	device.bad[i] = round_down(offset, PMEM_SECTOR);
	poison(device.pool, offset);
}

static int setup(void **state)
{
	struct pool *pool = pool_new(UNITS);

	pool->pm->clear_bad = clear_bad;
	memset(&device, 0, sizeof(device));
	device.pool = pool;
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (char)(i * 31 >> 7);
	*state = pool;
	return 0;
}

/* A file of so many bytes, a block of which lies at *ret_at on the device. */
static uint64_t make_data(struct pool *pool, uint64_t size, uint64_t *ret_file, uint64_t *ret_at)
{
	uint64_t ino = make_file(pool, "data");

	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, size, 0, 0), size);
	*ret_file = round_down(size / 2, DXF_BLOCK_SIZE);
	*ret_at = device_offset(pool, ino, *ret_file);
	return ino;
}

static void assert_content(struct pool *pool, uint64_t ino, const char *want, uint64_t size)
{
	assert_int_equal(fs_pread(pool->fs, ino, got, size, 0), size);
	assert_memory_equal(got, want, size);
}

/* Sector 3 of a block is bad, and written with the whole block, with a part of it, or
 * not as a whole. */
static void check_write(struct pool *pool, uint64_t size)
{
	uint64_t file, at, ino = make_data(pool, size, &file, &at), bad = 3 * PMEM_SECTOR;
	static char want[2 << 20];

	memcpy(want, buf, size);
	device.cleared = 0;
	spoil(0, at + bad);
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 100, file, 0), -EIO);
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, PMEM_SECTOR - 1, file + bad, 0), -EIO);
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 2 * PMEM_SECTOR - 2, file + bad + 1, 0),
			 -EIO);
	assert_int_equal(fs_pread(pool->fs, ino, got, 1, file + bad), -EIO);
	assert_int_equal(device.cleared, 0);
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, PMEM_SECTOR + 200, file + bad - 100, 0),
			 PMEM_SECTOR + 200);
	assert_int_equal(device.cleared, 1);
	memcpy(want + file + bad - 100, buf, PMEM_SECTOR + 200);
	assert_content(pool, ino, want, size);
	spoil(0, at + bad);
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, DXF_BLOCK_SIZE, file, 0),
			 DXF_BLOCK_SIZE);
	assert_int_equal(device.cleared, 2);
	memcpy(want + file, buf, DXF_BLOCK_SIZE);
	assert_content(pool, ino, want, size);
	remove_file(pool, ROOT, "data", ino);
}

static void test_write(void **state)
{
	check_write(*state, 5 * DXF_BLOCK_SIZE);
	check_write(*state, 40 * DXF_BLOCK_SIZE); /* a table */
	check_write(*state, 2 << 20);             /* a unit */
}

static void test_zero(void **state)
{
	struct pool *pool = *state;
	uint64_t file, at, ino = make_data(pool, 5 * DXF_BLOCK_SIZE, &file, &at);
	struct fs_setattr set = { .valid = FS_SET_SIZE, .size = file + 100 };
	static char want[5 * DXF_BLOCK_SIZE];

	memcpy(want, buf, sizeof(want));
	spoil(0, at);
	assert_int_equal(fs_fallocate(pool->fs, NULL, ino, FALLOC_FL_ZERO_RANGE, file + 1, 1000),
			 -EIO);
	assert_int_equal(fs_fallocate(pool->fs, NULL, ino, FALLOC_FL_ZERO_RANGE, file - 10, 1000),
			 0);
	memset(want + file - 10, 0, 1000);
	assert_content(pool, ino, want, sizeof(want));
	/* the tail behind the end of the file, zeroed when it grows */
	assert_int_equal(fs_setattr(pool->fs, ino, &set, NULL), 0);
	spoil(0, at + 3 * PMEM_SECTOR);
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 10, file + 10 * DXF_BLOCK_SIZE, 0), 10);
	assert_int_equal(device.cleared, 2);
	memset(want + file, 0, 2 * DXF_BLOCK_SIZE);
	assert_content(pool, ino, want, file + 2 * DXF_BLOCK_SIZE);
}

/* What was freed bad is given out again, all of it. */
static void test_new_space(void **state)
{
	struct pool *pool = *state;
	uint64_t file, at, ino = make_data(pool, 8 * DXF_BLOCK_SIZE, &file, &at);
	uint64_t other = make_file(pool, "b"), block[4], before;
	struct fs_space space;

	for (unsigned i = 0; i < ARRAY_SIZE(block); i++)
		block[i] = device_offset(pool, ino, i * DXF_BLOCK_SIZE);
	assert_int_equal(fs_write(pool->fs, NULL, other, buf, DXF_BLOCK_SIZE, 0, 0),
			 DXF_BLOCK_SIZE);
	remove_file(pool, ROOT, "data", ino);
	for (unsigned i = 0; i < ARRAY_SIZE(block); i++)
		spoil(i, block[i] + i * PMEM_SECTOR);
	before = free_space(pool);
	assert_int_equal(fs_write(pool->fs, NULL, other, buf, 16 * DXF_BLOCK_SIZE, 0, 0),
			 16 * DXF_BLOCK_SIZE);
	assert_int_equal(device.cleared, ARRAY_SIZE(block));
	fs_get_space(pool->fs, &space);
	assert_int_equal(space.bad_blocks, 0);
	assert_int_equal(free_space(pool), before - 15);
	assert_content(pool, other, buf, 16 * DXF_BLOCK_SIZE);
}

/* Space that a file has, but has not written yet: nothing of it is needed either. */
static void check_unwritten(struct pool *pool, uint64_t size)
{
	uint64_t ino = make_file(pool, "f"), at;
	struct fs_iomap map;

	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, DXF_BLOCK_SIZE, 0, 0), DXF_BLOCK_SIZE);
	assert_int_equal(fs_fallocate(pool->fs, NULL, ino, 0, 0, size), 0);
	assert_int_equal(fs_iomap(pool->fs, ino, DXF_BLOCK_SIZE, DXF_BLOCK_SIZE, &map), 0);
	assert_int_equal(map.kind, FS_IOMAP_UNWRITTEN);
	at = map.device_offset;
	spoil(0, at);
	pool->pm->clear_bad = NULL; /* a device that can't */
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 100, DXF_BLOCK_SIZE + 200, 0), -EIO);
	pool->pm->clear_bad = clear_bad;
	assert_int_equal(fs_write(pool->fs, NULL, ino, buf, 100, DXF_BLOCK_SIZE + 1000, 0), 100);
	assert_int_equal(fs_pread(pool->fs, ino, got, 2000, DXF_BLOCK_SIZE), 2000);
	assert_memory_equal(got + 1000, buf, 100);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(got[i], 0);
	remove_file(pool, ROOT, "f", ino);
}

static void test_unwritten(void **state)
{
	check_unwritten(*state, 5 * DXF_BLOCK_SIZE);
	check_unwritten(*state, DXF_UNIT_SIZE);
}

/* fsck writes metadata anew, much of it less than a sector at a time. */
static void test_repair(void **state)
{
	struct pool *pool = *state;
	const struct dxf_super super = *fs_super(pool->fs);
	const uint64_t places[] = { super.pool_size - DXF_UNIT_SIZE, super.journal_offset,
				    super.unit_offset, super.inode_map_offset, super.quota_offset };
	struct check_options options = { .repair = true };
	uint64_t file, at, ino = make_data(pool, 5 * DXF_BLOCK_SIZE, &file, &at);

	make_dir(pool, ROOT, "dir");
	for (unsigned i = 0; i < ARRAY_SIZE(places) + 1; i++) {
		uint64_t bitmap = super.bitmap_offset + at / DXF_UNIT_SIZE * sizeof(uint64_t[8]);
		struct check_result result;

		fs_unmount(pool->fs);
		spoil(0, i < ARRAY_SIZE(places) ? places[i] : bitmap);
		assert_int_equal(check_pool(pool->pm, &options, &result), 0);
		pool_check(pool);
		pool_mount(pool, false);
		assert_true(result.found);
		assert_int_equal(result.found, result.repaired);
		assert_int_equal(device.cleared, i + 1);
		assert_content(pool, ino, buf, 5 * DXF_BLOCK_SIZE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_write, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_zero, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_new_space, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_unwritten, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_repair, setup, pool_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
