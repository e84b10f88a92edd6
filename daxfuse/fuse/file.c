/* SPDX-License-Identifier: BSD-3-Clause */
/* Open files: open, create, O_TMPFILE, release, fsync. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "deferred.h"
#include "internal.h"

static int register_backing(void *arg, int fd)
{
	return fuse_passthrough_open(arg, fd);
}

/* With a view mappings go there, and perhaps reads and writes: the kernel passes both to it or
 * none. Else they come to us past the cache, as of any file that may be mapped. */
static int use_view(const struct request *request, struct vfs_opened *opened,
		    struct fuse_file_info *fi)
{
	struct transport *t = transport_of(request->req);
	int backing = t->passthrough ? views_enter(t->views, opened, fi->flags, register_backing,
						   request->req)
				     : 0;

	if (backing <= 0)
		return backing;
	vfs_open_past_cache(t->vfs, &request->vfs, opened);
	fi->fh = handle_with_view(handle_of_file(opened, fi->flags));
	fi->backing_id = backing;
	fi->direct_io = !views_pass(t->views, opened, fi->flags);
	fi->parallel_direct_writes = fi->direct_io;
	fi->keep_cache = 0;
	return 0;
}

static int fill_open_reply(const struct request *request, struct vfs_opened *opened,
			   struct fuse_file_info *fi)
{
	int err;

	fi->fh = handle_of_file(opened, fi->flags);
	fi->noflush = 1;
	fi->direct_io = opened->direct;
	fi->parallel_direct_writes = opened->direct; /* core locks */
	fi->keep_cache = opened->keep_cache;
	err = use_view(request, opened, fi);
	if (err)
		vfs_cancel_open(transport_of(request->req)->vfs, opened);
	return err;
}

static void cancel_open(struct transport *t, const struct vfs_opened *opened, uint64_t fh)
{
	vfs_cancel_open(t->vfs, opened);
	if (t->passthrough)
		views_leave(t->views, opened->attr.ino, opened->handle, view_of_handle(fh));
}

static void op_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	const struct request request = request_of(req);
	struct vfs *vfs = transport_of(req)->vfs;
	struct vfs_opened opened;
	int err = vfs_open_inode(vfs, &request.vfs, node_to_ino(node), fi->flags,
				 libfuse_kills_suidgid(fi), &opened);

	if (!err)
		err = fill_open_reply(&request, &opened, fi);
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	vfs_opening_answered(&request.vfs);
	/* -ENOENT: the open was interrupted, so nobody will release it */
	if (fuse_reply_open(req, fi) == -ENOENT)
		cancel_open(transport_of(req), &opened, fi->fh);
}

static void reply_created(const struct request *request, int err, struct vfs_opened *opened,
			  struct fuse_file_info *fi)
{
	fuse_req_t req = request->req;
	struct transport *t = transport_of(req);
	struct fuse_entry_param entry;

	if (!err)
		err = fill_open_reply(request, opened, fi);
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	attr_to_entry(t, &opened->attr, &entry);
	vfs_opening_answered(&request->vfs);
	if (fuse_reply_create(req, &entry, fi) == -ENOENT) {
		cancel_open(t, opened, fi->fh);
		deferred_forget(t->deferred, opened->attr.ino);
	}
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	const struct request request = request_of(req);
	struct vfs_opened opened;
	int err = vfs_create(transport_of(req)->vfs, &request.vfs, node_to_ino(parent), name, mode,
			     fi->flags, &opened);

	reply_created(&request, err, &opened, fi);
}

static void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
	const struct request request = request_of(req);
	struct vfs_opened opened;
	int err = vfs_tmpfile(transport_of(req)->vfs, &request.vfs, node_to_ino(parent), mode,
			      fi->flags, &opened);

	reply_created(&request, err, &opened, fi);
}

static void op_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct transport *t = transport_of(req);
	uint64_t handle = file_of_handle(node, fi->fh).handle;

	vfs_release(t->vfs, node_to_ino(node), handle);
	if (t->passthrough)
		views_leave(t->views, node_to_ino(node), handle, view_of_handle(fi->fh));
	deferred_forget(t->deferred, node_to_ino(node));
	fuse_reply_err(req, 0);
}

/*
 * Every write was durable when it returned, and the kernel has written back stores through its own
 * mappings before it asks. Only stores of programs through their own mappings are left. If these
 * are as durable as they will ever be, the kernel need not ask again.
 */
static void op_fsync(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
	struct transport *t = transport_of(req);

	if (!t->config.needs_fsync || !(t->config.maps || t->passthrough))
		fuse_reply_err(req, ENOSYS);
	else
		fuse_reply_err(req, -vfs_fsync(t->vfs, node_to_ino(node)));
}

void file_ops(struct fuse_lowlevel_ops *ops)
{
	ops->open = op_open;
	ops->create = op_create;
	ops->tmpfile = op_tmpfile;
	ops->release = op_release;
	ops->fsync = op_fsync;
}
