/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reference: a filesystem in memory that does what POSIX and Linux say each
 * operation does, written from daxfuse/core/fs.h and not from its code. It
 * knows no errors of space. Nodes are shared between copies of a model and
 * copied when they change, so a copy before each operation is cheap.
 */
#ifndef CRASH_MODEL_H
#define CRASH_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_PAGE 4096u
#define MODEL_ROOT 0u
#define MODEL_NONE (~0u)

struct model_page {
	unsigned refs;
	uint8_t bytes[MODEL_PAGE];
};

struct model_extent {
	uint64_t index; /* of the page in the file */
	struct model_page *page;
};

struct model_xattr {
	char name[64];
	uint8_t *value;
	size_t size;
};

struct model_entry {
	char *name;
	unsigned node;
};

struct model_node {
	unsigned refs;
	uint32_t mode, nlink, uid, gid, rdev, flags, project, extsize;
	int64_t atime, mtime, ctime, btime;
	uint64_t size;               /* files and symlinks */
	struct model_extent *extent; /* pages ever written, ascending; others are 0 */
	size_t extents;
	char *target;              /* symlinks */
	struct model_xattr *xattr; /* ascending by name */
	size_t xattrs;
	struct model_entry *entry; /* directories: ascending by name */
	size_t entries;
	unsigned parent; /* directories */
	unsigned opens;
};

struct model_quota {
	uint32_t project;
	uint64_t block_limit, inode_limit;
};

struct model {
	struct model_node **node; /* NULL: no such node any more */
	unsigned nodes;
	struct model_quota quota[4];
	unsigned quotas;
	char label[64];
};

struct model_who {
	uint32_t uid, gid, umask;
	int64_t now;
};

/* An empty filesystem. */
struct model *model_new(int64_t now);
struct model *model_copy(const struct model *model);
void model_free(struct model *model);

static inline const struct model_node *model_at(const struct model *model, unsigned id)
{
	return model->node[id];
}
/* For changes: the model's own copy. */
struct model_node *model_edit(struct model *model, unsigned id);
/* The node called name in directory dir, or MODEL_NONE. */
unsigned model_child(const struct model *model, unsigned dir, const char *name);
/* Free the node if no name, open description or temporary reference holds it. */
void model_reap(struct model *model, unsigned id);

/* 0 or negative errno each. */
int model_create(struct model *model, const struct model_who *who, unsigned dir, const char *name,
		 uint32_t mode, uint32_t rdev, const char *target);
/* A file without name. */
unsigned model_tmpfile(struct model *model, const struct model_who *who, unsigned dir,
		       uint32_t mode);
int model_link(struct model *model, int64_t now, unsigned id, unsigned dir, const char *name);
int model_unlink(struct model *model, int64_t now, unsigned dir, const char *name);
int model_rmdir(struct model *model, int64_t now, unsigned dir, const char *name);
int model_rename(struct model *model, const struct model_who *who, unsigned dir, const char *name,
		 unsigned new_dir, const char *new_name, unsigned flags);

/* ---- data (model_data.c) ---- */

/* The page at index, or NULL for zeroes. */
const uint8_t *model_page(const struct model_node *node, uint64_t index);
void model_read(const struct model_node *node, uint64_t offset, uint8_t *buf, size_t length);
void model_write(struct model_node *node, uint64_t offset, const uint8_t *buf, size_t length);
void model_zero(struct model_node *node, uint64_t offset, uint64_t length);
void model_truncate(struct model_node *node, uint64_t size);
/* There is a page at index, if only of zeroes. */
void model_materialize(struct model_node *node, uint64_t index);
/* offset and length are multiples of MODEL_PAGE. */
void model_collapse(struct model_node *node, uint64_t offset, uint64_t length);
void model_insert(struct model_node *node, uint64_t offset, uint64_t length);
void model_data_share(struct model_node *node); /* one more reference to each page */
void model_data_free(struct model_node *node);

int model_set_xattr(struct model_node *node, const char *name, const void *value, size_t size);
int model_remove_xattr(struct model_node *node, const char *name);
/* The index of the xattr called name, or MODEL_NONE. */
unsigned model_find_xattr(const struct model_node *node, const char *name);

#endif
