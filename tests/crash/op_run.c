/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations on the filesystem under test. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/crash/op.h"

static const struct fs_request request = {
	.uid = 1000, .gid = 1000, .umask = 022, .in_group = true
};

void op_fill(uint8_t *buf, uint64_t seed, uint64_t offset, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++) {
		uint64_t word = (offset + i) / 8 + (seed << 40);

		word = (word ^ (word >> 29)) * UINT64_C(0xbf58476d1ce4e5b9);
		word = (word ^ (word >> 32)) * UINT64_C(0x94d049bb133111eb);
		buf[i] = (uint8_t)(word >> 8 * ((offset + i) % 8)) | 1;
	}
}

/* Split off the last name; the directory's inode. */
static int resolve_parent(struct fs *fs, const char *path, uint64_t *ret_ino, const char **ret_name)
{
	uint64_t ino = DXF_ROOT_INO;
	const char *slash;

	while ((slash = strchr(path, '/'))) {
		struct fs_attr attr;
		char name[256];
		int err;

		snprintf(name, sizeof(name), "%.*s", (int)(slash - path), path);
		err = fs_lookup(fs, ino, name, &attr);
		if (err)
			return err;
		ino = attr.ino;
		path = slash + 1;
	}
	*ret_ino = ino;
	*ret_name = path;
	return 0;
}

int op_resolve(struct fs *fs, const char *path, uint64_t *ret_ino)
{
	struct fs_attr attr;
	const char *name;
	uint64_t parent;
	int err = resolve_parent(fs, path, &parent, &name);

	if (err)
		return err;
	if (!*name) {
		*ret_ino = parent;
		return 0;
	}
	err = fs_lookup(fs, parent, name, &attr);
	if (!err)
		*ret_ino = attr.ino;
	return err;
}

static int64_t run_write(struct op_state *state, uint64_t ino, uint64_t offset, uint64_t length,
			 unsigned flags)
{
	uint8_t *buf = malloc(length + 1);
	struct fs_attr attr;
	int64_t result;

	if (!buf)
		abort();
	if (flags & FS_WRITE_APPEND && fs_getattr(state->fs, ino, &attr) == 0)
		offset = attr.size;
	op_fill(buf, state->data_seed, offset, length);
	result = fs_write(state->fs, NULL, ino, buf, length, offset, flags);
	free(buf);
	return result;
}

static int64_t run_setattr(struct op_state *state, const struct op *op, uint64_t ino)
{
	struct fs_setattr set = { 0 };
	struct fs_attr attr;

	switch (op->kind) {
	case OP_CHMOD:
		set.valid = FS_SET_MODE;
		set.mode = op->arg;
		break;
	case OP_CHOWN:
		set.valid = FS_SET_UID | FS_SET_GID;
		set.uid = op->arg;
		set.gid = (uint32_t)op->off;
		break;
	case OP_UTIMES:
		set.valid = FS_SET_ATIME | FS_SET_MTIME;
		set.atime = (int64_t)op->off + 1;
		set.mtime = (int64_t)op->off;
		break;
	default:
		set.valid = FS_SET_SIZE;
		set.size = op->len;
		break;
	}
	return fs_setattr(state->fs, ino, &set, &attr);
}

static int64_t run_xattr(struct op_state *state, const struct op *op, uint64_t ino)
{
	uint8_t *value;
	int err;

	if (op->kind == OP_REMOVE_XATTR)
		return fs_removexattr(state->fs, NULL, ino, op->b);
	value = malloc(op->len + 1);
	if (!value)
		abort();
	op_fill(value, state->data_seed, 0, op->len);
	err = fs_setxattr(state->fs, NULL, ino, op->b, value, op->len, 0);
	free(value);
	return err;
}

static int64_t run_read(struct op_state *state, uint64_t ino)
{
	char byte;
	int64_t result = fs_pread(state->fs, ino, &byte, 1, 0);

	return result < 0 ? result : 0;
}

/* Operations on what path a names. */
static int64_t run_realign(struct op_state *state, uint64_t ino)
{
	uint64_t offset = 0;
	bool moved;
	int err = 0;

	while (!err && offset != UINT64_MAX)
		err = fs_realign(state->fs, ino, &offset, &moved);
	return err;
}

static int64_t run_map(struct op_state *state, const struct op *op, uint64_t ino)
{
	switch ((enum op_map)op->arg) {
	case OP_MAP_ALLOCATE:
		return fs_map_allocate(state->fs, ino, op->off, op->len);
	case OP_MAP_PROMOTE:
		return fs_map_promote(state->fs, ino, op->off);
	case OP_MAP_REALIGN:
		return run_realign(state, ino);
	case OP_MAP_KEEP:
		return fs_keep_layout(state->fs, ino, true);
	case OP_MAP_ZERO:
		return fs_map_zero(state->fs, ino, op->off, op->len);
	case OP_MAP_GROWN:
		return fs_map_grown(state->fs, ino, op->off);
	default:
		return fs_stay(state->fs, ino, op->off, op->arg == OP_MAP_STAY);
	}
}

static int64_t run_tail(struct op_state *state, const struct op *op)
{
	uint64_t ino = state->open_ino;
	int err = op->arg ? 0 : op_resolve(state->fs, op->a, &ino);

	if (err)
		return err;
	if (op->kind == OP_TAIL_BEGIN)
		return fs_tail_begin(state->fs, ino, op->off, op->len, state);
	if (op->kind == OP_TAIL_APPEND)
		return op_tail_append(state, op->off, op->len);
	return fs_tail_end(state->fs, ino);
}

