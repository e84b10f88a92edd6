/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/crash/runner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/compare.h"

#define START_TIME INT64_C(1700000000000000000)

/* Of the operation that the thread performs; the judge uses START_TIME. */
static __thread const struct op_state *clock_state;

static int64_t crash_clock(void)
{
	return clock_state ? clock_state->now : START_TIME;
}

void runner_set_clock(const struct op_state *state)
{
	clock_state = state;
}

static int make_pool(struct runner *runner)
{
	struct fs_format format = { .uuid = { 1 },
				    .label = "crash",
				    .hash_seed = 12345,
				    .now = START_TIME,
				    .fill_free = true };
	int err = fs_mkfs(&runner->live->pm, &format);

	if (err) {
		fprintf(stderr, "mkfs says %d\n", err);
		return err;
	}
	image_commit(runner->live);
	image_copy(runner->crash, runner->live);
	image_copy(runner->again, runner->live);
	return 0;
}

static int calibrate(struct runner *runner)
{
	const struct dxf_super *super = pmem_at(&runner->live->pm, 0);

	runner->judge = (struct judge){ .image = runner->crash,
					.inode_units = 1,
					.recovery = &runner->recovery };
	runner->inflight->data_start = runner->inner->data_start = super->data_offset;
	runner->inflight->data_end = runner->inner->data_end = super->pool_size - DXF_UNIT_SIZE;
	if (judge_calibrate(&runner->judge)) {
		fprintf(stderr, "calibration: %s\n", runner->judge.diff);
		return -EINVAL;
	}
	return 0;
}

int runner_create(const struct runner_config *config, struct tally *tally,
		  struct runner **ret_runner)
{
	struct runner *runner = calloc(1, sizeof(*runner));
	int err = runner ? 0 : -ENOMEM;

	if (err)
		return err;
	runner->config = *config;
	runner->tally = tally;
	err = image_create(RUNNER_POOL_SIZE, &runner->live);
	if (!err)
		err = image_create(RUNNER_POOL_SIZE, &runner->crash);
	if (!err)
		err = image_create(RUNNER_POOL_SIZE, &runner->again);
	if (!err)
		err = inflight_create(RUNNER_POOL_SIZE, &runner->inflight);
	if (!err)
		err = inflight_create(RUNNER_POOL_SIZE, &runner->inner);
	pthread_mutex_init(&runner->log.lock, NULL);
	pthread_mutex_init(&runner->recovery.lock, NULL);
	runner_set_clock(&runner->state);
	runner->state.now = START_TIME;
	fs_clock = crash_clock;
	if (!err)
		err = make_pool(runner);
	if (!err)
		err = calibrate(runner);
	if (err) {
		runner_destroy(runner);
		return err;
	}
	runner->inflight->durable[0] = runner->crash;
	runner->inflight->durable[1] = runner->again;
	runner->inner->durable[0] = runner->again;
	*ret_runner = runner;
	return 0;
}

void runner_destroy(struct runner *runner)
{
	image_destroy(runner->live);
	image_destroy(runner->crash);
	image_destroy(runner->again);
	inflight_destroy(runner->inflight);
	inflight_destroy(runner->inner);
	log_free(&runner->log);
	log_free(&runner->recovery);
	free(runner->seen);
	free(runner->verdict);
	free(runner->recovery_seen);
	free(runner);
}

/* The live filesystem against the model: what was done must be right at all. */
static void check_live(struct runner *runner)
{
	struct compare compare = { .fs = runner->state.fs,
				   .model = runner->state.model,
				   .torn_node = MODEL_NONE,
				   .read_time = runner->judge.read_time,
				   .live = true };
	char diff[256];

	runner->live->log = NULL;
	if (compare_run(&compare, diff, sizeof(diff)))
		runner_violation(runner, "without any crash: %s", diff);
}

