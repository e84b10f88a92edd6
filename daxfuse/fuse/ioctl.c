/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ioctls: the kernel's own (flags, project ids, extent size hints), so that
 * lsattr, chattr and xfs_io work, and those of <daxfuse/ioctl.h>. All are of a
 * fixed size, so the kernel has copied their arguments.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/fuse/session.h"
#include "daxfuse/ioctl.h"

#ifndef FS_DAX_FL
#define FS_DAX_FL 0x02000000
#endif

static const struct {
	uint32_t flag; /* DXF_FLAG_* */
	uint32_t xflag; /* FS_XFLAG_* */
	uint32_t fl;    /* FS_*_FL, 0: not shown there */
} flag_map[] = {
	{DXF_FLAG_DAX, FS_XFLAG_DAX, FS_DAX_FL},
	{DXF_FLAG_IMMUTABLE, FS_XFLAG_IMMUTABLE, FS_IMMUTABLE_FL},
	{DXF_FLAG_APPEND, FS_XFLAG_APPEND, FS_APPEND_FL},
	{DXF_FLAG_PROJINHERIT, FS_XFLAG_PROJINHERIT, FS_PROJINHERIT_FL},
	{DXF_FLAG_EXTSIZE, FS_XFLAG_EXTSIZE, 0},
	{DXF_FLAG_EXTSZINHERIT, FS_XFLAG_EXTSZINHERIT, 0},
	{DXF_FLAG_NODUMP, FS_XFLAG_NODUMP, FS_NODUMP_FL},
	{DXF_FLAG_NOATIME, FS_XFLAG_NOATIME, FS_NOATIME_FL},
	{DXF_FLAG_SYNC, FS_XFLAG_SYNC, FS_SYNC_FL},
};
#define FLAG_COUNT (sizeof(flag_map) / sizeof(flag_map[0]))

struct call {
	fuse_req_t req;
	struct session *session;
	uint64_t ino;
	const void *in;
	size_t in_size, out_size;
};

static void reply(const struct call *c, int err, const void *out, size_t size)
{
	if (err)
		reply_err(c->req, err);
	else
		fuse_reply_ioctl(c->req, 0, out, size);
}

/* Immutable and append-only are root's to change; whoever owns the file may the
 * rest. */
static int may_set(const struct call *c, uint32_t old, uint32_t new)
{
	uint32_t root_only = DXF_FLAG_IMMUTABLE | DXF_FLAG_APPEND;
	uid_t uid = fuse_req_ctx(c->req)->uid;
	struct fs_attr attr;
	int err = fs_getattr(c->session->fs, c->ino, &attr);

	if (err)
		return err;
	if (uid && (uid != attr.uid || ((old ^ new) & root_only)))
		return -EPERM;
	return 0;
}

static int set_xflags(const struct call *c, const struct fs_xflags *old, struct fs_xflags *new)
{
	int err = may_set(c, old->flags, new->flags);

	if (!err && fuse_req_ctx(c->req)->uid && new->project != old->project)
		err = -EPERM;
	if (!err)
		err = fs_set_xflags(c->session->fs, c->ino, new);
	if (!err) /* whether it is DAX, and what stat shows, may have changed */
		fuse_lowlevel_notify_inval_inode(c->session->fuse, ino_node(c->ino), -1, 0);
	return err;
}

static void get_flags(const struct call *c)
{
	struct fs_xflags x;
	uint32_t fl = 0;
	int err = fs_get_xflags(c->session->fs, c->ino, &x);

	for (size_t i = 0; !err && i < FLAG_COUNT; i++)
		if (x.flags & flag_map[i].flag)
			fl |= flag_map[i].fl;
	reply(c, err, &fl, sizeof(fl));
}

static void set_flags(const struct call *c)
{
	struct fs_xflags old, x;
	uint32_t fl, known = 0;
	int err = fs_get_xflags(c->session->fs, c->ino, &old);

	memcpy(&fl, c->in, sizeof(fl));
	x = old;
	for (size_t i = 0; i < FLAG_COUNT; i++) {
		known |= flag_map[i].fl;
		if (flag_map[i].fl)
			x.flags = fl & flag_map[i].fl ? x.flags | flag_map[i].flag : x.flags & ~flag_map[i].flag;
	}
	if (!err && (fl & ~known))
		err = -EOPNOTSUPP;
	if (!err)
		err = set_xflags(c, &old, &x);
	reply(c, err, NULL, 0);
}

