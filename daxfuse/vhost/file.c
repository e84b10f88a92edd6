/* SPDX-License-Identifier: BSD-3-Clause */
/* Open files: open, create, O_TMPFILE, release, fsync. To the host's cache a guest's file is one
 * that is open past it. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "request.h"

enum { FLAGS_KEPT = O_ACCMODE | O_TRUNC | O_APPEND | O_NOATIME };

static struct vfs *vfs_of(const struct request *r)
{
	return r->guest->config.vfs;
}

static errint_t check_flags(const struct request *r, uint32_t flags)
{
	if ((flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	if (r->guest->config.read_only && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)))
		return -EROFS;
	return 0;
}

static int vfs_flags(uint32_t flags)
{
	return (int)(flags & FLAGS_KEPT) | O_DIRECT;
}

static struct vfs_open_file file_of(const struct vfs_opened *opened, uint32_t flags)
{
	uint32_t mode = flags & O_ACCMODE;

	return (struct vfs_open_file){
		.ino = opened->attr.ino,
		.handle = opened->handle,
		.may = (mode != O_WRONLY ? VFS_MAY_READ : 0) |
		       (mode != O_RDONLY ? VFS_MAY_WRITE : 0) |
		       (opened->only_appends ? VFS_ONLY_APPENDS : 0),
	};
}

static errint_t add_handle(struct request *r, const struct vfs_opened *opened, uint32_t flags,
			   struct fuse_open_out *out)
{
	const struct vfs_open_file file = file_of(opened, flags);
	int err = -EBADF;

	if (r->earlier)
		err = handles_replace(&r->guest->handles, r->earlier, &file, &out->fh);
	if (err)
		err = handles_add(&r->guest->handles, &file, &out->fh);
	if (err)
		return err;
	out->open_flags = FOPEN_NOFLUSH;
	if (r->guest->config.cache == EXPORTS_CACHE_ALWAYS)
		out->open_flags |= FOPEN_KEEP_CACHE;
	if (r->guest->config.cache == EXPORTS_CACHE_NONE)
		out->open_flags |= FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
	return 0;
}

ssize_t do_open(struct request *r)
{
	const struct fuse_open_in *in = request_take(r, sizeof(*in));
	struct fuse_open_out *out = reply_room(r, sizeof(*out));
	struct vfs_opened opened;
	int err;

	if (!in)
		return request_malformed(r);
	err = out ? check_flags(r, in->flags) : -ENOBUFS;
	if (!err)
		err = vfs_open_inode(vfs_of(r), &r->vfs, r->ino, vfs_flags(in->flags),
				     in->open_flags & FUSE_OPEN_KILL_SUIDGID, &opened);
	if (err)
		return err;
	if (in->flags & O_TRUNC)
		request_changed(r, r->ino, NULL, true, true);
	err = S_ISREG(opened.attr.mode) ? add_handle(r, &opened, in->flags, out) : -EINVAL;
	if (err)
		vfs_cancel_open(vfs_of(r), &opened);
	return err ? err : (ssize_t)sizeof(*out);
}

struct created {
	struct fuse_entry_out entry;
	struct fuse_open_out open;
};

static ssize_t reply_created(struct request *r, struct vfs_opened *opened, uint32_t flags,
			     struct created *out)
{
	struct vfs_opened told = *opened;
	int err = fill_entry(r, &told.attr, &out->entry);

	if (!err) {
		err = add_handle(r, opened, flags, &out->open);
		if (err)
			nodes_forget(&r->guest->nodes, out->entry.nodeid, 1);
	}
	if (err)
		vfs_cancel_open(vfs_of(r), opened);
	return err ? err : (ssize_t)sizeof(*out);
}

static ssize_t create(struct request *r, const struct fuse_create_in *in, const char *name)
{
	struct created *out = reply_room(r, sizeof(*out));
	struct vfs_opened opened;
	int err = out ? check_flags(r, in->flags) : -ENOBUFS;

	if (err)
		return err;
	r->vfs.who.umask = in->umask & 0777;
	if (name)
		err = vfs_create(vfs_of(r), &r->vfs, r->ino, name, in->mode, vfs_flags(in->flags),
				 &opened);
	else
		err = vfs_tmpfile(vfs_of(r), &r->vfs, r->ino, in->mode, vfs_flags(in->flags),
				  &opened);
	if (err)
		return err;
	if (name)
		request_changed(r, r->ino, name, true, false);
	return reply_created(r, &opened, in->flags, out);
}

ssize_t do_create(struct request *r)
{
	const struct fuse_create_in *in = request_take(r, sizeof(*in));
	const char *name = in ? request_take_name(r) : NULL;

	return name ? create(r, in, name) : request_malformed(r);
}

/* What it has for a name means nothing. */
ssize_t do_tmpfile(struct request *r)
{
	const struct fuse_create_in *in = request_take(r, sizeof(*in));

	return in ? create(r, in, NULL) : request_malformed(r);
}

ssize_t do_release(struct request *r)
{
	const struct fuse_release_in *in = request_take(r, sizeof(*in));
	struct vfs_open_file file;
	int err;

	if (!in)
		return request_malformed(r);
	if (request_is_done(r))
		return 0;
	/* if we die between the two, the handle is there until the guest is reset */
	err = handles_find(&r->guest->handles, in->fh, r->ino, &file);
	if (!err)
		vfs_release(vfs_of(r), file.ino, file.handle);
	return err ? err : handles_take(&r->guest->handles, in->fh, r->ino, &file);
}

/* A guest's own writes were durable when they were answered; stores of the host's programs through
 * their mappings are made durable here. */
ssize_t do_fsync(struct request *r)
{
	return request_take(r, sizeof(struct fuse_fsync_in)) ? vfs_fsync(vfs_of(r), r->ino)
							     : request_malformed(r);
}
