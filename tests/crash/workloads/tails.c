/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tails: what a file's last unit gets past the filesystem, and all that ends that.
 */
#include "tests/crash/workloads/table.h"

#define TAIL(path, at, n)                                             \
	{                                                             \
		.kind = OP_TAIL_BEGIN, .a = path, .off = at, .len = n \
	}
#define TAIL_APPEND(path, gap, n)                                       \
	{                                                               \
		.kind = OP_TAIL_APPEND, .a = path, .off = gap, .len = n \
	}
#define TAIL_END(path)                         \
	{                                      \
		.kind = OP_TAIL_END, .a = path \
	}
/* The same of the open file, which had that name. */
#define TAIL_OF_OPEN(at, n)                                                      \
	{                                                                        \
		.kind = OP_TAIL_BEGIN, .a = "foo", .off = at, .len = n, .arg = 1 \
	}
#define APPEND_TO_OPEN(gap, n)                                                     \
	{                                                                          \
		.kind = OP_TAIL_APPEND, .a = "foo", .off = gap, .len = n, .arg = 1 \
	}
#define END_OF_OPEN                                       \
	{                                                 \
		.kind = OP_TAIL_END, .a = "foo", .arg = 1 \
	}
/* A file of 10000 bytes with 7001 more behind them, past the filesystem, and its tail. */
#define TAILED TAIL("foo", 10000, 30000), TAIL_APPEND("foo", 0, 1), TAIL_APPEND("foo", 0, 7000)

