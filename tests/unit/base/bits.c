/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daxfuse/base/bits.h"

static void test_rounding(void **state)
{
	assert_int_equal(round_up(0, 4096), 0);
	assert_int_equal(round_up(1, 4096), 4096);
	assert_int_equal(round_up(4096, 4096), 4096);
	assert_int_equal(round_up(4097, 4096), 8192);
	assert_int_equal(round_down(4095, 4096), 0);
	assert_int_equal(round_down(UINT64_MAX, 4096), UINT64_MAX - 4095);
	assert_true(is_aligned(0, 8));
	assert_false(is_aligned(12, 8));
	assert_int_equal(div_round_up(0, 7), 0);
	assert_int_equal(div_round_up(7, 7), 1);
	assert_int_equal(div_round_up(8, 7), 2);
	assert_true(div_round_up(UINT64_MAX, 2) == UINT64_C(1) << 63);
}

static void test_power_of_two(void **state)
{
	assert_false(is_power_of_two(0));
	assert_true(is_power_of_two(1));
	assert_false(is_power_of_two(3));
	assert_true(is_power_of_two(UINT64_C(1) << 63));
	assert_false(is_power_of_two((UINT64_C(1) << 63) + 1));
}

static void test_words(void **state)
{
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(bits_first(UINT64_MAX << i), i);
		assert_int_equal(bits_last(UINT64_MAX >> i), 63 - i);
		assert_int_equal(bits_count(UINT64_MAX << i), 64 - i);
	}
	assert_int_equal(bits_count(0), 0);
}

static void test_mask(void **state)
{
	for (unsigned first = 0; first < 64; first++) {
		for (unsigned count = 0; first + count <= 64; count++) {
			uint64_t expected = 0;

			for (unsigned i = first; i < first + count; i++)
				expected |= UINT64_C(1) << i;
			assert_true(bits_mask(first, count) == expected);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rounding),
		cmocka_unit_test(test_power_of_two),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_mask),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
