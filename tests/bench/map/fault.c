/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench-fault: what one fault costs in the daemon, from map_fault() down, on a real pool and
 * without FUSE: of a unit that is there, of a hole, of a page. JSON.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "daxfuse/vfs/mapped.h"
#include "tests/bench/common/measure.h"
#include "tests/bench/common/options.h"
#include "tests/bench/common/pool.h"

/* The fastest round counts: what else runs on the machine only ever makes it slower. */
enum { ROUNDS = 7 };

struct bench {
	struct bench_pool pool;
	struct vfs *vfs;
	uint64_t units; /* of each file; a power of two */
};

/* A mapped file, and one kind of fault on it. */
struct faulting {
	struct bench *bench;
	struct vfs_file *file;
	struct map_view *view;
	enum map_access access;
	unsigned order;
};

/* ---- a mapper that has nothing mapped ------------------------------------------------ */

static int agree(void *mapper, uint64_t offset, uint64_t length, uint64_t grant)
{
	return 0;
}

static const struct mapper_ops ops = {
	.smallest = ORDER_PTE,
	.read_only_first = true,
	.unmap = agree,
	.write_protect = agree,
};

static void nobody_knows(void *arg, uint64_t ino, bool data)
{
}

static bool reclaim_nothing(void *arg)
{
	return false;
}

static void open_vfs(struct bench *b)
{
	const struct vfs_config config = {
		.fs = b->pool.fs,
		.life = 1,
		.forget = nobody_knows,
		.reclaim = reclaim_nothing,
	};

	bench_check(vfs_open(&config, &b->vfs), "vfs");
}

static void set_size(struct bench *b, uint64_t ino, uint64_t units)
{
	struct fs_setattr set = { .valid = FS_SET_SIZE, .size = units * DXF_UNIT_SIZE };
	struct fs_attr attr;

	bench_check(vfs_setattr(b->vfs, &(struct vfs_request){ .repeated = false }, ino, &set,
				&attr),
		    "size");
}

static void open_file(struct bench *b, const char *name, struct faulting *ret_faulting)
{
	static const struct fs_request request = { .umask = 022 };
	struct fs_attr attr;

	bench_check(fs_mknod(b->pool.fs, &request, DXF_ROOT_INO, name, S_IFREG | 0644, 0, &attr),
		    name);
	set_size(b, attr.ino, b->units);
	*ret_faulting = (struct faulting){ .bench = b, .order = ORDER_PMD };
	bench_check(vfs_file_get(b->vfs, attr.ino, &ret_faulting->file), name);
	bench_check(map_view_open(ret_faulting->file->map, &ops, NULL, &ret_faulting->view), name);
}

static void close_file(struct faulting *f)
{
	map_view_close(f->view);
	vfs_file_put(f->file);
}

/* ---- operations ------------------------------------------------------------------------ */

/* Neighbours are far apart: the caches have not seen the next one. */
static uint64_t scattered(const struct faulting *f, uint64_t i)
{
	return i * 197 % f->bench->units;
}

static void fault(void *context, uint64_t i)
{
	struct faulting *f = context;
	struct map_request request = {
		.offset = scattered(f, i) * DXF_UNIT_SIZE + i / f->bench->units * DXF_BLOCK_SIZE,
		.access = f->access,
		.order = f->order,
		.end = UINT64_MAX,
	};
	struct map_piece piece;
	int err = map_fault(f->view, &request, &piece);

	bench_check(err > 0 ? -EUCLEAN : err, "fault");
}

/* What a unit lies in that the file has already. */
static void *unit(struct faulting *f, uint64_t i)
{
	struct fs_iomap map;

	bench_check(fs_iomap(f->bench->pool.fs, f->file->ino, scattered(f, i) * DXF_UNIT_SIZE,
			     DXF_UNIT_SIZE, &map),
		    "unit");
	return pmem_at(f->bench->pool.pm, map.device_offset);
}

