/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/bench/common/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daxfuse/pmem/device.h"
#include "daxfuse/pmem/memory.h"
#include "tests/bench/common/measure.h"

void bench_check(int64_t err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "bench: %s: %s\n", what, strerror((int)-err));
	exit(EXIT_FAILURE);
}

uint64_t bench_pool_mount(struct bench_pool *pool)
{
	struct fs_options options = { 0 };
	struct fs_report report = { 0 };
	uint64_t start = bench_now();
	int err = fs_mount(pool->pm, &options, &pool->fs, &report);

	bench_check(err, report.what);
	return bench_now() - start;
}

/* A missing image is made; an image gets the size that the bench needs. */
static void size_image(const char *path, uint64_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat st;

	bench_check(fd < 0 || fstat(fd, &st) < 0 ? -errno : 0, path);
	if (S_ISREG(st.st_mode))
		bench_check(ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)size) < 0 ? -errno : 0,
			    path);
	close(fd);
}

static void open_device(struct bench_pool *pool, const char *path, uint64_t size)
{
	struct device_error error;
	int err;

	size_image(path, size);
	err = device_open(path, DEVICE_WRITE, &pool->dev, &error);
	if (!err)
		err = device_map(pool->dev, &pool->pm, &error);
	bench_check(err, err ? error.what : path);
	/* The kernel's zeroing of new memory is not what is measured. */
	bench_check(madvise(pool->pm->base, pool->pm->size, MADV_POPULATE_WRITE) < 0 ? -errno : 0,
		    "memory for the pool");
}

void bench_pool_open(struct bench_pool *pool, const char *path, uint64_t size)
{
	struct fs_format format = { 0 };

	memset(pool, 0, sizeof(*pool));
	bench_check(pmem_poison_init(), "SIGBUS handler");
	if (path)
		open_device(pool, path, size);
	else
		bench_check(pmem_memory_new(size, 0, &pool->pm), "memory for the pool");
	bench_check(fs_mkfs(pool->pm, &format), "mkfs");
	bench_pool_mount(pool);
}

void bench_pool_close(struct bench_pool *pool)
{
	fs_unmount(pool->fs);
	if (pool->dev)
		device_close(pool->dev);
	else
		pmem_memory_free(pool->pm);
}
