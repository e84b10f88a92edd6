/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations on the model. */
#include <errno.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/crash/op.h"

#define KEEP FALLOC_FL_KEEP_SIZE

static int find_parent(const struct model *model, const char *path, unsigned *ret_dir,
		       const char **ret_name)
{
	unsigned dir = MODEL_ROOT;
	const char *slash;

	while ((slash = strchr(path, '/'))) {
		char name[256];

		snprintf(name, sizeof(name), "%.*s", (int)(slash - path), path);
		if (!S_ISDIR(model_at(model, dir)->mode))
			return -ENOTDIR;
		dir = model_child(model, dir, name);
		if (dir == MODEL_NONE)
			return -ENOENT;
		path = slash + 1;
	}
	*ret_dir = dir;
	*ret_name = path;
	return S_ISDIR(model_at(model, dir)->mode) ? 0 : -ENOTDIR;
}

static int find(const struct model *model, const char *path, unsigned *ret_node)
{
	const char *name;
	unsigned dir;
	int err = find_parent(model, path, &dir, &name);

	if (err)
		return err;
	*ret_node = *name ? model_child(model, dir, name) : dir;
	return *ret_node == MODEL_NONE ? -ENOENT : 0;
}

static int64_t model_namespace(struct op_state *state, const struct op *op)
{
	struct model_who who = { 1000, 1000, 022, state->now };
	const char *path = op->kind == OP_SYMLINK ? op->b : op->a;
	unsigned dir, new_dir = 0, node = MODEL_NONE;
	const char *name, *new_name = NULL;
	int err = find_parent(state->model, path, &dir, &name);

	if (!err && (op->kind == OP_RENAME || op->kind == OP_LINK))
		err = find_parent(state->model, op->b, &new_dir, &new_name);
	if (!err && op->kind == OP_LINK)
		err = find(state->model, op->a, &node);
	if (err)
		return err;
	switch (op->kind) {
	case OP_CREATE:
		return model_create(state->model, &who, dir, name, op->arg, (uint32_t)op->off,
				    NULL);
	case OP_MKDIR:
		return model_create(state->model, &who, dir, name, S_IFDIR | op->arg, 0, NULL);
	case OP_SYMLINK:
		return model_create(state->model, &who, dir, name, S_IFLNK | 0777, 0, op->a);
	case OP_LINK:
		return model_link(state->model, who.now, node, new_dir, new_name);
	case OP_LINK_OPEN:
		return model_link(state->model, who.now, state->open_node, dir, name);
	case OP_UNLINK:
		return model_unlink(state->model, who.now, dir, name);
	case OP_RMDIR:
		return model_rmdir(state->model, who.now, dir, name);
	default:
		return model_rename(state->model, &who, dir, name, new_dir, new_name, op->arg);
	}
}

static int64_t model_store(struct op_state *state, unsigned id, uint64_t offset, int64_t length)
{
	struct model_node *node = model_edit(state->model, id);
	uint8_t *buf = malloc((size_t)length + 1);

	if (!buf)
		abort();
	op_fill(buf, state->data_seed, offset, (size_t)length);
	model_write(node, offset, buf, (size_t)length);
	free(buf);
	node->mtime = node->ctime = state->now;
	return length;
}

static int64_t model_fallocate(struct op_state *state, const struct op *op, unsigned id)
{
	struct model_node *node = model_edit(state->model, id);
	uint64_t end = op->off + op->len;
	uint64_t size = node->size;
	unsigned mode = op->arg;

	if (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) {
		if ((op->off | op->len) % MODEL_PAGE)
			return -EINVAL;
		if (mode & FALLOC_FL_COLLAPSE_RANGE ? end >= node->size : op->off >= node->size)
			return -EINVAL;
		if (mode & FALLOC_FL_COLLAPSE_RANGE)
			model_collapse(node, op->off, op->len);
		else
			model_insert(node, op->off, op->len);
	} else if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
		model_zero(node, op->off, op->len);
	}
	if (!(mode & (KEEP | FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) &&
	    end > node->size)
		node->size = end;
	/* Reserving alone changes nothing that anybody sees. */
	if (mode & ~KEEP || node->size != size)
		node->mtime = node->ctime = state->now;
	return 0;
}

static int64_t model_copy_range(struct op_state *state, const struct op *op, unsigned id,
				int64_t result)
{
	const struct model_node *from = model_at(state->model, id);
	uint64_t length = op->len;
	struct model_node *to;
	unsigned out;
	uint8_t *buf;

	if (find(state->model, op->b, &out))
		return -ENOENT;
	if (op->off >= from->size)
		return 0;
	if (op->off + length > from->size)
		length = from->size - op->off;
	if (result > 0 && (uint64_t)result < length)
		length = (uint64_t)result;
	buf = malloc(length);
	if (!buf)
		abort();
	model_read(from, op->off, buf, length);
	to = model_edit(state->model, out);
	model_write(to, op->arg, buf, length);
	to->mtime = to->ctime = state->now;
	free(buf);
	return (int64_t)length;
}

