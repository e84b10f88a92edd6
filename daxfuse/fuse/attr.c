/* SPDX-License-Identifier: BSD-3-Clause */
/* Attributes, xattrs, access to what stat, chmod, setfattr and statfs ask. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "daxfuse/fuse/session.h"

enum { NS = 1000000000 };

static struct timespec to_timespec(int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / NS, .tv_nsec = ns % NS};

	if (ts.tv_nsec < 0) {
		ts.tv_nsec += NS;
		ts.tv_sec--;
	}
	return ts;
}

/* Times beyond what 64 bits of nanoseconds hold (1677 to 2262) are cut. */
static int64_t from_timespec(struct timespec ts)
{
	const int64_t most = INT64_MAX / NS - 1;

	if (ts.tv_sec > most)
		return most * NS;
	if (ts.tv_sec < -most)
		return -most * NS;
	return ts.tv_sec * NS + ts.tv_nsec;
}

static int64_t now(void)
{
	return fs_clock();
}

void attr_to_stat(const struct fs_attr *attr, struct stat *ret_stat)
{
	memset(ret_stat, 0, sizeof(*ret_stat));
	ret_stat->st_ino = ino_node(attr->ino);
	ret_stat->st_mode = attr->mode;
	ret_stat->st_nlink = attr->nlink;
	ret_stat->st_uid = attr->uid;
	ret_stat->st_gid = attr->gid;
	ret_stat->st_rdev = makedev(attr->rdev >> 20, attr->rdev & 0xfffff);
	ret_stat->st_size = (off_t)attr->size;
	ret_stat->st_blocks = (blkcnt_t)attr->blocks;
	ret_stat->st_blksize = DXF_BLOCK_SIZE;
	ret_stat->st_atim = to_timespec(attr->atime);
	ret_stat->st_mtim = to_timespec(attr->mtime);
	ret_stat->st_ctim = to_timespec(attr->ctime);
}

void attr_to_entry(const struct fs_attr *attr, struct fuse_entry_param *ret_entry)
{
	memset(ret_entry, 0, sizeof(*ret_entry));
	ret_entry->ino = ino_node(attr->ino);
	ret_entry->generation = attr->generation;
	attr_to_stat(attr, &ret_entry->attr);
	ret_entry->attr_timeout = SESSION_TIMEOUT;
	ret_entry->entry_timeout = SESSION_TIMEOUT;
}

static void reply_attr(fuse_req_t req, int err, const struct fs_attr *attr)
{
	struct stat st;

	if (err) {
		reply_err(req, err);
		return;
	}
	attr_to_stat(attr, &st);
	fuse_reply_attr(req, &st, SESSION_TIMEOUT);
}

static void op_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct fs_attr attr;
	int err = fs_getattr(session_of(req)->fs, node_ino(node), &attr);

	reply_attr(req, err, &attr);
}

static void op_setattr(fuse_req_t req, fuse_ino_t node, struct stat *st, int to_set,
		       struct fuse_file_info *fi)
{
	struct fs_setattr set = {.mode = st->st_mode, .uid = st->st_uid, .gid = st->st_gid,
				 .size = (uint64_t)st->st_size};
	struct fs_attr attr;
	int err;

	if (to_set & FUSE_SET_ATTR_MODE)
		set.valid |= FS_SET_MODE;
	if (to_set & FUSE_SET_ATTR_UID)
		set.valid |= FS_SET_UID;
	if (to_set & FUSE_SET_ATTR_GID)
		set.valid |= FS_SET_GID;
	if (to_set & FUSE_SET_ATTR_SIZE)
		set.valid |= FS_SET_SIZE;
	if (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW)) {
		set.valid |= FS_SET_ATIME;
		set.atime = to_set & FUSE_SET_ATTR_ATIME_NOW ? now() : from_timespec(st->st_atim);
	}
	if (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) {
		set.valid |= FS_SET_MTIME;
		set.mtime = to_set & FUSE_SET_ATTR_MTIME_NOW ? now() : from_timespec(st->st_mtim);
	}
	if (to_set & FUSE_SET_ATTR_CTIME) {
		set.valid |= FS_SET_CTIME;
		set.ctime = from_timespec(st->st_ctim);
	}
	/* a truncation or change of owner by whoever may not keep them */
	if (to_set & FUSE_SET_ATTR_KILL_SUID)
		set.valid |= FS_SET_KILL_SUIDGID;
	if (st->st_size < 0 && (set.valid & FS_SET_SIZE))
		err = -EINVAL;
	else
		err = fs_setattr(session_of(req)->fs, node_ino(node), &set, &attr);
	if (err == -ENOSPC && orphans_drain(session_of(req)))
		err = fs_setattr(session_of(req)->fs, node_ino(node), &set, &attr);
	reply_attr(req, err, &attr);
}

