/* SPDX-License-Identifier: BSD-3-Clause */
/* Making what an operation needs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/crash/workload.h"

struct preparation {
	struct op_state *state;
	char *why;
	size_t why_size;
};

int workload_do(struct op_state *state, const struct op *op, bool tight, char *why, size_t why_size)
{
	int64_t result = op_run(state, op);
	int64_t expected = 0;
	bool refused = result == -ENOSPC || result == -EDQUOT;
	bool is_write = op->kind == OP_WRITE || op->kind == OP_APPEND || op->kind == OP_WRITE_OPEN;

	if (refused && !tight)
		expected = 0;
	else if (is_write && result >= 0 && (uint64_t)result < op->len && !tight)
		expected = (int64_t)op->len;
	else if (op_model(state, op, result, &expected) == 0)
		return 0;
	snprintf(why, why_size, "%s %s %s says %lld, should be %lld", op_name(op->kind),
		 op->a ? op->a : "", op->b ? op->b : "", (long long)result, (long long)expected);
	return -1;
}

struct op workload_series(const struct op *op, unsigned i, char name[512])
{
	struct op one = *op;

	if (op->kind == OP_WRITE_MANY) {
		one.kind = OP_WRITE;
		one.off = op->off * i;
		one.len = op->arg;
		return one;
	}
	snprintf(name, 512, "%sn%0*u", op->a, (int)op->arg - 1, (unsigned)op->off + i);
	one.kind = op->kind == OP_CREATE_MANY ? OP_CREATE : OP_UNLINK;
	one.a = name;
	one.arg = S_IFREG | 0644;
	one.off = one.len = 0;
	return one;
}

static int run(struct preparation *p, const struct op *op)
{
	char name[512];
	unsigned i;

	if (op->kind != OP_CREATE_MANY && op->kind != OP_UNLINK_MANY && op->kind != OP_WRITE_MANY)
		return workload_do(p->state, op, false, p->why, p->why_size);
	for (i = 0; i < op->len; i++) {
		struct op one = workload_series(op, i, name);

		if (workload_do(p->state, &one, false, p->why, p->why_size))
			return -1;
	}
	return 0;
}

static unsigned find(const struct model *model, const char *path)
{
	unsigned node = MODEL_ROOT;

	while (*path) {
		size_t length = strcspn(path, "/");
		char name[256];

		snprintf(name, sizeof(name), "%.*s", (int)length, path);
		if (!S_ISDIR(model_at(model, node)->mode))
			return MODEL_NONE;
		node = model_child(model, node, name);
		if (node == MODEL_NONE)
			return MODEL_NONE;
		path += length + (path[length] == '/');
	}
	return node;
}

static int remove_path(struct preparation *p, const char *path)
{
	const struct model *model = p->state->model;
	unsigned node = find(model, path);
	char child[1024];

	if (node == MODEL_NONE)
		return 0;
	if (!S_ISDIR(model_at(model, node)->mode))
		return run(p, &(struct op){ .kind = OP_UNLINK, .a = path });
	while (model_at(model, node)->entries) {
		snprintf(child, sizeof(child), "%s/%s", path, model_at(model, node)->entry[0].name);
		if (remove_path(p, child))
			return -1;
	}
	return run(p, &(struct op){ .kind = OP_RMDIR, .a = path });
}

static int make_directory(struct preparation *p, const char *path)
{
	unsigned node = find(p->state->model, path);

	if (node != MODEL_NONE && S_ISDIR(model_at(p->state->model, node)->mode))
		return 0;
	if (remove_path(p, path))
		return -1;
	return run(p, &(struct op){ .kind = OP_MKDIR, .a = path, .arg = 0755 });
}

/* All directories above path. */
static int make_parents(struct preparation *p, const char *path)
{
	char parent[512];
	const char *slash;

	for (slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
		if (make_directory(p, parent))
			return -1;
	}
	return 0;
}

static int make_file(struct preparation *p, const char *path, uint64_t size)
{
	if (remove_path(p, path) ||
	    run(p, &(struct op){ .kind = OP_CREATE, .a = path, .arg = S_IFREG | 0644 }))
		return -1;
	if (!size)
		return 0;
	return run(p, &(struct op){ .kind = OP_WRITE, .a = path, .len = size });
}

static int make(struct preparation *p, const char *path, enum workload_need need)
{
	const struct model_node *node;
	char inner[512];
	unsigned id;

	if (need == NEED_NOTHING)
		return 0;
	if (need == NEED_ABSENT)
		return make_parents(p, path) ? -1 : remove_path(p, path);
	if (make_parents(p, path))
		return -1;
	id = find(p->state->model, path);
	node = id == MODEL_NONE ? NULL : model_at(p->state->model, id);
	snprintf(inner, sizeof(inner), "%s/inner", path);
	switch (need) {
	case NEED_FILE:
		return node && S_ISREG(node->mode) && node->size ? 0 : make_file(p, path, 10000);
	case NEED_EMPTY:
		return node && S_ISREG(node->mode) && !node->size ? 0 : make_file(p, path, 0);
	case NEED_DIR:
		if (node && S_ISDIR(node->mode) && !node->entries)
			return 0;
		return remove_path(p, path) ? -1 : make_directory(p, path);
	default:
		if (node && S_ISDIR(node->mode) && node->entries)
			return 0;
		return make_directory(p, path) ? -1 : make_file(p, inner, 5000);
	}
}

/* What the preparations make must not exist yet. */
static int run_before(struct preparation *p, const struct op *op)
{
	const char *made = op->kind == OP_CREATE || op->kind == OP_MKDIR   ? op->a
			   : op->kind == OP_LINK || op->kind == OP_SYMLINK ? op->b
									   : NULL;

	if (made && (make_parents(p, made) || remove_path(p, made)))
		return -1;
	return run(p, op);
}

static int make_base(struct preparation *p)
{
	return make_directory(p, "A") || make_directory(p, "A/C") || make_directory(p, "B") ||
	       make_file(p, "A/C/keep", 100);
}

int workload_prepare(struct op_state *state, const struct workload *w, char *why, size_t why_size)
{
	struct preparation p = { state, why, why_size };
	const struct op *op;

	if (state->model->nodes == 1 && make_base(&p))
		return -1;
	if (make(&p, w->op.a, w->need_a) || make(&p, w->op.b, w->need_b) ||
	    make(&p, w->op.a, w->need_a))
		return -1;
	for (op = w->before; op && op->kind != OP_NONE; op++)
		if (run_before(&p, op))
			return -1;
	return 0;
}

int workload_fill(struct op_state *state, unsigned left, char *why, size_t why_size)
{
	struct preparation p = { state, why, why_size };
	struct op grow = { .kind = OP_FALLOCATE, .a = "filler", .len = UINT64_C(2) << 20 };

	if ((left && make_file(&p, "spare", left * UINT64_C(4096))) || make_file(&p, "filler", 0))
		return -1;
	while (grow.len >= MODEL_PAGE) {
		int64_t result = op_run(state, &grow);
		int64_t expected;

		if (result && result != -ENOSPC) {
			snprintf(why, why_size, "filling says %lld", (long long)result);
			return -1;
		}
		op_model(state, &grow, result, &expected);
		if (result)
			grow.len /= 2;
		else
			grow.off += grow.len;
	}
	return left ? remove_path(&p, "spare") : 0;
}
