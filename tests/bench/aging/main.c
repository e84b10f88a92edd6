/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench-aging: fill a pool to several degrees, churn at each, and say how much
 * of the free space is still in whole units and whether new large files get
 * whole units only. Then the same pool anew, filled until large files get no units any
 * more. What realigning makes of either. JSON.
 */
#include <errno.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/aging/churn.h"
#include "tests/bench/aging/crowd.h"
#include "tests/bench/aging/survey.h"
#include "tests/bench/aging/whole.h"
#include "tests/bench/common/measure.h"
#include "tests/bench/common/options.h"
#include "tests/bench/common/pool.h"

#define THREADS 2
/* Samples for the plot per pool's capacity written. */
#define SAMPLES 4
#define LARGE_FILE (UINT64_C(64) << 20)

static const double stages[] = { 0.50, 0.75, 0.90 };
#define STAGES (sizeof(stages) / sizeof(stages[0]))
/* Of the crowded pool. */
#define THINNINGS 3

static const char usage[] =
	"usage: bench-aging [--pool PATH] [--size BYTES] [--rounds N]\n"
	"\n"
	"  --pool PATH   image or device to format and use (anonymous memory)\n"
	"  --size BYTES  of the pool (4 GiB)\n"
	"  --rounds N    at each of 50, 75 and 90 % full, write N times the size (4)\n";

struct arguments {
	const char *pool;
	uint64_t size, rounds;
};

struct churner {
	pthread_t thread;
	struct churn *churn;
	double fullness;
	uint64_t bytes;
};

static void parse(int argc, char **argv, struct arguments *a)
{
	const struct bench_option options[] = {
		{ "pool", .text = &a->pool },
		{ "size", .number = &a->size, .least = DXF_UNIT_SIZE },
		{ "rounds", .number = &a->rounds, .least = 1 },
		{ NULL },
	};

	*a = (struct arguments){ NULL, UINT64_C(4) << 30, 4 };
	bench_options(argc, argv, usage, options);
	a->size = a->size / DXF_UNIT_SIZE * DXF_UNIT_SIZE;
}

static void *churn_thread(void *arg)
{
	struct churner *churner = arg;

	churn_run(churner->churn, churner->fullness, churner->bytes);
	return NULL;
}

static void churn_all(struct churner *churners, double fullness, uint64_t bytes)
{
	for (unsigned t = 0; t < THREADS; t++) {
		churners[t].fullness = fullness;
		churners[t].bytes = bytes / THREADS;
		bench_check(-pthread_create(&churners[t].thread, NULL, churn_thread, &churners[t]),
			    "thread");
	}
	for (unsigned t = 0; t < THREADS; t++)
		pthread_join(churners[t].thread, NULL);
}

static struct churn_totals totals_of(const struct churner *churners)
{
	struct churn_totals totals = { 0 };

	for (unsigned t = 0; t < THREADS; t++)
		churn_add_totals(churners[t].churn, &totals);
	return totals;
}

static void add_space(struct json_object *object, struct fs *fs, uint64_t written, uint64_t size)
{
	struct survey_space space;

	survey_space(fs, &space);
	json_object_object_add(object, "written",
			       json_object_new_double((double)written / (double)size));
	json_object_object_add(object, "fullness", json_object_new_double(space.fullness));
	json_object_object_add(object, "free_bytes", json_object_new_uint64(space.free_bytes));
	json_object_object_add(object, "free_units", json_object_new_uint64(space.free_units));
	json_object_object_add(object, "split_units", json_object_new_uint64(space.split_units));
	json_object_object_add(object, "whole_share", json_object_new_double(space.whole));
	json_object_object_add(object, "whole_share_of_runs",
			       json_object_new_double(space.whole_of_runs));
}

