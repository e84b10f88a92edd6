/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is large: it frees more than one record of the journal holds, fills buckets of a directory
 * and empties them, or begins another chunk of inodes.
 */
#include "tests/crash/workloads/table.h"

#define MANY(path, from, count, length)                                                     \
	{                                                                                   \
		.kind = OP_CREATE_MANY, .a = path, .off = from, .len = count, .arg = length \
	}

static const struct workload workloads[] = {
	/* more freed than one record holds */
	S_EMPTY("truncate many tables", 0, OPS(TABLES), TRUNCATE("foo", 50)),
	S_EMPTY("unlink many tables", 0, OPS(TABLES), { .kind = OP_UNLINK, .a = "foo" }),
	S_EMPTY("punch many tables", 0, OPS(TABLES), FALLOC("foo", PUNCH, 0, M(200))),
	{ "rename over many tables",
	  0,
	  { .kind = OP_RENAME, .a = "bar", .b = "foo" },
	  NEED_FILE,
	  NEED_EMPTY,
	  OPS(TABLES) },

	/* directories that grow and shrink */
	{ "grow directory", WORKLOAD_UNTIL, MANY("A/", 0, 140, 12), NEED_NOTHING, NEED_NOTHING,
	  NULL },
	{ "grow directory, long names", WORKLOAD_UNTIL, MANY("A/", 0, 40, 200), NEED_NOTHING,
	  NEED_NOTHING, NULL },
	{ "shrink directory",
	  WORKLOAD_UNTIL,
	  { .kind = OP_UNLINK_MANY, .a = "A/", .len = 140, .arg = 12 },
	  NEED_NOTHING,
	  NEED_NOTHING,
	  OPS(MANY("A/", 0, 140, 12)) },
	{ "rmdir of what was large",
	  0,
	  { .kind = OP_RMDIR, .a = "B" },
	  NEED_DIR,
	  NEED_NOTHING,
	  OPS(MANY("B/", 0, 100, 12),
	      { .kind = OP_UNLINK_MANY, .a = "B/", .len = 100, .arg = 12 }) },
	{ "new inode chunk",
	  WORKLOAD_SLOW | WORKLOAD_CHUNK,
	  { .kind = OP_CREATE, .a = "A/one more", .arg = FILE_MODE },
	  NEED_ABSENT,
	  NEED_NOTHING,
	  OPS(MANY("B/", 0, 4084, 12)) },
};

const struct workload_table large_workloads = TABLE(workloads);