static const struct workload workloads[] = {
	S_EMPTY("begin tail", WORKLOAD_TIGHT, NULL, TAIL("foo", 0, 5000)),
	S_EMPTY("begin tail of inline", WORKLOAD_TIGHT, OPS(WRITE("foo", 0, 100)),
		TAIL("foo", 100, 5000)),
	S_FILE("begin tail of blocks", WORKLOAD_TIGHT, NULL, TAIL("foo", 10000, 5000)),
	S_FILE("begin tail, stale end", 0, OPS(TRUNCATE("foo", 2500)), TAIL("foo", 2500, 5000)),
	S_EMPTY("begin tail, sparse end", WORKLOAD_TIGHT, OPS(TRUNCATE("foo", K(80) + 5)),
		TAIL("foo", K(80) + 5, 5000)),
	S_EMPTY("begin tail of a unit", 0, NULL, TAIL("foo", 0, M(1))),
	S_EMPTY("begin tail, promoting", WORKLOAD_TIGHT, OPS(WRITE("foo", 0, K(250) + 5)),
		TAIL("foo", K(250) + 5, K(16))),
	S_EMPTY("begin tail in a unit", 0, OPS(WRITE("foo", 0, K(300) + 5)),
		TAIL("foo", K(300) + 5, K(16))),
	S_EMPTY("begin tail in a grown unit", 0,
		OPS(WRITE("foo", 0, K(300)), TRUNCATE("foo", M(1) + 5)),
		TAIL("foo", M(1) + 5, K(16))),
	S_EMPTY("begin tail behind a unit", 0, OPS(WRITE("foo", 0, M(2))), TAIL("foo", M(2), 100)),
	S_FILE("begin tail, reserved", 0, OPS(FALLOC("foo", KEEP, 16384, 8192)),
	       TAIL("foo", 10000, 30000)),
	S_FILE("begin tail again", 0, OPS(TAILED), TAIL("foo", 17001, 5000)),
	S_FILE("begin tail, it was longer", 0, OPS(TAILED, TRUNCATE("foo", 10001)),
	       TAIL("foo", 10001, 10000)),
	S_FILE("begin tail in project", 0,
	       OPS({ .kind = OP_QUOTA, .arg = 42, .off = 1000, .len = 100 }, FLAGS("foo", 0, 42)),
	       TAIL("foo", 10000, 5000)),
	S_FILE("begin tail beyond quota", WORKLOAD_LIMIT,
	       OPS(FLAGS("foo", 0, 42), { .kind = OP_QUOTA, .arg = 42, .off = 5, .len = 100 }),
	       TAIL("foo", 10000, 30000)),
	S_FILE("begin tail of unlinked", 0, OPS(OPEN("foo"), { .kind = OP_UNLINK, .a = "foo" }),
	       TAIL_OF_OPEN(10000, 30000)),
	S_EMPTY("append to tail", WORKLOAD_TIGHT, OPS(TAIL("foo", 0, 5000)),
		TAIL_APPEND("foo", 0, 5000)),
	S_FILE("append to tail, not aligned", 0, OPS(TAIL("foo", 10000, 5000)),
	       TAIL_APPEND("foo", 0, 777)),
	S_FILE("append to tail, over pages", 0, OPS(TAIL("foo", 10000, 20000)),
	       TAIL_APPEND("foo", 0, 15001)),
	S_FILE("append to tail, a whole page", 0, OPS(TAIL("foo", 10000, 20000)),
	       TAIL_APPEND("foo", 0, 12288 - 10000)),
	S_FILE("append to tail behind a gap", 0,
	       OPS(TRUNCATE("foo", 2500), TAIL("foo", 2500, 30000)), TAIL_APPEND("foo", 9003, 777)),
	S_FILE("append to tail again", 0, OPS(TAILED), TAIL_APPEND("foo", 0, 5001)),
	S_EMPTY("append to tail in a unit", 0,
		OPS(WRITE("foo", 0, K(300) + 5), TAIL("foo", K(300) + 5, K(16))),
		TAIL_APPEND("foo", 5, 9999)),
	S_EMPTY("append to tail, to its end", 0,
		OPS(WRITE("foo", 0, K(2040)), TAIL("foo", K(2040), K(8))),
		TAIL_APPEND("foo", 0, K(8))),
	S_FILE("append to tail of unlinked", 0,
	       OPS(OPEN("foo"), { .kind = OP_UNLINK, .a = "foo" }, TAIL_OF_OPEN(10000, 30000)),
	       APPEND_TO_OPEN(0, 5000)),
	S_FILE("end tail", WORKLOAD_TIGHT, OPS(TAILED), TAIL_END("foo")),
	S_EMPTY("end tail, not used", WORKLOAD_TIGHT, OPS(TAIL("foo", 0, 5000)), TAIL_END("foo")),
	S_EMPTY("end tail of a unit, not used", 0, OPS(TAIL("foo", 0, M(1))), TAIL_END("foo")),
	S_EMPTY("end tail of a unit", 0, OPS(TAIL("foo", 0, M(1)), TAIL_APPEND("foo", 5, K(100))),
		TAIL_END("foo")),
	S_EMPTY("end tail of a unit, full", WORKLOAD_SLOW,
		OPS(TAIL("foo", 0, M(1)), TAIL_APPEND("foo", 5, M(2) - 5)), TAIL_END("foo")),
	S_FILE("end tail, reserved", 0,
	       OPS(FALLOC("foo", KEEP, 16384, 8192), TAIL("foo", 10000, 30000),
		   TAIL_APPEND("foo", 0, 7000)),
	       TAIL_END("foo")),
	S_FILE("end tail in project", 0,
	       OPS({ .kind = OP_QUOTA, .arg = 42, .off = 1000, .len = 100 }, FLAGS("foo", 0, 42),
		   TAILED),
	       TAIL_END("foo")),
	S_FILE("end tail of unlinked", 0,
	       OPS(OPEN("foo"), { .kind = OP_UNLINK, .a = "foo" }, TAIL_OF_OPEN(10000, 30000),
		   APPEND_TO_OPEN(0, 5000)),
	       END_OF_OPEN),
	S_FILE("truncate with tail", 0, OPS(TAILED), TRUNCATE("foo", 10003)),
	S_FILE("truncate up with tail", 0, OPS(TAILED), TRUNCATE("foo", 20000)),
	S_FILE("write over with tail", 0, OPS(TAILED), WRITE("foo", 9000, 5000)),
	S_FILE("append with tail", WORKLOAD_TIGHT, OPS(TAILED),
	       { .kind = OP_APPEND, .a = "foo", .len = 5000 }),
	S_FILE("punch with tail", 0, OPS(TAILED), FALLOC("foo", PUNCH, 9000, 5000)),
	S_FILE("zero with tail", 0, OPS(TAILED), FALLOC("foo", ZERO, 9000, 20000)),
	S_FILE("collapse with tail", 0, OPS(TAILED), FALLOC("foo", COLLAPSE, 8192, 4096)),
	S_FILE("fallocate with tail", 0, OPS(TAILED), FALLOC("foo", KEEP, 9000, 20000)),
	S_FILE("map with tail", 0, OPS(TAILED), MAP("foo", 0, M(2), ALLOCATE)),
	S_FILE("unlink with tail", 0, OPS(TAILED), { .kind = OP_UNLINK, .a = "foo" }),
	S_FILE("unlink open with tail", 0, OPS(OPEN("foo"), TAILED),
	       { .kind = OP_UNLINK, .a = "foo" }),
	S_FILE("release with tail", 0, OPS(OPEN("foo"), TAILED),
	       { .kind = OP_RELEASE, .a = "foo" }),
	S_EMPTY("release with tail of a unit", 0,
		OPS(OPEN("foo"), TAIL("foo", 0, M(1)), TAIL_APPEND("foo", 0, K(100) + 5)),
		{ .kind = OP_RELEASE, .a = "foo" }),
	S_FILE("release unlinked with tail", 0,
	       OPS(OPEN("foo"), { .kind = OP_UNLINK, .a = "foo" }, TAIL_OF_OPEN(10000, 30000),
		   APPEND_TO_OPEN(0, 5000)),
	       { .kind = OP_RELEASE, .a = "foo" }),
	S_FILE("rename with tail", 0, OPS(TAILED), { .kind = OP_RENAME, .a = "foo", .b = "bar" }),
	{ "rename over tail",
	  0,
	  { .kind = OP_RENAME, .a = "bar", .b = "foo" },
	  NEED_FILE,
	  NEED_FILE,
	  OPS(TAILED) },
	S_FILE("chmod with tail", 0, OPS(TAILED), { .kind = OP_CHMOD, .a = "foo", .arg = 0604 }),
	S_FILE("setxattr with tail", 0, OPS(TAILED), XATTR("foo", "user.big", 5000)),
	S_FILE("read with tail", 0, OPS(TAILED), { .kind = OP_READ, .a = "foo" }),
	S_FILE("change project with tail", 0,
	       OPS({ .kind = OP_QUOTA, .arg = 42, .off = 1000, .len = 100 },
		   { .kind = OP_QUOTA, .arg = 43, .off = 1000, .len = 100 }, FLAGS("foo", 0, 42),
		   TAILED),
	       FLAGS("foo", 0, 43)),
};

const struct workload_table tail_workloads = TABLE(workloads);
