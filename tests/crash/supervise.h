/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs tasks in worker processes, so that a crash or a hang of the code under
 * test is one more finding and not the end of the run.
 */
#ifndef CRASH_SUPERVISE_H
#define CRASH_SUPERVISE_H

#include "tests/crash/runner.h"

#define WORKERS_MAX 16

struct supervise {
	unsigned workers;
	unsigned hang_seconds; /* without progress: killed */
	unsigned tasks;
	struct runner_config config;
	/* Runs in a worker. */
	void (*run)(struct runner *runner, unsigned task, void *arg);
	/* Runs in the supervisor: the worker died in it, of signal (SIGKILL: hang). */
	void (*died)(unsigned task, int signal, void *arg);
	void *arg;
};

/* Memory that workers share, zeroed; never freed. */
void *supervise_shared(size_t size);
/* Sum of all tallies in *ret_total. 0, or negative errno if no runner could start. */
int supervise_run(const struct supervise *supervise, struct tally *ret_total);

#endif