static int64_t model_setattr(struct op_state *state, const struct op *op, unsigned id)
{
	struct model_node *node = model_edit(state->model, id);

	switch (op->kind) {
	case OP_CHMOD:
		node->mode = (node->mode & S_IFMT) | (op->arg & 07777);
		break;
	case OP_CHOWN:
		node->uid = op->arg;
		node->gid = (uint32_t)op->off;
		break;
	case OP_UTIMES:
		node->atime = (int64_t)op->off + 1;
		node->mtime = (int64_t)op->off;
		break;
	default:
		model_truncate(node, op->len);
		node->mtime = state->now;
		break;
	}
	node->ctime = state->now;
	return 0;
}

static int64_t model_xattr(struct op_state *state, const struct op *op, unsigned id)
{
	struct model_node *node = model_edit(state->model, id);
	uint8_t *value;
	int err;

	if (op->kind == OP_REMOVE_XATTR) {
		err = model_remove_xattr(node, op->b);
	} else {
		value = malloc(op->len + 1);
		if (!value)
			abort();
		op_fill(value, state->data_seed, 0, op->len);
		err = model_set_xattr(node, op->b, value, op->len);
		free(value);
	}
	if (!err)
		node->ctime = state->now;
	return err;
}

static int64_t model_on_node(struct op_state *state, const struct op *op, int64_t result)
{
	struct model_node *node;
	unsigned id;
	int err = find(state->model, op->a, &id);

	if (err)
		return err;
	switch (op->kind) {
	case OP_WRITE:
		return model_store(state, id, op->off, result);
	case OP_APPEND:
		return model_store(state, id, model_at(state->model, id)->size, result);
	case OP_FALLOCATE:
		return model_fallocate(state, op, id);
	case OP_COPY_RANGE:
		return model_copy_range(state, op, id, result);
	case OP_SET_XATTR:
	case OP_REMOVE_XATTR:
		return model_xattr(state, op, id);
	case OP_SET_XFLAGS:
		node = model_edit(state->model, id);
		node->flags = op->arg;
		node->project = (uint32_t)op->off;
		node->extsize = (uint32_t)op->len;
		node->ctime = state->now;
		return 0;
	case OP_MAP: /* nobody sees a difference, but of zeroes in the file */
		if (op->arg == OP_MAP_ZERO) {
			node = model_edit(state->model, id);
			if (op->off < node->size)
				model_zero(node, op->off, op->len);
		}
		return op->arg >= OP_MAP_REALIGN || op->off < model_at(state->model, id)->size
			       ? 0
			       : -ENXIO;
	case OP_FSYNC:
		return 0;
	case OP_READ:
		node = model_edit(state->model, id);
		if (node->atime <= node->mtime || node->atime <= node->ctime)
			node->atime = state->now;
		return 0;
	default:
		return model_setattr(state, op, id);
	}
}

static int64_t model_quota(struct op_state *state, const struct op *op)
{
	struct model *model = state->model;
	unsigned i;

	for (i = 0; i < model->quotas && model->quota[i].project != op->arg; i++)
		;
	if (i == model->quotas)
		model->quotas++;
	model->quota[i] = (struct model_quota){ op->arg, op->off, op->len };
	return 0;
}

static int64_t model_open(struct op_state *state, const struct op *op)
{
	struct model_who who = { 1000, 1000, 022, state->now };
	unsigned id;
	int err = find(state->model, op->a, &id);

	if (err)
		return err;
	if (op->kind == OP_TMPFILE)
		id = model_tmpfile(state->model, &who, id, S_IFREG | op->arg);
	model_edit(state->model, id)->opens++;
	state->open_node = id;
	return 0;
}

static int64_t model_tail(struct op_state *state, const struct op *op, int64_t result)
{
	unsigned id = state->open_node;
	int err = op->arg ? 0 : find(state->model, op->a, &id);

	if (err || op->kind != OP_TAIL_APPEND)
		return err;
	return model_store(state, id, model_at(state->model, id)->size + op->off, result);
}

static int64_t model_call(struct op_state *state, const struct op *op, int64_t result)
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
		return model_namespace(state, op);
	case OP_QUOTA:
		return model_quota(state, op);
	case OP_LABEL:
		snprintf(state->model->label, sizeof(state->model->label), "%s", op->a);
		return 0;
	case OP_OPEN:
	case OP_TMPFILE:
		return model_open(state, op);
	case OP_WRITE_OPEN:
		return model_store(state, state->open_node, op->off, result);
	case OP_TAIL_BEGIN:
	case OP_TAIL_APPEND:
	case OP_TAIL_END:
		return model_tail(state, op, result);
	case OP_RELEASE:
		model_edit(state->model, state->open_node)->opens--;
		model_reap(state->model, state->open_node);
		return 0;
	default:
		return model_on_node(state, op, result);
	}
}

