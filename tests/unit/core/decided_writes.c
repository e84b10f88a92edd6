/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A write that a restarted daemon must not repeat: somebody may have seen its bytes
 * and answered them with others. So it is told of before it can be seen, and with
 * it how much of it was written.
 */
#include "pool.h"

enum { UNITS = 16, UNIQUE = 4242, OPCODE = 16 };

static struct {
	unsigned count;
	int64_t result;
} told;

static void executed(void *arg, uint64_t unique, uint32_t opcode, int64_t result)
{
	assert_ptr_equal(arg, &told);
	assert_int_equal(unique, UNIQUE);
	assert_int_equal(opcode, OPCODE);
	told.count++;
	told.result = result;
}

static void scene(struct pool *pool, uint64_t *ret_file)
{
	static const struct fs_options options = {.executed = executed, .executed_arg = &told};

	memset(&told, 0, sizeof(told));
	pool_make(pool, UNITS);
	*ret_file = make_file(pool, "file");
	fs_unmount(pool->fs);
	assert_int_equal(fs_mount(pool->pm, &options, &pool->fs, NULL), 0);
}

static void test_told(void **state)
{
	struct pool pool;
	uint64_t file;

	scene(&pool, &file);
	fs_set_request(UNIQUE, OPCODE);
	assert_int_equal(fs_write(pool.fs, file, "bytes", 5, 0, FS_WRITE_DECIDES), 5);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.result, 5);
	/* not asked for: it is a part of something else */
	assert_int_equal(fs_write(pool.fs, file, "bytes", 5, 0, 0), 5);
	assert_int_equal(told.count, 1);
	/* nobody's */
	fs_set_request(0, 0);
	assert_int_equal(fs_write(pool.fs, file, "bytes", 5, 0, FS_WRITE_DECIDES), 5);
	assert_int_equal(told.count, 1);
	pool_free(&pool);
}

/* What has failed may be tried again. */
static void test_failed(void **state)
{
	struct pool pool;
	uint64_t file;

	scene(&pool, &file);
	fs_set_request(UNIQUE, OPCODE);
	assert_int_equal(fs_write(pool.fs, file, "x", 1, DXF_FILE_MAX, FS_WRITE_DECIDES), -EFBIG);
	assert_int_equal(fs_write(pool.fs, ROOT, "x", 1, 0, FS_WRITE_DECIDES), -EISDIR);
	assert_int_equal(told.count, 0);
	fs_set_request(0, 0);
	pool_free(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_told),
		cmocka_unit_test(test_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
