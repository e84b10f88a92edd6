/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Data. Reads are answered straight from the mapped pool: /dev/fuse copies from
 * it to the reader's pages. Writes are copied once, from the request to the pool.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "deferred.h"
#include "internal.h"
#include "requests.h"

struct answer {
	fuse_req_t req;
	bool sent;
};

static ssize_t send_pieces(const struct iovec *iov, int count, size_t bytes, void *arg)
{
	struct answer *answer = arg;

	answer->sent = true;
	fuse_reply_iov(answer->req, iov, count);
	return (ssize_t)bytes;
}

static ssize_t read_pieces(fuse_req_t req, uint64_t ino, size_t size, uint64_t offset, bool noatime)
{
	struct answer answer = { .req = req };
	ssize_t n = vfs_read(transport_of(req)->vfs, ino, offset, size, noatime, send_pieces,
			     &answer);

	return answer.sent ? 0 : n < 0 ? n : -EIO;
}

#ifdef HAVE_FUSE_IO_URING
/* The buffer of a ring's reply is the daemon's: a copy that is guarded. */
static ssize_t read_to_ring(fuse_req_t req, uint64_t ino, size_t size, uint64_t offset,
			    bool noatime)
{
	char *payload;
	size_t room;
	ssize_t n;

	if (!fuse_req_is_uring(req))
		return read_pieces(req, ino, size, offset, noatime);
	if (fuse_req_get_payload(req, &payload, &room, NULL) || size > room)
		return -EIO;
	n = vfs_pread(transport_of(req)->vfs, ino, payload, size, offset, noatime);
	if (n >= 0)
		fuse_reply_buf(req, payload, (size_t)n);
	return n < 0 ? n : 0;
}
#else
static ssize_t read_to_ring(fuse_req_t req, uint64_t ino, size_t size, uint64_t offset,
			    bool noatime)
{
	return read_pieces(req, ino, size, offset, noatime);
}
#endif

static void op_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset,
		    struct fuse_file_info *fi)
{
	ssize_t n = -EINVAL;

	vfs_open_is_used(transport_of(req)->vfs, file_of_handle(node, fi->fh).handle);
	if (offset >= 0)
		n = read_to_ring(req, node_to_ino(node), MIN(size, (size_t)TRANSPORT_IO_MAX),
				 (uint64_t)offset, fi->flags & O_NOATIME);
	if (n < 0)
		fuse_reply_err(req, (int)-n);
}

static void reply_count(fuse_req_t req, ssize_t n)
{
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else
		fuse_reply_write(req, (size_t)n);
}

/* O_DIRECT may have been set since the file was opened. What the kernel writes back comes from
 * the cache, whatever handle it borrows for it; to drop those pages would wait for their own
 * writing. */
static bool goes_past_cache(const struct vfs_open_file *file, const struct fuse_file_info *fi)
{
	return !fi->writepage && (!vfs_is_cached(file->handle) || (fi->flags & O_DIRECT));
}

/* O_APPEND is not passed on: the kernel has computed the offset under its lock,
 * and pieces of one large direct write may come in any order. */
static void op_write(fuse_req_t req, fuse_ino_t node, const char *buf, size_t size, off_t offset,
		     struct fuse_file_info *fi)
{
	const struct vfs_open_file file = file_of_handle(node, fi->fh);
	const struct request request = request_of(req);
	unsigned flags = (libfuse_kills_suidgid(fi) ? VFS_WRITE_KILL_SUIDGID : 0) |
			 (fi->flags & O_APPEND ? VFS_WRITE_APPENDS : 0);
	struct transport *t = transport_of(req);
	ssize_t n = -EINVAL;

	vfs_open_is_used(t->vfs, file.handle);
	if (offset >= 0)
		n = vfs_write(t->vfs, &request.vfs, &file, buf, size, (uint64_t)offset, flags);
	if (n > 0 && goes_past_cache(&file, fi) && vfs_wrote_past_cache(t->vfs, file.ino))
		deferred_written(t->deferred, &(struct deferred_write){
						      .req = req,
						      .node = node,
						      .offset = offset,
						      .length = (size_t)n,
						      .answer = requests_detach(),
					      });
	else
		reply_count(req, n);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t offset, off_t length,
			 struct fuse_file_info *fi)
{
	const struct request request = request_of(req);
	int err = -EINVAL;

	if (offset >= 0 && length > 0)
		err = vfs_fallocate(transport_of(req)->vfs, &request.vfs, node_to_ino(node), mode,
				    (uint64_t)offset, (uint64_t)length);
	fuse_reply_err(req, -err);
}

static void op_lseek(fuse_req_t req, fuse_ino_t node, off_t offset, int whence,
		     struct fuse_file_info *fi)
{
	off_t at = offset < 0 ? -ENXIO
			      : vfs_seek(transport_of(req)->vfs, node_to_ino(node),
					 (uint64_t)offset, whence);

	if (at < 0)
		fuse_reply_err(req, (int)-at);
	else
		fuse_reply_lseek(req, at);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t in_offset,
			       struct fuse_file_info *in_fi, fuse_ino_t out, off_t out_offset,
			       struct fuse_file_info *out_fi, size_t length, int flags)
{
	const struct vfs_open_file to = file_of_handle(out, out_fi->fh);
	const struct request request = request_of(req);
	ssize_t n = -EINVAL;

	if (in_offset >= 0 && out_offset >= 0 && !flags)
		n = vfs_copy_range(transport_of(req)->vfs, &request.vfs, node_to_ino(in),
				   (uint64_t)in_offset, &to, (uint64_t)out_offset, length);
	reply_count(req, n);
}

void data_ops(struct fuse_lowlevel_ops *ops)
{
	ops->read = op_read;
	ops->write = op_write;
	ops->fallocate = op_fallocate;
	ops->lseek = op_lseek;
	ops->copy_file_range = op_copy_file_range;
}
