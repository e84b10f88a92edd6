/* SPDX-License-Identifier: BSD-3-Clause */
/* Names: lookup, create, link, unlink, rename. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "daxfuse/fuse/session.h"

enum { GROUPS_MAX_ASKED = 64 };

static bool in_group(fuse_req_t req, gid_t gid)
{
	gid_t groups[GROUPS_MAX_ASKED];
	int n = fuse_req_getgroups(req, GROUPS_MAX_ASKED, groups);

	if (n > GROUPS_MAX_ASKED)
		n = GROUPS_MAX_ASKED;
	for (int i = 0; i < n; i++)
		if (groups[i] == gid)
			return true;
	return false;
}

/* Asking for supplementary groups reads /proc: only where a sgid file is made in
 * a sgid directory does it matter. */
static struct fs_cred cred_of(fuse_req_t req, fuse_ino_t parent, mode_t mode)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct fs_cred cred = {.uid = ctx->uid, .gid = ctx->gid, .umask = ctx->umask};
	struct fs_attr dir;

	if ((mode & S_ISGID) && fs_getattr(session_of(req)->fs, node_ino(parent), &dir) == 0)
		cred.in_group = ctx->gid == dir.gid || in_group(req, dir.gid);
	return cred;
}

static void reply_entry(fuse_req_t req, int err, const struct fs_attr *attr)
{
	struct fuse_entry_param entry;

	if (err) {
		reply_err(req, err);
		return;
	}
	attr_to_entry(attr, &entry);
	fuse_reply_entry(req, &entry);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param none = {.entry_timeout = SESSION_TIMEOUT};
	struct fs_attr attr;
	int err = fs_lookup(session_of(req)->fs, node_ino(parent), name, &attr);

	if (err == -ENOENT)
		fuse_reply_entry(req, &none); /* a negative entry, cached */
	else
		reply_entry(req, err, &attr);
}

static uint32_t to_rdev(dev_t dev)
{
	return (uint32_t)major(dev) << 20 | (minor(dev) & 0xfffff);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct fs_cred cred = cred_of(req, parent, mode);
	struct session *s = session_of(req);
	struct fs_attr attr;
	int err = fs_mknod(s->fs, &cred, node_ino(parent), name, mode, to_rdev(rdev), &attr);

	if (err == -ENOSPC && orphans_drain(s))
		err = fs_mknod(s->fs, &cred, node_ino(parent), name, mode, to_rdev(rdev), &attr);
	reply_entry(req, err, &attr);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct fs_cred cred = cred_of(req, parent, mode);
	struct session *s = session_of(req);
	struct fs_attr attr;
	int err = fs_mkdir(s->fs, &cred, node_ino(parent), name, mode, &attr);

	if (err == -ENOSPC && orphans_drain(s))
		err = fs_mkdir(s->fs, &cred, node_ino(parent), name, mode, &attr);
	reply_entry(req, err, &attr);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct fs_cred cred = cred_of(req, parent, 0);
	struct session *s = session_of(req);
	struct fs_attr attr;
	int err = fs_symlink(s->fs, &cred, node_ino(parent), name, target, &attr);

	if (err == -ENOSPC && orphans_drain(s))
		err = fs_symlink(s->fs, &cred, node_ino(parent), name, target, &attr);
	reply_entry(req, err, &attr);
}

static void op_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t parent, const char *name)
{
	struct session *s = session_of(req);
	struct fs_attr attr;
	int err = fs_link(s->fs, node_ino(node), node_ino(parent), name, &attr);

	if (err == -ENOSPC && orphans_drain(s))
		err = fs_link(s->fs, node_ino(node), node_ino(parent), name, &attr);
	reply_entry(req, err, &attr);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_err(req, fs_unlink(session_of(req)->fs, node_ino(parent), name));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	reply_err(req, fs_rmdir(session_of(req)->fs, node_ino(parent), name));
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		      const char *new_name, unsigned flags)
{
	struct fs_cred cred = cred_of(req, parent, 0);
	struct session *s = session_of(req);
	int err = fs_rename(s->fs, &cred, node_ino(parent), name, node_ino(new_parent), new_name, flags);

	if (err == -ENOSPC && orphans_drain(s))
		err = fs_rename(s->fs, &cred, node_ino(parent), name, node_ino(new_parent), new_name,
				flags);
	reply_err(req, err);
}

static void op_readlink(fuse_req_t req, fuse_ino_t node)
{
	char target[DXF_BLOCK_SIZE];
	ssize_t n = fs_readlink(session_of(req)->fs, node_ino(node), target, sizeof(target) - 1);

	if (n < 0) {
		reply_err(req, n);
		return;
	}
	target[n] = '\0';
	fuse_reply_readlink(req, target);
}

static void op_forget(fuse_req_t req, fuse_ino_t node, uint64_t nlookup)
{
	orphans_check(session_of(req), node_ino(node));
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		orphans_check(session_of(req), node_ino(forgets[i].ino));
	fuse_reply_none(req);
}

/* ---- create and O_TMPFILE -------------------------------------------------- */

/* attr is of the new file: open it, reply both. */
static void reply_create(fuse_req_t req, int err, struct fs_attr *attr, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	struct fuse_entry_param entry;

	if (!err)
		err = fs_open(s->fs, attr->ino, 0, NULL);
	if (err) {
		reply_err(req, err);
		return;
	}
	open_flags(attr, fi);
	attr_to_entry(attr, &entry);
	/* interrupted: the kernel will not send RELEASE */
	if (fuse_reply_create(req, &entry, fi) == -ENOENT)
		fs_release(s->fs, attr->ino);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	struct fs_cred cred = cred_of(req, parent, mode);
	struct session *s = session_of(req);
	struct fs_attr attr;
	int err = fs_mknod(s->fs, &cred, node_ino(parent), name, S_IFREG | (mode & 07777), 0, &attr);

	if (err == -ENOSPC && orphans_drain(s))
		err = fs_mknod(s->fs, &cred, node_ino(parent), name, S_IFREG | (mode & 07777), 0, &attr);
	reply_create(req, err, &attr, fi);
}

static void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
	struct fs_cred cred = cred_of(req, parent, mode);
	struct fs_attr attr;
	int err = fs_tmpfile(session_of(req)->fs, &cred, node_ino(parent), mode, &attr);

	reply_create(req, err, &attr, fi);
}

void namespace_ops(struct fuse_lowlevel_ops *ops)
{
	ops->lookup = op_lookup;
	ops->forget = op_forget;
	ops->forget_multi = op_forget_multi;
	ops->mknod = op_mknod;
	ops->mkdir = op_mkdir;
	ops->symlink = op_symlink;
	ops->link = op_link;
	ops->unlink = op_unlink;
	ops->rmdir = op_rmdir;
	ops->rename = op_rename;
	ops->readlink = op_readlink;
	ops->create = op_create;
	ops->tmpfile = op_tmpfile;
}
