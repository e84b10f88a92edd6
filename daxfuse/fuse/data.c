/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Data: open, read, write, and what moves or reserves ranges.
 *
 * A read is answered from the mapped pool: its pieces go to the kernel as they
 * lie, under the inode's lock. A write goes from the request's buffer into the
 * pool. A DAX file is opened with direct I/O (which can be mapped still), so the
 * kernel copies between the program and us without a page between.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "daxfuse/fuse/session.h"

void open_flags(const struct fs_attr *attr, struct fuse_file_info *fi)
{
	fi->fh = 0;
	fi->direct_io = attr->dax || (fi->flags & O_DIRECT) != 0;
	fi->keep_cache = !fi->direct_io;
	fi->parallel_direct_writes = 1;
	fi->noflush = 1;
}

static void op_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct fs_setattr cut = {.valid = FS_SET_SIZE};
	struct session *s = session_of(req);
	struct fs_attr attr;
	int err = fs_open(s->fs, node_ino(node), fi->flags, &attr);

	if (!err && (fi->flags & O_TRUNC) && S_ISREG(attr.mode)) {
		if (libfuse_kills_suidgid(fi))
			cut.valid |= FS_SET_KILL_SUIDGID;
		err = fs_setattr(s->fs, node_ino(node), &cut, NULL);
		if (err)
			fs_release(s->fs, node_ino(node));
	}
	if (err) {
		reply_err(req, err);
		return;
	}
	open_flags(&attr, fi);
	if (fuse_reply_open(req, fi) == -ENOENT)
		fs_release(s->fs, node_ino(node));
}

static void op_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct session *s = session_of(req);

	fs_release(s->fs, node_ino(node));
	orphans_check(s, node_ino(node));
	fuse_reply_err(req, 0);
}

/*
 * Poison must be found before the kernel copies: a reply that failed can't be
 * made again. Of an image the kernel knows what is poisoned, by the page; on a
 * device any line may turn out to be.
 */
static int probe_piece(const struct session *s, const struct iovec *piece)
{
	const struct pmem *pm = fs_pmem(s->fs);
	const char *p = piece->iov_base;
	int err = 0;

	if (device_info(s->device)->kind == DEVICE_DAX)
		return pmem_probe(pm, p, piece->iov_len);
	for (size_t at = 0; !err && at < piece->iov_len; at += DXF_BLOCK_SIZE)
		err = pmem_probe(pm, p + at, 1);
	return err ? err : pmem_probe(pm, p + piece->iov_len - 1, 1);
}

static ssize_t send_pieces(const struct iovec *iov, int count, size_t bytes, void *arg)
{
	fuse_req_t req = arg;

	for (int i = 0; i < count; i++) {
		int err = probe_piece(session_of(req), &iov[i]);

		if (err)
			return err;
	}
	fuse_reply_iov(req, iov, count);
	return 0;
}

static void op_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *fi)
{
	ssize_t n = offset < 0 ? -EINVAL : fs_read(session_of(req)->fs, node_ino(node),
						   (uint64_t)offset, size, send_pieces, req);

	if (n < 0)
		reply_err(req, n);
}

static void op_write(fuse_req_t req, fuse_ino_t node, const char *buf, size_t size, off_t offset,
		     struct fuse_file_info *fi)
{
	unsigned flags = libfuse_kills_suidgid(fi) ? FS_WRITE_KILL_SUIDGID : 0;
	struct session *s = session_of(req);
	ssize_t n = -EINVAL;

	if (offset >= 0)
		n = fs_write(s->fs, node_ino(node), buf, size, (uint64_t)offset, flags);
	if (n == -ENOSPC && orphans_drain(s))
		n = fs_write(s->fs, node_ino(node), buf, size, (uint64_t)offset, flags);
	if (n < 0)
		reply_err(req, n);
	else
		fuse_reply_write(req, (size_t)n);
}

static void op_fsync(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
	reply_err(req, fs_fsync(session_of(req)->fs, node_ino(node)));
}

static void op_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t offset, off_t length,
			 struct fuse_file_info *fi)
{
	struct session *s = session_of(req);
	int err = -EINVAL;

	if (offset >= 0 && length > 0)
		err = fs_fallocate(s->fs, node_ino(node), mode, (uint64_t)offset, (uint64_t)length);
	if (err == -ENOSPC && orphans_drain(s))
		err = fs_fallocate(s->fs, node_ino(node), mode, (uint64_t)offset, (uint64_t)length);
	reply_err(req, err);
}

static void op_lseek(fuse_req_t req, fuse_ino_t node, off_t offset, int whence, struct fuse_file_info *fi)
{
	off_t result = offset < 0 ? -ENXIO :
		       fs_seek(session_of(req)->fs, node_ino(node), (uint64_t)offset, whence);

	if (result < 0)
		reply_err(req, result);
	else
		fuse_reply_lseek(req, result);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t in_offset,
			       struct fuse_file_info *in_fi, fuse_ino_t out, off_t out_offset,
			       struct fuse_file_info *out_fi, size_t length, int flags)
{
	ssize_t n = -EINVAL;

	if (in_offset >= 0 && out_offset >= 0 && !flags)
		n = fs_copy_range(session_of(req)->fs, node_ino(in), (uint64_t)in_offset,
				  node_ino(out), (uint64_t)out_offset, length);
	if (n < 0)
		reply_err(req, n);
	else
		fuse_reply_write(req, (size_t)n);
}

void data_ops(struct fuse_lowlevel_ops *ops)
{
	ops->open = op_open;
	ops->release = op_release;
	ops->read = op_read;
	ops->write = op_write;
	ops->fsync = op_fsync;
	ops->fallocate = op_fallocate;
	ops->lseek = op_lseek;
	ops->copy_file_range = op_copy_file_range;
}