static void add_totals(struct json_object *object, const struct churn_totals *totals)
{
	json_object_object_add(object, "file_bytes", json_object_new_uint64(totals->bytes));
	json_object_object_add(object, "files", json_object_new_uint64(totals->files));
	json_object_object_add(object, "created", json_object_new_uint64(totals->created));
	json_object_object_add(object, "appended", json_object_new_uint64(totals->appended));
	json_object_object_add(object, "truncated", json_object_new_uint64(totals->truncated));
	json_object_object_add(object, "removed", json_object_new_uint64(totals->removed));
	json_object_object_add(object, "refused", json_object_new_uint64(totals->refused));
}

/* Churn at one fullness; adds the stage's row, and samples on the way. */
static void run_stage(struct fs *fs, struct churner *churners, const struct arguments *arguments,
		      double fullness, struct json_object *samples, struct json_object *rows)
{
	struct json_object *row = json_object_new_object();
	struct survey_large large;
	struct churn_totals totals;
	uint64_t start = bench_now();

	for (uint64_t i = 0; i < arguments->rounds * SAMPLES; i++) {
		struct json_object *sample = json_object_new_object();

		churn_all(churners, fullness, arguments->size / SAMPLES);
		add_space(sample, fs, totals_of(churners).written, arguments->size);
		json_object_array_add(samples, sample);
	}
	totals = totals_of(churners);
	json_object_object_add(row, "stage", json_object_new_double(fullness));
	json_object_object_add(row, "seconds",
			       json_object_new_double((double)(bench_now() - start) / 1e9));
	add_space(row, fs, totals.written, arguments->size);
	add_totals(row, &totals);
	survey_large(fs, arguments->size / 32 < LARGE_FILE ? arguments->size / 32 : LARGE_FILE,
		     &large);
	json_object_object_add(row, "large_file_bytes", json_object_new_uint64(large.size));
	json_object_object_add(row, "large_files", json_object_new_uint64(large.files));
	json_object_object_add(row, "large_files_aligned", json_object_new_uint64(large.aligned));
	json_object_object_add(row, "large_files_extents", json_object_new_uint64(large.extents));
	/* the next stage goes on with what this leaves */
	json_object_object_add(row, "realign", whole_realign(fs));
	json_object_array_add(rows, row);
}

static void run_stages(const struct arguments *arguments, struct json_object *object)
{
	struct json_object *samples = json_object_new_array(), *rows = json_object_new_array();
	struct churner churners[THREADS];
	struct bench_pool pool;

	bench_pool_open(&pool, arguments->pool, arguments->size);
	for (unsigned t = 0; t < THREADS; t++)
		churners[t].churn = churn_new(pool.fs, t, arguments->size / 32);
	for (unsigned i = 0; i < STAGES; i++)
		run_stage(pool.fs, churners, arguments, stages[i], samples, rows);
	for (unsigned t = 0; t < THREADS; t++)
		churn_free(churners[t].churn);
	bench_pool_close(&pool);
	json_object_object_add(object, "stages", rows);
	json_object_object_add(object, "samples", samples);
}

/* Realigned while it is full, and after each removal of a quarter of the files. */
static void run_crowd(const struct arguments *arguments, struct json_object *object)
{
	struct json_object *rows = json_object_new_array();
	struct bench_pool pool;
	struct crowd *crowd;

	bench_pool_open(&pool, arguments->pool, arguments->size);
	crowd = crowd_new(pool.fs);
	for (unsigned i = 0; i <= THINNINGS; i++) {
		struct json_object *row = json_object_new_object();

		if (i)
			crowd_thin(crowd, 0.25);
		add_space(row, pool.fs, 0, arguments->size);
		json_object_object_add(row, "realign", whole_realign(pool.fs));
		json_object_array_add(rows, row);
	}
	crowd_free(crowd);
	bench_pool_close(&pool);
	json_object_object_add(object, "crowd", rows);
}

int main(int argc, char **argv)
{
	struct json_object *object = json_object_new_object();
	struct arguments arguments;

	parse(argc, argv, &arguments);
	json_object_object_add(object, "pool_bytes", json_object_new_uint64(arguments.size));
	run_stages(&arguments, object);
	run_crowd(&arguments, object);
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY));
	json_object_put(object);
	return 0;
}
