/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading directories. The cookies are core's, so nothing is kept open. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "internal.h"

struct listing {
	fuse_req_t req;
	const struct transport *transport;
	char *buf;
	size_t size;
	size_t used;
};

static bool is_dot(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static int take_room(struct listing *l, size_t length)
{
	if (length > l->size - l->used)
		return 1;
	l->used += length;
	return 0;
}

static int emit_name(const struct fs_dirent *entry, void *arg)
{
	struct listing *l = arg;
	struct stat st = { .st_ino = entry->ino, .st_mode = (mode_t)entry->type << 12 };

	return take_room(l, fuse_add_direntry(l->req, l->buf + l->used, l->size - l->used,
					      entry->name, &st, (off_t)entry->next));
}

/* With attributes. An entry without a node (one that has just gone, "." and
 * "..") is a name only, and not counted as a lookup. */
static int emit_entry(const struct fs_dirent *entry, void *arg)
{
	struct listing *l = arg;
	struct fuse_entry_param param;
	struct fs_attr attr;

	if (!is_dot(entry->name) && vfs_getattr(l->transport->vfs, entry->ino, &attr) == 0)
		attr_to_entry(l->transport, &attr, &param);
	else
		param = (struct fuse_entry_param){
			.attr = { .st_ino = entry->ino, .st_mode = (mode_t)entry->type << 12 },
		};
	return take_room(l, fuse_add_direntry_plus(l->req, l->buf + l->used, l->size - l->used,
						   entry->name, &param, (off_t)entry->next));
}

static void list_names(fuse_req_t req, fuse_ino_t node, size_t size, off_t cookie,
		       int (*emit)(const struct fs_dirent *entry, void *arg))
{
	CLEANUP_FREE char *buf = NULL;
	struct listing l = {
		.req = req,
		.transport = transport_of(req),
		.size = MIN(size, (size_t)TRANSPORT_IO_MAX),
	};
	int err;

	buf = l.buf = malloc(l.size);
	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	err = vfs_readdir(l.transport->vfs, node_to_ino(node), (uint64_t)cookie, emit, &l);
	if (err < 0 && !l.used)
		fuse_reply_err(req, -err);
	else
		fuse_reply_buf(req, buf, l.used);
}

static void op_readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t cookie,
		       struct fuse_file_info *fi)
{
	list_names(req, node, size, cookie, emit_name);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t node, size_t size, off_t cookie,
			   struct fuse_file_info *fi)
{
	list_names(req, node, size, cookie, emit_entry);
}

/* ENOSYS tells the kernel once and for all that directories need no open; it then also keeps the
 * entries that it has read until they change. */
static void op_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	fuse_reply_err(req, ENOSYS);
}

/* Every change was durable when its call returned; the kernel need not ask. */
static void op_fsyncdir(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
	fuse_reply_err(req, ENOSYS);
}

void directory_ops(struct fuse_lowlevel_ops *ops)
{
	ops->opendir = op_opendir;
	ops->readdir = op_readdir;
	ops->readdirplus = op_readdirplus;
	ops->fsyncdir = op_fsyncdir;
}
