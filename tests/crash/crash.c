/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The crash harness as a command: what to run, and a JSON summary of it.
 * docs/design/crash.md says how it works.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/crash/mutants.h"
#include "tests/crash/supervise.h"

struct arguments {
	unsigned jobs; /* worker processes */
	unsigned shard, shards;
	unsigned sample; /* 0: all */
	unsigned seed;
	const char *filter; /* only jobs whose name contains it */
	long replay;
	bool tight;
	bool no_recovery;
	bool every;
};

#define JSON_FORMAT (JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE)

struct list {
	struct job *job;
	unsigned count, room;
};

static const struct enumerate_limit single_limit = {
	.all = 4096, .pairs = 1200, .random = 300, .torn = 1500, .seed = 1
};
static const struct enumerate_limit pair_limit = {
	.all = 1024, .pairs = 300, .random = 100, .torn = 300, .seed = 1
};
static const struct enumerate_limit recovery_limit = {
	.all = 128, .pairs = 40, .random = 20, .torn = 40, .seed = 1
};

static void add_job(struct list *list, const struct arguments *args, struct job job)
{
	char name[256];

	job_name(&job, name, sizeof(name));
	if (args->filter && !strstr(name, args->filter))
		return;
	if (list->count == list->room) {
		list->room = list->room ? 2 * list->room : 256;
		list->job = realloc(list->job, list->room * sizeof(*list->job));
		if (!list->job)
			abort();
	}
	list->job[list->count++] = job;
}

static void list_singles(struct list *list, const struct arguments *args)
{
	static const int left[] = { 0, 1, 3 };
	unsigned i, j;

	for (i = 0; i < workload_count(); i++)
		add_job(list, args, (struct job){ .last = workload_at(i), .left = -1 });
	add_job(list, args, (struct job){ .last = &workload_mkfs, .left = -1 });
	add_job(list, args, (struct job){ .last = &workload_mkfs_over, .left = -1 });
	for (i = 0; i < workload_count() && args->tight; i++) {
		const struct workload *w = workload_at(i);

		if (!(w->flags & (WORKLOAD_TIGHT | WORKLOAD_PAIR)))
			continue;
		for (j = 0; j < 3; j++)
			add_job(list, args, (struct job){ .last = w, .left = left[j] });
	}
}

static void list_pairs(struct list *list, const struct arguments *args)
{
	unsigned i, j;

	for (i = 0; i < workload_count(); i++) {
		for (j = 0; j < workload_count(); j++) {
			const struct workload *first = workload_at(i), *last = workload_at(j);

			if (args->every || first->flags & last->flags & WORKLOAD_PAIR)
				add_job(list, args, (struct job){ first, last, -1, 0 });
		}
	}
}

/* Pairs that run at the same time; of the second nothing may be torn. */
static void list_threads(struct list *list, const struct arguments *args)
{
	unsigned i, j, cut;

	for (i = 0; i < workload_count(); i++) {
		for (j = 0; j < workload_count(); j++) {
			const struct workload *first = workload_at(i), *second = workload_at(j);

			if (!(first->flags & second->flags & WORKLOAD_PAIR) ||
			    second->op.kind == OP_WRITE || second->op.kind == OP_FALLOCATE)
				continue;
			for (cut = 1; cut <= 4; cut++)
				add_job(list, args, (struct job){ first, second, -1, cut });
		}
	}
}

/* Of all jobs those of this shard, and of them a sample. */
static void choose(struct list *list, const struct arguments *args)
{
	unsigned kept = 0;
	unsigned i;

	for (i = 0; i < list->count; i++)
		if (i % args->shards == args->shard)
			list->job[kept++] = list->job[i];
	list->count = kept;
	srand(args->seed);
	for (i = 0; args->sample && i < args->sample && i < kept; i++) {
		unsigned other = i + (unsigned)rand() % (kept - i);
		struct job job = list->job[i];

		list->job[i] = list->job[other];
		list->job[other] = job;
	}
	if (args->sample && args->sample < kept)
		list->count = args->sample;
}

