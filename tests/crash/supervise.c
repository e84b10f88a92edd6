/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/crash/supervise.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* exit codes of workers */
enum { WORKER_DONE = 0, WORKER_UNFIT = 3 };

struct worker {
	struct tally tally;
	unsigned task;      /* in work */
	pid_t pid;          /* 0: not running */
	unsigned long seen; /* progress at the last look */
	time_t since;       /* of it */
};

struct shared {
	atomic_uint next; /* task */
	struct worker worker[WORKERS_MAX];
};

void *supervise_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		abort();
	return memory;
}

static void work(const struct supervise *supervise, struct shared *shared, struct worker *me)
{
	struct runner *runner;
	unsigned task;

	if (runner_create(&supervise->config, &me->tally, &runner))
		_exit(WORKER_UNFIT);
	while ((task = atomic_fetch_add_explicit(&shared->next, 1, memory_order_relaxed)) <
	       supervise->tasks) {
		me->task = task;
		me->tally.progress++;
		supervise->run(runner, task, supervise->arg);
	}
	me->task = supervise->tasks;
	runner_destroy(runner);
	fflush(NULL);
	_exit(WORKER_DONE);
}

static void start(const struct supervise *supervise, struct shared *shared, struct worker *worker)
{
	pid_t parent = getpid(), child;

	fflush(NULL);
	worker->since = time(NULL);
	worker->task = supervise->tasks;
	child = fork();
	if (child) {
		worker->pid = child;
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(WORKER_UNFIT);
	work(supervise, shared, worker);
}

/* A worker ended: whether another is to take its place. */
static bool ended(const struct supervise *supervise, struct worker *worker, int status)
{
	worker->pid = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == WORKER_DONE)
		return false;
	if (worker->task >= supervise->tasks) /* died before its first task */
		return false;
	supervise->died(worker->task, WIFSIGNALED(status) ? WTERMSIG(status) : 0, supervise->arg);
	return true;
}

static void kill_if_hung(const struct supervise *supervise, struct worker *worker)
{
	if (worker->tally.progress != worker->seen) {
		worker->seen = worker->tally.progress;
		worker->since = time(NULL);
	} else if (time(NULL) - worker->since > (time_t)supervise->hang_seconds) {
		kill(worker->pid, SIGKILL);
	}
}

static void add_tally(struct tally *total, const struct tally *one)
{
	unsigned room = sizeof(total->message) / sizeof(total->message[0]);
	unsigned i;

	total->jobs += one->jobs;
	total->states += one->states;
	total->judged += one->judged;
	total->recoveries += one->recoveries;
	total->mounts_crashed += one->mounts_crashed;
	total->violations += one->violations;
	total->overlaps += one->overlaps;
	for (i = 0; i < one->messages && i < room && total->messages < room; i++)
		memcpy(total->message[total->messages++], one->message[i],
		       sizeof(total->message[0]));
}

int supervise_run(const struct supervise *supervise, struct tally *ret_total)
{
	struct shared *shared = supervise_shared(sizeof(*shared));
	unsigned workers = supervise->workers < WORKERS_MAX ? supervise->workers : WORKERS_MAX;
	unsigned running = workers;
	bool unfit = false;
	unsigned i;

	for (i = 0; i < workers; i++)
		start(supervise, shared, &shared->worker[i]);
	while (running) {
		usleep(20000);
		for (i = 0; i < workers; i++) {
			struct worker *worker = &shared->worker[i];
			int status;

			if (!worker->pid)
				continue;
			if (waitpid(worker->pid, &status, WNOHANG) != worker->pid) {
				kill_if_hung(supervise, worker);
				continue;
			}
			unfit |= WIFEXITED(status) && WEXITSTATUS(status) == WORKER_UNFIT;
			if (ended(supervise, worker, status))
				start(supervise, shared, worker);
			else
				running--;
		}
	}
	for (i = 0; i < workers; i++)
		add_tally(ret_total, &shared->worker[i].tally);
	munmap(shared, sizeof(*shared));
	return unfit ? -EIO : 0;
}
