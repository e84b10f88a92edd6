/* SPDX-License-Identifier: BSD-3-Clause */
/* Attributes: getattr, setattr, statx, statfs. */
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "internal.h"

#define NSEC INT64_C(1000000000)

static void reply_attr(fuse_req_t req, int err, const struct fs_attr *attr)
{
	struct stat st;

	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	attr_to_stat(attr, &st);
	fuse_reply_attr(req, &st, attr_timeout(transport_of(req), attr->ino));
}

static void op_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct fs_attr attr;

	reply_attr(req, vfs_getattr(transport_of(req)->vfs, node_to_ino(node), &attr), &attr);
}

static int64_t to_ns(struct timespec ts)
{
	int64_t ns;

	/* beyond the years 1677 to 2262: the nearest time there is */
	if (__builtin_mul_overflow((int64_t)ts.tv_sec, NSEC, &ns) ||
	    __builtin_add_overflow(ns, ts.tv_nsec, &ns))
		return ts.tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}

static void decode_times(const struct stat *st, int valid, struct fs_setattr *set)
{
	int64_t now = fs_clock();

	if (valid & FUSE_SET_ATTR_ATIME) {
		set->valid |= FS_SET_ATIME;
		set->atime = valid & FUSE_SET_ATTR_ATIME_NOW ? now : to_ns(st->st_atim);
	}
	if (valid & FUSE_SET_ATTR_MTIME) {
		set->valid |= FS_SET_MTIME;
		set->mtime = valid & FUSE_SET_ATTR_MTIME_NOW ? now : to_ns(st->st_mtim);
	}
	if ((valid & FUSE_SET_ATTR_ATIME_NOW) && (valid & FUSE_SET_ATTR_MTIME_NOW))
		set->valid |= FS_SET_TOUCH;
	if (valid & FUSE_SET_ATTR_CTIME) {
		set->valid |= FS_SET_CTIME;
		set->ctime = to_ns(st->st_ctim);
	}
}

static void op_setattr(fuse_req_t req, fuse_ino_t node, struct stat *st, int valid,
		       struct fuse_file_info *fi)
{
	static const struct {
		int fuse;
		unsigned core;
	} bits[] = {
		{ FUSE_SET_ATTR_MODE, FS_SET_MODE },
		{ FUSE_SET_ATTR_UID, FS_SET_UID },
		{ FUSE_SET_ATTR_GID, FS_SET_GID },
		{ FUSE_SET_ATTR_SIZE, FS_SET_SIZE },
		/* one bit for both, as the kernel sends it */
		{ FUSE_SET_ATTR_KILL_SUID, FS_SET_KILL_SUIDGID },
	};
	struct fs_setattr set = {
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.size = (uint64_t)st->st_size,
	};
	const struct request request = request_of(req);
	struct fs_attr attr;
	int err;

	if ((valid & FUSE_SET_ATTR_SIZE) && st->st_size < 0) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		set.valid |= valid & bits[i].fuse ? bits[i].core : 0;
	decode_times(st, valid, &set);
	err = vfs_setattr(transport_of(req)->vfs, &request.vfs, node_to_ino(node), &set, &attr);
	reply_attr(req, err, &attr);
}

static void op_statfs(fuse_req_t req, fuse_ino_t node)
{
	struct fs_statfs space;
	struct statvfs st;
	int err = vfs_statfs(transport_of(req)->vfs, node_to_ino(node), &space);

	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	st = (struct statvfs){
		.f_bsize = DXF_BLOCK_SIZE,
		.f_frsize = DXF_BLOCK_SIZE,
		.f_blocks = space.blocks,
		.f_bfree = space.free_blocks,
		.f_bavail = space.free_blocks,
		.f_files = space.inodes,
		.f_ffree = space.free_inodes,
		.f_favail = space.free_inodes,
		.f_namemax = DXF_NAME_MAX,
	};
	fuse_reply_statfs(req, &st);
}

#ifdef HAVE_FUSE_STATX
static struct statx_timestamp to_timestamp(struct timespec ts)
{
	return (struct statx_timestamp){ .tv_sec = ts.tv_sec, .tv_nsec = (uint32_t)ts.tv_nsec };
}

/* Asked for when somebody wants the birth time. */
static void op_statx(fuse_req_t req, fuse_ino_t node, int flags, int mask,
		     struct fuse_file_info *fi)
{
	struct fs_attr attr;
	struct statx stx;
	struct stat st;
	const struct transport *t = transport_of(req);
	int err = vfs_getattr(t->vfs, node_to_ino(node), &attr);

	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	attr_to_stat(&attr, &st);
	stx = (struct statx){
		.stx_mask = STATX_BASIC_STATS | STATX_BTIME,
		.stx_blksize = (uint32_t)st.st_blksize,
		.stx_nlink = attr.nlink,
		.stx_uid = attr.uid,
		.stx_gid = attr.gid,
		.stx_mode = (uint16_t)attr.mode,
		.stx_ino = attr.ino,
		.stx_size = attr.size,
		.stx_blocks = attr.blocks,
		.stx_atime = to_timestamp(st.st_atim),
		.stx_mtime = to_timestamp(st.st_mtim),
		.stx_ctime = to_timestamp(st.st_ctim),
		.stx_rdev_major = major(st.st_rdev),
		.stx_rdev_minor = minor(st.st_rdev),
	};
	attr.mtime = attr.btime;
	attr_to_stat(&attr, &st);
	stx.stx_btime = to_timestamp(st.st_mtim);
	fuse_reply_statx(req, 0, &stx, attr_timeout(t, attr.ino));
}
#endif

void attr_ops(struct fuse_lowlevel_ops *ops)
{
	ops->getattr = op_getattr;
	ops->setattr = op_setattr;
	ops->statfs = op_statfs;
#ifdef HAVE_FUSE_STATX
	ops->statx = op_statx;
#endif
}
