/* SPDX-License-Identifier: BSD-3-Clause */
/* The model's tree: nodes, names, links. */
#include "tests/crash/model.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daxfuse/format.h"

static void *must(void *pointer)
{
	if (!pointer)
		abort();
	return pointer;
}

static void node_put(struct model_node *node)
{
	size_t i;

	if (--node->refs)
		return;
	model_data_free(node);
	for (i = 0; i < node->entries; i++)
		free(node->entry[i].name);
	free(node->entry);
	free(node->target);
	free(node);
}

struct model_node *model_edit(struct model *model, unsigned id)
{
	struct model_node *node = model->node[id];
	struct model_node *own;
	size_t i;

	if (node->refs == 1)
		return node;
	own = must(malloc(sizeof(*own)));
	*own = *node;
	own->refs = 1;
	model_data_share(own);
	own->entry = must(malloc((node->entries + 1) * sizeof(*own->entry)));
	for (i = 0; i < node->entries; i++)
		own->entry[i] = (struct model_entry){ must(strdup(node->entry[i].name)),
						      node->entry[i].node };
	if (node->target)
		own->target = must(strdup(node->target));
	node_put(node);
	model->node[id] = own;
	return own;
}

static unsigned node_new(struct model *model)
{
	struct model_node *node = must(calloc(1, sizeof(*node)));

	node->refs = 1;
	model->node = must(realloc(model->node, (model->nodes + 1) * sizeof(*model->node)));
	model->node[model->nodes] = node;
	return model->nodes++;
}

struct model *model_new(int64_t now)
{
	struct model *model = must(calloc(1, sizeof(*model)));
	unsigned id = node_new(model);
	struct model_node *root = model->node[id];

	root->mode = S_IFDIR | 0755;
	root->nlink = 2;
	root->atime = root->mtime = root->ctime = root->btime = now;
	return model;
}

struct model *model_copy(const struct model *model)
{
	struct model *copy = must(malloc(sizeof(*copy)));
	unsigned i;

	*copy = *model;
	copy->node = must(malloc(model->nodes * sizeof(*model->node)));
	for (i = 0; i < model->nodes; i++) {
		copy->node[i] = model->node[i];
		if (copy->node[i])
			copy->node[i]->refs++;
	}
	return copy;
}

void model_free(struct model *model)
{
	unsigned i;

	if (!model)
		return;
	for (i = 0; i < model->nodes; i++)
		if (model->node[i])
			node_put(model->node[i]);
	free(model->node);
	free(model);
}

