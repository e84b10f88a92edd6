/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench-entries: what it costs to take an entry of a mapped file and to give it back,
 * on one thread and on two in different units, and the memory that the entries take.
 * JSON. Each call of the measured operation is BATCH of them, so that the clock
 * weighs nothing.
 */
#include <stdio.h>
#include <stdlib.h>

#include "daxfuse/map/entry.h"
#include "tests/bench/common/measure.h"
#include "tests/bench/common/pool.h"
#include "tests/bench/common/random.h"

enum { THREADS = 2, BATCH = 100, ROUNDS = 3 };

struct worker {
	_Alignas(64) struct entry_map *map; /* workers share no line */
	uint64_t first, units;              /* its own part of the file */
	uint64_t rng;
	unsigned order;
};

static uint64_t pick(struct worker *worker)
{
	uint64_t unit = worker->first + bench_random(&worker->rng) % worker->units;

	return unit * UNIT_PAGES + (worker->rng >> 7) % UNIT_PAGES;
}

static void operation_grab(void *context, uint64_t i)
{
	struct worker *worker = context;
	struct entry entry;

	for (unsigned n = 0; n < BATCH; n++) {
		bench_check(entry_grab(worker->map, pick(worker), worker->order, &entry), "grab");
		entry_unlock(&entry);
	}
}

static void fill(struct entry_map *map, uint64_t units, unsigned order)
{
	struct entry entry;

	for (uint64_t index = 0; index < units * UNIT_PAGES; index += UINT64_C(1) << order) {
		bench_check(entry_grab(map, index, order, &entry), "fill");
		entry.value = ENTRY_DATA;
		entry_unlock(&entry);
	}
}

/* Threads in a part each, of that many units. */
static double best(struct entry_map *map, uint64_t units, unsigned order, unsigned threads,
		   uint64_t count, double *ret_per_second)
{
	struct worker workers[THREADS];
	void *contexts[THREADS];
	double ns = 0;

	*ret_per_second = 0;
	for (unsigned t = 0; t < threads; t++) {
		workers[t] = (struct worker){ map, t * units, units, t, order };
		contexts[t] = &workers[t];
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct bench_result result;

		bench_measure(operation_grab, contexts, threads, count / BATCH, &result);
		if (result.per_second * BATCH > *ret_per_second) {
			*ret_per_second = result.per_second * BATCH;
			ns = result.mean_ns / BATCH;
		}
	}
	return ns;
}

static struct json_object *bench_file(uint64_t units, unsigned order, uint64_t count)
{
	struct json_object *object = json_object_new_object();
	double ns, whole, one, two, bytes;
	struct wait_table *waits;
	struct entry_map map;

	bench_check(wait_table_new(&waits), "wait table");
	entry_map_init(&map, waits);
	fill(&map, units, order);
	ns = best(&map, units, order, 1, count, &whole);
	/* a part fits the caches better: one thread is compared in a part, too */
	best(&map, units / THREADS, order, 1, count, &one);
	best(&map, units / THREADS, order, THREADS, count, &two);
	json_object_object_add(object, "units", json_object_new_uint64(units));
	bytes = (double)entry_map_bytes(&map) / (double)units;
	json_object_object_add(object, "bytes_per_unit", json_object_new_double(bytes));
	json_object_object_add(object, "take_and_give_back_ns", json_object_new_double(ns));
	json_object_object_add(object, "per_second", json_object_new_double(whole));
	json_object_object_add(object, "scaling", json_object_new_double(two / one));
	entry_map_destroy(&map);
	wait_table_free(waits);
	return object;
}

int main(int argc, char **argv)
{
	uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 0) : 10000000;
	struct json_object *object = json_object_new_object();

	if (!count) {
		fputs("usage: bench-entries [COUNT]\n", stderr);
		return 2;
	}
	json_object_object_add(object, "huge_1_gib", bench_file(512, ORDER_PMD, count));
	json_object_object_add(object, "huge_1_tib", bench_file(512 * 1024, ORDER_PMD, count));
	json_object_object_add(object, "pages_1_gib", bench_file(512, ORDER_PTE, count));
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY));
	json_object_put(object);
	return 0;
}