static void get_xattr(const struct call *c)
{
	struct fs_xflags x;
	struct fsxattr fsx = {0};
	int err = fs_get_xflags(c->session->fs, c->ino, &x);

	for (size_t i = 0; !err && i < FLAG_COUNT; i++)
		if (x.flags & flag_map[i].flag)
			fsx.fsx_xflags |= flag_map[i].xflag;
	if (!err) {
		fsx.fsx_extsize = x.extsize;
		fsx.fsx_nextents = x.extents;
		fsx.fsx_projid = x.project;
	}
	reply(c, err, &fsx, sizeof(fsx));
}

static void set_xattr(const struct call *c)
{
	struct fsxattr fsx;
	struct fs_xflags old, x = {0};
	uint32_t known = FS_XFLAG_HASATTR | FS_XFLAG_PREALLOC;
	int err = fs_get_xflags(c->session->fs, c->ino, &old);

	memcpy(&fsx, c->in, sizeof(fsx));
	for (size_t i = 0; i < FLAG_COUNT; i++) {
		known |= flag_map[i].xflag;
		if (fsx.fsx_xflags & flag_map[i].xflag)
			x.flags |= flag_map[i].flag;
	}
	x.project = fsx.fsx_projid;
	x.extsize = fsx.fsx_extsize;
	if (!err && (fsx.fsx_xflags & ~known))
		err = -EOPNOTSUPP;
	if (!err)
		err = set_xflags(c, &old, &x);
	reply(c, err, NULL, 0);
}

/* ---- ours ----------------------------------------------------------------- */

/* Collect up to DXF_IOC_EXTENT_COUNT extents, joining what is contiguous. */
static int collect_extents(const struct call *c, uint64_t size, struct dxf_ioc_extents *x)
{
	uint64_t at = x->start;
	int err = 0;

	x->count = 0;
	while (!err && at < size) {
		struct dxf_ioc_extent *last = x->count ? &x->extent[x->count - 1] : NULL;
		struct fs_iomap map;
		uint64_t flags;

		err = fs_iomap(c->session->fs, c->ino, at, size - at, &map);
		if (err)
			break;
		flags = (map.kind == FS_IOMAP_UNWRITTEN ? DXF_EXTENT_UNWRITTEN : 0) |
			(map.unit ? DXF_EXTENT_UNIT : 0);
		if (map.kind != FS_IOMAP_HOLE) {
			if (last && last->flags == flags && last->file_offset + last->length == at &&
			    last->device_offset + last->length == map.device_offset) {
				last->length += map.length;
			} else {
				if (x->count == DXF_IOC_EXTENT_COUNT) {
					x->start = at;
					return 0;
				}
				x->extent[x->count++] = (struct dxf_ioc_extent){
					at, map.device_offset, map.length, flags};
			}
		}
		at += map.length;
	}
	x->start = ~UINT64_C(0);
	return err;
}

static void extents(const struct call *c)
{
	struct dxf_ioc_extents *x = malloc(sizeof(*x));
	struct fs_attr attr;
	int err = x ? fs_getattr(c->session->fs, c->ino, &attr) : -ENOMEM;

	if (!err) {
		memcpy(x, c->in, sizeof(*x));
		err = collect_extents(c, attr.size, x);
	}
	reply(c, err, x, sizeof(*x));
	free(x);
}

static void status(const struct call *c)
{
	struct dxf_ioc_status *s = calloc(1, sizeof(*s));
	int err = s ? status_json(c->session, s->json, sizeof(s->json)) : -ENOMEM;

	reply(c, err, s, sizeof(*s));
	free(s);
}

static void show_quota(const struct fs_quota *from, struct dxf_ioc_quota *q)
{
	*q = (struct dxf_ioc_quota){
		.project = from->project,
		.byte_limit = from->block_limit * DXF_BLOCK_SIZE,
		.inode_limit = from->inode_limit,
		.bytes = from->blocks * DXF_BLOCK_SIZE,
		.inodes = from->inodes,
	};
}

static void quota_get(const struct call *c)
{
	struct dxf_ioc_quota q;
	struct fs_quota found;
	int err;

	memcpy(&q, c->in, sizeof(q));
	err = fs_quota_get(c->session->fs, q.project, &found);
	if (!err)
		show_quota(&found, &q);
	reply(c, err, &q, sizeof(q));
}

static void quota_set(const struct call *c)
{
	struct dxf_ioc_quota q;
	int err = -EPERM;

	memcpy(&q, c->in, sizeof(q));
	if (fuse_req_ctx(c->req)->uid == 0)
		err = fs_quota_set(c->session->fs, q.project,
				   q.byte_limit / DXF_BLOCK_SIZE + (q.byte_limit % DXF_BLOCK_SIZE != 0),
				   q.inode_limit);
	reply(c, err, NULL, 0);
}

