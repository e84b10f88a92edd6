/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Run one operation many times, on one or two threads, and say how long it
 * took: mean, median and 99th percentile of the single calls, operations a
 * second of all threads together, fences per operation.
 */
#ifndef BENCH_COMMON_MEASURE_H
#define BENCH_COMMON_MEASURE_H

#include <json-c/json.h>
#include <stdint.h>

#define BENCH_THREADS_MAX 8

/* ns, CLOCK_MONOTONIC */
uint64_t bench_now(void);

/* Does operation number i; exits when it fails. */
typedef void (*bench_operation)(void *context, uint64_t i);

struct bench_result {
	uint64_t count; /* per thread */
	double mean_ns; /* of one call */
	uint64_t median_ns;
	uint64_t p99_ns;
	double per_second; /* all threads, from the first start to the last end */
	double fences;     /* per operation */
};

/*
 * contexts[t] is handed to thread t, which calls operation for i = 0 .. count - 1.
 * The threads are pinned to different CPUs and start together.
 */
void bench_measure(bench_operation operation, void *const *contexts, unsigned threads,
		   uint64_t count, struct bench_result *ret_result);

struct json_object *bench_result_json(const struct bench_result *result);

#endif
