/* SPDX-License-Identifier: BSD-3-Clause */
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "tests/crash/workload.h"

#define K(n) (UINT64_C(n) << 10)
#define M(n) (UINT64_C(n) << 20)
#define KEEP FALLOC_FL_KEEP_SIZE
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO FALLOC_FL_ZERO_RANGE
#define COLLAPSE FALLOC_FL_COLLAPSE_RANGE
#define INSERT FALLOC_FL_INSERT_RANGE
#define FILE_MODE (S_IFREG | 0644)

#define LONG_NAME                                                    \
	"a-name-that-takes-two-or-more-slots-of-a-directory-bucket-" \
	"because-it-is-longer-than-what-fits-into-the-first-one-of-them"
#define LONG_TARGET \
	"../a/target/longer/than/what/an/inode/holds/" LONG_NAME "/" LONG_NAME "/" LONG_NAME

#define OPS(...) ((const struct op[]){ __VA_ARGS__, { .kind = OP_NONE } })
#define WRITE(path, at, n)                                       \
	{                                                        \
		.kind = OP_WRITE, .a = path, .off = at, .len = n \
	}
#define FALLOC(path, how, at, n)                                                 \
	{                                                                        \
		.kind = OP_FALLOCATE, .a = path, .off = at, .len = n, .arg = how \
	}
/* A region and a half in blocks, each written by itself, so that none gets a unit. */
#define MANY_BLOCKS                                                                     \
	{                                                                               \
		.kind = OP_WRITE_MANY, .a = "foo", .off = K(32), .len = 96, .arg = 4096 \
	}
#define UNITS_WANTED                                                                    \
	{                                                                               \
		.kind = OP_SET_XFLAGS, .a = "foo", .arg = DXF_FLAG_EXTSIZE, .len = M(2) \
	}
#define MAP(path, at, n, how)                                                       \
	{                                                                           \
		.kind = OP_MAP, .a = path, .off = at, .len = n, .arg = OP_MAP_##how \
	}
#define KEEP_LAYOUT(path) MAP(path, 0, 0, KEEP)
#define STAY(path, at) MAP(path, at, 0, STAY)
#define LEAVE(path, at) MAP(path, at, 0, LEAVE)
/* What the vfs does behind the end of a file with such units: after it was cut, and before it
 * grows. */
#define ZERO_BEHIND(path, at) MAP(path, at, UINT64_MAX, ZERO)
/* Three units of which the first and the last stay. */
#define STAYING                                                                               \
	WRITE("foo", 0, 5000), WRITE("foo", M(2) + K(8), K(300)), WRITE("foo", M(4), K(300)), \
		MAP("foo", 0, M(2), PROMOTE), KEEP_LAYOUT("foo"), STAY("foo", 0),             \
		STAY("foo", M(4))
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
#define MANY(path, from, count, length)                                                     \
	{                                                                                   \
		.kind = OP_CREATE_MANY, .a = path, .off = from, .len = count, .arg = length \
	}
#define FLAGS(path, flag, prj)                                            \
	{                                                                 \
		.kind = OP_SET_XFLAGS, .a = path, .arg = flag, .off = prj \
	}
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
/* 70 tables of one block each. */
#define TABLES                                                                        \
	{                                                                             \
		.kind = OP_WRITE_MANY, .a = "foo", .off = M(2), .len = 70, .arg = 100 \
	}

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
/* Ours: on a file. */
#define S_FILE(what, flags, before, ...)                                  \
	{                                                                 \
		what, flags, __VA_ARGS__, NEED_FILE, NEED_NOTHING, before \
	}
#define S_EMPTY(what, flags, before, ...)                                  \
	{                                                                  \
		what, flags, __VA_ARGS__, NEED_EMPTY, NEED_NOTHING, before \
	}
#define S_RENAME(what, how, need_from, need_to)                                                    \
	{                                                                                          \
		what, WORKLOAD_TIGHT, { .kind = OP_RENAME, .a = "A/foo", .b = "bar", .arg = how }, \
			need_from, need_to, NULL                                                   \
	}

