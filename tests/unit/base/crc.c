/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daxfuse/base/crc.h"

/* The vectors of RFC 3720, B.4, and the check value of the CRC catalogue. */
static void test_known_values(void **state)
{
	unsigned char buf[32];

	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(crc32c(0, buf, 32), 0x8a9136aa);
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(crc32c(0, buf, 32), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		buf[i] = (unsigned char)i;
	assert_int_equal(crc32c(0, buf, 32), 0x46dd794e);
}

static void test_empty(void **state)
{
	assert_int_equal(crc32c(0, NULL, 0), 0);
	assert_int_equal(crc32c(0x12345678, NULL, 0), 0x12345678);
}

/* Every split and every alignment gives the value of the whole. */
static void test_continues(void **state)
{
	unsigned char buf[300];
	uint32_t whole;

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (unsigned char)(i * 31 + 7);
	whole = crc32c(0, buf, sizeof(buf));
	for (size_t at = 0; at <= sizeof(buf); at++)
		assert_int_equal(crc32c(crc32c(0, buf, at), buf + at, sizeof(buf) - at), whole);
}

static void test_every_bit_matters(void **state)
{
	unsigned char buf[64] = { 0 };
	uint32_t before = crc32c(0, buf, sizeof(buf));

	for (size_t bit = 0; bit < sizeof(buf) * 8; bit++) {
		buf[bit / 8] ^= (unsigned char)(1 << bit % 8);
		assert_int_not_equal(crc32c(0, buf, sizeof(buf)), before);
		buf[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_values),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_continues),
		cmocka_unit_test(test_every_bit_matters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
