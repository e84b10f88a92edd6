/* SPDX-License-Identifier: BSD-3-Clause */
/* What depends on how much a pool holds: mount time, memory, large directories. */
#ifndef BENCH_CORE_MOUNTING_H
#define BENCH_CORE_MOUNTING_H

#include <json-c/json.h>
#include <stdint.h>

/* A directory of `files` names: create, look up, mount, memory. */
struct json_object *bench_many_files(const char *path, uint64_t files);
/* Files of `bytes` each in one directory: what they take of the pool. */
struct json_object *bench_small_files(const char *path, uint64_t files, uint64_t bytes);
/* A sparse, empty pool of `size` bytes in anonymous memory: mkfs, mount, memory. */
struct json_object *bench_large_pool(uint64_t size);

#endif
