/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mkfs, crashed: there must be no pool, or the new one, or, before anything of
 * it was overwritten, the old one; and the new one once mkfs has returned.
 */
#include <stdio.h>

#include "tests/crash/runner.h"

#define OLD_TIME INT64_C(1700000000000000000)
#define NEW_TIME INT64_C(1800000000000000000)

const struct workload workload_mkfs = { .name = "mkfs" };
const struct workload workload_mkfs_over = { .name = "mkfs over a pool",
					     .op = { .kind = OP_FSYNC, .a = "foo" },
					     .need_a = NEED_FILE };

enum { VERDICT_NO_POOL = 8 };

static unsigned accept_from(const struct log_event *mark, unsigned accept)
{
	return mark->mark == MARK_RETURNED ? VERDICT_AFTER : accept;
}

/* Fill the pool that is to be overwritten. */
static int make_old(struct runner *runner)
{
	struct fs_options options = { .atime = FS_ATIME_NEVER };
	struct fs_report report;
	char why[256];
	int err = fs_mount(&runner->live->pm, &options, &runner->state.fs, &report);

	if (err)
		return err;
	err = workload_prepare(&runner->state, &workload_mkfs_over, why, sizeof(why));
	if (err)
		runner_violation(runner, "%s", why);
	fs_unmount(runner->state.fs);
	return err;
}

static void make_blank(struct runner *runner)
{
	image_zero(runner->live, 0, RUNNER_POOL_SIZE);
	image_zero(runner->crash, 0, RUNNER_POOL_SIZE);
	image_zero(runner->again, 0, RUNNER_POOL_SIZE);
}

static void judge_mkfs(struct runner *runner, bool over_pool)
{
	struct fs_format format = {
		.uuid = { 2 }, .label = "new", .hash_seed = 5, .now = NEW_TIME
	};
	struct model *after = model_new(NEW_TIME);
	struct judge *judge = &runner->judge;
	uint64_t data_start = runner->inflight->data_start;

	snprintf(after->label, sizeof(after->label), "new");
	judge->candidates = 0;
	judge_add(judge, after, NULL, VERDICT_AFTER);
	if (over_pool)
		judge_add(judge, runner->state.model, NULL, VERDICT_BEFORE);
	judge->torn_node = MODEL_NONE;
	judge->super_differs = true;
	judge->no_pool = VERDICT_NO_POOL;
	judge->inode_units = 1;
	runner->inflight->data_start = DXF_BLOCK_SIZE; /* what is wiped are groups */
	log_add_mark(&runner->log, MARK_BEGIN);
	if (fs_mkfs(&runner->live->pm, &format))
		runner_violation(runner, "mkfs fails");
	log_add_mark(&runner->log, MARK_RETURNED);
	log_add_mark(&runner->log, MARK_END);
	runner->accept_from = accept_from;
	if (!runner->dry)
		runner_judge_log(runner);
	inflight_clear(runner->inflight);
	runner->inflight->data_start = data_start;
	judge->no_pool = 0;
	model_free(after);
}

void runner_run_mkfs(struct runner *runner, bool over_pool)
{
	bool crash_recovery = runner->config.crash_recovery;

	runner->config.crash_recovery = false;
	runner->state.model = model_new(OLD_TIME);
	snprintf(runner->state.model->label, sizeof(runner->state.model->label), "crash");
	if (!over_pool)
		make_blank(runner);
	else if (make_old(runner) == 0 && !runner->dry)
		runner_absorb(runner);
	judge_mkfs(runner, over_pool);
	model_free(runner->state.model);
	runner->config.crash_recovery = crash_recovery;
}
