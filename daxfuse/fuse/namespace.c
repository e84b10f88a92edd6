/* SPDX-License-Identifier: BSD-3-Clause */
/* Names: looking them up, making, linking, renaming and removing them. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "deferred.h"
#include "internal.h"

/*
 * Names that are not there are remembered by the kernel, too. "." is asked for
 * when a file handle (name_to_handle_at, NFS) is opened.
 */
static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs_attr attr;
	int err = vfs_lookup(transport_of(req)->vfs, node_to_ino(parent), name, &attr);

	if (err == -ENOENT)
		fuse_reply_entry(req,
				 &(struct fuse_entry_param){ .entry_timeout = TRANSPORT_TIMEOUT });
	else
		reply_entry(req, err, &attr);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	const struct request request = request_of(req);
	struct fs_attr attr;
	/* the kernel's encoding: 12 bits of major at 8, 20 of minor around them */
	uint32_t dev = (uint32_t)rdev;
	uint32_t packed = ((dev >> 8 & 0xfff) << 20) | (dev >> 12 & 0xfff00) | (dev & 0xff);
	int err = vfs_mknod(transport_of(req)->vfs, &request.vfs, node_to_ino(parent), name, mode,
			    packed, &attr);

	reply_entry(req, err, &attr);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	const struct request request = request_of(req);
	struct fs_attr attr;
	int err = vfs_mkdir(transport_of(req)->vfs, &request.vfs, node_to_ino(parent), name, mode,
			    &attr);

	reply_entry(req, err, &attr);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	const struct request request = request_of(req);
	struct fs_attr attr;
	int err = vfs_symlink(transport_of(req)->vfs, &request.vfs, node_to_ino(parent), name,
			      target, &attr);

	reply_entry(req, err, &attr);
}

static void op_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t parent, const char *name)
{
	const struct request request = request_of(req);
	struct fs_attr attr;
	int err = vfs_link(transport_of(req)->vfs, &request.vfs, node_to_ino(node),
			   node_to_ino(parent), name, &attr);

	reply_entry(req, err, &attr);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct request request = request_of(req);

	fuse_reply_err(req, -vfs_unlink(transport_of(req)->vfs, &request.vfs, node_to_ino(parent),
					name));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct request request = request_of(req);

	fuse_reply_err(req,
		       -vfs_rmdir(transport_of(req)->vfs, &request.vfs, node_to_ino(parent), name));
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		      const char *new_name, unsigned int flags)
{
	const struct request request = request_of(req);

	fuse_reply_err(req, -vfs_rename(transport_of(req)->vfs, &request.vfs, node_to_ino(parent),
					name, node_to_ino(new_parent), new_name, flags));
}

static void op_readlink(fuse_req_t req, fuse_ino_t node)
{
	char target[PATH_MAX + 1];
	ssize_t n = vfs_readlink(transport_of(req)->vfs, node_to_ino(node), target,
				 sizeof(target) - 1);

	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else
		fuse_reply_buf(req, target, (size_t)n);
}

static void op_forget(fuse_req_t req, fuse_ino_t node, uint64_t lookups)
{
	deferred_forget(transport_of(req)->deferred, node_to_ino(node));
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		deferred_forget(transport_of(req)->deferred, node_to_ino(forgets[i].ino));
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