void runner_set_judge(struct runner *runner, const struct op *op)
{
	struct judge *judge = &runner->judge;

	judge->super_differs = op->kind == OP_LABEL || op->kind == OP_TAIL_BEGIN;
	judge->torn_anywhere = op->kind == OP_FALLOCATE || op->kind == OP_MAP;
	judge->read_time = op_reads(op) ? runner->state.now : 0;
	judge->tight = runner->job->left >= 0 || runner->state.model->quotas;
	judge->inode_units = runner->job->last->flags & WORKLOAD_CHUNK ? 2 : 1;
	runner->judge_again = *judge;
	runner->judge_again.image = runner->again;
	runner->judge_again.recovery = NULL;
}

static unsigned accept_from(const struct log_event *mark, unsigned accept)
{
	return mark->mark == MARK_RETURNED ? VERDICT_AFTER : accept;
}

/* The models from the last to the first; what is torn lies between neighbours. */
static void add_candidates(struct judge *judge, const struct model *const *model, unsigned last)
{
	unsigned i;

	judge->candidates = 0;
	judge_add(judge, model[last], NULL, VERDICT_AFTER);
	for (i = last; i > 0; i--) {
		judge_add(judge, model[i], model[i - 1], VERDICT_BETWEEN);
		if (i < last)
			judge_add(judge, model[i], model[i + 1], VERDICT_BETWEEN);
	}
	judge_add(judge, model[0], model[1], VERDICT_BEFORE);
}

/* Judge what op left in the log: the models before it and after each step. */
static void judge_steps(struct runner *runner, const struct op *op, const struct model *before)
{
	const struct model *model[OP_STEPS_MAX + 1] = { before };
	struct model *step[OP_STEPS_MAX];
	uint64_t bytes[OP_STEPS_MAX];
	unsigned steps = op_steps(op, runner->state.result, bytes);
	unsigned i;

	for (i = 1; i < steps; i++)
		model[i] = step[i] = op_model_step(&runner->state, before, op, bytes[i - 1]);
	model[steps] = runner->state.model;
	add_candidates(&runner->judge, model, steps);
	runner_set_judge(runner, op);
	runner->accept_from = accept_from;
	runner_judge_log(runner);
	for (i = 1; i < steps; i++)
		model_free(step[i]);
}

/* What changes when a directory takes or gives back space. */
static uint64_t directory_space(struct runner *runner, const char *path)
{
	struct fs_attr attr;
	uint64_t ino;

	if (op_resolve(runner->state.fs, path, &ino) || fs_getattr(runner->state.fs, ino, &attr))
		return 0;
	return attr.size + (attr.blocks << 32);
}

/*
 * Zeroes that lie on written blocks are overwritten in place like any data; the
 * model, which knows them as holes, is told where. (Not of a file that has a tail: it has no zeroes,
 * and looking for them would end the tail before the operation does.)
 */
void runner_materialize(struct runner *runner, struct model *before, const struct op *op)
{
	unsigned id = runner->judge.torn_node;
	const char *path = op->kind == OP_COPY_RANGE ? op->b : op->a;
	uint64_t at = op->kind == OP_COPY_RANGE ? op->arg : op->off;
	uint64_t ino = runner->state.open_ino;
	uint64_t end = at + op->len;
	struct fs_iomap map;

	if (id == MODEL_NONE || runner->state.lent ||
	    (op->kind != OP_WRITE_OPEN && op_resolve(runner->state.fs, path, &ino)))
		return;
	for (at = at / MODEL_PAGE * MODEL_PAGE; at < end; at += MODEL_PAGE)
		if (fs_iomap(runner->state.fs, ino, at, MODEL_PAGE, &map) == 0 &&
		    map.kind == FS_IOMAP_MAPPED && at < model_at(before, id)->size)
			model_materialize(model_edit(before, id), at / MODEL_PAGE);
}

