/* SPDX-License-Identifier: BSD-3-Clause */
/* Attributes of a guest's files: getattr, setattr, statfs. */
#include <errno.h>
#include <linux/stat.h>

#include "daxfuse/base/bits.h"
#include "request.h"

#define NSEC INT64_C(1000000000)

static ssize_t reply_attr(struct request *r, int err, const struct fs_attr *attr)
{
	struct fuse_attr_out *out = err ? NULL : reply_room(r, sizeof(*out));

	if (err)
		return err;
	if (!out)
		return -ENOBUFS;
	fill_attr_reply(r, attr, &out->attr);
	fill_timeout(r, &out->attr_valid, &out->attr_valid_nsec);
	return sizeof(*out);
}

ssize_t do_getattr(struct request *r)
{
	struct fs_attr attr;

	if (!request_take(r, sizeof(struct fuse_getattr_in)))
		return request_malformed(r);
	return reply_attr(r, vfs_getattr(r->guest->config.vfs, r->ino, &attr), &attr);
}

static struct guest_time statx_time(int64_t ns)
{
	struct guest_time time = { 0 };
	uint64_t seconds;

	fill_time(ns, &seconds, &time.nanoseconds);
	time.seconds = (int64_t)seconds;
	return time;
}

/* Asked for when somebody wants the birth time. */
ssize_t do_statx(struct request *r)
{
	struct guest_statx_out *out = reply_room(r, sizeof(*out));
	struct fs_attr attr;
	int err = vfs_getattr(r->guest->config.vfs, r->ino, &attr);

	if (!request_take(r, sizeof(struct guest_statx_in)))
		return request_malformed(r);
	if (err || !out)
		return err ? err : -ENOBUFS;
	fill_timeout(r, &out->attr_valid, &out->attr_valid_nsec);
	out->mask = STATX_BASIC_STATS | STATX_BTIME;
	out->blksize = DXF_BLOCK_SIZE;
	out->nlink = attr.nlink;
	out->uid = attr.uid;
	out->gid = attr.gid;
	out->mode = (uint16_t)attr.mode;
	out->ino = attr.ino;
	out->size = attr.size;
	out->blocks = attr.blocks;
	out->atime = statx_time(attr.atime);
	out->btime = statx_time(attr.btime);
	out->ctime = statx_time(attr.ctime);
	out->mtime = statx_time(attr.mtime);
	out->rdev_major = attr.rdev >> 20;
	out->rdev_minor = attr.rdev & 0xfffff;
	return sizeof(*out);
}

/* Beyond the years 1677 to 2262: the nearest time there is. */
static errint_t to_ns(uint64_t seconds, uint32_t nanoseconds, int64_t *ret_ns)
{
	int64_t ns;

	if (nanoseconds >= NSEC)
		return -EINVAL;
	if (__builtin_mul_overflow((int64_t)seconds, NSEC, &ns) ||
	    __builtin_add_overflow(ns, (int64_t)nanoseconds, &ns))
		ns = (int64_t)seconds < 0 ? INT64_MIN : INT64_MAX;
	*ret_ns = ns;
	return 0;
}

static errint_t decode_times(const struct fuse_setattr_in *in, struct fs_setattr *set)
{
	int64_t now = fs_clock();
	int err = 0;

	if (in->valid & FATTR_ATIME) {
		set->valid |= FS_SET_ATIME;
		set->atime = now;
		if (!(in->valid & FATTR_ATIME_NOW))
			err = to_ns(in->atime, in->atimensec, &set->atime);
	}
	if (!err && (in->valid & FATTR_MTIME)) {
		set->valid |= FS_SET_MTIME;
		set->mtime = now;
		if (!(in->valid & FATTR_MTIME_NOW))
			err = to_ns(in->mtime, in->mtimensec, &set->mtime);
	}
	if (!err && (in->valid & FATTR_CTIME)) {
		set->valid |= FS_SET_CTIME;
		err = to_ns(in->ctime, in->ctimensec, &set->ctime);
	}
	if ((in->valid & FATTR_ATIME_NOW) && (in->valid & FATTR_MTIME_NOW))
		set->valid |= FS_SET_TOUCH;
	return err;
}

static errint_t decode_setattr(const struct fuse_setattr_in *in, struct fs_setattr *set)
{
	static const struct {
		uint32_t fuse;
		unsigned core;
	} bits[] = {
		{ FATTR_MODE, FS_SET_MODE },
		{ FATTR_UID, FS_SET_UID },
		{ FATTR_GID, FS_SET_GID },
		{ FATTR_SIZE, FS_SET_SIZE },
		{ FATTR_KILL_SUIDGID, FS_SET_KILL_SUIDGID },
	};

	*set = (struct fs_setattr){
		.mode = in->mode & 07777,
		.uid = in->uid,
		.gid = in->gid,
		.size = in->size,
	};
	for (size_t i = 0; i < ARRAY_SIZE(bits); i++)
		set->valid |= in->valid & bits[i].fuse ? bits[i].core : 0;
	if ((in->valid & FATTR_SIZE) && in->size > INT64_MAX)
		return -EINVAL;
	return decode_times(in, set);
}

ssize_t do_setattr(struct request *r)
{
	const struct fuse_setattr_in *in = request_take(r, sizeof(*in));
	struct fs_setattr set;
	struct fs_attr attr;
	bool size;
	int err;

	if (!in)
		return request_malformed(r);
	err = decode_setattr(in, &set);
	if (err)
		return err;
	size = set.valid & FS_SET_SIZE;
	err = vfs_setattr(r->guest->config.vfs, &r->vfs, r->ino, &set, &attr);
	request_changed(r, r->ino, NULL, size, size);
	return reply_attr(r, err, &attr);
}

ssize_t do_statfs(struct request *r)
{
	struct fuse_statfs_out *out = reply_room(r, sizeof(*out));
	struct fs_statfs space;
	int err = out ? vfs_statfs(r->guest->config.vfs, r->ino, &space) : -ENOBUFS;

	if (err)
		return err;
	out->st = (struct fuse_kstatfs){
		.blocks = space.blocks,
		.bfree = space.free_blocks,
		.bavail = space.free_blocks,
		.files = space.inodes,
		.ffree = space.free_inodes,
		.bsize = DXF_BLOCK_SIZE,
		.frsize = DXF_BLOCK_SIZE,
		.namelen = DXF_NAME_MAX,
	};
	return sizeof(*out);
}
