/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/size.h"

static void test_sizes_are_parsed(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "0", 0 },
		{ "4096", 4096 },
		{ "1K", 1024 },
		{ "1k", 1024 },
		{ "512M", UINT64_C(512) << 20 },
		{ "1GiB", UINT64_C(1) << 30 },
		{ "16TB", UINT64_C(16) << 40 },
		{ "15E", UINT64_C(15) << 60 },
		{ "18446744073709551615", UINT64_MAX },
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		uint64_t bytes = 1;

		assert_int_equal(parse_size(good[i].text, &bytes), 0);
		assert_true(bytes == good[i].bytes);
	}
}

static void test_nonsense_is_refused(void **state)
{
	static const char *const bad[] = { "",   "x",   "-1",  " 1",  "+1",
					   "1Q", "1KK", "1Mx", "1 M", "0x10" };
	uint64_t bytes = 77;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse_size(bad[i], &bytes), -EINVAL);
	assert_int_equal(parse_size("18446744073709551616", &bytes), -ERANGE);
	assert_int_equal(parse_size("16E", &bytes), -ERANGE);
	assert_int_equal(bytes, 77);
}

static void test_human_sizes(void **state)
{
	char buf[HUMAN_SIZE];

	assert_string_equal(human_size(0, buf, sizeof(buf)), "0 bytes");
	assert_string_equal(human_size(1023, buf, sizeof(buf)), "1023 bytes");
	assert_string_equal(human_size(1536, buf, sizeof(buf)), "1.5 KiB");
	assert_string_equal(human_size(UINT64_C(2) << 20, buf, sizeof(buf)), "2 MiB");
	assert_string_equal(human_size(UINT64_C(16) << 40, buf, sizeof(buf)), "16 TiB");
	assert_string_equal(human_size(UINT64_MAX, buf, sizeof(buf)), "16 EiB");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes_are_parsed),
		cmocka_unit_test(test_nonsense_is_refused),
		cmocka_unit_test(test_human_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
