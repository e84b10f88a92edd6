/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each operation is what the kernel would ask for in one request; a removal
 * includes the forget that frees the object. Names are made by hand because
 * printf() would cost as much as a lookup.
 */
#include "tests/bench/core/operations.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/bench/common/pool.h"
#include "tests/bench/common/random.h"

static const struct fs_request request = { .umask = 022 };

struct name {
	char text[16];
};

static struct name name_of(char prefix, uint64_t i)
{
	struct name name = { { prefix, '-' } };

	for (int digit = 9; digit >= 2; digit--, i >>= 4)
		name.text[digit] = "0123456789abcdef"[i & 15];
	return name;
}

void operation_create(void *context, uint64_t i)
{
	struct worker *worker = context;
	struct name name = name_of('f', i);
	struct fs_attr attr;

	bench_check(fs_mknod(worker->fs, &request, worker->directory, name.text, S_IFREG | 0644, 0,
			     &attr),
		    "create");
}

static void lookup(struct worker *worker, char prefix, uint64_t i, struct fs_attr *ret_attr)
{
	struct name name = name_of(prefix, i);

	bench_check(fs_lookup(worker->fs, worker->directory, name.text, ret_attr), "lookup");
}

static void operation_lookup(void *context, uint64_t i)
{
	struct fs_attr attr;

	lookup(context, 'f', i, &attr);
}

void operation_lookup_random(void *context, uint64_t i)
{
	struct lookup_worker *large = context;
	struct fs_attr attr;

	lookup(large->worker, 'f', bench_random(&large->worker->random) % large->range, &attr);
}

static void operation_stat(void *context, uint64_t i)
{
	struct worker *worker = context;
	struct fs_attr attr;

	bench_check(fs_getattr(worker->fs, worker->file, &attr), "stat");
}

static void operation_rename(void *context, uint64_t i)
{
	struct worker *worker = context;
	struct name from = name_of('f', i), to = name_of('r', i);

	bench_check(fs_rename(worker->fs, &request, worker->directory, from.text, worker->directory,
			      to.text, 0),
		    "rename");
}

static void operation_unlink(void *context, uint64_t i)
{
	struct worker *worker = context;
	struct name name = name_of('r', i);
	struct fs_attr attr;

	lookup(worker, 'r', i, &attr);
	bench_check(fs_unlink(worker->fs, NULL, worker->directory, name.text), "unlink");
	fs_forget(worker->fs, attr.ino);
}

static void operation_mkdir(void *context, uint64_t i)
{
	struct worker *worker = context;
	struct name name = name_of('d', i);
	struct fs_attr attr;

	bench_check(fs_mkdir(worker->fs, &request, worker->directory, name.text, 0755, &attr),
		    "mkdir");
}

static void operation_rmdir(void *context, uint64_t i)
{
	struct worker *worker = context;
	struct name name = name_of('d', i);
	struct fs_attr attr;

	lookup(worker, 'd', i, &attr);
	bench_check(fs_rmdir(worker->fs, NULL, worker->directory, name.text), "rmdir");
	fs_forget(worker->fs, attr.ino);
}

static uint64_t random_block(struct worker *worker)
{
	return bench_random(&worker->random) % (WORKER_FILE_SIZE / DXF_BLOCK_SIZE) * DXF_BLOCK_SIZE;
}

/* What the hardware takes for the same 4 KiB at the same places of the pool. */
static void operation_copy(void *context, uint64_t i)
{
	struct worker *worker = context;
	const struct pmem *pm = fs_pmem(worker->fs);
	uint64_t at = random_block(worker);

	pmem_copy_nt(pm, worker->units[at / DXF_UNIT_SIZE] + at % DXF_UNIT_SIZE, worker->buffer,
		     DXF_BLOCK_SIZE);
	pmem_fence(pm);
}

static void operation_overwrite(void *context, uint64_t i)
{
	struct worker *worker = context;

	bench_check(fs_write(worker->fs, NULL, worker->file, worker->buffer, DXF_BLOCK_SIZE,
			     random_block(worker), 0),
		    "overwrite");
}

