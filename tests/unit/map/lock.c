/* SPDX-License-Identifier: BSD-3-Clause */
/* The order of locks is asserted. A wrong one is tried in a child, which must abort. */
#include "daxfuse/map/lock.h"

#include <stdio.h>
#include <signal.h>
#include <sys/wait.h>

#include "map_test.h"

static bool aborts(void (*wrong)(void))
{
	pid_t child = fork();
	int status;

	if (!child) {
		signal(SIGABRT, SIG_DFL);
		if (!freopen("/dev/null", "w", stderr))
			_exit(1);
		wrong();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void right(void)
{
	lock_enter(LOCK_FILE, 0);
	lock_enter(LOCK_ENTRY, 5);
	lock_enter(LOCK_ENTRY, 9);
	lock_enter(LOCK_VIEW, 0);
	lock_leave(LOCK_VIEW);
	lock_leave(LOCK_ENTRY);
	lock_leave(LOCK_ENTRY);
	lock_enter(LOCK_ENTRY, 1);
	lock_leave(LOCK_ENTRY);
	lock_leave(LOCK_FILE);
}

static void file_after_entry(void)
{
	lock_enter(LOCK_ENTRY, 0);
	lock_enter(LOCK_FILE, 0);
}

static void entry_after_view(void)
{
	lock_enter(LOCK_VIEW, 0);
	lock_enter(LOCK_ENTRY, 0);
}

static void entries_descending(void)
{
	lock_enter(LOCK_ENTRY, 9);
	lock_enter(LOCK_ENTRY, 5);
}

static void file_twice(void)
{
	lock_enter(LOCK_FILE, 0);
	lock_enter(LOCK_FILE, 0);
}

static void left_too_often(void)
{
	lock_leave(LOCK_VIEW);
}

static void test_order(void **state)
{
	right();
#ifndef NDEBUG
	assert_true(aborts(file_after_entry));
	assert_true(aborts(entry_after_view));
	assert_true(aborts(entries_descending));
	assert_true(aborts(file_twice));
	assert_true(aborts(left_too_often));
#else
	assert_false(aborts(file_after_entry) || aborts(entry_after_view) ||
		     aborts(entries_descending) || aborts(file_twice) || aborts(left_too_often));
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_order) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
