/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/bench/core/mounting.h"

#include <malloc.h>
#include <stdio.h>

#include "tests/bench/common/pool.h"
#include "tests/bench/core/operations.h"

#define LOOKUPS UINT64_C(1000000)
#define SMALL_DIRECTORY UINT64_C(1000)

/* Memory of the process beside the pool's mapping, bytes. */
static uint64_t own_memory(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	unsigned long long kib = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "RssAnon: %llu", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib << 10;
}

static void add_mount(struct json_object *object, struct bench_pool *pool)
{
	uint64_t took, before;

	fs_unmount(pool->fs);
	malloc_trim(0);
	before = own_memory();
	took = bench_pool_mount(pool);
	json_object_object_add(object, "mount_ms", json_object_new_double((double)took / 1e6));
	json_object_object_add(object, "memory_bytes",
			       json_object_new_int64((int64_t)(own_memory() - before)));
}

static void add_lookup(struct json_object *object, const char *name, struct worker *worker,
		       uint64_t range)
{
	struct lookup_worker large = { worker, range };
	void *contexts[] = { &large };
	struct bench_result result;

	bench_measure(operation_lookup_random, contexts, 1, LOOKUPS, &result);
	json_object_object_add(object, name, bench_result_json(&result));
}

struct json_object *bench_many_files(const char *path, uint64_t files)
{
	/* Per file an inode and at most two slots of a bucket, half filled. */
	uint64_t size = (UINT64_C(512) << 20) + files * 1024 / DXF_UNIT_SIZE * DXF_UNIT_SIZE;
	struct json_object *object = json_object_new_object();
	struct bench_result result;
	struct bench_pool pool;
	struct worker worker, small;
	void *contexts[] = { &worker };

	bench_pool_open(&pool, path, size);
	worker_init(&worker, pool.fs, "many");
	worker_init(&small, pool.fs, "few");
	json_object_object_add(object, "files", json_object_new_uint64(files));
	bench_measure(operation_create, contexts, 1, files, &result);
	json_object_object_add(object, "create", bench_result_json(&result));
	for (uint64_t i = 0; i < SMALL_DIRECTORY; i++)
		operation_create(&small, i);
	add_lookup(object, "lookup_small_directory", &small, SMALL_DIRECTORY);
	add_lookup(object, "lookup", &worker, files);
	worker_free(&worker);
	worker_free(&small);
	add_mount(object, &pool);
	bench_pool_close(&pool);
	return object;
}

static uint64_t free_bytes(struct fs *fs)
{
	struct fs_space space;

	fs_get_space(fs, &space);
	return space.free_units * DXF_UNIT_SIZE + space.free_blocks * DXF_BLOCK_SIZE;
}

struct json_object *bench_small_files(const char *path, uint64_t files, uint64_t bytes)
{
	uint64_t size = (UINT64_C(512) << 20) +
			files * (bytes + 8192) / DXF_UNIT_SIZE * DXF_UNIT_SIZE;
	struct json_object *object = json_object_new_object();
	struct bench_pool pool;
	struct worker worker;
	uint64_t before;

	bench_pool_open(&pool, path, size);
	worker_init(&worker, pool.fs, "small");
	before = free_bytes(pool.fs);
	for (uint64_t i = 0; i < files; i++)
		worker_make_small(&worker, i, bytes);
	json_object_object_add(object, "files", json_object_new_uint64(files));
	json_object_object_add(object, "file_bytes", json_object_new_uint64(bytes));
	json_object_object_add(object, "taken_bytes",
			       json_object_new_uint64(before - free_bytes(pool.fs)));
	worker_free(&worker);
	bench_pool_close(&pool);
	return object;
}

struct json_object *bench_large_pool(uint64_t size)
{
	struct json_object *object = json_object_new_object();
	struct bench_pool pool;
	uint64_t start = bench_now();

	bench_pool_open(&pool, NULL, size);
	json_object_object_add(object, "bytes", json_object_new_uint64(size));
	json_object_object_add(object, "mkfs_and_mount_ms",
			       json_object_new_double((double)(bench_now() - start) / 1e6));
	add_mount(object, &pool);
	bench_pool_close(&pool);
	return object;
}
