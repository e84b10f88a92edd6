/* SPDX-License-Identifier: BSD-3-Clause */
/* The pool that a bench works on: anonymous memory, or an image or device. */
#ifndef BENCH_COMMON_POOL_H
#define BENCH_COMMON_POOL_H

#include "daxfuse/core/fs.h"

struct bench_pool {
	struct pmem *pm;
	struct device *dev; /* NULL: anonymous memory */
	struct fs *fs;
};

/*
 * Make an empty file system and mount it. path NULL: size bytes of anonymous
 * memory, sparse; else the image or device, which is formatted, whatever it holds,
 * and all of whose memory is made first.
 * Prints why and exits when it fails: a bench has nothing else to do.
 */
void bench_pool_open(struct bench_pool *pool, const char *path, uint64_t size);
/* Mount again what fs_unmount() left; returns the ns that it took. */
uint64_t bench_pool_mount(struct bench_pool *pool);
void bench_pool_close(struct bench_pool *pool);

/* Exit with "what: errno text" if err is negative. */
void bench_check(int64_t err, const char *what);

#endif
