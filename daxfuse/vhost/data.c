/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Data. A read is copied once, from the pool to the guest's memory. A write is copied twice: what
 * the pool gets is private memory of ours, since the guest goes on storing to its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "request.h"

static struct vfs *vfs_of(const struct request *r)
{
	return r->guest->config.vfs;
}

static ssize_t send_pieces(const struct iovec *iov, int count, size_t bytes, void *arg)
{
	struct request *r = arg;
	uint64_t at = sizeof(struct fuse_out_header);

	for (int i = 0; i < count; i++) {
		int err = r->answer->write(r->answer->arg, at, iov[i].iov_base, iov[i].iov_len);

		if (err)
			return err;
		at += iov[i].iov_len;
	}
	r->sent = true;
	return (ssize_t)bytes;
}

ssize_t do_read(struct request *r)
{
	const struct fuse_read_in *in = request_take(r, sizeof(*in));
	struct vfs_open_file file;
	int err;

	if (!in)
		return request_malformed(r);
	err = request_file(r, in->fh, r->ino, VFS_MAY_READ, &file);
	if (err)
		return err;
	if (in->offset > INT64_MAX || in->size > r->room || in->size > GUEST_IO_MAX)
		return -EINVAL;
	return vfs_read(vfs_of(r), r->ino, in->offset, in->size,
			(in->flags & O_NOATIME) || r->guest->config.read_only, send_pieces, r);
}

/* The host has cached readers, or believes in another size: it hears of that before the guest has
 * its answer. */
static void tell_of_write(struct request *r, uint64_t end, uint64_t old_size)
{
	struct fs_attr now;
	/* a write that is made once more has changed it before; others may have cut it meanwhile */
	bool size = end > old_size || r->vfs.repeated || vfs_getattr(vfs_of(r), r->ino, &now) ||
		    now.size != old_size;

	request_changed(r, r->ino, NULL, vfs_wrote_past_cache(vfs_of(r), r->ino), size);
}

ssize_t do_write(struct request *r)
{
	const struct fuse_write_in *in = request_take(r, sizeof(*in));
	struct fuse_write_out *out = reply_room(r, sizeof(*out));
	const void *bytes = in && in->size <= GUEST_IO_MAX ? request_take(r, in->size) : NULL;
	struct vfs_open_file file;
	struct fs_attr attr;
	unsigned flags;
	ssize_t n;

	if (!bytes)
		return request_malformed(r);
	n = out ? request_file(r, in->fh, r->ino, VFS_MAY_WRITE, &file) : -ENOBUFS;
	if (!n && in->offset > (uint64_t)INT64_MAX - in->size)
		n = -EFBIG;
	if (!n)
		n = vfs_getattr(vfs_of(r), r->ino, &attr);
	if (n)
		return n;
	flags = (in->write_flags & FUSE_WRITE_KILL_SUIDGID ? VFS_WRITE_KILL_SUIDGID : 0) |
		(in->flags & O_APPEND ? VFS_WRITE_APPENDS : 0);
	n = vfs_write(vfs_of(r), &r->vfs, &file, bytes, in->size, in->offset, flags);
	tell_of_write(r, in->offset + in->size, attr.size);
	if (n < 0)
		return n;
	out->size = (uint32_t)n;
	return sizeof(*out);
}

ssize_t do_fallocate(struct request *r)
{
	const struct fuse_fallocate_in *in = request_take(r, sizeof(*in));
	struct vfs_open_file file;
	int err;

	if (!in)
		return request_malformed(r);
	err = request_file(r, in->fh, r->ino, VFS_MAY_WRITE, &file);
	if (!err && (!in->length || in->offset > INT64_MAX || in->length > INT64_MAX - in->offset))
		err = -EINVAL;
	if (err)
		return err;
	err = vfs_fallocate(vfs_of(r), &r->vfs, r->ino, (int)in->mode, in->offset, in->length);
	request_changed(r, r->ino, NULL, true, true);
	return err;
}

ssize_t do_lseek(struct request *r)
{
	const struct fuse_lseek_in *in = request_take(r, sizeof(*in));
	struct fuse_lseek_out *out = reply_room(r, sizeof(*out));
	off_t at;

	if (!in)
		return request_malformed(r);
	if (!out)
		return -ENOBUFS;
	if (in->whence != SEEK_DATA && in->whence != SEEK_HOLE)
		return -EINVAL;
	at = in->offset > INT64_MAX ? -ENXIO
				    : vfs_seek(vfs_of(r), r->ino, in->offset, (int)in->whence);
	if (at < 0)
		return at;
	out->offset = (uint64_t)at;
	return sizeof(*out);
}

ssize_t do_copy_file_range(struct request *r)
{
	const struct fuse_copy_file_range_in *in = request_take(r, sizeof(*in));
	struct fuse_write_out *out = reply_room(r, sizeof(*out));
	struct vfs_open_file from, to;
	uint64_t ino;
	ssize_t n;

	if (!in)
		return request_malformed(r);
	n = out ? request_other(r, in->nodeid_out, &ino) : -ENOBUFS;
	if (!n)
		n = request_file(r, in->fh_in, r->ino, VFS_MAY_READ, &from);
	if (!n)
		n = request_file(r, in->fh_out, ino, VFS_MAY_WRITE, &to);
	if (!n && (in->flags || in->off_in > INT64_MAX || in->off_out > INT64_MAX ||
		   in->len > INT64_MAX - MAX(in->off_in, in->off_out)))
		n = -EINVAL;
	if (n)
		return n;
	/* the answer has 32 bits for it */
	n = vfs_copy_range(vfs_of(r), &r->vfs, r->ino, in->off_in, &to, in->off_out,
			   MIN(in->len, (uint64_t)INT32_MAX & ~UINT64_C(4095)));
	request_changed(r, ino, NULL, true, true);
	if (n < 0)
		return n;
	out->size = (uint32_t)n;
	return sizeof(*out);
}
