/* SPDX-License-Identifier: BSD-3-Clause */
/* In how many pieces files lie that programs map: written one after the other, at the same
 * time, backwards, reserved, and by faults in any order. */
#include <fcntl.h>

#include "daxfuse/base/bits.h"
#include "pool.h"

enum { UNITS = 160, MIB = 1 << 20 };

static char data[MIB];

static int setup(void **state)
{
	*state = pool_new(UNITS);
	return 0;
}

static void write_mib(struct pool *pool, uint64_t ino, uint64_t mib)
{
	assert_int_equal(fs_write(pool->fs, NULL, ino, data, MIB, mib * MIB, 0), MIB);
}

static uint32_t pieces_of(struct pool *pool, uint64_t ino)
{
	struct fs_xflags xflags;

	assert_int_equal(fs_get_xflags(pool->fs, ino, &xflags), 0);
	return xflags.extents;
}

static void test_in_turns(void **state)
{
	struct pool *pool = *state;
	uint64_t ino[3] = { make_file(pool, "a"), make_file(pool, "b"), make_file(pool, "c") };

	for (uint64_t mib = 0; mib < 64; mib++)
		for (unsigned i = 0; i < ARRAY_SIZE(ino); i++)
			write_mib(pool, ino[i], mib);
	for (unsigned i = 0; i < ARRAY_SIZE(ino); i++)
		assert_in_range(pieces_of(pool, ino[i]), 1, 8);
}

/* What a file goes on with after others have come, and after a restart, is behind what it has. */
static void test_goes_on(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "a"), other;

	for (uint64_t mib = 0; mib < 4; mib++)
		write_mib(pool, ino, mib);
	other = make_file(pool, "b");
	for (uint64_t mib = 0; mib < 40; mib++)
		write_mib(pool, other, mib);
	for (uint64_t mib = 4; mib < 10; mib++)
		write_mib(pool, ino, mib);
	assert_int_equal(pieces_of(pool, ino), 1);
	pool_remount(pool);
	for (uint64_t mib = 10; mib < 14; mib++)
		write_mib(pool, ino, mib);
	assert_int_equal(pieces_of(pool, ino), 1);
	assert_in_range(pieces_of(pool, other), 1, 4);
}

static void test_backwards(void **state)
{
	struct pool *pool = *state;
	uint64_t keep = make_file(pool, "keep"), ino = make_file(pool, "a");

	/* there is something to go back into */
	for (uint64_t mib = 0; mib < 20; mib++)
		write_mib(pool, keep, mib);
	write_mib(pool, ino, 20);
	write_mib(pool, ino, 21);
	remove_file(pool, ROOT, "keep", keep);
	for (uint64_t mib = 20; mib-- > 0;)
		write_mib(pool, ino, mib);
	assert_in_range(pieces_of(pool, ino), 1, 3);
}

static void test_reserved(void **state)
{
	struct pool *pool = *state;
	uint64_t ino[2] = { make_file(pool, "a"), make_file(pool, "b") };

	for (uint64_t mib = 0; mib < 32; mib += 4)
		for (unsigned i = 0; i < ARRAY_SIZE(ino); i++)
			assert_int_equal(
				fs_fallocate(pool->fs, NULL, ino[i], 0, mib * MIB, 4 * MIB), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(ino); i++)
		assert_in_range(pieces_of(pool, ino[i]), 1, 4);
}

/* Faults of a sparse file whose size is known. */
static void test_in_any_order(void **state)
{
	struct fs_setattr set = { .valid = FS_SET_SIZE, .size = 64 * MIB };
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "a");

	assert_int_equal(fs_setattr(pool->fs, ino, &set, NULL), 0);
	for (uint64_t i = 0; i < 32; i++)
		assert_int_equal(fs_map_allocate(pool->fs, ino, i * 7 % 32 * DXF_UNIT_SIZE,
						 DXF_UNIT_SIZE),
				 0);
	assert_in_range(pieces_of(pool, ino), 1, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_in_turns, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_goes_on, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_backwards, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_reserved, setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_in_any_order, setup, pool_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
