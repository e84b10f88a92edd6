/* SPDX-License-Identifier: BSD-3-Clause */
/* Extended attributes, and through them ACLs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "deferred.h"
#include "repeat.h"
#include "state.h"

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
	reply_value(req, fs_getxattr(state_of(req)->fs, node_to_ino(node), name, value, room),
		    value, room);
}

/* Names that begin with "trusted." are root's to see; the length without them. */
static size_t drop_trusted(char *names, size_t length)
{
	size_t kept = 0;

	for (size_t at = 0; at < length;) {
		size_t n = strnlen(names + at, length - at - 1) + 1;

		if (strncmp(names + at, "trusted.", 8)) {
			memmove(names + kept, names + at, n);
			kept += n;
		}
		at += n;
	}
	return kept;
}

static void op_listxattr(fuse_req_t req, fuse_ino_t node, size_t size)
{
	CLEANUP_FREE char *names = malloc(DXF_XATTR_MAX);
	ssize_t n = -ENOMEM;

	if (names)
		n = fs_listxattr(state_of(req)->fs, node_to_ino(node), names, DXF_XATTR_MAX);
	if (n > 0 && fuse_req_ctx(req)->uid != 0)
		n = (ssize_t)drop_trusted(names, (size_t)n);
	if (size && n > (ssize_t)size)
		n = -ERANGE;
	reply_value(req, n, names, size);
}

/*
 * Whoever is not in the file's group loses sgid by setting its ACL, as with
 * chmod(2). The kernel says so in a flag that libfuse does not hand on.
 */
static int drop_sgid(fuse_req_t req, uint64_t ino)
{
	struct state *s = state_of(req);
	struct fs_setattr set = { .valid = FS_SET_MODE };
	struct fs_attr attr;
	int err = fs_getattr(s->fs, ino, &attr);

	if (err || !(attr.mode & S_ISGID) || is_privileged(req) || is_member(req, attr.gid))
		return err;
	set.mode = attr.mode & 07777 & ~(uint32_t)S_ISGID;
	return fs_setattr(s->fs, ino, &set, &attr);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t node, const char *name, const char *value,
			size_t size, int flags)
{
	struct state *s = state_of(req);
	uint64_t ino = node_to_ino(node);
	struct fs_request request = request_of(req);
	int err = 0;

	if (repeat_done(req))
		return;
	if (!strcmp(name, "system.posix_acl_access"))
		err = drop_sgid(req, ino);
	if (!err) {
		do {
			err = fs_setxattr(s->fs, &request, ino, name, value, size, flags);
		} while (deferred_frees(s->deferred, err));
	}
	direct_note(s->direct, ino, DXF_WATCH_ATTR, 0, 0);
	fuse_reply_err(req, -err);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t node, const char *name)
{
	struct state *s = state_of(req);
	uint64_t ino = node_to_ino(node);
	struct fs_request request = request_of(req);
	int err;

	if (repeat_done(req))
		return;
	err = fs_removexattr(s->fs, &request, ino, name);
	direct_note(s->direct, ino, DXF_WATCH_ATTR, 0, 0);
	fuse_reply_err(req, -err);
}

void xattr_ops(struct fuse_lowlevel_ops *ops)
{
	ops->getxattr = op_getxattr;
	ops->setxattr = op_setxattr;
	ops->listxattr = op_listxattr;
	ops->removexattr = op_removexattr;
}
