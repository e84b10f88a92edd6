/* SPDX-License-Identifier: BSD-3-Clause */
/* Names: looking them up, making, linking, renaming and removing them. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "deferred.h"
#include "repeat.h"
#include "state.h"

/*
 * Names that are not there are remembered by the kernel, too. "." is asked for
 * when a file handle (name_to_handle_at, NFS) is opened: one of an orphan is
 * stale, it may be freed at any moment.
 */
static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct state *s = state_of(req);
	struct fs_attr attr;
	int err = fs_lookup(s->fs, node_to_ino(parent), name, &attr);

	if (err == -ENOENT) {
		fuse_reply_entry(req, &(struct fuse_entry_param){ .entry_timeout = STATE_TIMEOUT });
		return;
	}
	if (!err && attr.nlink == 0)
		err = -ESTALE;
	reply_entry(req, err, &attr);
}

static void note_names(struct state *s, fuse_ino_t parent)
{
	direct_note(s->direct, node_to_ino(parent), DXF_WATCH_NAMES | DXF_WATCH_ATTR, 0, 0);
}

/* Of watchers: a name in parent was made, of what attr says. */
static void note_entry(struct state *s, fuse_ino_t parent, int err, const struct fs_attr *attr)
{
	note_names(s, parent);
	if (!err)
		direct_note(s->direct, attr->ino, DXF_WATCH_ATTR, 0, 0);
}

/* Of watchers: what a name that is to go, or to move, stands for; 0: nothing, or nobody cares.
 * The kernel changes the names of a directory one at a time. */
static uint64_t watched_ino(struct state *s, fuse_ino_t parent, const char *name)
{
	struct fs_attr attr;

	if (!direct_is_watched(s->direct) || fs_lookup(s->fs, node_to_ino(parent), name, &attr))
		return 0;
	return attr.ino;
}

/* Its links or times are others now. */
static void note_links(struct state *s, uint64_t ino)
{
	if (ino)
		direct_note(s->direct, ino, DXF_WATCH_ATTR, 0, 0);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct state *s = state_of(req);
	struct fs_request request = request_of(req);
	struct fs_attr attr;
	int err;
	/* the kernel's encoding: 12 bits of major at 8, 20 of minor around them */
	uint32_t dev = (uint32_t)rdev;
	uint32_t packed = ((dev >> 8 & 0xfff) << 20) | (dev >> 12 & 0xfff00) | (dev & 0xff);

	if (repeat_entry(req))
		return;
	do {
		err = fs_mknod(s->fs, &request, node_to_ino(parent), name, mode, packed, &attr);
	} while (deferred_frees(s->deferred, err));
	note_entry(s, parent, err, &attr);
	reply_entry(req, err, &attr);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct state *s = state_of(req);
	struct fs_request request = request_of(req);
	struct fs_attr attr;
	int err;

	if (repeat_entry(req))
		return;
	do {
		err = fs_mkdir(s->fs, &request, node_to_ino(parent), name, mode, &attr);
	} while (deferred_frees(s->deferred, err));
	note_entry(s, parent, err, &attr);
	reply_entry(req, err, &attr);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct state *s = state_of(req);
	struct fs_request request = request_of(req);
	struct fs_attr attr;
	int err;

	if (repeat_entry(req))
		return;
	do {
		err = fs_symlink(s->fs, &request, node_to_ino(parent), name, target, &attr);
	} while (deferred_frees(s->deferred, err));
	note_entry(s, parent, err, &attr);
	reply_entry(req, err, &attr);
}

static void op_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t parent, const char *name)
{
	struct state *s = state_of(req);
	struct fs_request request = request_of(req);
	struct fs_attr attr;
	int err;

	if (repeat_link(req, node))
		return;
	do {
		err = fs_link(s->fs, &request, node_to_ino(node), node_to_ino(parent), name, &attr);
	} while (deferred_frees(s->deferred, err));
	note_entry(s, parent, err, &attr);
	reply_entry(req, err, &attr);
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name,
			int (*remove)(struct fs *fs, const struct fs_request *request,
				      uint64_t parent, const char *name))
{
	struct state *s = state_of(req);
	struct fs_request request = request_of(req);
	uint64_t ino;
	int err;

	if (repeat_done(req))
		return;
	ino = watched_ino(s, parent, name);
	err = remove(s->fs, &request, node_to_ino(parent), name);
	note_names(s, parent);
	note_links(s, ino);
	fuse_reply_err(req, -err);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, fs_unlink);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, fs_rmdir);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		      const char *new_name, unsigned int flags)
{
	struct state *s = state_of(req);
	struct fs_request request = request_of(req);
	uint64_t ino, replaced;
	int err;

	if (repeat_done(req))
		return;
	ino = watched_ino(s, parent, name);
	replaced = watched_ino(s, new_parent, new_name);
	do {
		err = fs_rename(s->fs, &request, node_to_ino(parent), name, node_to_ino(new_parent),
				new_name, flags);
	} while (deferred_frees(s->deferred, err));
	note_names(s, parent);
	note_names(s, new_parent);
	note_links(s, ino);
	note_links(s, replaced);
	fuse_reply_err(req, -err);
}

static void op_readlink(fuse_req_t req, fuse_ino_t node)
{
	char target[PATH_MAX + 1];
	ssize_t n = fs_readlink(state_of(req)->fs, node_to_ino(node), target, sizeof(target) - 1);

	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else
		fuse_reply_buf(req, target, (size_t)n);
}

static void op_forget(fuse_req_t req, fuse_ino_t node, uint64_t lookups)
{
	deferred_forget(state_of(req)->deferred, node_to_ino(node));
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		deferred_forget(state_of(req)->deferred, node_to_ino(forgets[i].ino));
	fuse_reply_none(req);
}

void namespace_ops(struct fuse_lowlevel_ops *ops)
{
	ops->lookup = op_lookup;
	ops->mknod = op_mknod;
	ops->mkdir = op_mkdir;
	ops->symlink = op_symlink;
	ops->link = op_link;
	ops->unlink = op_unlink;
	ops->rmdir = op_rmdir;
	ops->rename = op_rename;
	ops->readlink = op_readlink;
	ops->forget = op_forget;
	ops->forget_multi = op_forget_multi;
}
