/* SPDX-License-Identifier: BSD-3-Clause */
/* Open files: open, create, O_TMPFILE, release. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "deferred.h"
#include "repeat.h"
#include "requests.h"
#include "state.h"

static int truncate_open(fuse_req_t req, uint64_t ino, const struct fuse_file_info *fi,
			 struct fs_attr *attr)
{
	struct state *s = state_of(req);
	struct fs_setattr set = { .valid = FS_SET_SIZE };
	uint32_t mode = attr->mode;
	int err;

	if (libfuse_kills_suidgid(fi))
		set.valid |= FS_SET_KILL_SUIDGID |
			     (kills_of(req, attr) & FS_WRITE_KILL_SGID ? FS_SET_KILL_SGID : 0);
	err = direct_setattr(s->direct, ino, &set, attr);

	/* an earlier process may have changed it, and died before it could say so */
	if (!err && (attr->mode != mode || requests_is_repeated()))
		fuse_lowlevel_notify_inval_inode(s->se, ino_to_node(ino), -1, 0);
	return err;
}

static void op_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct state *s = state_of(req);
	uint64_t ino = node_to_ino(node);
	struct fs_attr attr;
	int err = fs_open(s->fs, ino, fi->flags, &attr);

	if (!err && (fi->flags & O_TRUNC) && (fi->flags & O_ACCMODE) != O_RDONLY) {
		err = truncate_open(req, ino, fi, &attr);
		if (err)
			fs_release(s->fs, ino);
	}
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	open_reply_flags(s, &attr, fi);
	/* -ENOENT: the open was interrupted, so nobody will release it */
	if (fuse_reply_open(req, fi) == -ENOENT)
		fs_release(s->fs, ino);
}

static void reply_created(fuse_req_t req, const struct fs_attr *attr, struct fuse_file_info *fi)
{
	struct state *s = state_of(req);
	struct fuse_entry_param entry;

	attr_to_entry(attr, &entry);
	open_reply_flags(s, attr, fi);
	if (fuse_reply_create(req, &entry, fi) == -ENOENT) {
		fs_release(s->fs, attr->ino);
		deferred_forget(s->deferred, attr->ino);
	}
}

/* The open flags of a file that was just made: its mode does not bind them. */
static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	struct state *s = state_of(req);
	struct fs_request request = request_of(req);
	struct fs_attr attr;
	int err;

	if (!repeat_made(req, &err, &attr)) {
		do {
			err = fs_mknod(s->fs, &request, node_to_ino(parent), name,
				       (mode & 07777) | S_IFREG, 0, &attr);
		} while (deferred_frees(s->deferred, err));
		direct_note(s->direct, node_to_ino(parent), DXF_WATCH_NAMES | DXF_WATCH_ATTR, 0, 0);
		if (!err)
			direct_note(s->direct, attr.ino, DXF_WATCH_ATTR, 0, 0);
	}
	if (!err)
		err = fs_open(s->fs, attr.ino, O_RDONLY, &attr);
	if (err)
		fuse_reply_err(req, -err);
	else
		reply_created(req, &attr, fi);
}

static void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
	struct state *s = state_of(req);
	struct fs_request request = request_of(req);
	struct fs_attr attr;
	int err;

	/* it is an orphan from the start: not to be taken for one to free */
	deferred_hold_orphans(s->deferred);
	if (!repeat_made(req, &err, &attr))
		err = fs_tmpfile(s->fs, &request, node_to_ino(parent), (mode & 07777) | S_IFREG,
				 &attr);
	if (!err)
		err = fs_open(s->fs, attr.ino, O_RDONLY, &attr);
	deferred_release_orphans(s->deferred);
	if (err)
		fuse_reply_err(req, -err);
	else
		reply_created(req, &attr, fi);
}

static void op_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct state *s = state_of(req);

	/* its pins end first: the file may be trimmed when nobody maps it */
	direct_release(s->direct, file_of_handle(node, fi->fh).handle);
	fs_release(s->fs, node_to_ino(node));
	deferred_forget(s->deferred, node_to_ino(node));
	fuse_reply_err(req, 0);
}

/*
 * Every write was durable when it returned, and what was stored through the kernel's
 * mappings it has written before it asks. What is left is what programs have stored
 * through their own. If such stores are as durable as they will ever be, the kernel need
 * not ask again.
 */
static void op_fsync(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
	struct state *s = state_of(req);

	if (strcmp(device_granularity(s->dev), "cache_line") ||
	    s->options->direct.who == DIRECT_NOBODY)
		fuse_reply_err(req, ENOSYS);
	else
		fuse_reply_err(req, errno_of(direct_fsync(s->direct, node_to_ino(node))));
}

void file_ops(struct fuse_lowlevel_ops *ops)
{
	ops->open = op_open;
	ops->create = op_create;
	ops->tmpfile = op_tmpfile;
	ops->release = op_release;
	ops->fsync = op_fsync;
}