static void run_job(struct runner *runner, unsigned task, void *arg)
{
	const struct list *list = arg;
	char name[256];
	unsigned long states = runner->tally->states;
	clock_t start = clock();

	runner_run(runner, &list->job[task]);
	job_name(&list->job[task], name, sizeof(name));
	fprintf(stderr, "%s: %lu states, %.1f s\n", name, runner->tally->states - states,
		(double)(clock() - start) / CLOCKS_PER_SEC);
}

static unsigned deaths;

static void job_died(unsigned task, int signal, void *arg)
{
	const struct list *list = arg;
	char name[256];

	deaths++;
	job_name(&list->job[task], name, sizeof(name));
	fprintf(stderr, "violation: %s: died of signal %d (%s)\n", name, signal, strsignal(signal));
}

static void print_summary(struct json_object *summary, time_t start)
{
	json_object_object_add(summary, "seconds", json_object_new_int64(time(NULL) - start));
	puts(json_object_to_json_string_ext(summary, JSON_FORMAT));
	json_object_put(summary);
}

static int run_judged(const struct arguments *args, struct list *list, const char *mode)
{
	struct json_object *summary = json_object_new_object();
	struct json_object *messages = json_object_new_array();
	struct supervise run = { .workers = args->jobs,
				 .hang_seconds = 300,
				 .tasks = list->count,
				 .run = run_job,
				 .died = job_died,
				 .arg = list };
	struct tally total = { 0 };
	time_t start = time(NULL);
	unsigned i;
	int err;

	run.config = (struct runner_config){ .limit = strcmp(mode, "single") ? pair_limit
									     : single_limit,
					     .recovery_limit = recovery_limit,
					     .crash_recovery = !args->no_recovery,
					     .replay = args->replay };
	err = supervise_run(&run, &total);
	for (i = 0; i < total.messages && i < sizeof(total.message) / sizeof(total.message[0]); i++)
		json_object_array_add(messages, json_object_new_string(total.message[i]));
	json_object_object_add(summary, "mode", json_object_new_string(mode));
	json_object_object_add(summary, "error", json_object_new_int(err));
	json_object_object_add(summary, "workloads", json_object_new_int64((int64_t)total.jobs));
	json_object_object_add(summary, "states", json_object_new_int64((int64_t)total.states));
	json_object_object_add(summary, "judged", json_object_new_int64((int64_t)total.judged));
	json_object_object_add(summary, "recoveries_crashed",
			       json_object_new_int64((int64_t)total.recoveries));
	json_object_object_add(summary, "recovery_states",
			       json_object_new_int64((int64_t)total.mounts_crashed));
	json_object_object_add(summary, "overlaps", json_object_new_int64((int64_t)total.overlaps));
	json_object_object_add(summary, "deaths", json_object_new_int((int)deaths));
	json_object_object_add(summary, "violations",
			       json_object_new_int64((int64_t)total.violations + deaths));
	json_object_object_add(summary, "messages", messages);
	print_summary(summary, start);
	return err || total.violations || deaths ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run_mutants(const struct arguments *args, const struct list *list)
{
	struct json_object *summary = json_object_new_object();
	time_t start = time(NULL);
	int err = mutants_run(list->job, list->count, args->jobs, summary);

	print_summary(summary, start);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Fences of the job's last operation, up to its return. */
static unsigned count_fences(struct runner *runner, const struct job *job)
{
	const struct log *log = &runner->log;
	unsigned fences = 0;
	size_t begin, end;

	runner->dry = true;
	runner_run(runner, job);
	for (begin = log->count; begin > 0 && log->event[begin - 1].mark != MARK_BEGIN; begin--)
		;
	for (end = begin; end < log->count && log->event[end].mark != MARK_RETURNED; end++)
		fences += log->event[end].kind == LOG_FENCE;
	return fences;
}

static int run_fences(const struct list *list)
{
	struct json_object *summary = json_object_new_object();
	struct tally tally = { 0 };
	struct runner_config config = { .replay = -1, .quiet = true };
	struct runner *runner;
	char name[256];
	unsigned i;

	if (runner_create(&config, &tally, &runner))
		return EXIT_FAILURE;
	for (i = 0; i < list->count; i++) {
		job_name(&list->job[i], name, sizeof(name));
		json_object_object_add(
			summary, name,
			json_object_new_int((int)count_fences(runner, &list->job[i])));
	}
	runner_destroy(runner);
	puts(json_object_to_json_string_ext(summary, JSON_FORMAT));
	json_object_put(summary);
	return tally.violations ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void usage(FILE *to)
{
	fputs("usage: crash single|pairs|threads|mutants|fences|list [options]\n"
	      "  --jobs N         worker processes (2)\n"
	      "  --shard I/N      only every N-th job, from I on\n"
	      "  --sample N       so many of them, by chance\n"
	      "  --seed S         of the chance\n"
	      "  --filter TEXT    only jobs whose name contains TEXT\n"
	      "  --replay STATE   explain that state of the job\n"
	      "  --no-tight       not on pools that are nearly full\n"
	      "  --no-recovery    do not crash recovery itself\n"
	      "  --every          pairs of all operations, not of the 56 only\n",
	      to);
}

static int parse(int argc, char **argv, struct arguments *args)
{
	static const struct option options[] = {
		{ "jobs", required_argument, NULL, 'j' },
		{ "shard", required_argument, NULL, 's' },
		{ "sample", required_argument, NULL, 'n' },
		{ "seed", required_argument, NULL, 'S' },
		{ "filter", required_argument, NULL, 'f' },
		{ "replay", required_argument, NULL, 'r' },
		{ "no-tight", no_argument, NULL, 't' },
		{ "no-recovery", no_argument, NULL, 'R' },
		{ "every", no_argument, NULL, 'e' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'j':
			args->jobs = (unsigned)atoi(optarg);
			break;
		case 's':
			if (sscanf(optarg, "%u/%u", &args->shard, &args->shards) != 2 ||
			    !args->shards)
				return -1;
			break;
		case 'n':
			args->sample = (unsigned)atoi(optarg);
			break;
		case 'S':
			args->seed = (unsigned)atoi(optarg);
			break;
		case 'f':
			args->filter = optarg;
			break;
		case 'r':
			args->replay = atol(optarg);
			break;
		case 't':
			args->tight = false;
			break;
		case 'e':
			args->every = true;
			break;
		case 'R':
			args->no_recovery = true;
			break;
		default:
			return -1;
		}
	}
	return optind == argc - 1 && args->jobs ? 0 : -1;
}

static int run_mode(const char *mode, struct arguments *args, struct list *list)
{
	char name[256];
	unsigned i;

	if (strcmp(mode, "single") == 0)
		return run_judged(args, list, mode);
	args->no_recovery = true;
	if (strcmp(mode, "pairs") == 0 || strcmp(mode, "threads") == 0)
		return run_judged(args, list, mode);
	if (strcmp(mode, "mutants") == 0)
		return run_mutants(args, list);
	if (strcmp(mode, "fences") == 0)
		return run_fences(list);
	if (strcmp(mode, "list") != 0) {
		usage(stderr);
		return 2;
	}
	for (i = 0; i < list->count; i++) {
		job_name(&list->job[i], name, sizeof(name));
		puts(name);
	}
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct arguments args = { .jobs = 2, .shards = 1, .replay = -1, .tight = true };
	struct list list = { 0 };
	const char *mode;
	int code;

	if (parse(argc, argv, &args)) {
		usage(stderr);
		return 2;
	}
	mode = argv[optind];
	if (strcmp(mode, "mutants") == 0 || strcmp(mode, "fences") == 0)
		args.tight = false;
	if (strcmp(mode, "pairs") == 0)
		list_pairs(&list, &args);
	else if (strcmp(mode, "threads") == 0)
		list_threads(&list, &args);
	else
		list_singles(&list, &args);
	choose(&list, &args);
	code = run_mode(mode, &args, &list);
	free(list.job);
	return code;
}
