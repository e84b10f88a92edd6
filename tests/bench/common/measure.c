/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One clock reading a call: the end of a call is the start of the next one, so
 * the figures contain one reading (some 25 ns) and nothing else of ours.
 */
#include "tests/bench/common/measure.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/common/fences.h"
#include "tests/bench/common/pool.h"

struct runner {
	pthread_t thread;
	pthread_barrier_t *start;
	unsigned cpu;
	bench_operation operation;
	void *context;
	uint64_t count;
	uint32_t *took; /* ns of each call */
	uint64_t began, ended;
	uint64_t fences;
};

uint64_t bench_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void *run(void *arg)
{
	struct runner *runner = arg;
	uint64_t fences = fences_issued(), before;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(runner->cpu, &cpus);
	/* A machine with fewer CPUs than threads: then they share them. */
	(void)pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
	pthread_barrier_wait(runner->start);
	runner->began = before = bench_now();
	for (uint64_t i = 0; i < runner->count; i++) {
		uint64_t after;

		runner->operation(runner->context, i);
		after = bench_now();
		runner->took[i] = (uint32_t)(after - before);
		before = after;
	}
	runner->ended = before;
	runner->fences = fences_issued() - fences;
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void summarise(const struct runner *runners, unsigned threads, uint32_t *took,
		      struct bench_result *ret_result)
{
	uint64_t count = runners[0].count, all = count * threads, sum = 0, fences = 0;
	uint64_t began = UINT64_MAX, ended = 0;

	for (unsigned t = 0; t < threads; t++) {
		if (runners[t].began < began)
			began = runners[t].began;
		if (runners[t].ended > ended)
			ended = runners[t].ended;
		sum += runners[t].ended - runners[t].began;
		fences += runners[t].fences;
	}
	qsort(took, all, sizeof(*took), by_value);
	ret_result->count = count;
	ret_result->mean_ns = (double)sum / (double)all;
	ret_result->median_ns = took[all / 2];
	ret_result->p99_ns = took[all * 99 / 100];
	ret_result->per_second = (double)all * 1e9 / (double)(ended - began);
	ret_result->fences = (double)fences / (double)all;
}

void bench_measure(bench_operation operation, void *const *contexts, unsigned threads,
		   uint64_t count, struct bench_result *ret_result)
{
	struct runner runners[BENCH_THREADS_MAX];
	uint32_t *took = calloc(count * threads, sizeof(*took));
	pthread_barrier_t start;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	bench_check(took ? 0 : -ENOMEM, "memory for the figures");
	pthread_barrier_init(&start, NULL, threads);
	for (unsigned t = 0; t < threads; t++) {
		runners[t] = (struct runner){
			.start = &start,
			.cpu = t % (unsigned)cpus,
			.operation = operation,
			.context = contexts[t],
			.count = count,
			.took = took + t * count,
		};
		bench_check(-pthread_create(&runners[t].thread, NULL, run, &runners[t]), "thread");
	}
	for (unsigned t = 0; t < threads; t++)
		pthread_join(runners[t].thread, NULL);
	pthread_barrier_destroy(&start);
	summarise(runners, threads, took, ret_result);
	free(took);
}

struct json_object *bench_result_json(const struct bench_result *result)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "count", json_object_new_uint64(result->count));
	json_object_object_add(object, "mean_ns", json_object_new_double(result->mean_ns));
	json_object_object_add(object, "median_ns", json_object_new_uint64(result->median_ns));
	json_object_object_add(object, "p99_ns", json_object_new_uint64(result->p99_ns));
	json_object_object_add(object, "per_second", json_object_new_double(result->per_second));
	json_object_object_add(object, "fences", json_object_new_double(result->fences));
	return object;
}
