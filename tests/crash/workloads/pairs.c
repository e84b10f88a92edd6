/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The 56 operations of which all pairs are tried: the size of Chipmunk's set.
 */
#include "tests/crash/workloads/table.h"

/* The 56: name, kind, path, path, needs. */
#define P_LINK(from, to)                                                                     \
	{                                                                                    \
		"link " from " " to, WORKLOAD_PAIR, { .kind = OP_LINK, .a = from, .b = to }, \
			NEED_FILE, NEED_ABSENT, NULL                                         \
	}
#define OVER_NEED_ABSENT ""
#define OVER_NEED_FILE " over a file"
#define OVER_NEED_DIR " over a directory"
#define P_RENAME(from, to, need_from, need_to)                                              \
	{                                                                                   \
		"rename " from " " to OVER_##need_to, WORKLOAD_PAIR,                        \
			{ .kind = OP_RENAME, .a = from, .b = to }, need_from, need_to, NULL \
	}
#define P_PATH(what, path, kind_, need, mode)                                                  \
	{                                                                                      \
		what " " path, WORKLOAD_PAIR, { .kind = kind_, .a = path, .arg = mode }, need, \
			NEED_NOTHING, NULL                                                     \
	}
#define P_FILE(what, ...)                                                       \
	{                                                                       \
		what, WORKLOAD_PAIR, __VA_ARGS__, NEED_FILE, NEED_NOTHING, NULL \
	}

static const struct workload workloads[] = {
	P_PATH("creat", "foo", OP_CREATE, NEED_ABSENT, FILE_MODE),
	P_PATH("creat", "A/bar", OP_CREATE, NEED_ABSENT, FILE_MODE),
	P_PATH("mkdir", "B", OP_MKDIR, NEED_ABSENT, 0755),
	P_FILE("fallocate over", FALLOC("foo", 0, 3000, 5000)),
	P_FILE("fallocate past", FALLOC("foo", 0, 11000, 9000)),
	P_FILE("fallocate keep", FALLOC("foo", KEEP, 16384, 8192)),
	P_FILE("punch", FALLOC("foo", PUNCH, 2000, 7000)),
	P_FILE("zero", FALLOC("foo", ZERO, 2000, 14000)),
	P_FILE("zero keep", FALLOC("A/foo", ZERO | KEEP, 4096, 16384)),
	P_FILE("write append", { .kind = OP_APPEND, .a = "foo", .len = 5000 }),
	P_FILE("write over", WRITE("foo", 1000, 5000)),
	P_FILE("write hole", WRITE("A/foo", 30001, 4999)),
	P_FILE("write over end", WRITE("A/bar", 8000, 8192)),
	P_LINK("foo", "bar"),
	P_LINK("foo", "A/foo"),
	P_LINK("foo", "A/bar"),
	P_LINK("bar", "foo"),
	P_LINK("bar", "A/foo"),
	P_LINK("bar", "A/bar"),
	P_LINK("A/foo", "foo"),
	P_LINK("A/foo", "bar"),
	P_LINK("A/foo", "A/bar"),
	P_LINK("A/bar", "foo"),
	P_LINK("A/bar", "bar"),
	P_LINK("A/bar", "A/foo"),
	P_PATH("unlink", "foo", OP_UNLINK, NEED_FILE, 0),
	P_PATH("unlink", "bar", OP_UNLINK, NEED_EMPTY, 0),
	P_PATH("unlink", "A/foo", OP_UNLINK, NEED_FILE, 0),
	P_PATH("unlink", "A/bar", OP_UNLINK, NEED_EMPTY, 0),
	P_PATH("unlink", "A/C/foo", OP_UNLINK, NEED_FILE, 0),
	{ "remove linked",
	  WORKLOAD_PAIR,
	  { .kind = OP_UNLINK, .a = "foo" },
	  NEED_FILE,
	  NEED_NOTHING,
	  OPS({ .kind = OP_LINK, .a = "foo", .b = "A/C/linked" }) },
	{ "remove with xattr",
	  WORKLOAD_PAIR,
	  { .kind = OP_UNLINK, .a = "A/foo" },
	  NEED_FILE,
	  NEED_NOTHING,
	  OPS(XATTR("A/foo", "user.big", 3000)) },
	{ "remove sparse",
	  WORKLOAD_PAIR,
	  { .kind = OP_UNLINK, .a = "bar" },
	  NEED_FILE,
	  NEED_NOTHING,
	  OPS(WRITE("bar", K(400), 5000)) },
	P_PATH("remove", "A/C", OP_RMDIR, NEED_DIR, 0),
	P_PATH("remove", "C", OP_RMDIR, NEED_DIR, 0),
	P_RENAME("foo", "bar", NEED_FILE, NEED_FILE),
	P_RENAME("foo", "A/foo", NEED_FILE, NEED_ABSENT),
	P_RENAME("foo", "A/bar", NEED_FILE, NEED_FILE),
	P_RENAME("bar", "foo", NEED_EMPTY, NEED_ABSENT),
	P_RENAME("bar", "A/foo", NEED_FILE, NEED_FILE),
	P_RENAME("bar", "A/bar", NEED_EMPTY, NEED_FILE),
	P_RENAME("A/foo", "foo", NEED_FILE, NEED_FILE),
	P_RENAME("A/foo", "bar", NEED_FILE, NEED_ABSENT),
	P_RENAME("A/foo", "A/bar", NEED_FILE, NEED_FILE),
	P_RENAME("A/bar", "foo", NEED_FILE, NEED_ABSENT),
	P_RENAME("A/bar", "bar", NEED_FILE, NEED_FILE),
	P_RENAME("A/bar", "A/foo", NEED_EMPTY, NEED_ABSENT),
	P_RENAME("A", "B", NEED_FULL_DIR, NEED_ABSENT),
	P_RENAME("A", "B", NEED_FULL_DIR, NEED_DIR),
	P_RENAME("A/C", "B/C", NEED_FULL_DIR, NEED_DIR),
	P_RENAME("B", "A/C", NEED_DIR, NEED_ABSENT),
	P_FILE("truncate to nothing", TRUNCATE("foo", 0)),
	P_FILE("truncate unaligned", TRUNCATE("foo", 2500)),
	P_FILE("truncate aligned", TRUNCATE("A/foo", 4096)),
	P_FILE("truncate up", TRUNCATE("A/foo", 20000)),
	P_PATH("rmdir", "B", OP_RMDIR, NEED_DIR, 0),
};

const struct workload_table pair_workloads = TABLE(workloads);
