/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daxfuse/base/cleanup.h"

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void test_fd_is_closed(void **state)
{
	int seen;

	{
		CLEANUP_FD int fd = open("/dev/null", O_RDONLY);

		assert_true(fd >= 0);
		seen = fd;
		errno = E2BIG;
	}
	assert_int_equal(errno, E2BIG);
	assert_false(is_open(seen));
}

static int give(void)
{
	CLEANUP_FD int fd = open("/dev/null", O_RDONLY);

	return TAKE_FD(fd);
}

static void test_taken_fd_stays(void **state)
{
	int fd = give();

	assert_true(is_open(fd));
	close(fd);
}

static void test_taken_pointer_stays(void **state)
{
	char *kept;

	{
		CLEANUP_FREE char *text = strdup("kept");
		CLEANUP_FREE char *freed = strdup("freed");
		CLEANUP_FREE char *none = NULL;

		assert_non_null(freed);
		assert_null(none);
		kept = TAKE_POINTER(text);
		assert_null(text);
	}
	assert_string_equal(kept, "kept");
	free(kept);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fd_is_closed),
		cmocka_unit_test(test_taken_fd_stays),
		cmocka_unit_test(test_taken_pointer_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
