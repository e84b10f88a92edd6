/* SPDX-License-Identifier: BSD-3-Clause */
/* Extended attributes, and through them ACLs. */
#include <errno.h>
#include <stdlib.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "internal.h"

/* The answer of get and list alike: the length, or the bytes. */
static void reply_value(fuse_req_t req, ssize_t n, const char *value, size_t size)
{
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else if (!size)
		fuse_reply_xattr(req, (size_t)n);
	else
		fuse_reply_buf(req, value, (size_t)n);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t node, const char *name, size_t size)
{
	CLEANUP_FREE char *value = NULL;
	size_t room = MIN(size, (size_t)DXF_XATTR_MAX);

	if (room && !(value = malloc(room))) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	reply_value(req, vfs_getxattr(transport_of(req)->vfs, node_to_ino(node), name, value, room),
		    value, room);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t node, size_t size)
{
	const struct request request = request_of(req);
	CLEANUP_FREE char *names = NULL;
	size_t room = MIN(size, (size_t)DXF_XATTR_MAX);

	if (room && !(names = malloc(room))) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	reply_value(req,
		    vfs_listxattr(transport_of(req)->vfs, &request.vfs, node_to_ino(node), names,
				  room),
		    names, room);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t node, const char *name, const char *value,
			size_t size, int flags)
{
	const struct request request = request_of(req);

	fuse_reply_err(req, -vfs_setxattr(transport_of(req)->vfs, &request.vfs, node_to_ino(node),
					  name, value, size, flags));
}

static void op_removexattr(fuse_req_t req, fuse_ino_t node, const char *name)
{
	const struct request request = request_of(req);

	fuse_reply_err(req, -vfs_removexattr(transport_of(req)->vfs, &request.vfs,
					     node_to_ino(node), name));
}

void xattr_ops(struct fuse_lowlevel_ops *ops)
{
	ops->getxattr = op_getxattr;
	ops->setxattr = op_setxattr;
	ops->listxattr = op_listxattr;
	ops->removexattr = op_removexattr;
}
