/* SPDX-License-Identifier: BSD-3-Clause */
/* Listing directories; the cookies are the core's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daxfuse/fuse/session.h"

enum { LIST_BYTES_MAX = 1 << 20 };

struct listing {
	fuse_req_t req;
	struct session *session;
	char *buf;
	size_t size, used;
	bool plus;
};

static int emit(const struct fs_dirent *entry, void *arg)
{
	struct listing *l = arg;
	struct stat st = {.st_ino = ino_node(entry->ino), .st_mode = (mode_t)entry->type << 12};
	size_t n = fuse_add_direntry(l->req, l->buf + l->used, l->size - l->used, entry->name, &st,
				     (off_t)entry->next);

	if (n > l->size - l->used)
		return 1;
	l->used += n;
	return 0;
}

static bool is_dot(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* An entry with its attributes; one that went meanwhile, and the dots, come
 * without (node id 0). */
static int emit_plus(const struct fs_dirent *entry, void *arg)
{
	struct listing *l = arg;
	struct fuse_entry_param param = {0};
	struct fs_attr attr;
	size_t n;

	if (!is_dot(entry->name) && fs_getattr(l->session->fs, entry->ino, &attr) == 0 && attr.nlink)
		attr_to_entry(&attr, &param);
	if (!param.ino) {
		param.attr.st_ino = ino_node(entry->ino);
		param.attr.st_mode = (mode_t)entry->type << 12;
	}
	n = fuse_add_direntry_plus(l->req, l->buf + l->used, l->size - l->used, entry->name, &param,
				   (off_t)entry->next);
	if (n > l->size - l->used)
		return 1;
	l->used += n;
	return 0;
}

static void list(fuse_req_t req, fuse_ino_t node, size_t size, off_t cookie, bool plus)
{
	struct listing l = {.req = req, .session = session_of(req), .plus = plus,
			    .size = size < LIST_BYTES_MAX ? size : LIST_BYTES_MAX};
	int err;

	l.buf = malloc(l.size + 1);
	if (!l.buf) {
		reply_err(req, -ENOMEM);
		return;
	}
	err = cookie < 0 ? -EINVAL : fs_readdir(l.session->fs, node_ino(node), (uint64_t)cookie,
						plus ? emit_plus : emit, &l);
	if (err)
		reply_err(req, err);
	else
		fuse_reply_buf(req, l.buf, l.used);
	free(l.buf);
}

static void op_readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t cookie,
		       struct fuse_file_info *fi)
{
	list(req, node, size, cookie, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t node, size_t size, off_t cookie,
			   struct fuse_file_info *fi)
{
	list(req, node, size, cookie, true);
}

static void op_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	int err = fs_open(s->fs, node_ino(node), 0, NULL);

	if (err) {
		reply_err(req, err);
		return;
	}
	fi->fh = 0;
	fi->keep_cache = 1;
	fi->cache_readdir = 1;
	if (fuse_reply_open(req, fi) == -ENOENT)
		fs_release(s->fs, node_ino(node));
}

static void op_releasedir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);

	fs_release(s->fs, node_ino(node));
	orphans_check(s, node_ino(node));
	fuse_reply_err(req, 0);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
	reply_err(req, fs_fsync(session_of(req)->fs, node_ino(node)));
}

void directory_ops(struct fuse_lowlevel_ops *ops)
{
	ops->opendir = op_opendir;
	ops->readdir = op_readdir;
	ops->readdirplus = op_readdirplus;
	ops->releasedir = op_releasedir;
	ops->fsyncdir = op_fsyncdir;
}