static int64_t run_on_inode(struct op_state *state, const struct op *op)
{
	struct fs_xflags xflags = { .flags = op->arg,
				    .project = (uint32_t)op->off,
				    .extsize = (uint32_t)op->len };
	struct fs_attr attr;
	uint64_t ino, out;
	int err = op_resolve(state->fs, op->a, &ino);

	if (err)
		return err;
	switch (op->kind) {
	case OP_WRITE:
		return run_write(state, ino, op->off, op->len, 0);
	case OP_APPEND:
		return run_write(state, ino, 0, op->len, FS_WRITE_APPEND);
	case OP_FALLOCATE:
		return fs_fallocate(state->fs, NULL, ino, (int)op->arg, op->off, op->len);
	case OP_MAP:
		return run_map(state, op, ino);
	case OP_COPY_RANGE:
		err = op_resolve(state->fs, op->b, &out);
		return err ? err
			   : fs_copy_range(state->fs, NULL, ino, op->off, out, op->arg, op->len);
	case OP_SET_XATTR:
	case OP_REMOVE_XATTR:
		return run_xattr(state, op, ino);
	case OP_SET_XFLAGS:
		return fs_set_xflags(state->fs, ino, &xflags);
	case OP_FSYNC:
		return fs_getattr(state->fs, ino, &attr); /* all is durable already */
	case OP_READ:
		return run_read(state, ino);
	default:
		return run_setattr(state, op, ino);
	}
}

static int64_t run_open(struct op_state *state, const struct op *op)
{
	struct fs_attr attr;
	uint64_t ino;
	int err = op_resolve(state->fs, op->a, &ino);

	if (err)
		return err;
	if (op->kind == OP_TMPFILE)
		err = fs_tmpfile(state->fs, &request, ino, op->arg, &attr);
	else
		attr.ino = ino;
	if (!err)
		err = fs_open(state->fs, attr.ino, O_RDWR, &attr);
	if (!err)
		state->open_ino = attr.ino;
	return err;
}

static int64_t run_namespace(struct op_state *state, const struct op *op)
{
	const char *path = op->kind == OP_SYMLINK ? op->b : op->a;
	uint64_t parent, new_parent, ino;
	const char *name, *new_name;
	struct fs_attr attr;
	int err = resolve_parent(state->fs, path, &parent, &name);

	if (!err && (op->kind == OP_RENAME || op->kind == OP_LINK))
		err = resolve_parent(state->fs, op->b, &new_parent, &new_name);
	if (!err && op->kind == OP_LINK)
		err = op_resolve(state->fs, op->a, &ino);
	if (err)
		return err;
	switch (op->kind) {
	case OP_CREATE:
		return fs_mknod(state->fs, &request, parent, name, op->arg, (uint32_t)op->off,
				&attr);
	case OP_MKDIR:
		return fs_mkdir(state->fs, &request, parent, name, op->arg, &attr);
	case OP_SYMLINK:
		return fs_symlink(state->fs, &request, parent, name, op->a, &attr);
	case OP_LINK:
		return fs_link(state->fs, NULL, ino, new_parent, new_name, &attr);
	case OP_LINK_OPEN:
		return fs_link(state->fs, NULL, state->open_ino, parent, name, &attr);
	case OP_UNLINK:
		return fs_unlink(state->fs, NULL, parent, name);
	case OP_RMDIR:
		return fs_rmdir(state->fs, NULL, parent, name);
	default:
		return fs_rename(state->fs, &request, parent, name, new_parent, new_name, op->arg);
	}
}

static int64_t run_call(struct op_state *state, const struct op *op)
{
	switch (op->kind) {
	case OP_CREATE:
	case OP_MKDIR:
	case OP_SYMLINK:
	case OP_LINK:
	case OP_LINK_OPEN:
	case OP_UNLINK:
	case OP_RMDIR:
	case OP_RENAME:
		return run_namespace(state, op);
	case OP_QUOTA:
		return fs_quota_set(state->fs, op->arg, op->off, op->len);
	case OP_LABEL:
		return fs_set_label(state->fs, op->a);
	case OP_OPEN:
	case OP_TMPFILE:
		return run_open(state, op);
	case OP_WRITE_OPEN:
		return run_write(state, state->open_ino, op->off, op->len, 0);
	case OP_RELEASE:
		fs_release(state->fs, state->open_ino);
		return 0;
	case OP_TAIL_BEGIN:
	case OP_TAIL_APPEND:
	case OP_TAIL_END:
		return run_tail(state, op);
	default:
		return run_on_inode(state, op);
	}
}

/* What lost its last name by this operation: the kernel would forget it. */
static uint64_t doomed(struct op_state *state, const struct op *op)
{
	const char *path = op->kind == OP_RENAME ? op->b : op->a;
	uint64_t ino;

	if (op->kind != OP_UNLINK && op->kind != OP_RMDIR && op->kind != OP_RENAME)
		return 0;
	return op_resolve(state->fs, path, &ino) ? 0 : ino;
}

int64_t op_run(struct op_state *state, const struct op *op)
{
	uint64_t gone = doomed(state, op);
	int64_t result;

	log_set_cpu(++state->operations % 256);
	state->data_seed++;
	state->now += 1000003;
	log_add_mark(state->log, MARK_BEGIN);
	result = state->result = run_call(state, op);
	log_add_mark(state->log, MARK_RETURNED);
	if (op->kind == OP_RELEASE) {
		if (fs_is_orphan(state->fs, state->open_ino))
			fs_forget(state->fs, state->open_ino);
		state->open_ino = 0;
	}
	if (gone && gone != state->open_ino && fs_is_orphan(state->fs, gone))
		fs_forget(state->fs, gone);
	log_add_mark(state->log, MARK_END);
	return result;
}
