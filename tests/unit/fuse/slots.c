/* SPDX-License-Identifier: BSD-3-Clause */
/* The slots of requests: when all are taken, when the process dies at a bad moment. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daxfuse/keeper/kernel.h"
#include "daxfuse/fuse/requests.h"
#include "daxfuse/vfs/internal.h"
#include "handler.h"

enum { FIRST = 2, NEW = 1000000 };

static struct fuse_in_header header_of(uint64_t unique, uint32_t opcode)
{
	return (struct fuse_in_header){
		.len = sizeof(struct fuse_in_header),
		.opcode = opcode,
		.nodeid = 77,
		.unique = unique,
	};
}

static int teardown(void **state)
{
	struct fuse_in_header header = header_of(NEW, FUSE_MKDIR);
	struct lives *l = *state;

	/* this thread's slot must not be found by the next test */
	requests_begin(&l->answers, &header, sizeof(header));
	requests_detach();
	requests_end(&l->answers);
	answers_close(&l->answers);
	free(l->slots);
	free(l);
	return 0;
}

/* A thread of its own, as each that serves has a slot of its own. */
struct visit {
	struct lives *l;
	uint64_t unique;
	bool executes, welcome, was_executed;
};

static void execute(int64_t result)
{
	const struct vfs_request request = request_of_thread();
	const struct tx_request *once = &request.who.once;

	if (once->executed) /* else it has no slot */
		once->executed(once, result);
}

static void *visit(void *arg)
{
	struct visit *v = arg;
	struct fuse_in_header header = header_of(v->unique, FUSE_MKDIR);
	int64_t result;

	v->welcome = requests_begin(&v->l->answers, &header, sizeof(header));
	v->was_executed = was_executed(&result);
	if (v->executes)
		execute(5);
	return NULL;
}

/* Begun, and its process dies. */
static struct visit begin(struct lives *l, uint64_t unique, bool executes)
{
	struct visit v = { .l = l, .unique = unique, .executes = executes };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, visit, &v), 0);
	pthread_join(thread, NULL);
	return v;
}

static bool is_kept(const struct lives *l, uint64_t unique)
{
	for (unsigned i = 0; i < VFS_ANSWERS; i++) {
		if (l->slots[i].unique == unique)
			return true;
	}
	return false;
}

/* More programs than there are slots wait for something that takes long: what is in
 * progress keeps its slot, and one that has none is served all the same. */
static void test_more_than_there_are(void **state)
{
	struct lives *l = *state;
	struct visit late;

	for (unsigned i = 0; i < VFS_ANSWERS; i++) {
		struct fuse_in_header header = header_of(FIRST + 2 * i, FUSE_IOCTL);

		requests_begin(&l->answers, &header, sizeof(header));
		assert_non_null(requests_detach());
		requests_end(&l->answers);
	}
	late = begin(l, NEW, true);
	assert_true(late.welcome);
	assert_false(is_kept(l, NEW));
	for (unsigned i = 0; i < VFS_ANSWERS; i++) {
		assert_int_equal(l->slots[i].unique, FIRST + 2 * i);
		assert_int_equal(l->slots[i].executed, 0);
	}
}

/* Dead before the kernel was told: the next process must find it, and tell. */
static void see_that_it_is_kept(void *arg, const struct vfs_answer *lost)
{
	assert_true(is_kept(arg, lost->unique));
	assert_int_equal(lost->executed, 1);
}

static void test_settled_before_it_is_free(void **state)
{
	struct lives *l = *state;

	begin(l, FIRST, true);
	next_life(l, false);
	answers_settle(&l->answers, see_that_it_is_kept, l);
	assert_false(is_kept(l, FIRST));
}

/* It was executed long before the crashes: its answer is no error. */
static void test_executed_before_the_crashes(void **state)
{
	struct lives *l = *state;

	begin(l, FIRST, true);
	for (unsigned i = 0; i < 10; i++) {
		struct visit again;

		next_life(l, true);
		again = begin(l, FIRST | FUSE_UNIQUE_RESEND, false);
		assert_true(again.welcome);
		assert_true(again.was_executed);
	}
}

static void test_repeated(void **state)
{
	struct lives *l = *state;
	struct fuse_in_header old = header_of(FIRST | FUSE_UNIQUE_RESEND, FUSE_WRITE),
			      unknown = header_of((FIRST + 2) | FUSE_UNIQUE_RESEND, FUSE_WRITE);

	begin(l, FIRST, false);
	next_life(l, false);
	requests_begin(&l->answers, &old, sizeof(old));
	assert_true(requests_is_repeated());
	requests_end(&l->answers);
	assert_false(requests_is_repeated());
	/* sent again, but no process has begun with it */
	requests_begin(&l->answers, &unknown, sizeof(unknown));
	assert_false(requests_is_repeated());
	requests_end(&l->answers);
}

static void test_other_node(void **state)
{
	struct lives *l = *state;
	struct {
		struct fuse_in_header header;
		struct fuse_copy_file_range_in copy;
	} request = {
		.header = header_of(FIRST, FUSE_COPY_FILE_RANGE),
		.copy.nodeid_out = 4711,
	};

	requests_begin(&l->answers, &request.header, sizeof(request.header));
	assert_int_equal(l->slots[0].other_node, 0); /* too short */
	requests_end(&l->answers);
	requests_begin(&l->answers, &request.header, sizeof(request));
	assert_int_equal(l->slots[0].other_node, 4711);
	requests_end(&l->answers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_other_node, setup, teardown),
		cmocka_unit_test_setup_teardown(test_more_than_there_are, setup, teardown),
		cmocka_unit_test_setup_teardown(test_settled_before_it_is_free, setup, teardown),
		cmocka_unit_test_setup_teardown(test_executed_before_the_crashes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_repeated, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
