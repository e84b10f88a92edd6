/* SPDX-License-Identifier: BSD-3-Clause */
/* When there is no sense in another process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daxfuse/keeper/lives.h"

enum { FAILURES = 8, EARLY = 100 };

/* One life of this many seconds. */
static void live(struct lives *l, bool serves, unsigned seconds, bool killed)
{
	lives_start(l);
	l->serves = serves;
	l->started -= (int64_t)seconds * 1000000000;
	lives_died(l, killed);
}

static void test_failures_in_a_row(void **state)
{
	struct lives l = { 0 };

	for (int i = 0; i < FAILURES; i++) {
		assert_false(lives_are_hopeless(&l));
		live(&l, true, 1, false);
	}
	assert_true(lives_are_hopeless(&l));
}

/* That one failed at last, too, but the next one may not. */
static void test_one_that_has_served(void **state)
{
	struct lives l = { 0 };

	for (int i = 0; i < 3 * FAILURES; i++) {
		live(&l, true, i % 4 == 3 ? 6 : 0, false);
		assert_false(lives_are_hopeless(&l));
	}
	assert_int_not_equal(l.failures, 0);
}

static void test_killed_while_it_serves(void **state)
{
	struct lives l = { 0 };

	for (int i = 0; i < 10 * EARLY; i++)
		live(&l, true, 0, true);
	assert_false(lives_are_hopeless(&l));
}

static void test_killed_before(void **state)
{
	struct lives l = { 0 };

	for (int i = 0; i < EARLY; i++) {
		assert_false(lives_are_hopeless(&l));
		live(&l, false, 0, true);
	}
	assert_true(lives_are_hopeless(&l));
}

/* A SIGKILL between failures is an excuse for none of them unless it served. */
static void test_mixed(void **state)
{
	struct lives l = { 0 };

	for (int i = 0; i < FAILURES; i++) {
		live(&l, false, 0, true);
		live(&l, false, 0, false);
	}
	assert_true(lives_are_hopeless(&l));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failures_in_a_row),
		cmocka_unit_test(test_one_that_has_served),
		cmocka_unit_test(test_killed_while_it_serves),
		cmocka_unit_test(test_killed_before),
		cmocka_unit_test(test_mixed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
