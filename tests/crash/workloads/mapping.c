/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is done for mappings: pages and units that they need, and units that stay while they are
 * mapped, beside all that changes a file.
 */
#include "tests/crash/workloads/table.h"

/* A region and a half in blocks, each written by itself, so that none gets a unit. */
#define MANY_BLOCKS                                                                     \
	{                                                                               \
		.kind = OP_WRITE_MANY, .a = "foo", .off = K(32), .len = 96, .arg = 4096 \
	}
#define UNITS_WANTED                                                                    \
	{                                                                               \
		.kind = OP_SET_XFLAGS, .a = "foo", .arg = DXF_FLAG_EXTSIZE, .len = M(2) \
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

static const struct workload workloads[] = {
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
};

const struct workload_table mapping_workloads = TABLE(workloads);
