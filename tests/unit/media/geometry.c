/* SPDX-License-Identifier: BSD-3-Clause */
/* Which devices a pool can lie on. Alignments are for tests/vm: images have the page's. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "daxfuse/media/geometry.h"

#define MIB (UINT64_C(1) << 20)

static char path[] = "/dev/shm/daxfuse-unit-XXXXXX";

static int open_image(uint64_t size, struct device_error *ret_error)
{
	struct device *dev = NULL;
	int err;

	assert_int_equal(truncate(path, (off_t)size), 0);
	*ret_error = (struct device_error){ "", "" };
	err = pool_open_device(path, -1, DEVICE_WRITE, &dev, ret_error);
	assert_int_equal(err != 0, dev == NULL);
	device_close(dev);
	return err;
}

static void test_limits(void **state)
{
	struct device_error error;

	assert_int_equal(open_image(16 * MIB - 1, &error), -ENOSPC);
	assert_non_null(strstr(error.what, "too small"));
	assert_string_equal(error.advice, "a pool needs at least 16 MiB");
	assert_int_equal(open_image((UINT64_C(16) << 40) + 1, &error), -EFBIG);
	assert_non_null(strstr(error.what, "too large"));
	assert_string_equal(error.advice, "a pool has at most 16 TiB");
	assert_int_equal(open_image(16 * MIB, &error), 0);
	assert_int_equal(open_image(UINT64_C(16) << 40, &error), 0);
}

/* What was refused is not locked any more. */
static void test_refused_is_closed(void **state)
{
	struct device_error error;
	struct device *dev;

	assert_int_equal(open_image(MIB, &error), -ENOSPC);
	assert_int_equal(device_open(path, DEVICE_WRITE, &dev, NULL), 0);
	assert_int_equal(pool_open_device(path, -1, DEVICE_WRITE, &dev, &error), -EBUSY);
	device_close(dev);
	assert_int_equal(pool_open_device("/dev/null", -1, DEVICE_WRITE, &dev, NULL), -ENODEV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_refused_is_closed),
	};
	int fd = mkstemp(path), failed;

	if (fd < 0)
		return 1;
	close(fd);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return failed;
}
