/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How often the core is entered to map a file, counted on its way there (tests/unit/CMakeLists.txt
 * wraps these functions): a file of one extent costs the same whatever its size.
 */
#include "daxfuse/base/bits.h"
#include "pool.h"

static unsigned trips;

#define COUNTED(result, name, parameters, arguments) \
	result __real_##name parameters;             \
	result __wrap_##name parameters;             \
	result __wrap_##name parameters              \
	{                                            \
		trips++;                             \
		return __real_##name arguments;      \
	}

COUNTED(int, fs_getattr, (struct fs * fs, uint64_t ino, struct fs_attr *attr), (fs, ino, attr))
COUNTED(int, fs_iomap,
	(struct fs * fs, uint64_t ino, uint64_t offset, uint64_t length, struct fs_iomap *map),
	(fs, ino, offset, length, map))
COUNTED(int, fs_map_touch, (struct fs * fs, uint64_t ino), (fs, ino))
COUNTED(int, fs_map_allocate, (struct fs * fs, uint64_t ino, uint64_t offset, uint64_t length),
	(fs, ino, offset, length))
COUNTED(int, fs_map_zero, (struct fs * fs, uint64_t ino, uint64_t offset, uint64_t length),
	(fs, ino, offset, length))

/* A file of so many units, mapped in one call: the trips, but for two that each extent but the
 * first costs (the pool has a few arenas). */
static unsigned trips_to_map(struct pool *pool, const char *name, unsigned units, unsigned access)
{
	uint64_t length = units * MAP_UNIT_SIZE, ino = make_file(pool, name, length);
	struct vfs_open_file file = open_file(pool, ino);
	struct dxf_ioc_map *map = calloc(1, sizeof(*map));
	uint64_t mapped = 0;
	unsigned needed;

	assert_non_null(map);
	*map = (struct dxf_ioc_map){
		.session = 1,
		.cookie = ino,
		.length = length,
		.end = UINT64_MAX,
		.access = access,
	};
	trips = 0;
	assert_int_equal(clients_map(pool->clients, &file, map), 0);
	assert_in_range(map->count, 1, 2);
	needed = trips - 2 * (map->count - 1);
	for (unsigned i = 0; i < map->count; i++) {
		assert_true(map->piece[i].flags & DXF_PIECE_HUGE);
		mapped += map->piece[i].length;
	}
	assert_int_equal(mapped, length);
	free(map);
	release(pool, file.handle);
	return needed;
}

static void test_one_extent(void **state)
{
	unsigned few = trips_to_map(*state, "few", 2, DXF_ACCESS_READ);

	assert_in_range(few, 1, 8);
	assert_int_equal(trips_to_map(*state, "many", 20, DXF_ACCESS_READ), few);
}

static void test_one_extent_to_write(void **state)
{
	unsigned few = trips_to_map(*state, "few", 2, DXF_ACCESS_EAGER);

	assert_in_range(few, 1, 9);
	assert_int_equal(trips_to_map(*state, "many", 20, DXF_ACCESS_EAGER), few);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_extent, pool_setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_one_extent_to_write, pool_setup,
						pool_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
