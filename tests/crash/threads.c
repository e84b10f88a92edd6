/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two operations at the same time. The first is held before one of its fences,
 * with its locks and with what it stored in flight, and the second runs in
 * another thread, to its end or until it waits for the first.
 *
 * A crash may then show any order of those that have returned, and any subset of
 * those that have not.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/crash/compare.h"
#include "tests/crash/runner.h"

/* How long the first waits for the second, which may wait for the first. */
#define PATIENCE_NS 10000000

enum {
	VERDICT_NONE = 1,
	VERDICT_FIRST = 2,
	VERDICT_SECOND = 4,
	VERDICT_BOTH = 8,
	VERDICT_TORN = 16,        /* the first in part */
	VERDICT_TORN_SECOND = 32, /* the first in part, the second whole */
};

struct two {
	struct op_state first, second;
	const struct op *second_op;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t over;
	bool started, ended;
	bool overlapped; /* it ended while the first was held */
};

/* The models of each subset and order; NULL: the results do not allow it. */
struct outcomes {
	struct model *none, *first, *second, *first_second, *second_first;
};

static void *run_second(void *arg)
{
	struct two *two = arg;

	log_set_thread(2);
	runner_set_clock(&two->second);
	op_run(&two->second, two->second_op);
	pthread_mutex_lock(&two->lock);
	two->ended = true;
	pthread_cond_signal(&two->over);
	pthread_mutex_unlock(&two->lock);
	return NULL;
}

/* In the first thread, before its fence. */
static void start_second(void *arg)
{
	struct two *two = arg;
	struct timespec until;

	if (pthread_create(&two->thread, NULL, run_second, two))
		return;
	two->started = true;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += PATIENCE_NS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&two->lock);
	while (!two->ended && pthread_cond_timedwait(&two->over, &two->lock, &until) == 0)
		;
	two->overlapped = two->ended;
	pthread_mutex_unlock(&two->lock);
}

/* What op makes of model, if it can have the result that it had. */
static struct model *outcome(const struct op_state *state, const struct op *op,
			     const struct model *model)
{
	struct op_state with = *state;
	int64_t expected;

	if (!model)
		return NULL;
	with.model = model_copy(model);
	if (op_model(&with, op, state->result, &expected) == 0)
		return with.model;
	model_free(with.model);
	return NULL;
}

static void add(struct judge *judge, const struct model *model, const struct model *other,
		bool torn, unsigned verdict)
{
	if (model && (other || !torn))
		judge_add(judge, model, torn ? other : NULL, verdict);
}

static void add_candidates(struct judge *judge, const struct outcomes *is)
{
	judge->candidates = 0;
	add(judge, is->first_second, NULL, false, VERDICT_BOTH);
	add(judge, is->second_first, NULL, false, VERDICT_BOTH);
	add(judge, is->second, NULL, false, VERDICT_SECOND);
	add(judge, is->first, NULL, false, VERDICT_FIRST);
	if (judge->torn_node != MODEL_NONE) {
		add(judge, is->first_second, is->second, true, VERDICT_TORN_SECOND);
		add(judge, is->second_first, is->second, true, VERDICT_TORN_SECOND);
		add(judge, is->second, is->second_first, true, VERDICT_TORN_SECOND);
		add(judge, is->second, is->first_second, true, VERDICT_TORN_SECOND);
		add(judge, is->first, is->none, true, VERDICT_TORN);
		add(judge, is->none, is->first, true, VERDICT_TORN);
	}
	add(judge, is->none, NULL, false, VERDICT_NONE);
}

static unsigned accept_from(const struct log_event *mark, unsigned accept)
{
	if (mark->mark != MARK_RETURNED)
		return accept;
	if (mark->thread == 1)
		return accept & (VERDICT_FIRST | VERDICT_BOTH);
	return accept & (VERDICT_SECOND | VERDICT_BOTH | VERDICT_TORN_SECOND);
}

static bool live_is(struct runner *runner, const struct model *model, char *diff, size_t size)
{
	struct compare compare = { .fs = runner->state.fs,
				   .model = model,
				   .torn_node = MODEL_NONE,
				   .read_time = runner->judge.read_time,
				   .live = true };

	return model && compare_run(&compare, diff, size) == 0;
}

static void judge_two(struct runner *runner, const struct job *job, const struct outcomes *is)
{
	char diff[256] = "";

	if (!is->first_second && !is->second_first) {
		runner_violation(runner, "the results fit no order");
		return;
	}
	runner->live->log = NULL;
	if (!live_is(runner, is->first_second, diff, sizeof(diff)) &&
	    !live_is(runner, is->second_first, diff, sizeof(diff)))
		runner_violation(runner, "without any crash: %s", diff);
	add_candidates(&runner->judge, is);
	runner_set_judge(runner, &job->first->op);
	runner->accept_from = accept_from;
	runner_judge_log(runner);
	log_clear(&runner->log);
}

void runner_run_two(struct runner *runner, const struct job *job)
{
	struct two two = { .first = runner->state,
			   .second = runner->state,
			   .second_op = &job->last->op,
			   .lock = PTHREAD_MUTEX_INITIALIZER,
			   .over = PTHREAD_COND_INITIALIZER };
	struct outcomes is = { .none = model_copy(runner->state.model) };

	two.second.now += 500000000;
	two.second.data_seed += 100000;
	two.second.operations += job->cut; /* a CPU near the first's */
	runner->judge.torn_node = op_torn_node(&runner->state, &job->first->op);
	runner_materialize(runner, is.none, &job->first->op);
	runner_set_clock(&two.first);
	log_before_fence(job->cut, start_second, &two);
	op_run(&two.first, &job->first->op);
	log_before_fence(0, NULL, NULL);
	runner_set_clock(&runner->state);
	if (two.started) {
		pthread_join(two.thread, NULL);
		runner->tally->overlaps += two.overlapped;
		is.first = outcome(&two.first, &job->first->op, is.none);
		is.second = outcome(&two.second, &job->last->op, is.none);
		is.first_second = outcome(&two.second, &job->last->op, is.first);
		is.second_first = outcome(&two.first, &job->first->op, is.second);
		judge_two(runner, job, &is);
	}
	model_free(is.none);
	model_free(is.first);
	model_free(is.second);
	model_free(is.first_second);
	model_free(is.second_first);
}
