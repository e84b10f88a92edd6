/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests in progress over the lives of several processes. Each "life" opens the
 * same kept memory anew, as a process does that was started again.
 */
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

enum { NODE = 77 };

static int teardown(void **state)
{
	struct lives *l = *state;

	free(l->slots);
	free(l);
	return 0;
}

static struct fuse_in_header header_of(uint64_t unique, uint32_t opcode, bool again)
{
	return (struct fuse_in_header){
		.len = sizeof(struct fuse_in_header),
		.opcode = opcode,
		.nodeid = NODE,
		.unique = unique | (again ? FUSE_UNIQUE_RESEND : 0),
	};
}

/* What a thread that dies with its process does: it begins, and perhaps executes. */
struct job {
	struct lives *l;
	uint64_t unique;
	bool again, executes, ends;
	bool welcome, was_executed;
	int64_t result;
};

/* As what executes it says. */
static void execute(int64_t result)
{
	const struct vfs_request request = request_of_thread();
	const struct tx_request *once = &request.who.once;

	assert_int_equal(once->opcode, FUSE_MKDIR);
	once->executed(once, result);
}

static void *work(void *arg)
{
	struct job *job = arg;
	struct fuse_in_header header = header_of(job->unique, FUSE_MKDIR, job->again);
	struct vfs_answers *a = &job->l->answers;

	job->welcome = requests_begin(a, &header, sizeof(header));
	job->was_executed = was_executed(&job->result);
	if (job->executes)
		execute(4711);
	if (job->ends)
		requests_end(a);
	return NULL;
}

static struct job run(struct lives *l, uint64_t unique, bool again, bool executes, bool ends)
{
	struct job job = {
		.l = l, .unique = unique, .again = again, .executes = executes, .ends = ends
	};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, work, &job), 0);
	pthread_join(thread, NULL);
	return job;
}

static unsigned in_progress(const struct lives *l)
{
	unsigned count = 0;

	for (unsigned i = 0; i < VFS_ANSWERS; i++)
		count += l->slots[i].unique != 0;
	return count;
}

static void test_answered(void **state)
{
	struct lives *l = *state;

	run(l, 2, false, true, true);
	assert_int_equal(in_progress(l), 0);
}

static void test_executed_once(void **state)
{
	struct lives *l = *state;
	struct job job;

	run(l, 2, false, true, false);
	run(l, 4, false, false, false);
	next_life(l, false);
	job = run(l, 2, true, false, true);
	assert_true(job.was_executed);
	assert_int_equal(job.result, 4711);
	job = run(l, 4, true, false, true);
	assert_false(job.was_executed);
	assert_int_equal(in_progress(l), 0);
}

/* Dead again before it could answer: it still is known. */
static void test_several_deaths(void **state)
{
	struct lives *l = *state;
	struct job job;

	run(l, 2, false, true, false);
	for (unsigned i = 0; i < 5; i++) {
		next_life(l, false);
		job = run(l, 2, true, false, false);
		assert_true(job.was_executed);
		assert_true(job.welcome);
	}
	next_life(l, false);
	run(l, 2, true, false, true);
	assert_int_equal(in_progress(l), 0);
}

/* Between the commit and this note of it the process has died: the mount tells. */
static void test_told_by_recovery(void **state)
{
	struct lives *l = *state;
	struct job job;

	run(l, 2, false, false, false);
	next_life(l, false);
	answers_replayed(&l->answers, 2, FUSE_MKDIR, 99);
	answers_replayed(&l->answers, 1234, FUSE_MKDIR, 1); /* nobody's */
	job = run(l, 2, true, false, true);
	assert_true(job.was_executed);
	assert_int_equal(job.result, 99);
}

/* A request that takes the process down each time is not tried for ever; SIGKILLs
 * from outside are not its fault. */
static void test_deadly_request(void **state)
{
	struct lives *l = *state;
	unsigned tries = 0;

	run(l, 2, false, false, false);
	for (unsigned i = 0; i < 10; i++) {
		next_life(l, false);
		assert_true(run(l, 2, true, false, false).welcome);
	}
	do {
		next_life(l, true);
		tries++;
		assert_true(tries < 10);
	} while (run(l, 2, true, false, false).welcome);
	assert_int_equal(tries, 3);
	/* its neighbour is served */
	assert_true(run(l, 4, false, false, true).welcome);
}

static unsigned settled;

static void settle(void *arg, const struct vfs_answer *lost)
{
	assert_ptr_equal(arg, &settled);
	assert_int_equal(lost->node, NODE);
	assert_int_equal(lost->executed, lost->unique == 2);
	if (lost->executed)
		assert_int_equal(lost->result, 4711);
	else
		assert_int_equal(lost->unique, 4);
	settled++;
}

static void test_withdrawn(void **state)
{
	struct lives *l = *state;

	settled = 0;
	run(l, 2, false, true, false);  /* executed, its program is killed */
	run(l, 4, false, false, false); /* not executed, likewise */
	run(l, 6, false, true, false);  /* executed, and sent again */
	next_life(l, false);
	run(l, 6, true, false, false);
	run(l, 8, false, true, false); /* new, in progress */
	answers_settle(&l->answers, settle, &settled);
	assert_int_equal(settled, 2);
	assert_int_equal(in_progress(l), 2);
}

static void test_full(void **state)
{
	struct lives *l = *state;
	struct job job;

	for (unsigned i = 0; i < VFS_ANSWERS; i++)
		run(l, 2 + 2 * i, false, true, false);
	assert_int_equal(in_progress(l), VFS_ANSWERS);
	next_life(l, false);
	run(l, 2, true, false, false);
	/* there is room for what is new, and what this life has is not lost by it */
	run(l, 100000, false, true, false);
	next_life(l, false);
	job = run(l, 100000, true, false, true);
	assert_true(job.was_executed);
	job = run(l, 2, true, false, true);
	assert_true(job.was_executed);
}

static void test_kinds(void **state)
{
	struct fuse_in_header again = header_of(2, FUSE_MKDIR, true),
			      new = header_of(2, FUSE_READ, false),
			      forget = header_of(0, FUSE_FORGET, false);
	struct lives *l = *state;

	assert_true(requests_is_resent(&again));
	assert_false(requests_is_new(&again));
	assert_true(requests_is_new(&new));
	assert_false(requests_is_new(&forget));
	assert_true(requests_begin(&l->answers, &forget, sizeof(forget)));
	assert_int_equal(in_progress(l), 0);
	requests_end(&l->answers);
}

/* Another thread answers: what it executes is this request's. */
static void test_handed_over(void **state)
{
	struct lives *l = *state;
	struct fuse_in_header header = header_of(2, FUSE_IOCTL, false);
	struct vfs_answer *request;
	struct vfs_request vfs;
	int64_t result;

	requests_begin(&l->answers, &header, sizeof(header));
	request = requests_detach();
	assert_non_null(request);
	requests_end(&l->answers);
	assert_int_equal(in_progress(l), 1);
	/* meanwhile the first one goes on */
	header.unique = 4;
	requests_begin(&l->answers, &header, sizeof(header));
	requests_end(&l->answers);
	requests_attach(request);
	assert_int_equal(requests_current()->unique, 2);
	vfs = request_of_thread();
	vfs.who.once.executed(&vfs.who.once, 5);
	assert_true(was_executed(&result));
	assert_int_equal(result, 5);
	requests_end(&l->answers);
	assert_int_equal(in_progress(l), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_executed_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_several_deaths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_told_by_recovery, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deadly_request, setup, teardown),
		cmocka_unit_test_setup_teardown(test_withdrawn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_handed_over, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
