/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/crash/compare.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int compare_differs(struct compare *compare, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(compare->diff, compare->diff_size, format, args);
	va_end(args);
	return -1;
}

static int collect(const struct fs_dirent *entry, void *arg)
{
	struct compare_list *list = arg;

	if (strcmp(entry->name, ".") == 0) {
		list->dot = entry->ino;
		return 0;
	}
	if (strcmp(entry->name, "..") == 0) {
		list->dotdot = entry->ino;
		return 0;
	}
	if (list->count == list->room) {
		list->room = list->room ? 2 * list->room : 16;
		list->entry = realloc(list->entry, list->room * sizeof(*list->entry));
		if (!list->entry)
			abort();
	}
	list->entry[list->count++] = (struct compare_entry){ strdup(entry->name), entry->ino,
							     entry->type };
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct compare_entry *)a)->name,
		      ((const struct compare_entry *)b)->name);
}

int compare_list(struct fs *fs, uint64_t ino, struct compare_list *ret_list)
{
	int err;

	memset(ret_list, 0, sizeof(*ret_list));
	err = fs_readdir(fs, ino, 0, collect, ret_list);
	if (ret_list->count)
		qsort(ret_list->entry, ret_list->count, sizeof(*ret_list->entry), by_name);
	return err;
}

void compare_list_free(struct compare_list *list)
{
	size_t i;

	for (i = 0; i < list->count; i++)
		free(list->entry[i].name);
	free(list->entry);
}

static int check_number(struct compare *compare, unsigned id, const char *what, uint64_t got,
			uint64_t want)
{
	if (got == want)
		return 0;
	return compare_differs(compare, "node %u: %s is %llu (0x%llx), should be %llu (0x%llx)", id,
			       what, (unsigned long long)got, (unsigned long long)got,
			       (unsigned long long)want, (unsigned long long)want);
}

static int check_times(struct compare *compare, unsigned id, const struct model_node *node,
		       const struct fs_attr *attr)
{
	const struct model_node *other = node;

	if (id == compare->torn_node && compare->other && id < compare->other->nodes &&
	    compare->other->node[id])
		other = compare->other->node[id];
	if (attr->mtime != other->mtime &&
	    check_number(compare, id, "mtime", (uint64_t)attr->mtime, (uint64_t)node->mtime))
		return -1;
	if (attr->ctime != other->ctime &&
	    check_number(compare, id, "ctime", (uint64_t)attr->ctime, (uint64_t)node->ctime))
		return -1;
	if (!(compare->read_time && attr->atime == compare->read_time) &&
	    check_number(compare, id, "atime", (uint64_t)attr->atime, (uint64_t)node->atime))
		return -1;
	return check_number(compare, id, "btime", (uint64_t)attr->btime, (uint64_t)node->btime);
}

static int check_attr(struct compare *compare, unsigned id, const struct model_node *node,
		      const struct fs_attr *attr)
{
	if (check_number(compare, id, "mode", attr->mode, node->mode) ||
	    check_number(compare, id, "nlink", attr->nlink, node->nlink) ||
	    check_number(compare, id, "uid", attr->uid, node->uid) ||
	    check_number(compare, id, "gid", attr->gid, node->gid) ||
	    check_number(compare, id, "rdev", attr->rdev, node->rdev) ||
	    check_number(compare, id, "flags", attr->flags, node->flags) ||
	    check_number(compare, id, "project", attr->project, node->project) ||
	    check_number(compare, id, "extsize", attr->extsize, node->extsize))
		return -1;
	if (!S_ISDIR(node->mode) && check_number(compare, id, "size", attr->size, node->size))
		return -1;
	return check_times(compare, id, node, attr);
}

static int check_xattrs(struct compare *compare, unsigned id, const struct model_node *node,
			uint64_t ino)
{
	static char list[65536];
	static uint8_t value[131072];
	ssize_t length = fs_listxattr(compare->fs, ino, list, sizeof(list));
	size_t names = 0;
	ssize_t at;

	if (length < 0)
		return compare_differs(compare, "node %u: listxattr says %zd", id, length);
	for (at = 0; at < length; at += (ssize_t)strlen(list + at) + 1) {
		unsigned which = model_find_xattr(node, list + at);
		ssize_t size = fs_getxattr(compare->fs, ino, list + at, value, sizeof(value));

		names++;
		if (which == MODEL_NONE)
			return compare_differs(compare, "node %u: xattr %s should not exist", id,
					       list + at);
		if (size != (ssize_t)node->xattr[which].size ||
		    memcmp(value, node->xattr[which].value, (size_t)size) != 0)
			return compare_differs(compare, "node %u: xattr %s differs (%zd bytes)", id,
					       list + at, size);
	}
	return check_number(compare, id, "number of xattrs", names, node->xattrs);
}

static int check_target(struct compare *compare, unsigned id, const struct model_node *node,
			uint64_t ino)
{
	char target[4096];
	ssize_t length = fs_readlink(compare->fs, ino, target, sizeof(target));

	if (length != (ssize_t)node->size || memcmp(target, node->target, node->size) != 0)
		return compare_differs(compare, "node %u: symlink target differs (%zd bytes)", id,
				       length);
	return 0;
}

static int check_node(struct compare *compare, unsigned id, uint64_t ino, uint64_t parent);