static void op_statfs(fuse_req_t req, fuse_ino_t node)
{
	struct fs_statfs space;
	int err = fs_statfs(session_of(req)->fs, node_ino(node ? node : FUSE_ROOT_ID), &space);
	struct statvfs st = {.f_bsize = DXF_BLOCK_SIZE, .f_frsize = DXF_BLOCK_SIZE,
			     .f_namemax = DXF_NAME_MAX};

	if (err) {
		reply_err(req, err);
		return;
	}
	st.f_blocks = space.blocks;
	st.f_bfree = st.f_bavail = space.free_blocks;
	st.f_files = space.inodes;
	st.f_ffree = st.f_favail = space.free_inodes;
	fuse_reply_statfs(req, &st);
}

/* ---- xattrs --------------------------------------------------------------- */

static void op_setxattr(fuse_req_t req, fuse_ino_t node, const char *name, const char *value,
			size_t size, int flags)
{
	reply_err(req, fs_setxattr(session_of(req)->fs, node_ino(node), name, value, size, flags));
}

static void op_removexattr(fuse_req_t req, fuse_ino_t node, const char *name)
{
	reply_err(req, fs_removexattr(session_of(req)->fs, node_ino(node), name));
}

/* n: the length or an error; buf holds the bytes if size was not 0. */
static void reply_xattr(fuse_req_t req, ssize_t n, const char *buf, size_t size)
{
	if (n < 0)
		reply_err(req, n);
	else if (!size)
		fuse_reply_xattr(req, (size_t)n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

static char *xattr_buffer(fuse_req_t req, size_t *size)
{
	char *buf;

	if (*size > DXF_XATTR_MAX)
		*size = DXF_XATTR_MAX;
	buf = malloc(*size + 1);
	if (!buf)
		reply_err(req, -ENOMEM);
	return buf;
}

static void op_getxattr(fuse_req_t req, fuse_ino_t node, const char *name, size_t size)
{
	char *buf = xattr_buffer(req, &size);

	if (!buf)
		return;
	reply_xattr(req, fs_getxattr(session_of(req)->fs, node_ino(node), name, buf, size), buf, size);
	free(buf);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t node, size_t size)
{
	char *buf = xattr_buffer(req, &size);

	if (!buf)
		return;
	reply_xattr(req, fs_listxattr(session_of(req)->fs, node_ino(node), buf, size), buf, size);
	free(buf);
}

#ifdef HAVE_FUSE_STATX
#include <linux/stat.h>

static struct statx_timestamp to_statx(int64_t ns)
{
	struct timespec ts = to_timespec(ns);

	return (struct statx_timestamp){.tv_sec = ts.tv_sec, .tv_nsec = (uint32_t)ts.tv_nsec};
}

static void op_statx(fuse_req_t req, fuse_ino_t node, int flags, int mask, struct fuse_file_info *fi)
{
	struct fs_attr attr;
	int err = fs_getattr(session_of(req)->fs, node_ino(node), &attr);
	struct statx st = {.stx_mask = STATX_BASIC_STATS | STATX_BTIME};

	if (err) {
		reply_err(req, err);
		return;
	}
	st.stx_blksize = DXF_BLOCK_SIZE;
	st.stx_ino = ino_node(attr.ino);
	st.stx_mode = (uint16_t)attr.mode;
	st.stx_nlink = attr.nlink;
	st.stx_uid = attr.uid;
	st.stx_gid = attr.gid;
	st.stx_size = attr.size;
	st.stx_blocks = attr.blocks;
	st.stx_rdev_major = attr.rdev >> 20;
	st.stx_rdev_minor = attr.rdev & 0xfffff;
	st.stx_atime = to_statx(attr.atime);
	st.stx_mtime = to_statx(attr.mtime);
	st.stx_ctime = to_statx(attr.ctime);
	st.stx_btime = to_statx(attr.btime);
	fuse_reply_statx(req, 0, &st, SESSION_TIMEOUT);
}
#endif

void attr_ops(struct fuse_lowlevel_ops *ops)
{
	ops->getattr = op_getattr;
	ops->setattr = op_setattr;
	ops->statfs = op_statfs;
	ops->setxattr = op_setxattr;
	ops->removexattr = op_removexattr;
	ops->getxattr = op_getxattr;
	ops->listxattr = op_listxattr;
#ifdef HAVE_FUSE_STATX
	ops->statx = op_statx;
#endif
}
