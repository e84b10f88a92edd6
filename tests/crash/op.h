/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One operation of a workload, and its two performers: the filesystem under
 * test (op_run) and the model (op_model).
 */
#ifndef CRASH_OP_H
#define CRASH_OP_H

#include "daxfuse/core/fs.h"
#include "tests/crash/log.h"
#include "tests/crash/model.h"

enum op_kind {
	OP_NONE,
	OP_CREATE, /* a: path; arg: mode; off: rdev */
	OP_MKDIR,
	OP_SYMLINK, /* a: target; b: path */
	OP_LINK,    /* a -> b */
	OP_UNLINK,
	OP_RMDIR,
	OP_RENAME,     /* a -> b; arg: RENAME_* */
	OP_WRITE,      /* a, off, len */
	OP_APPEND,     /* a, len */
	OP_TRUNCATE,   /* a, len: the new size */
	OP_FALLOCATE,  /* a, off, len; arg: FALLOC_FL_* */
	OP_MAP,        /* a, off, len: what a mapping needs; arg: enum op_map */
	OP_COPY_RANGE, /* a, off -> b, arg, len */
	OP_SET_XATTR,  /* a; b: name; len: size of the value */
	OP_REMOVE_XATTR,
	OP_CHMOD,      /* arg */
	OP_CHOWN,      /* arg: uid, off: gid */
	OP_UTIMES,     /* off: mtime */
	OP_SET_XFLAGS, /* arg: DXF_FLAG_*; off: project; len: extsize */
	OP_QUOTA,      /* arg: project; off: block limit; len: inode limit */
	OP_LABEL,      /* a */
	OP_OPEN,       /* a: kept open as the workload's file */
	OP_RELEASE,    /* of it, and forget if it has no name */
	OP_TMPFILE,    /* a: directory; arg: mode; kept open */
	OP_LINK_OPEN,  /* the open file gets the name a */
	OP_WRITE_OPEN, /* the open file: off, len */
	OP_FSYNC,
	OP_READ, /* a: atime moves */
	/* a, or the open file; arg: which of the two */
	OP_TAIL_BEGIN,  /* lent to a holder: off, len */
	OP_TAIL_APPEND, /* the holder stores len bytes, off bytes behind the end */
	OP_TAIL_END,
	/* setup: a series of operations, judged only at its end */
	OP_CREATE_MANY, /* a: directory; len: how many; off: of the first; arg: length of names */
	OP_UNLINK_MANY,
	OP_WRITE_MANY, /* a: file; len: how many writes; off: bytes from one to the next;
			 * arg: length of each */
};

enum op_map {
	OP_MAP_ALLOCATE,
	OP_MAP_PROMOTE, /* a unit it must be */
	OP_MAP_REALIGN,
	OP_MAP_KEEP,  /* its layout, from now on */
	OP_MAP_ZERO,  /* in place */
	OP_MAP_GROWN, /* from off */
	OP_MAP_STAY,  /* the unit at off is not freed, whatever happens to the file's size */
	OP_MAP_LEAVE, /* it may be, or is now */
};

struct op {
	enum op_kind kind;
	const char *a, *b;
	uint64_t off, len;
	unsigned arg;
};

/* What a workload carries from one operation to the next. */
struct op_state {
	struct fs *fs;
	struct model *model;
	struct log *log;     /* marks go here */
	int64_t now;         /* what fs_clock says; moved by each operation */
	uint64_t data_seed;  /* of the bytes written */
	unsigned operations; /* so far; each runs on another CPU */
	int64_t result;      /* of the last operation */
	uint64_t open_ino;   /* 0: none */
	unsigned open_node;
	struct fs_tail tail; /* the last one that was lent */
	uint64_t tail_size;  /* of its file, now */
	bool lent;
};

/* Bytes of a write: never 0, different for each seed and place. */
void op_fill(uint8_t *buf, uint64_t seed, uint64_t offset, size_t length);

/* The state is the holder of the filesystem's tails from now on. */
void op_hold_tails(struct op_state *state);
/* As a holder stores, in the order that fs.h says: the bytes, or -ENOSPC where there is no room
 * for them. */
int64_t op_tail_append(struct op_state *state, uint64_t gap, uint64_t length);

/* The inode of a path in the filesystem, or of its directory and last name. */
int op_resolve(struct fs *fs, const char *path, uint64_t *ret_ino);

/*
 * Perform it: marks BEGIN, RETURNED (of the call that matters) and END go to the
 * log. Returns the call's result.
 */
int64_t op_run(struct op_state *state, const struct op *op);
/*
 * The same on the model, told the result of op_run: what may legitimately differ
 * (ENOSPC, EDQUOT, short writes) is taken over. 0, or -1: the model would have
 * answered *ret_expected.
 */
int op_model(struct op_state *state, const struct op *op, int64_t result, int64_t *ret_expected);

const char *op_name(enum op_kind kind);
/* The node whose data the operation may tear at 8 bytes, or MODEL_NONE. */
unsigned op_torn_node(const struct op_state *state, const struct op *op);
/* Whether it reads files, whose atime it may move. */
bool op_reads(const struct op *op);
/*
 * Large writes are atomic in steps: how many bytes of it are there after each.
 * Returns the number of steps.
 */
#define OP_STEPS_MAX 32
unsigned op_steps(const struct op *op, int64_t result, uint64_t ret_bytes[OP_STEPS_MAX]);
/* The model before op and the first `bytes` of what it writes. */
struct model *op_model_step(struct op_state *state, const struct model *before, const struct op *op,
			    uint64_t bytes);

#endif
