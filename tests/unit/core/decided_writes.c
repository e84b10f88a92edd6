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

static void executed(const struct tx_request *request, int64_t result);

static const struct fs_request asked = { .once = { UNIQUE, OPCODE, executed } };
static const struct fs_request nobodys = { .once = { 0, OPCODE, executed } };

static void executed(const struct tx_request *request, int64_t result)
{
	assert_ptr_equal(request, &asked.once);
	told.count++;
	told.result = result;
}

static void scene(struct pool *pool, uint64_t *ret_file)
{
	memset(&told, 0, sizeof(told));
	pool_make(pool, UNITS);
	*ret_file = make_file(pool, "file");
}

static void test_told(void **state)
{
	struct pool pool;
	uint64_t file;

	scene(&pool, &file);
	assert_int_equal(fs_write(pool.fs, &asked, file, "bytes", 5, 0, 0), 5);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.result, 5);
	/* not asked for: it is a part of something else */
	assert_int_equal(fs_write(pool.fs, NULL, file, "bytes", 5, 0, 0), 5);
	assert_int_equal(told.count, 1);
	/* nobody's */
	assert_int_equal(fs_write(pool.fs, &nobodys, file, "bytes", 5, 0, 0), 5);
	assert_int_equal(told.count, 1);
	pool_free(&pool);
}

/* What has failed may be tried again. */
static void test_failed(void **state)
{
	struct pool pool;
	uint64_t file;

	scene(&pool, &file);
	assert_int_equal(fs_write(pool.fs, &asked, file, "x", 1, DXF_FILE_MAX, 0), -EFBIG);
	assert_int_equal(fs_write(pool.fs, &asked, ROOT, "x", 1, 0, 0), -EISDIR);
	assert_int_equal(told.count, 0);
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