int op_model(struct op_state *state, const struct op *op, int64_t result, int64_t *ret_expected)
{
	/* Space and limits are the filesystem's to judge; nothing may have changed. */
	if (result == -ENOSPC || result == -EDQUOT)
		return 0;
	if (result < 0 && (op->kind == OP_WRITE || op->kind == OP_APPEND)) {
		unsigned id;

		*ret_expected = find(state->model, op->a, &id);
		return *ret_expected == result ? 0 : -1;
	}
	*ret_expected = model_call(state, op, result);
	return *ret_expected == result ? 0 : -1;
}

unsigned op_torn_node(const struct op_state *state, const struct op *op)
{
	unsigned id;

	switch (op->kind) {
	case OP_FALLOCATE:
		if (op->arg & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE))
			return MODEL_NONE;
		return find(state->model, op->a, &id) ? MODEL_NONE : id;
	case OP_MAP:
		if (op->arg != OP_MAP_ZERO)
			return MODEL_NONE;
		return find(state->model, op->a, &id) ? MODEL_NONE : id;
	case OP_WRITE:
		return find(state->model, op->a, &id) ? MODEL_NONE : id;
	case OP_COPY_RANGE:
		return find(state->model, op->b, &id) ? MODEL_NONE : id;
	case OP_TAIL_APPEND: /* the times come before the size */
		id = state->open_node;
		return !op->arg && find(state->model, op->a, &id) ? MODEL_NONE : id;
	case OP_WRITE_OPEN:
		return state->open_node;
	default:
		return MODEL_NONE;
	}
}

bool op_reads(const struct op *op)
{
	return op->kind == OP_READ || op->kind == OP_COPY_RANGE || op->kind == OP_FALLOCATE;
}

/* At most this is written at once. */
#define STEP_BYTES (UINT64_C(1) << 20)

unsigned op_steps(const struct op *op, int64_t result, uint64_t ret_bytes[OP_STEPS_MAX])
{
	uint64_t done = 0;
	unsigned count = 0;

	if (op->kind != OP_WRITE && op->kind != OP_APPEND)
		return 1;
	/* what did not fit was cut once, and the rest left to the next call */
	while (count < OP_STEPS_MAX - 1 && (int64_t)done < result) {
		uint64_t left = (uint64_t)result - done;

		done += left < STEP_BYTES ? left : STEP_BYTES;
		ret_bytes[count++] = done;
	}
	return count ? count : 1;
}

struct model *op_model_step(struct op_state *state, const struct model *before, const struct op *op,
			    uint64_t bytes)
{
	struct model *after = state->model;
	struct model *stepped;
	unsigned id;

	state->model = model_copy(before);
	if (find(state->model, op->a, &id) == 0)
		model_store(state, id, op->kind == OP_APPEND ? model_at(before, id)->size : op->off,
			    (int64_t)bytes);
	stepped = state->model;
	state->model = after;
	return stepped;
}

const char *op_name(enum op_kind kind)
{
	static const char *const names[] = {
		[OP_NONE] = "none",
		[OP_CREATE] = "create",
		[OP_MKDIR] = "mkdir",
		[OP_SYMLINK] = "symlink",
		[OP_LINK] = "link",
		[OP_UNLINK] = "unlink",
		[OP_RMDIR] = "rmdir",
		[OP_RENAME] = "rename",
		[OP_WRITE] = "write",
		[OP_APPEND] = "append",
		[OP_TRUNCATE] = "truncate",
		[OP_FALLOCATE] = "fallocate",
		[OP_MAP] = "map",
		[OP_COPY_RANGE] = "copy_range",
		[OP_SET_XATTR] = "setxattr",
		[OP_REMOVE_XATTR] = "removexattr",
		[OP_CHMOD] = "chmod",
		[OP_CHOWN] = "chown",
		[OP_UTIMES] = "utimes",
		[OP_SET_XFLAGS] = "set_xflags",
		[OP_QUOTA] = "quota_set",
		[OP_LABEL] = "set_label",
		[OP_OPEN] = "open",
		[OP_RELEASE] = "release",
		[OP_TMPFILE] = "tmpfile",
		[OP_LINK_OPEN] = "link tmpfile",
		[OP_WRITE_OPEN] = "write open",
		[OP_FSYNC] = "fsync",
		[OP_READ] = "read",
		[OP_TAIL_BEGIN] = "begin tail",
		[OP_TAIL_APPEND] = "append to tail",
		[OP_TAIL_END] = "end tail",
	};

	return names[kind];
}
