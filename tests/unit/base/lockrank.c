/* SPDX-License-Identifier: BSD-3-Clause */
/* The order of locks is asserted. A wrong one is tried in a child, which must abort. */
#include "daxfuse/base/lockrank.h"

#include <stdio.h>
#include <signal.h>
#include <sys/wait.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

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
	/* an ancestor may have the higher number */
	lock_enter(LOCK_INODE, 9);
	lock_enter(LOCK_INODE, 5);
	lock_leave(LOCK_INODE);
	lock_leave(LOCK_INODE);
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

/* Core must never call the engine. */
static void file_after_inode(void)
{
	lock_enter(LOCK_INODE, 7);
	lock_enter(LOCK_FILE, 0);
}

static void gate_after_journal(void)
{
	lock_enter(LOCK_JOURNAL, 0);
	lock_enter(LOCK_GATE, 0);
}

static void quotas_descending(void)
{
	lock_enter(LOCK_QUOTA, 2);
	lock_enter(LOCK_QUOTA, 1);
}

/* One that was free all the same. */
static void tried_in_the_wrong_order(void)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

	lock_enter(LOCK_VIEW, 0);
	try_mutex(LOCK_JOURNAL, &mutex);
}

static void left_too_often(void)
{
	lock_leave(LOCK_VIEW);
}

static void test_order(void **state)
{
	static void (*const wrong[])(void) = {
		file_after_entry,  entry_after_view,         entries_descending,
		file_twice,        file_after_inode,         gate_after_journal,
		quotas_descending, tried_in_the_wrong_order, left_too_often,
	};

	right();
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
#ifndef NDEBUG
		assert_true(aborts(wrong[i]));
#else
		assert_false(aborts(wrong[i]));
#endif
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_order) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