static int check_directory(struct compare *compare, unsigned id, uint64_t ino, uint64_t parent)
{
	const struct model_node *node = model_at(compare->model, id);
	struct compare_list list;
	size_t i;
	int err = compare_list(compare->fs, ino, &list);

	if (err)
		compare_differs(compare, "node %u: readdir says %d", id, err);
	if (!err && (list.dot != ino || list.dotdot != parent))
		err = compare_differs(compare, "node %u: . is %llu, .. is %llu", id,
				      (unsigned long long)list.dot,
				      (unsigned long long)list.dotdot);
	if (!err)
		err = check_number(compare, id, "number of names", list.count, node->entries);
	for (i = 0; i < list.count && !err; i++) {
		const struct model_entry *want = &node->entry[i];
		struct fs_attr attr;

		if (strcmp(list.entry[i].name, want->name) != 0)
			err = compare_differs(compare, "node %u: name %s, should be %s", id,
					      list.entry[i].name, want->name);
		else if (fs_lookup(compare->fs, ino, want->name, &attr) ||
			 attr.ino != list.entry[i].ino)
			err = compare_differs(compare, "node %u: lookup of %s fails", id,
					      want->name);
		else if (list.entry[i].type != IFTODT(model_at(compare->model, want->node)->mode))
			err = compare_differs(compare, "node %u: type of entry %s is %u", id,
					      want->name, list.entry[i].type);
		else
			err = check_node(compare, want->node, list.entry[i].ino, ino);
	}
	compare_list_free(&list);
	return err;
}

/* Names of one node lead to one inode, those of others to others. */
static int check_identity(struct compare *compare, unsigned id, uint64_t ino)
{
	unsigned i;

	/* Among very many nodes the count of inodes must say it (check_space). */
	for (i = 0; i < compare->model->nodes && compare->model->nodes < 1024; i++)
		if (i != id && compare->ino[i] == ino)
			return compare_differs(compare, "nodes %u and %u are one inode", id, i);
	compare->ino[id] = ino;
	return 0;
}

static void account(struct compare *compare, const struct model_node *node,
		    const struct fs_attr *attr)
{
	unsigned i;

	compare->inodes++;
	compare->blocks += attr->blocks / 8;
	for (i = 0; i < compare->model->quotas; i++) {
		if (compare->model->quota[i].project != node->project)
			continue;
		compare->project_blocks[i] += attr->blocks / 8;
		compare->project_inodes[i]++;
	}
}

static int check_node(struct compare *compare, unsigned id, uint64_t ino, uint64_t parent)
{
	const struct model_node *node = model_at(compare->model, id);
	struct fs_attr attr;
	int err;

	if (compare->ino[id])
		return check_number(compare, id, "inode of another name", ino, compare->ino[id]);
	if (check_identity(compare, id, ino))
		return -1;
	err = fs_getattr(compare->fs, ino, &attr);
	if (err)
		return compare_differs(compare, "node %u: getattr says %d", id, err);
	account(compare, node, &attr);
	if (check_attr(compare, id, node, &attr) || check_xattrs(compare, id, node, ino))
		return -1;
	if (S_ISDIR(node->mode))
		return check_directory(compare, id, ino, parent);
	if (S_ISLNK(node->mode))
		return check_target(compare, id, node, ino);
	if (S_ISREG(node->mode))
		return compare_content(compare, id, ino, attr.size);
	return 0;
}

static int check_space(struct compare *compare)
{
	struct fs_space space;
	uint64_t total, rest;

	fs_get_space(compare->fs, &space);
	total = space.units * DXF_UNIT_BLOCKS;
	rest = total - space.free_units * DXF_UNIT_BLOCKS - space.free_blocks - compare->blocks;
	if (space.inodes != compare->inodes)
		return compare_differs(compare, "%llu inodes in use, %llu have names",
				       (unsigned long long)space.inodes,
				       (unsigned long long)compare->inodes);
	if (rest % DXF_UNIT_BLOCKS || rest < DXF_UNIT_BLOCKS ||
	    rest / DXF_UNIT_BLOCKS > compare->inode_units)
		return compare_differs(compare,
				       "%lld blocks are neither free nor of files nor of inodes",
				       (long long)(rest - DXF_UNIT_BLOCKS));
	return 0;
}

static int check_quotas(struct compare *compare)
{
	unsigned i;

	for (i = 0; i < compare->model->quotas; i++) {
		const struct model_quota *want = &compare->model->quota[i];
		struct fs_quota got = { 0 };
		int err = fs_quota_get(compare->fs, want->project, &got);

		if (err || got.block_limit != want->block_limit ||
		    got.inode_limit != want->inode_limit)
			return compare_differs(compare, "quota of %u: error %d, limits %llu, %llu",
					       want->project, err,
					       (unsigned long long)got.block_limit,
					       (unsigned long long)got.inode_limit);
		if (got.blocks != compare->project_blocks[i] ||
		    got.inodes != compare->project_inodes[i])
			return compare_differs(compare,
					       "quota of %u: counts %llu, %llu; holds %llu, %llu",
					       want->project, (unsigned long long)got.blocks,
					       (unsigned long long)got.inodes,
					       (unsigned long long)compare->project_blocks[i],
					       (unsigned long long)compare->project_inodes[i]);
	}
	return 0;
}

int compare_run(struct compare *compare, char *diff, size_t diff_size)
{
	int err;

	compare->diff = diff;
	compare->diff_size = diff_size;
	compare->blocks = compare->inodes = 0;
	memset(compare->project_blocks, 0, sizeof(compare->project_blocks));
	memset(compare->project_inodes, 0, sizeof(compare->project_inodes));
	compare->ino = calloc(compare->model->nodes, sizeof(*compare->ino));
	if (!compare->ino)
		abort();
	err = check_node(compare, MODEL_ROOT, DXF_ROOT_INO, DXF_ROOT_INO);
	free(compare->ino);
	if (!err && strcmp((const char *)fs_super(compare->fs)->label, compare->model->label) != 0)
		err = compare_differs(compare, "label is %.64s", fs_super(compare->fs)->label);
	if (!err && !compare->live)
		err = check_space(compare);
	return err || compare->live ? err : check_quotas(compare);
}
