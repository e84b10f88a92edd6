/* SPDX-License-Identifier: BSD-3-Clause */
/* Extended attributes, and through them ACLs. */
#include <errno.h>

#include "daxfuse/base/bits.h"
#include "request.h"

/* The answer of get and list alike: the length, or the bytes, which are at r->out. */
static ssize_t reply_value(struct request *r, ssize_t n, size_t size)
{
	struct fuse_getxattr_out *out;

	if (n < 0 || size)
		return n;
	out = reply_room(r, sizeof(*out));
	if (!out)
		return -ENOBUFS;
	out->size = (uint32_t)n;
	return sizeof(*out);
}

static size_t room_of(const struct request *r, uint32_t size)
{
	size_t most = MIN((size_t)size, (size_t)DXF_XATTR_MAX);

	return MIN(most, r->room);
}

/* A driver that asks for a value and has no room for it does not ask for the length. */
static errint_t check_room(const struct request *r, uint32_t size)
{
	return size && !r->room ? -ENOBUFS : 0;
}

ssize_t do_getxattr(struct request *r)
{
	const struct fuse_getxattr_in *in = request_take(r, sizeof(*in));
	const char *name = in ? request_take_string(r) : NULL;
	ssize_t n;

	if (!name)
		return request_malformed(r);
	n = check_room(r, in->size);
	if (!n)
		n = vfs_getxattr(r->guest->config.vfs, r->ino, name, r->out, room_of(r, in->size));
	return reply_value(r, n, in->size);
}

ssize_t do_listxattr(struct request *r)
{
	const struct fuse_getxattr_in *in = request_take(r, sizeof(*in));
	ssize_t n;

	if (!in)
		return request_malformed(r);
	n = check_room(r, in->size);
	if (!n)
		n = vfs_listxattr(r->guest->config.vfs, &r->vfs, r->ino, r->out,
				  room_of(r, in->size));
	return reply_value(r, n, in->size);
}

/* Shorter if FUSE_SETXATTR_EXT was not agreed on. */
ssize_t do_setxattr(struct request *r)
{
	bool longer = atomic_load(&r->guest->record->setxattr_ext);
	const struct fuse_setxattr_in *in = request_take(r, longer ? sizeof(*in)
								   : FUSE_COMPAT_SETXATTR_IN_SIZE);
	const char *name = in ? request_take_string(r) : NULL;
	const void *value = name ? request_take(r, in->size) : NULL;
	int err;

	if (!value)
		return request_malformed(r);
	r->kills_sgid = !longer || (in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID);
	err = vfs_setxattr(r->guest->config.vfs, &r->vfs, r->ino, name, value, in->size,
			   (int)in->flags);
	request_changed(r, r->ino, NULL, false, false);
	return err;
}

ssize_t do_removexattr(struct request *r)
{
	const char *name = request_take_string(r);
	int err;

	if (!name)
		return request_malformed(r);
	err = vfs_removexattr(r->guest->config.vfs, &r->vfs, r->ino, name);
	request_changed(r, r->ino, NULL, false, false);
	return err;
}