/* What core does to a unit that it allocates. */
static void zero(void *context, uint64_t i)
{
	struct faulting *f = context;

	pmem_zero_nt(f->bench->pool.pm, unit(f, i), DXF_UNIT_SIZE);
	pmem_fence(f->bench->pool.pm);
}

static void let_go(struct faulting *f)
{
	map_let_go(f->view, 0, MAP_TO_END, UINT64_MAX);
	bench_check(map_writeback(f->file->map, 0, MAP_TO_END), "writeback");
}

/* ---- rounds ------------------------------------------------------------------------------ */

static void run(struct faulting *f, bench_operation operation, uint64_t count,
		struct bench_result *best)
{
	struct bench_result result;
	void *contexts[] = { f };

	bench_measure(operation, contexts, 1, count, &result);
	if (!best->count || result.median_ns < best->median_ns)
		*best = result;
}

static void run_as(struct faulting *f, enum map_access access, uint64_t count,
		   struct bench_result *best)
{
	f->access = access;
	run(f, fault, count, best);
}

static void add(struct json_object *object, const char *name, const struct bench_result *result)
{
	json_object_object_add(object, name, bench_result_json(result));
}

/* Faults that allocate, and the zeroing that is most of them alone. */
static void measure_holes(struct bench *b, struct json_object *object)
{
	struct bench_result zeroing = { 0 }, allocating = { 0 };
	struct faulting full, holes;

	open_file(b, "full", &full);
	open_file(b, "holes", &holes);
	full.access = MAP_WRITE;
	for (uint64_t i = 0; i < b->units; i++)
		fault(&full, i);
	for (unsigned round = 0; round < ROUNDS; round++) {
		run(&full, zero, b->units, &zeroing);
		run_as(&holes, MAP_WRITE, b->units, &allocating);
		let_go(&holes);
		set_size(b, holes.file->ino, 0);
		set_size(b, holes.file->ino, b->units);
	}
	close_file(&full);
	close_file(&holes);
	add(object, "zero", &zeroing);
	add(object, "allocate", &allocating);
}

/* count faults on what is there: to read, then to write, then once more by who has it. */
static void measure_there(struct bench *b, const char *name, unsigned order, uint64_t count,
			  struct json_object *object)
{
	struct bench_result read = { 0 }, write = { 0 }, again = { 0 };
	struct json_object *kinds = json_object_new_object();
	struct faulting f;

	open_file(b, name, &f);
	f.access = MAP_WRITE;
	for (uint64_t i = 0; i < b->units; i++)
		fault(&f, i);
	let_go(&f);
	f.order = order;
	for (unsigned round = 0; round < ROUNDS; round++) {
		run_as(&f, MAP_READ, count, &read);
		run_as(&f, MAP_WRITE, count, &write);
		run_as(&f, MAP_WRITE, count, &again);
		let_go(&f);
	}
	close_file(&f);
	add(kinds, "read", &read);
	add(kinds, "write", &write);
	add(kinds, "again", &again);
	json_object_object_add(object, name, kinds);
}

int main(int argc, char **argv)
{
	struct json_object *object = json_object_new_object();
	struct bench b = { .units = 512 };
	const char *path = NULL;
	const struct bench_option options[] = {
		{ "pool", &path, NULL, 0 },
		{ "units", NULL, &b.units, 4 },
		{ 0 },
	};

	bench_options(argc, argv, "usage: bench-fault --pool FILE [--units N]\n", options);
	if (!path || b.units & (b.units - 1)) {
		fputs("bench-fault: needs a pool, and a power of two of units\n", stderr);
		return 2;
	}
	bench_pool_open(&b.pool, path, (4 * b.units + 64) * DXF_UNIT_SIZE);
	open_vfs(&b);
	measure_holes(&b, object);
	measure_there(&b, "unit", ORDER_PMD, b.units, object);
	measure_there(&b, "page", ORDER_PTE, b.units * 64, object);
	vfs_close(b.vfs);
	bench_pool_close(&b.pool);
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY));
	json_object_put(object);
	return 0;
}