/* Perform op and judge its crash states; of a series (dir) only some. */
static int judge_op(struct runner *runner, const struct op *op, const char *dir)
{
	struct model *before = model_copy(runner->state.model);
	uint64_t space = dir ? directory_space(runner, dir) : 0;
	char why[256];
	int err;

	runner->judge.torn_node = op_torn_node(&runner->state, op);
	runner_materialize(runner, before, op);
	err = workload_do(&runner->state, op,
			  runner->job->left >= 0 || runner->job->last->flags & WORKLOAD_LIMIT, why,
			  sizeof(why));
	if (err)
		runner_violation(runner, "%s", why);
	if (!err && !runner->dry && (!dir || directory_space(runner, dir) != space)) {
		judge_steps(runner, op, before);
		log_clear(&runner->log);
	} else if (dir && !runner->dry) {
		runner_absorb(runner);
	}
	model_free(before);
	return err;
}

static void judge_series(struct runner *runner, const struct op *op)
{
	char name[512];
	unsigned i;

	for (i = 0; i < op->len; i++) {
		struct op one = workload_series(op, i, name);

		if (judge_op(runner, &one, op->a))
			return;
	}
}

static int prepare(struct runner *runner, const struct job *job)
{
	char why[256];
	int err = 0;

	if (job->first && !job->cut)
		err = workload_prepare(&runner->state, job->first, why, sizeof(why)) ||
		      workload_do(&runner->state, &job->first->op, false, why, sizeof(why));
	if (job->cut)
		err = workload_prepare(&runner->state, job->first, why, sizeof(why));
	if (!err)
		err = workload_prepare(&runner->state, job->last, why, sizeof(why));
	if (!err && job->left >= 0)
		err = workload_fill(&runner->state, (unsigned)job->left, why, sizeof(why));
	if (err)
		runner_violation(runner, "preparing: %s", why);
	return err;
}

static void adjust_limits(struct runner *runner, const struct job *job)
{
	if (!(job->last->flags & WORKLOAD_SLOW))
		return;
	runner->config.limit.all = 64;
	runner->config.limit.pairs = 40;
	runner->config.limit.random = 10;
	runner->config.limit.torn = 40;
}

static void run_mounted(struct runner *runner, const struct job *job)
{
	runner->state.model = model_new(START_TIME);
	snprintf(runner->state.model->label, sizeof(runner->state.model->label), "crash");
	if (prepare(runner, job) == 0) {
		if (!runner->dry)
			runner_absorb(runner);
		if (job->cut) {
			runner_run_two(runner, job);
		} else {
			if (job->last->flags & WORKLOAD_UNTIL)
				judge_series(runner, &job->last->op);
			else
				judge_op(runner, &job->last->op, NULL);
			check_live(runner);
		}
	}
	model_free(runner->state.model);
}

static void mount_and_run(struct runner *runner, const struct job *job)
{
	struct fs_options options = { .atime = FS_ATIME_RELATIVE };
	struct fs_report report;
	int err = fs_mount(&runner->live->pm, &options, &runner->state.fs, &report);

	if (err) {
		runner_violation(runner, "mount says %d: %s", err, report.what);
		return;
	}
	op_hold_tails(&runner->state);
	run_mounted(runner, job);
	runner->live->log = NULL;
	fs_unmount(runner->state.fs);
}

unsigned long runner_run(struct runner *runner, const struct job *job)
{
	struct runner_config config = runner->config;

	runner->job = job;
	runner->mode = "preparing";
	runner->job_violations = 0;
	runner->state_number = 0;
	runner->fence = 0;
	runner->durable_hash = 0;
	runner->state = (struct op_state){ .log = &runner->log, .now = START_TIME };
	image_rollback(runner->live, 0);
	image_rollback(runner->crash, 0);
	image_rollback(runner->again, 0);
	inflight_clear(runner->inflight);
	log_clear(&runner->log);
	adjust_limits(runner, job);
	runner->live->log = &runner->log;
	if (job->last == &workload_mkfs || job->last == &workload_mkfs_over)
		runner_run_mkfs(runner, job->last == &workload_mkfs_over);
	else
		mount_and_run(runner, job);
	runner->live->log = NULL;
	runner->config = config;
	runner->tally->jobs++;
	return runner->job_violations;
}
