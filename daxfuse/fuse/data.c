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
#include "requests.h"
#include "state.h"

struct answer {
	fuse_req_t req;
	bool sent;
};

/*
 * Poison must be met here, where it is a SIGBUS that is caught, and not by the
 * kernel that copies from the same memory. Of an image the kernel knows what is
 * poisoned, by the page; on a device any line may turn out to be.
 */
static int probe_piece(const struct state *s, const struct iovec *piece)
{
	const struct pmem *pm = fs_pmem(s->fs);
	const char *p = piece->iov_base;
	int err = 0;

	if (device_info(s->dev)->kind == DEVICE_DAX)
		return pmem_probe(pm, p, piece->iov_len);
	for (size_t at = 0; !err && at < piece->iov_len; at += DXF_BLOCK_SIZE)
		err = pmem_probe(pm, p + at, 1);
	return err ? err : pmem_probe(pm, p + piece->iov_len - 1, 1);
}

static ssize_t send_pieces(const struct iovec *iov, int count, size_t bytes, void *arg)
{
	struct answer *answer = arg;

	for (int i = 0; i < count; i++) {
		int err = probe_piece(state_of(answer->req), &iov[i]);

		if (err)
			return err;
	}
	answer->sent = true;
	fuse_reply_iov(answer->req, iov, count);
	return (ssize_t)bytes;
}

#ifdef HAVE_FUSE_IO_URING
/* The buffer of a ring's reply is the daemon's: a copy that is guarded. */
static ssize_t copy_to_ring(const struct iovec *iov, int count, size_t bytes, void *arg)
{
	struct answer *answer = arg;
	const struct pmem *pm = fs_pmem(state_of(answer->req)->fs);
	size_t room, at = 0;
	char *payload;

	if (fuse_req_get_payload(answer->req, &payload, &room, NULL) || bytes > room)
		return -EIO;
	for (int i = 0; i < count; i++) {
		int err = pmem_read(pm, payload + at, iov[i].iov_base, iov[i].iov_len);

		if (err)
			return err;
		at += iov[i].iov_len;
	}
	answer->sent = true;
	fuse_reply_buf(answer->req, payload, bytes);
	return (ssize_t)bytes;
}

static fs_emit emit_for(fuse_req_t req)
{
	return fuse_req_is_uring(req) ? copy_to_ring : send_pieces;
}
#else
static fs_emit emit_for(fuse_req_t req)
{
	return send_pieces;
}
#endif

static void op_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset,
		    struct fuse_file_info *fi)
{
	struct answer answer = { .req = req };
	struct fs *fs = state_of(req)->fs;
	ssize_t n;

	if (offset < 0) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	size = MIN(size, (size_t)STATE_IO_MAX);
	if (fi->flags & O_NOATIME)
		n = fs_read_noatime(fs, node_to_ino(node), (uint64_t)offset, size, emit_for(req),
				    &answer);
	else
		n = fs_read(fs, node_to_ino(node), (uint64_t)offset, size, emit_for(req), &answer);
	if (!answer.sent)
		fuse_reply_err(req, n < 0 ? (int)-n : EIO);
}

/*
 * A write that took suid or sgid away changed what the kernel believes of the
 * mode; it must know before the writer goes on. An earlier process may have taken
 * them away, and died before it could say so.
 */
static void tell_mode(struct state *s, fuse_ino_t node, uint32_t old_mode)
{
	struct fs_attr attr;

	if (requests_is_repeated() ||
	    (fs_getattr(s->fs, node_to_ino(node), &attr) == 0 && attr.mode != old_mode))
		fuse_lowlevel_notify_inval_inode(s->se, node, -1, 0);
}

/* O_APPEND is not passed on: the kernel has computed the offset under its lock,
 * and pieces of one large direct write may come in any order. */
static void op_write(fuse_req_t req, fuse_ino_t node, const char *buf, size_t size, off_t offset,
		     struct fuse_file_info *fi)
{
	struct state *s = state_of(req);
	struct fs_request request = request_of(req);
	bool kills = libfuse_kills_suidgid(fi);
	struct fs_attr attr = { .mode = 06000 };
	int64_t done;
	ssize_t n;

	if (offset < 0 || (handle_only_appends(fi->fh) && !(fi->flags & O_APPEND))) {
		fuse_reply_err(req, offset < 0 ? EINVAL : EPERM);
		return;
	}
	if (kills && !requests_is_repeated() &&
	    (fs_getattr(s->fs, node_to_ino(node), &attr) || !(attr.mode & 06000)))
		kills = false;
	if (requests_was_executed(&done)) {
		n = (ssize_t)done;
	} else {
		do {
			n = direct_write(s->direct, &request, node_to_ino(node), buf, size,
					 (uint64_t)offset, kills ? kills_of(req, &attr) : 0);
		} while (deferred_frees(s->deferred, n));
	}
	if (kills)
		tell_mode(s, node, attr.mode);
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else
		fuse_reply_write(req, (size_t)n);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t offset, off_t length,
			 struct fuse_file_info *fi)
{
	struct state *s = state_of(req);
	int err = -EINVAL;

	if (offset >= 0 && length > 0)
		err = fs_may_fallocate(s->fs, node_to_ino(node), mode, (uint64_t)offset,
				       (uint64_t)length);
	if (!err)
		err = drop_privileges(req, node);
	if (!err) {
		do {
			err = direct_fallocate(s->direct, NULL, node_to_ino(node), mode, (uint64_t)offset,
					       (uint64_t)length);
		} while (deferred_frees(s->deferred, err));
	}
	fuse_reply_err(req, -err);
}

static void op_lseek(fuse_req_t req, fuse_ino_t node, off_t offset, int whence,
		     struct fuse_file_info *fi)
{
	off_t at = offset < 0 ? -ENXIO :
		   fs_seek(state_of(req)->fs, node_to_ino(node), (uint64_t)offset, whence);

	if (at < 0)
		fuse_reply_err(req, (int)-at);
	else
		fuse_reply_lseek(req, at);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t in_offset,
			       struct fuse_file_info *in_fi, fuse_ino_t out, off_t out_offset,
			       struct fuse_file_info *out_fi, size_t length, int flags)
{
	struct state *s = state_of(req);
	ssize_t n;

	if (in_offset < 0 || out_offset < 0 || flags) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	n = handle_only_appends(out_fi->fh) ? -EPERM : drop_privileges(req, out);
	if (n) {
		fuse_reply_err(req, (int)-n);
		return;
	}
	do {
		n = direct_copy_range(s->direct, node_to_ino(in), (uint64_t)in_offset,
				      node_to_ino(out), (uint64_t)out_offset, length);
	} while (deferred_frees(s->deferred, n));
	/* the kernel does not know that this is a read, too */
	fuse_lowlevel_notify_inval_inode(s->se, in, -1, 0);
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else
		fuse_reply_write(req, (size_t)n);
}

void data_ops(struct fuse_lowlevel_ops *ops)
{
	ops->read = op_read;
	ops->write = op_write;
	ops->fallocate = op_fallocate;
	ops->lseek = op_lseek;
	ops->copy_file_range = op_copy_file_range;
}
