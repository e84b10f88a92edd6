/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench-core: how long the core takes for each operation, without FUSE, and how
 * many fences; on one thread and on two in different directories. JSON.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/common/options.h"
#include "tests/bench/common/pool.h"
#include "tests/bench/core/mounting.h"
#include "tests/bench/core/operations.h"

#define THREADS 2
/* The table is run this often, and the fastest run of each operation counts:
 * what else runs on the machine only ever makes it slower. */
#define ROUNDS 3

static const char usage[] =
	"usage: bench-core [--pool PATH] [--count N] [--files N] [--large BYTES]\n"
	"\n"
	"  --pool PATH    image or device to format and use, best on a tmpfs mounted with\n"
	"                 huge=always (anonymous memory)\n"
	"  --count N      calls of each operation (200000)\n"
	"  --files N      files in the large directory (1000000; 0 = leave out); with --pool\n"
	"                 it is what the pool holds in the end\n"
	"  --large BYTES  size of the sparse pool (1 TiB; 0 = leave out)\n";

struct arguments {
	const char *pool;
	uint64_t count, files, large;
};

static void parse(int argc, char **argv, struct arguments *a)
{
	const struct bench_option options[] = {
		{ "pool", .text = &a->pool },
		{ "count", .number = &a->count },
		{ "files", .number = &a->files },
		{ "large", .number = &a->large },
		{ NULL },
	};

	*a = (struct arguments){ NULL, 200000, 1000000, UINT64_C(1) << 40 };
	bench_options(argc, argv, usage, options);
}

/* The whole table on `threads` threads; improves results. */
static void run_table(struct fs *fs, unsigned round, unsigned threads, uint64_t count,
		      struct bench_result *results)
{
	struct worker workers[THREADS];
	void *contexts[THREADS];
	struct bench_result result;

	for (unsigned t = 0; t < threads; t++) {
		char name[32];

		snprintf(name, sizeof(name), "%u-%u-%u", round, threads, t);
		worker_init(&workers[t], fs, name);
		contexts[t] = &workers[t];
	}
	for (unsigned i = 0; i < operation_count; i++) {
		bench_measure(operations[i].run, contexts, threads,
			      count * operations[i].share / 100, &result);
		if (result.per_second > results[i].per_second)
			results[i] = result;
	}
	for (unsigned t = 0; t < threads; t++)
		worker_free(&workers[t]);
}

static struct json_object *bench_operations(const char *path, uint64_t count)
{
	/* Files, logs (a quarter of the count, 4 KiB each) and names of 1 + 2 workers;
	 * what the rounds before made stays. */
	uint64_t size = ROUNDS *
			((UINT64_C(512) << 20) + 3 * count * 2048 / DXF_UNIT_SIZE * DXF_UNIT_SIZE);
	struct bench_result *one = calloc(operation_count, sizeof(*one));
	struct bench_result *two = calloc(operation_count, sizeof(*two));
	struct json_object *object = json_object_new_object();
	struct bench_pool pool;

	bench_check(one && two ? 0 : -ENOMEM, "memory");
	bench_pool_open(&pool, path, size);
	for (unsigned round = 0; round < ROUNDS; round++) {
		run_table(pool.fs, round, 1, count, one);
		run_table(pool.fs, round, THREADS, count, two);
	}
	bench_pool_close(&pool);
	for (unsigned i = 0; i < operation_count; i++) {
		struct json_object *row = json_object_new_object();

		json_object_object_add(row, "one_thread", bench_result_json(&one[i]));
		json_object_object_add(row, "two_threads", bench_result_json(&two[i]));
		json_object_object_add(
			row, "scaling",
			json_object_new_double(two[i].per_second / one[i].per_second));
		/* Free of what else the machine did meanwhile. */
		json_object_object_add(row, "scaling_of_medians",
				       json_object_new_double(THREADS * (double)one[i].median_ns /
							      (double)two[i].median_ns));
		json_object_object_add(row, "target_ns",
				       json_object_new_uint64(operations[i].target_ns));
		json_object_object_add(object, operations[i].name, row);
	}
	free(one);
	free(two);
	return object;
}

int main(int argc, char **argv)
{
	struct json_object *object = json_object_new_object();
	struct arguments arguments;

	parse(argc, argv, &arguments);
	json_object_object_add(object, "operations",
			       bench_operations(arguments.pool, arguments.count));
	json_object_object_add(object, "small_files",
			       bench_small_files(arguments.pool, arguments.count / 2, 1024));
	if (arguments.large)
		json_object_object_add(object, "large_pool", bench_large_pool(arguments.large));
	/* Last, because --pool keeps it. */
	if (arguments.files)
		json_object_object_add(object, "many_files",
				       bench_many_files(arguments.pool, arguments.files));
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY));
	json_object_put(object);
	return 0;
}