static void operation_read(void *context, uint64_t i)
{
	struct worker *worker = context;

	bench_check(fs_pread(worker->fs, worker->file, worker->buffer, DXF_BLOCK_SIZE,
			     random_block(worker)),
		    "read");
}

static void operation_append(void *context, uint64_t i)
{
	struct worker *worker = context;

	bench_check(fs_write(worker->fs, NULL, worker->log, worker->buffer, DXF_BLOCK_SIZE, 0,
			     FS_WRITE_APPEND),
		    "append");
}

/* A store made durable in memory of one's own: how well this machine's CPUs
 * scale when no software is in the way. */
static void operation_persist(void *context, uint64_t i)
{
	struct worker *worker = context;
	const struct pmem *pm = fs_pmem(worker->fs);

	pmem_store64(pm, worker->line, i);
	pmem_flush(pm, worker->line, 64);
	pmem_fence(pm);
}

const struct operation operations[] = {
	{ "persist_line", operation_persist, 100, 0 },
	{ "create", operation_create, 100, 5000 },
	{ "lookup", operation_lookup, 100, 1000 },
	{ "stat", operation_stat, 100, 0 },
	{ "rename", operation_rename, 100, 5000 },
	{ "unlink", operation_unlink, 100, 5000 },
	{ "mkdir", operation_mkdir, 25, 0 },
	{ "rmdir", operation_rmdir, 25, 0 },
	{ "copy_4k", operation_copy, 100, 0 },
	{ "overwrite_4k", operation_overwrite, 100, 1500 },
	{ "read_4k", operation_read, 100, 0 },
	{ "append_4k", operation_append, 25, 0 },
};
const unsigned operation_count = sizeof(operations) / sizeof(operations[0]);

static uint64_t make_file(struct worker *worker, const char *name)
{
	struct fs_attr attr;

	bench_check(fs_mknod(worker->fs, &request, worker->directory, name, S_IFREG | 0644, 0,
			     &attr),
		    "create");
	bench_check(fs_open(worker->fs, attr.ino, O_RDWR, &attr), "open");
	return attr.ino;
}

void worker_init(struct worker *worker, struct fs *fs, const char *name)
{
	struct fs_attr attr;
	char *unit;

	*worker = (struct worker){ .fs = fs, .random = (uintptr_t)name };
	bench_check(fs_mkdir(fs, &request, DXF_ROOT_INO, name, 0755, &attr), "mkdir");
	worker->directory = attr.ino;
	worker->file = make_file(worker, "file");
	worker->log = make_file(worker, "log");
	worker->buffer = aligned_alloc(DXF_BLOCK_SIZE, DXF_BLOCK_SIZE);
	worker->line = aligned_alloc(64, 64);
	unit = calloc(1, DXF_UNIT_SIZE);
	bench_check(worker->buffer && worker->line && unit ? 0 : -ENOMEM, "memory");
	memset(worker->buffer, 0x5a, DXF_BLOCK_SIZE);
	for (uint64_t at = 0; at < WORKER_FILE_SIZE; at += DXF_UNIT_SIZE) {
		struct fs_iomap iomap;

		bench_check(fs_write(fs, NULL, worker->file, unit, DXF_UNIT_SIZE, at, 0), "write");
		bench_check(fs_iomap(fs, worker->file, at, DXF_UNIT_SIZE, &iomap), "iomap");
		worker->units[at / DXF_UNIT_SIZE] = pmem_at(fs_pmem(fs), iomap.device_offset);
	}
	free(unit);
}

void worker_free(struct worker *worker)
{
	fs_release(worker->fs, worker->file);
	fs_release(worker->fs, worker->log);
	free(worker->buffer);
	free(worker->line);
}

void worker_make_small(struct worker *worker, uint64_t i, uint64_t bytes)
{
	struct name name = name_of('s', i);
	uint64_t ino = make_file(worker, name.text);

	bench_check(fs_write(worker->fs, NULL, ino, worker->buffer, bytes, 0, 0), "write");
	fs_release(worker->fs, ino);
}