const struct workload workloads[] = {
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

	/* names */
	{ "create long",
	  WORKLOAD_TIGHT,
	  { .kind = OP_CREATE, .a = "A/" LONG_NAME, .arg = FILE_MODE },
	  NEED_ABSENT,
	  NEED_NOTHING,
	  NULL },
	{ "mkfifo",
	  0,
	  { .kind = OP_CREATE, .a = "A/fifo", .arg = S_IFIFO | 0600 },
	  NEED_ABSENT,
	  NEED_NOTHING,
	  NULL },
	{ "mknod",
	  0,
	  { .kind = OP_CREATE, .a = "node", .arg = S_IFCHR | 0600, .off = 5 << 20 | 7 },
	  NEED_ABSENT,
	  NEED_NOTHING,
	  NULL },
	{ "symlink short",
	  WORKLOAD_TIGHT,
	  { .kind = OP_SYMLINK, .a = "foo", .b = "A/soft" },
	  NEED_NOTHING,
	  NEED_ABSENT,
	  NULL },
	{ "symlink long",
	  WORKLOAD_TIGHT,
	  { .kind = OP_SYMLINK, .a = LONG_TARGET, .b = "A/soft" },
	  NEED_NOTHING,
	  NEED_ABSENT,
	  NULL },
	{ "unlink symlink",
	  0,
	  { .kind = OP_UNLINK, .a = "A/soft" },
	  NEED_NOTHING,
	  NEED_NOTHING,
	  OPS({ .kind = OP_SYMLINK, .a = LONG_TARGET, .b = "A/soft" }) },
	{ "mkdir deep",
	  WORKLOAD_TIGHT,
	  { .kind = OP_MKDIR, .a = "A/C/D", .arg = 0700 },
	  NEED_ABSENT,
	  NEED_NOTHING,
	  NULL },
	S_RENAME("rename noreplace", RENAME_NOREPLACE, NEED_FILE, NEED_ABSENT),
	S_RENAME("rename noreplace refused", RENAME_NOREPLACE, NEED_FILE, NEED_FILE),
	S_RENAME("rename exchange", RENAME_EXCHANGE, NEED_FILE, NEED_EMPTY),
	S_RENAME("rename exchange file and directory", RENAME_EXCHANGE, NEED_FILE, NEED_FULL_DIR),
	S_RENAME("rename exchange directories", RENAME_EXCHANGE, NEED_FULL_DIR, NEED_DIR),
	S_RENAME("rename whiteout", RENAME_WHITEOUT, NEED_FILE, NEED_ABSENT),
	S_RENAME("rename whiteout over", RENAME_WHITEOUT, NEED_FILE, NEED_FILE),
	S_RENAME("rename over directory", 0, NEED_FULL_DIR, NEED_DIR),
	S_RENAME("rename over full directory refused", 0, NEED_DIR, NEED_FULL_DIR),
	{ "rename to long",
	  WORKLOAD_TIGHT,
	  { .kind = OP_RENAME, .a = "foo", .b = LONG_NAME },
	  NEED_FILE,
	  NEED_ABSENT,
	  NULL },
	{ "rename onto own link",
	  0,
	  { .kind = OP_RENAME, .a = "foo", .b = "A/C/linked" },
	  NEED_FILE,
	  NEED_ABSENT,
	  OPS({ .kind = OP_LINK, .a = "foo", .b = "A/C/linked" }) },
	{ "rename over linked",
	  0,
	  { .kind = OP_RENAME, .a = "bar", .b = "foo" },
	  NEED_FILE,
	  NEED_FILE,
	  OPS({ .kind = OP_LINK, .a = "foo", .b = "A/C/linked" }) },
	{ "rename over open",
	  0,
	  { .kind = OP_RENAME, .a = "bar", .b = "foo" },
	  NEED_FILE,
	  NEED_FILE,
	  OPS(OPEN("foo")) },

	/* without a name */
	{ "tmpfile",
	  WORKLOAD_TIGHT,
	  { .kind = OP_TMPFILE, .a = "A/", .arg = 0600 },
	  NEED_NOTHING,
	  NEED_NOTHING,
	  NULL },
	{ "write tmpfile",
	  0,
	  { .kind = OP_WRITE_OPEN, .len = 9000 },
	  NEED_NOTHING,
	  NEED_NOTHING,
	  OPS({ .kind = OP_TMPFILE, .a = "A/", .arg = 0600 }) },
	{ "link tmpfile",
	  WORKLOAD_TIGHT,
	  { .kind = OP_LINK_OPEN, .a = "A/named" },
	  NEED_NOTHING,
	  NEED_NOTHING,
	  OPS({ .kind = OP_TMPFILE, .a = "A/", .arg = 0600 },
	      { .kind = OP_WRITE_OPEN, .len = 9000 }) },
	{ "release tmpfile",
	  0,
	  { .kind = OP_RELEASE },
	  NEED_NOTHING,
	  NEED_NOTHING,
	  OPS({ .kind = OP_TMPFILE, .a = "A/", .arg = 0600 },
	      { .kind = OP_WRITE_OPEN, .len = 9000 }) },
	S_FILE("unlink open", 0, OPS(OPEN("foo")), { .kind = OP_UNLINK, .a = "foo" }),
	S_FILE("write unlinked", 0, OPS(OPEN("foo"), { .kind = OP_UNLINK, .a = "foo" }),
	       { .kind = OP_WRITE_OPEN, .a = "foo", .off = 8000, .len = 5000 }),
	S_FILE("release unlinked", 0, OPS(OPEN("foo"), { .kind = OP_UNLINK, .a = "foo" }),
	       { .kind = OP_RELEASE, .a = "foo" }),

	/* data */
	S_EMPTY("write inline", WORKLOAD_TIGHT, NULL, WRITE("foo", 0, 77)),
	S_EMPTY("write inline over", 0, OPS(WRITE("foo", 0, 100)), WRITE("foo", 13, 50)),
	S_EMPTY("write out of inline", WORKLOAD_TIGHT, OPS(WRITE("foo", 0, 100)),
		WRITE("foo", 90, 300)),
	S_EMPTY("truncate inline", 0, OPS(WRITE("foo", 0, 100)), TRUNCATE("foo", 33)),
	S_EMPTY("truncate inline up", 0, OPS(WRITE("foo", 0, 100)), TRUNCATE("foo", 9000)),
	S_EMPTY("punch inline", 0, OPS(WRITE("foo", 0, 100)), FALLOC("foo", PUNCH, 20, 30)),
	S_EMPTY("write one byte", 0, NULL, WRITE("foo", 4095, 1)),
	S_FILE("append", WORKLOAD_TIGHT, NULL, { .kind = OP_APPEND, .a = "foo", .len = 4096 }),
	S_FILE("append byte", 0, NULL, { .kind = OP_APPEND, .a = "foo", .len = 1 }),
	S_FILE("overwrite block", WORKLOAD_TIGHT, NULL, WRITE("foo", 4096, 4096)),
	S_FILE("overwrite unaligned", WORKLOAD_TIGHT, NULL, WRITE("foo", 4001, 333)),
	S_FILE("write over and past", WORKLOAD_TIGHT, NULL, WRITE("foo", 6001, 12000)),
	S_EMPTY("write past 16 blocks", WORKLOAD_TIGHT, OPS(WRITE("foo", 0, K(64))),
		WRITE("foo", K(64), 4096)),
	S_EMPTY("write into hole", WORKLOAD_TIGHT,
		OPS(WRITE("foo", 0, 4096), WRITE("foo", K(40), 4096)),
		WRITE("foo", K(20) + 5, 5000)),
	S_EMPTY("write far", WORKLOAD_TIGHT, OPS(WRITE("foo", 0, 4096)),
		WRITE("foo", M(3000) + 77, 5000)),
	S_EMPTY("write very far", 0, OPS(WRITE("foo", 0, 5000)),
		WRITE("foo", UINT64_C(1) << 50, 5000)),
	S_EMPTY("write to preallocated", 0, OPS(FALLOC("foo", 0, 0, K(32))),
		WRITE("foo", 4096 + 100, 9000)),
	S_EMPTY("write past end, not aligned", 0, OPS(WRITE("foo", 0, 4096 + 7)),
		WRITE("foo", 4096 + 1001, 17)),
	S_FILE("truncate up over stale tail", 0, OPS(TRUNCATE("foo", 2500)), TRUNCATE("foo", 7000)),
	S_FILE("append over stale tail", 0, OPS(TRUNCATE("foo", 2500)),
	       { .kind = OP_APPEND, .a = "foo", .len = 100 }),
	S_FILE("write past stale tail", 0, OPS(TRUNCATE("foo", 2500)), WRITE("foo", 3500, 100)),
	S_FILE("fallocate over stale tail", 0, OPS(TRUNCATE("foo", 2500)),
	       FALLOC("foo", 0, 3500, 100)),
	S_EMPTY("write into grown unit", 0, OPS(WRITE("foo", 0, K(300)), TRUNCATE("foo", M(1))),
		WRITE("foo", K(600) + 5, 5000)),
	S_EMPTY("promote", WORKLOAD_TIGHT, OPS(WRITE("foo", 0, K(250))),
		WRITE("foo", K(250), K(16))),
	S_EMPTY("promote sparse", 0, OPS(WRITE("foo", 0, K(100)), WRITE("foo", K(600), K(152))),
		WRITE("foo", K(300), K(40))),
	S_EMPTY("write unit", WORKLOAD_SLOW, NULL, WRITE("foo", 0, M(2))),
	S_EMPTY("write units", WORKLOAD_SLOW, NULL, WRITE("foo", K(1500), M(3))),
	S_EMPTY("append to unit", 0, OPS(WRITE("foo", 0, K(300))), WRITE("foo", K(300) + 11, 5000)),
	S_EMPTY("overwrite in unit", 0, OPS(WRITE("foo", 0, K(300))),
		WRITE("foo", K(90) + 3, 9001)),
	S_EMPTY("write hole in unit", 0, OPS(WRITE("foo", 0, K(300))), WRITE("foo", K(900), 5000)),
	S_EMPTY("trim at release", 0, OPS(OPEN("foo"), { .kind = OP_WRITE_OPEN, .len = K(300) }),
		{ .kind = OP_RELEASE, .a = "foo" }),
	S_EMPTY("truncate unit", 0, OPS(WRITE("foo", 0, M(2))), TRUNCATE("foo", K(30) + 5)),
	S_EMPTY("truncate unit keeps it", 0, OPS(WRITE("foo", 0, M(2))),
		TRUNCATE("foo", K(1900) + 5)),
	S_EMPTY("truncate table", 0, OPS(WRITE("foo", 0, K(100)), WRITE("foo", M(3000), 5000)),
		TRUNCATE("foo", K(80) + 5)),
	S_EMPTY("truncate units", WORKLOAD_SLOW, OPS(WRITE("foo", 0, M(5))), TRUNCATE("foo", 0)),
	S_EMPTY("unlink units", WORKLOAD_SLOW, OPS(WRITE("foo", 0, M(5))),
		{ .kind = OP_UNLINK, .a = "foo" }),
	S_EMPTY("truncate up in unit", 0, OPS(WRITE("foo", 0, K(300))), TRUNCATE("foo", M(1))),
	S_EMPTY("fallocate unit", WORKLOAD_TIGHT, NULL, FALLOC("foo", 0, 0, M(2))),
	S_EMPTY("fallocate units", WORKLOAD_TIGHT, NULL, FALLOC("foo", KEEP, K(3000), M(3))),
	S_FILE("punch whole blocks", WORKLOAD_TIGHT, NULL, FALLOC("foo", PUNCH, 4096, 4096)),
	S_EMPTY("punch in unit", WORKLOAD_TIGHT, OPS(WRITE("foo", 0, M(2))),
		FALLOC("foo", PUNCH, K(100) + 5, K(200))),
	S_EMPTY("punch unit", 0, OPS(WRITE("foo", 0, M(4))), FALLOC("foo", PUNCH, M(2), M(2))),
	S_EMPTY("zero unit", 0, OPS(WRITE("foo", 0, M(2) + K(100))), FALLOC("foo", ZERO, 5, M(2))),
	S_EMPTY("zero in unit", 0, OPS(WRITE("foo", 0, M(2))),
		FALLOC("foo", ZERO, K(100) + 5, K(20))),
	S_EMPTY("collapse", WORKLOAD_TIGHT, OPS(WRITE("foo", 0, K(40))),
		FALLOC("foo", COLLAPSE, K(8), K(12))),
	S_EMPTY("collapse past 16 blocks", 0, OPS(WRITE("foo", 0, K(100))),
		FALLOC("foo", COLLAPSE, K(4), K(40))),
	S_EMPTY("collapse unit", WORKLOAD_SLOW, OPS(WRITE("foo", 0, M(4) + K(8))),
		FALLOC("foo", COLLAPSE, 0, M(2))),
	S_EMPTY("collapse in unit", WORKLOAD_SLOW, OPS(WRITE("foo", 0, M(2) + K(8))),
		FALLOC("foo", COLLAPSE, K(4), K(8))),
	S_EMPTY("insert", WORKLOAD_TIGHT, OPS(WRITE("foo", 0, K(40))),
		FALLOC("foo", INSERT, K(8), K(12))),
	S_EMPTY("insert past 16 blocks", WORKLOAD_TIGHT, OPS(WRITE("foo", 0, K(60))),
		FALLOC("foo", INSERT, K(4), K(12))),
	S_EMPTY("insert unit", WORKLOAD_SLOW, OPS(WRITE("foo", 0, M(2) + K(8))),
		FALLOC("foo", INSERT, 0, M(2))),
	S_EMPTY("insert in unit", WORKLOAD_SLOW, OPS(WRITE("foo", 0, M(2))),
		FALLOC("foo", INSERT, K(4), K(8))),
	{ "copy range",
	  WORKLOAD_TIGHT,
	  { .kind = OP_COPY_RANGE,
	    .a = "foo",
	    .b = "A/bar",
	    .off = 1000,
	    .arg = 3000,
	    .len = 6000 },
	  NEED_FILE,
	  NEED_FILE,
	  NULL },
	{ "copy range to new",
	  0,
	  { .kind = OP_COPY_RANGE, .a = "foo", .b = "A/bar", .off = 0, .arg = 4096, .len = 8192 },
	  NEED_FILE,
	  NEED_EMPTY,
	  NULL },
	S_EMPTY("map page of a hole", WORKLOAD_TIGHT, OPS(TRUNCATE("foo", K(100))),
		MAP("foo", K(40), K(4), ALLOCATE)),
	S_EMPTY("map page of a unit", 0, OPS(WRITE("foo", 0, K(300)), TRUNCATE("foo", M(1))),
		MAP("foo", K(600), K(4), ALLOCATE)),
	S_EMPTY("map inline", WORKLOAD_TIGHT, OPS(WRITE("foo", 0, 100)),
		MAP("foo", 0, M(2), ALLOCATE)),
	S_FILE("map blocks", WORKLOAD_TIGHT, NULL, MAP("foo", 0, M(2), ALLOCATE)),
	S_FILE("map over a stale tail", 0, OPS(TRUNCATE("foo", 2500)),
	       MAP("foo", 0, M(2), ALLOCATE)),
	S_EMPTY("map sparse", WORKLOAD_TIGHT,
		OPS(WRITE("foo", K(100), K(40)), TRUNCATE("foo", M(1))),
		MAP("foo", 0, M(2), PROMOTE)),
	S_EMPTY("map hole", WORKLOAD_SLOW, OPS(TRUNCATE("foo", M(5))),
		MAP("foo", M(2), M(2), ALLOCATE)),
	S_EMPTY("map unwritten unit", WORKLOAD_SLOW, OPS(FALLOC("foo", 0, 0, M(2))),
		MAP("foo", 0, M(2), ALLOCATE)),
	S_EMPTY("map grown unit", 0, OPS(WRITE("foo", 0, K(300)), TRUNCATE("foo", M(1))),
		MAP("foo", 0, M(2), ALLOCATE)),
	S_EMPTY("realign", 0, OPS(MANY_BLOCKS, UNITS_WANTED), MAP("foo", 0, 0, REALIGN)),
	S_EMPTY("grow over mapped unit", 0,
		OPS(WRITE("foo", 0, K(300)), KEEP_LAYOUT("foo"), MAP("foo", 0, M(2), ALLOCATE)),
		TRUNCATE("foo", M(1) + 5)),
	S_EMPTY("append to mapped unit", 0,
		OPS(WRITE("foo", 0, K(300)), KEEP_LAYOUT("foo"), MAP("foo", 0, M(2), ALLOCATE)),
		WRITE("foo", K(400) + 11, 5000)),
	S_EMPTY("write past mapped unit", 0,
		OPS(WRITE("foo", 0, K(300) + 5), KEEP_LAYOUT("foo"), MAP("foo", 0, M(2), ALLOCATE)),
		WRITE("foo", M(2) + K(8), 5000)),
	S_EMPTY("grow over reserved unit, kept", 0,
		OPS(FALLOC("foo", KEEP, 0, M(2)), WRITE("foo", 0, 10), KEEP_LAYOUT("foo")),
		TRUNCATE("foo", K(400))),
	S_EMPTY("zero behind the end", 0, OPS(WRITE("foo", 0, K(300)), TRUNCATE("foo", K(200) + 5)),
		MAP("foo", K(200) + 5, UINT64_MAX, ZERO)),
	S_EMPTY("zero in place", 0, OPS(WRITE("foo", 0, K(300))),
		MAP("foo", K(100) + 5, K(60), ZERO)),
	S_EMPTY("grown over mapped unit", 0,
		OPS(WRITE("foo", 0, K(300)), MAP("foo", K(300), M(2), ZERO), TRUNCATE("foo", M(1))),
		MAP("foo", K(300), 0, GROWN)),
	S_EMPTY("write beside kept blocks", WORKLOAD_TIGHT,
		OPS(WRITE("foo", 0, K(250)), KEEP_LAYOUT("foo")), WRITE("foo", K(250), K(16))),
	S_EMPTY("fallocate over kept blocks", 0, OPS(WRITE("foo", 0, K(100)), KEEP_LAYOUT("foo")),
		FALLOC("foo", 0, 0, M(2))),
	S_EMPTY("punch end of mapped unit", 0, OPS(WRITE("foo", 0, M(2)), KEEP_LAYOUT("foo")),
		FALLOC("foo", PUNCH, K(1900) + 5, K(148) - 5)),
	S_EMPTY("truncate before units that stay", 0, OPS(STAYING), TRUNCATE("foo", 100)),
	S_EMPTY("truncate in a unit that stays", 0, OPS(STAYING),
		TRUNCATE("foo", M(4) + K(60) + 5)),
	S_EMPTY("truncate, and no unit stays", 0, OPS(STAYING, LEAVE("foo", 0), LEAVE("foo", M(4))),
		TRUNCATE("foo", 0)),
	S_EMPTY("grow over units that stay", 0,
		OPS(STAYING, TRUNCATE("foo", 0), ZERO_BEHIND("foo", 0)), TRUNCATE("foo", M(5))),
	S_EMPTY("grow into a unit that stays", 0,
		OPS(STAYING, TRUNCATE("foo", 100), ZERO_BEHIND("foo", 100)),
		TRUNCATE("foo", M(4) + 5)),
	S_EMPTY("write into a unit that stays", 0,
		OPS(STAYING, TRUNCATE("foo", 0), ZERO_BEHIND("foo", 0)),
		WRITE("foo", M(4) + K(8) + 5, 5000)),
	S_EMPTY("write inline, but a unit stays", 0,
		OPS(STAYING, TRUNCATE("foo", 0), ZERO_BEHIND("foo", 0)), WRITE("foo", 0, 77)),
	S_EMPTY("append before a unit that stays", 0,
		OPS(STAYING, TRUNCATE("foo", M(2)), ZERO_BEHIND("foo", M(2))),
		{ .kind = OP_APPEND, .a = "foo", .len = 5000 }),
	S_EMPTY("fallocate over units that stay", 0,
		OPS(STAYING, TRUNCATE("foo", 0), ZERO_BEHIND("foo", 0)),
		FALLOC("foo", 0, K(100), M(5))),
	S_EMPTY("punch units that stay", 0, OPS(STAYING), FALLOC("foo", PUNCH, 0, M(5))),
	S_EMPTY("zero units that stay", 0, OPS(STAYING), FALLOC("foo", ZERO, 0, M(5))),
	S_EMPTY("truncate again, units stay", 0,
		OPS(STAYING, TRUNCATE("foo", M(2)), ZERO_BEHIND("foo", M(2)),
		    TRUNCATE("foo", M(3))),
		TRUNCATE("foo", 0)),
	S_EMPTY("unit behind the end stays no more", 0,
		OPS(STAYING, TRUNCATE("foo", 100), ZERO_BEHIND("foo", 100)), LEAVE("foo", M(4))),
	S_EMPTY("empty file's unit stays no more", 0,
		OPS(STAYING, TRUNCATE("foo", 0), ZERO_BEHIND("foo", 0), LEAVE("foo", M(4))),
		LEAVE("foo", 0)),
	S_EMPTY("unit of the file stays no more", 0, OPS(STAYING), LEAVE("foo", M(4))),
	S_EMPTY("unlink with units that stay", 0, OPS(STAYING, OPEN("foo")),
		{ .kind = OP_UNLINK, .a = "foo" }),
	S_EMPTY("truncate tables, a unit stays", 0, OPS(STAYING, TABLES), TRUNCATE("foo", 50)),
	S_FILE("fsync", 0, NULL, { .kind = OP_FSYNC, .a = "foo" }),
	S_FILE("read", 0, NULL, { .kind = OP_READ, .a = "foo" }),

	/* tails */
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

	/* attributes */
	S_FILE("chmod", WORKLOAD_TIGHT, NULL, { .kind = OP_CHMOD, .a = "foo", .arg = 0604 }),
	S_FILE("chown", WORKLOAD_TIGHT, NULL, { .kind = OP_CHOWN, .a = "foo", .arg = 7, .off = 8 }),
	S_FILE("utimes", WORKLOAD_TIGHT, NULL, { .kind = OP_UTIMES, .a = "foo", .off = 123456789 }),
	{ "chmod directory",
	  0,
	  { .kind = OP_CHMOD, .a = "A", .arg = 02770 },
	  NEED_FULL_DIR,
	  NEED_NOTHING,
	  NULL },
	S_FILE("setxattr", WORKLOAD_TIGHT, NULL, XATTR("foo", "user.small", 50)),
	S_FILE("setxattr replace", 0, OPS(XATTR("foo", "user.small", 50)),
	       XATTR("foo", "user.small", 20)),
	S_FILE("setxattr out of inode", WORKLOAD_TIGHT, OPS(XATTR("foo", "user.small", 50)),
	       XATTR("foo", "user.other", 300)),
	S_FILE("setxattr replace outside", WORKLOAD_TIGHT, OPS(XATTR("foo", "user.big", 5000)),
	       XATTR("foo", "user.big", 9000)),
	S_FILE("setxattr back into inode", 0, OPS(XATTR("foo", "user.big", 5000)),
	       XATTR("foo", "user.big", 50)),
	S_FILE("setxattr huge", 0, NULL, XATTR("foo", "trusted.huge", 65000)),
	S_FILE("removexattr", 0, OPS(XATTR("foo", "user.small", 50)),
	       { .kind = OP_REMOVE_XATTR, .a = "foo", .b = "user.small" }),
	S_FILE("removexattr outside", WORKLOAD_TIGHT, OPS(XATTR("foo", "user.big", 5000)),
	       { .kind = OP_REMOVE_XATTR, .a = "foo", .b = "user.big" }),
	S_FILE("set flags", WORKLOAD_TIGHT, NULL,
	       FLAGS("foo", DXF_FLAG_IMMUTABLE | DXF_FLAG_NODUMP, 0)),
	S_FILE("set dax", 0, NULL, FLAGS("foo", DXF_FLAG_DAX, 0)),
	{ "set label",
	  0,
	  { .kind = OP_LABEL, .a = "a new label" },
	  NEED_NOTHING,
	  NEED_NOTHING,
	  NULL },
	{ "set label again",
	  0,
	  { .kind = OP_LABEL, .a = "a newer label" },
	  NEED_NOTHING,
	  NEED_NOTHING,
	  OPS({ .kind = OP_LABEL, .a = "a new label" }) },

	/* projects */
	{ "quota set",
	  0,
	  { .kind = OP_QUOTA, .arg = 42, .off = 100, .len = 10 },
	  NEED_NOTHING,
	  NEED_NOTHING,
	  NULL },
	{ "quota change",
	  0,
	  { .kind = OP_QUOTA, .arg = 42, .off = 200, .len = 0 },
	  NEED_NOTHING,
	  NEED_NOTHING,
	  OPS({ .kind = OP_QUOTA, .arg = 42, .off = 100, .len = 10 }) },
	S_FILE("set project", WORKLOAD_TIGHT,
	       OPS({ .kind = OP_QUOTA, .arg = 42, .off = 1000, .len = 100 }), FLAGS("foo", 0, 42)),
	S_FILE("change project", 0,
	       OPS({ .kind = OP_QUOTA, .arg = 42, .off = 1000, .len = 100 },
		   { .kind = OP_QUOTA, .arg = 43, .off = 1000, .len = 100 }, FLAGS("foo", 0, 42)),
	       FLAGS("foo", 0, 43)),
	{ "create in project",
	  0,
	  { .kind = OP_CREATE, .a = "B/foo", .arg = FILE_MODE },
	  NEED_ABSENT,
	  NEED_NOTHING,
	  OPS({ .kind = OP_QUOTA, .arg = 42, .off = 1000, .len = 100 },
	      FLAGS("B", DXF_FLAG_PROJINHERIT, 42)) },
	S_FILE("write in project", 0,
	       OPS({ .kind = OP_QUOTA, .arg = 42, .off = 1000, .len = 100 }, FLAGS("foo", 0, 42)),
	       WRITE("foo", 6000, 9000)),
	S_FILE("unlink in project", 0,
	       OPS({ .kind = OP_QUOTA, .arg = 42, .off = 1000, .len = 100 }, FLAGS("foo", 0, 42)),
	       { .kind = OP_UNLINK, .a = "foo" }),
	S_FILE("promote in project", 0,
	       OPS({ .kind = OP_QUOTA, .arg = 42, .off = 1000, .len = 100 }, FLAGS("foo", 0, 42),
		   WRITE("foo", 0, K(250))),
	       WRITE("foo", K(250), K(16))),
	S_FILE("write beyond quota", WORKLOAD_LIMIT,
	       OPS(FLAGS("foo", 0, 42), { .kind = OP_QUOTA, .arg = 42, .off = 5, .len = 100 }),
	       WRITE("foo", 6000, 30000)),
	{ "create beyond quota",
	  WORKLOAD_LIMIT,
	  { .kind = OP_CREATE, .a = "B/foo", .arg = FILE_MODE },
	  NEED_ABSENT,
	  NEED_NOTHING,
	  OPS(FLAGS("B", DXF_FLAG_PROJINHERIT, 42),
	      { .kind = OP_QUOTA, .arg = 42, .off = 5, .len = 1 }) },

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

const unsigned workload_count = sizeof(workloads) / sizeof(workloads[0]);
