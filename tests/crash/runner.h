/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs one job (an operation, or a pair of them) and judges the crash states of
 * its last operation.
 *
 * Three images: on the live one the operations run; the second follows what is
 * durable and is where crash states are judged; the third follows the second,
 * and is where recovery is crashed.
 */
#ifndef CRASH_RUNNER_H
#define CRASH_RUNNER_H

#include <stdatomic.h>

#include "tests/crash/enumerate.h"
#include "tests/crash/judge.h"
#include "tests/crash/workload.h"

#define RUNNER_POOL_SIZE (UINT64_C(24) << 20)

struct job {
	const struct workload *first; /* NULL: only one operation */
	const struct workload *last;
	int left;     /* blocks left in the pool; -1: plenty */
	unsigned cut; /* last starts before this fence of first, while that
				       * is under way; 0: first is over by then */
};

/* Verdicts where one operation runs. */
enum {
	VERDICT_BEFORE = 1,
	VERDICT_AFTER = 2,
	VERDICT_BETWEEN = 4, /* torn where it may be, or one of its steps */
};

/* Results; the supervisor keeps it in memory shared by its workers. */
struct tally {
	unsigned long jobs, states, judged, recoveries, mounts_crashed;
	_Atomic unsigned long violations;
	unsigned long overlaps; /* second operations that ended inside the first */
	unsigned long progress; /* grows while anything happens */
	atomic_uint messages;
	char message[32][1024];
};

struct runner_config {
	struct enumerate_limit limit;
	struct enumerate_limit recovery_limit;
	bool crash_recovery;
	bool stop_at_first; /* violation */
	bool cached_only;   /* not the states of caches that flush themselves */
	bool quiet;
	long replay; /* state to explain, or -1 */
};

struct runner {
	struct runner_config config;
	struct image *live, *crash, *again;
	struct inflight *inflight, *inner;
	struct log log, recovery;
	struct judge judge, judge_again;
	struct op_state state;
	struct tally *tally;
	uint64_t *seen; /* hashes of judged images, and their verdicts */
	uint8_t *verdict;
	size_t seen_room, seen_count;
	uint64_t *recovery_seen;
	size_t recovery_seen_count;
	uint64_t durable_hash; /* of what the crash image holds beside the state */
	const struct job *job;
	const char *mode; /* "cached" or "ordered" */
	unsigned fence;   /* since the operation began */
	unsigned accept;  /* verdicts that are right at this moment */
	unsigned outer;   /* verdict of the state whose recovery is crashed */
	unsigned long state_number, job_violations;
	bool dry; /* only run, judge nothing */
	/* What is accepted from this mark of the log on. */
	unsigned (*accept_from)(const struct log_event *mark, unsigned accept);
};

int runner_create(const struct runner_config *config, struct tally *tally,
		  struct runner **ret_runner);
void runner_destroy(struct runner *runner);
/* The number of violations. runner->log holds the last operation afterwards. */
unsigned long runner_run(struct runner *runner, const struct job *job);

/* Of runner.c, for threads.c: what the judge must know about op; see there. */
void runner_set_judge(struct runner *runner, const struct op *op);
void runner_materialize(struct runner *runner, struct model *before, const struct op *op);
/* Of mkfs.c: mkfs, on blank memory or over a pool, in place of the job's operation. */
extern const struct workload workload_mkfs, workload_mkfs_over;
void runner_run_mkfs(struct runner *runner, bool over_pool);
/* Of threads.c: both operations of the job at the same time. */
void runner_run_two(struct runner *runner, const struct job *job);
/* fs_clock() of the calling thread is state->now. */
void runner_set_clock(const struct op_state *state);
/* Of runner_states.c: judge what the log of one operation can leave. */
void runner_judge_log(struct runner *runner);
/* Feed the log to what is in flight, judge nothing, and clear it. */
void runner_absorb(struct runner *runner);
__attribute__((format(printf, 2, 3))) void runner_violation(struct runner *runner,
							    const char *format, ...);
void job_name(const struct job *job, char *name, size_t size);

#endif