struct next {
	uint32_t from;
	bool found;
	struct fs_quota best;
};

static int next_quota(const struct fs_quota *quota, void *arg)
{
	struct next *n = arg;

	if (quota->project >= n->from && (!n->found || quota->project < n->best.project)) {
		n->best = *quota;
		n->found = true;
	}
	return 0;
}

static void quota_next(const struct call *c)
{
	struct dxf_ioc_quota q;
	struct next n = {0};
	int err;

	memcpy(&q, c->in, sizeof(q));
	n.from = q.project;
	err = fs_quota_list(c->session->fs, next_quota, &n);
	if (!err && !n.found)
		err = -ENOENT;
	if (!err)
		show_quota(&n.best, &q);
	reply(c, err, &q, sizeof(q));
}

static void range(const struct call *c)
{
	struct dxf_ioc_range r;
	struct fs_attr attr;
	uid_t uid = fuse_req_ctx(c->req)->uid;
	int err = fs_getattr(c->session->fs, c->ino, &attr);

	memcpy(&r, c->in, sizeof(r));
	if (!err && r.mode != FALLOC_FL_COLLAPSE_RANGE && r.mode != FALLOC_FL_INSERT_RANGE)
		err = -EOPNOTSUPP;
	/* the ioctl comes on any descriptor: only the owner's way of writing is sure */
	if (!err && uid && (uid != attr.uid || !(attr.mode & S_IWUSR)))
		err = -EACCES;
	if (!err)
		err = fs_fallocate(c->session->fs, c->ino, (int)r.mode, r.offset, r.length);
	if (!err)
		fuse_lowlevel_notify_inval_inode(c->session->fuse, ino_node(c->ino), 0, 0);
	reply(c, err, NULL, 0);
}

static void set_label(const struct call *c)
{
	struct dxf_ioc_label l;
	int err = -EPERM;

	memcpy(&l, c->in, sizeof(l));
	if (fuse_req_ctx(c->req)->uid == 0)
		err = l.label[sizeof(l.label) - 1] ? -EINVAL : fs_set_label(c->session->fs, l.label);
	reply(c, err, NULL, 0);
}

static const struct {
	unsigned command;
	void (*handle)(const struct call *call);
	size_t in, out;
} ioctls[] = {
	{(unsigned)FS_IOC_GETFLAGS, get_flags, 0, sizeof(uint32_t)},
	{(unsigned)FS_IOC_SETFLAGS, set_flags, sizeof(uint32_t), 0},
	{(unsigned)FS_IOC_FSGETXATTR, get_xattr, 0, sizeof(struct fsxattr)},
	{(unsigned)FS_IOC_FSSETXATTR, set_xattr, sizeof(struct fsxattr), 0},
	{DXF_IOC_EXTENTS, extents, sizeof(struct dxf_ioc_extents), sizeof(struct dxf_ioc_extents)},
	{DXF_IOC_STATUS, status, 0, sizeof(struct dxf_ioc_status)},
	{DXF_IOC_QUOTA_GET, quota_get, sizeof(struct dxf_ioc_quota), sizeof(struct dxf_ioc_quota)},
	{DXF_IOC_QUOTA_SET, quota_set, sizeof(struct dxf_ioc_quota), 0},
	{DXF_IOC_QUOTA_NEXT, quota_next, sizeof(struct dxf_ioc_quota), sizeof(struct dxf_ioc_quota)},
	{DXF_IOC_RANGE, range, sizeof(struct dxf_ioc_range), 0},
	{DXF_IOC_SET_LABEL, set_label, sizeof(struct dxf_ioc_label), 0},
};

static void op_ioctl(fuse_req_t req, fuse_ino_t node, unsigned command, void *arg,
		     struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
		     size_t out_size)
{
	struct call call = {req, session_of(req), node_ino(node), in, in_size, out_size};

	for (size_t i = 0; i < sizeof(ioctls) / sizeof(ioctls[0]); i++) {
		if (ioctls[i].command != command)
			continue;
		if ((flags & FUSE_IOCTL_COMPAT) || in_size < ioctls[i].in || out_size < ioctls[i].out)
			reply_err(req, -EINVAL);
		else
			ioctls[i].handle(&call);
		return;
	}
	reply_err(req, -ENOTTY);
}

void ioctl_ops(struct fuse_lowlevel_ops *ops)
{
	ops->ioctl = op_ioctl;
}
