/* SPDX-License-Identifier: BSD-3-Clause */
/* What depends on how much a pool holds: mount time, memory, large directories. */
#ifndef BENCH_CORE_MOUNTING_H
#define BENCH_CORE_MOUNTING_H

#include <json-c/json.h>
#include <stdint.h>

/* A directory of `files` names: create, look up, mount, memory. */
struct json_object *bench_many_files(const char *path, uint64_t files);
/* A sparse, empty pool of `size` bytes in anonymous memory: mkfs, mount, memory. */
struct json_object *bench_large_pool(uint64_t size);

#endif