static size_t entry_find(const struct model_node *dir, const char *name, bool *ret_found)
{
	size_t low = 0, high = dir->entries;

	*ret_found = false;
	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = strcmp(dir->entry[middle].name, name);

		if (order == 0) {
			*ret_found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

unsigned model_child(const struct model *model, unsigned dir, const char *name)
{
	const struct model_node *node = model_at(model, dir);
	bool found;
	size_t at = entry_find(node, name, &found);

	return found ? node->entry[at].node : MODEL_NONE;
}

static void entry_add(struct model *model, unsigned dir, const char *name, unsigned id)
{
	struct model_node *node = model_edit(model, dir);
	bool found;
	size_t at = entry_find(node, name, &found);

	node->entry = must(realloc(node->entry, (node->entries + 1) * sizeof(*node->entry)));
	memmove(&node->entry[at + 1], &node->entry[at],
		(node->entries - at) * sizeof(*node->entry));
	node->entry[at] = (struct model_entry){ must(strdup(name)), id };
	node->entries++;
	if (S_ISDIR(model_at(model, id)->mode)) {
		node->nlink++;
		model_edit(model, id)->parent = dir;
	}
}

static void entry_remove(struct model *model, unsigned dir, const char *name)
{
	struct model_node *node = model_edit(model, dir);
	bool found;
	size_t at = entry_find(node, name, &found);

	if (S_ISDIR(model_at(model, node->entry[at].node)->mode))
		node->nlink--;
	free(node->entry[at].name);
	node->entries--;
	memmove(&node->entry[at], &node->entry[at + 1],
		(node->entries - at) * sizeof(*node->entry));
}

void model_reap(struct model *model, unsigned id)
{
	struct model_node *node = model->node[id];

	if (node->nlink || node->opens)
		return;
	node_put(node);
	model->node[id] = NULL;
}

static void touch(struct model *model, unsigned id, int64_t now)
{
	struct model_node *node = model_edit(model, id);

	node->mtime = now;
	node->ctime = now;
}

/* A node as made in dir by who, without a name. */
static unsigned node_make(struct model *model, const struct model_who *who, unsigned dir,
			  uint32_t mode)
{
	unsigned id = node_new(model);
	struct model_node *node = model->node[id];
	const struct model_node *parent = model_at(model, dir);

	node->mode = S_ISLNK(mode) ? S_IFLNK | 0777 : mode & ~who->umask;
	node->uid = who->uid;
	node->gid = parent->mode & S_ISGID ? parent->gid : who->gid;
	if (S_ISDIR(mode))
		node->mode |= parent->mode & S_ISGID;
	node->nlink = S_ISDIR(mode) ? 2 : 1;
	node->atime = node->mtime = node->ctime = node->btime = who->now;
	if (S_ISREG(mode) || S_ISDIR(mode))
		node->flags = parent->flags & DXF_FLAG_DAX;
	if (parent->flags & DXF_FLAG_PROJINHERIT) {
		node->project = parent->project;
		if (S_ISDIR(mode))
			node->flags |= DXF_FLAG_PROJINHERIT;
	}
	return id;
}

int model_create(struct model *model, const struct model_who *who, unsigned dir, const char *name,
		 uint32_t mode, uint32_t rdev, const char *target)
{
	unsigned id;

	if (!S_ISDIR(model_at(model, dir)->mode))
		return -ENOTDIR;
	if (model_child(model, dir, name) != MODEL_NONE)
		return -EEXIST;
	id = node_make(model, who, dir, mode);
	if (target) {
		model->node[id]->target = must(strdup(target));
		model->node[id]->size = strlen(target);
	}
	model->node[id]->rdev = rdev;
	entry_add(model, dir, name, id);
	touch(model, dir, who->now);
	return 0;
}

unsigned model_tmpfile(struct model *model, const struct model_who *who, unsigned dir,
		       uint32_t mode)
{
	unsigned id = node_make(model, who, dir, mode);

	model->node[id]->nlink = 0;
	return id;
}

int model_link(struct model *model, int64_t now, unsigned id, unsigned dir, const char *name)
{
	struct model_node *node;

	if (S_ISDIR(model_at(model, id)->mode))
		return -EPERM;
	if (model_child(model, dir, name) != MODEL_NONE)
		return -EEXIST;
	node = model_edit(model, id);
	node->nlink++;
	node->ctime = now;
	entry_add(model, dir, name, id);
	touch(model, dir, now);
	return 0;
}

int model_unlink(struct model *model, int64_t now, unsigned dir, const char *name)
{
	unsigned id = model_child(model, dir, name);
	struct model_node *node;

	if (id == MODEL_NONE)
		return -ENOENT;
	if (S_ISDIR(model_at(model, id)->mode))
		return -EISDIR;
	entry_remove(model, dir, name);
	touch(model, dir, now);
	node = model_edit(model, id);
	node->nlink--;
	node->ctime = now;
	model_reap(model, id);
	return 0;
}

int model_rmdir(struct model *model, int64_t now, unsigned dir, const char *name)
{
	unsigned id = model_child(model, dir, name);

	if (id == MODEL_NONE)
		return -ENOENT;
	if (!S_ISDIR(model_at(model, id)->mode))
		return -ENOTDIR;
	if (model_at(model, id)->entries)
		return -ENOTEMPTY;
	entry_remove(model, dir, name);
	touch(model, dir, now);
	model_edit(model, id)->nlink = 0;
	model_reap(model, id);
	return 0;
}

/* Whether directory id is dir or an ancestor of it. */
static bool is_ancestor(const struct model *model, unsigned id, unsigned dir)
{
	while (dir != id && dir != MODEL_ROOT)
		dir = model_at(model, dir)->parent;
	return dir == id;
}

/* What rename() refuses; target may be MODEL_NONE. */
static int rename_check(const struct model *model, unsigned source, unsigned target, unsigned dir,
			unsigned new_dir, unsigned flags)
{
	bool from_dir = S_ISDIR(model_at(model, source)->mode);
	bool exchange = flags & RENAME_EXCHANGE;

	if (exchange && target == MODEL_NONE)
		return -ENOENT;
	if (flags & RENAME_NOREPLACE && target != MODEL_NONE)
		return -EEXIST;
	if (from_dir && is_ancestor(model, source, new_dir))
		return -EINVAL;
	if (target == MODEL_NONE)
		return 0;
	if (S_ISDIR(model_at(model, target)->mode) && is_ancestor(model, target, dir))
		return exchange ? -EINVAL : -ENOTEMPTY;
	if (exchange || source == target)
		return 0;
	if (S_ISDIR(model_at(model, target)->mode) != from_dir)
		return from_dir ? -ENOTDIR : -EISDIR;
	return model_at(model, target)->entries ? -ENOTEMPTY : 0;
}

static void remove_target(struct model *model, int64_t now, unsigned dir, const char *name,
			  unsigned target)
{
	struct model_node *node;

	entry_remove(model, dir, name);
	node = model_edit(model, target);
	node->nlink -= S_ISDIR(node->mode) ? 2 : 1;
	node->ctime = now;
	model_reap(model, target);
}

int model_rename(struct model *model, const struct model_who *who, unsigned dir, const char *name,
		 unsigned new_dir, const char *new_name, unsigned flags)
{
	unsigned source = model_child(model, dir, name);
	unsigned target = model_child(model, new_dir, new_name);
	int err;

	if (source == MODEL_NONE)
		return -ENOENT;
	err = rename_check(model, source, target, dir, new_dir, flags);
	if (err)
		return err;
	if (source == target)
		return 0;
	if (flags & RENAME_EXCHANGE) {
		entry_remove(model, dir, name);
		entry_remove(model, new_dir, new_name);
		entry_add(model, dir, name, target);
		model_edit(model, target)->ctime = who->now;
	} else {
		if (target != MODEL_NONE)
			remove_target(model, who->now, new_dir, new_name, target);
		entry_remove(model, dir, name);
	}
	entry_add(model, new_dir, new_name, source);
	model_edit(model, source)->ctime = who->now;
	touch(model, dir, who->now);
	touch(model, new_dir, who->now);
	if (flags & RENAME_WHITEOUT)
		return model_create(model, who, dir, name, S_IFCHR, 0, NULL);
	return 0;
}
