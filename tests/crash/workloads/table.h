/* SPDX-License-Identifier: BSD-3-Clause */
/* How the tables of workloads are written: operations, and workloads on a file. */
#ifndef CRASH_WORKLOADS_TABLE_H
#define CRASH_WORKLOADS_TABLE_H

#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "tests/crash/workload.h"

/* Of one topic, in the file of its name. */
struct workload_table {
	const struct workload *workloads;
	unsigned count;
};

extern const struct workload_table pair_workloads, name_workloads, data_workloads,
	mapping_workloads, tail_workloads, attribute_workloads, large_workloads;

#define TABLE(array)                                      \
	{                                                 \
		array, sizeof(array) / sizeof((array)[0]) \
	}

#define K(n) (UINT64_C(n) << 10)
#define M(n) (UINT64_C(n) << 20)
#define KEEP FALLOC_FL_KEEP_SIZE
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO FALLOC_FL_ZERO_RANGE
#define COLLAPSE FALLOC_FL_COLLAPSE_RANGE
#define FILE_MODE (S_IFREG | 0644)
#define OPS(...) ((const struct op[]){ __VA_ARGS__, { .kind = OP_NONE } })
#define WRITE(path, at, n)                                       \
	{                                                        \
		.kind = OP_WRITE, .a = path, .off = at, .len = n \
	}
#define FALLOC(path, how, at, n)                                                 \
	{                                                                        \
		.kind = OP_FALLOCATE, .a = path, .off = at, .len = n, .arg = how \
	}
#define MAP(path, at, n, how)                                                       \
	{                                                                           \
		.kind = OP_MAP, .a = path, .off = at, .len = n, .arg = OP_MAP_##how \
	}
#define TRUNCATE(path, n)                                \
	{                                                \
		.kind = OP_TRUNCATE, .a = path, .len = n \
	}
#define XATTR(path, key, n)                                         \
	{                                                           \
		.kind = OP_SET_XATTR, .a = path, .b = key, .len = n \
	}
#define OPEN(path)                         \
	{                                  \
		.kind = OP_OPEN, .a = path \
	}
#define FLAGS(path, flag, prj)                                            \
	{                                                                 \
		.kind = OP_SET_XFLAGS, .a = path, .arg = flag, .off = prj \
	}
/* 70 tables of one block each. */
#define TABLES                                                                        \
	{                                                                             \
		.kind = OP_WRITE_MANY, .a = "foo", .off = M(2), .len = 70, .arg = 100 \
	}
/* On a file with some data, and on an empty one. */
#define S_FILE(what, flags, before, ...)                                  \
	{                                                                 \
		what, flags, __VA_ARGS__, NEED_FILE, NEED_NOTHING, before \
	}
#define S_EMPTY(what, flags, before, ...)                                  \
	{                                                                  \
		what, flags, __VA_ARGS__, NEED_EMPTY, NEED_NOTHING, before \
	}

#endif
