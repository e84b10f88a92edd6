/* SPDX-License-Identifier: BSD-3-Clause */
/* Attributes that no mapping cares for: stat, statfs, extended attributes, quotas, the label.
 * Changes of a file's size or flags are in modify.c. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daxfuse/base/cleanup.h"
#include "internal.h"
#include "daxfuse/base/errint.h"

void vfs_set_sharer(struct vfs *v, const struct vfs_sharer *sharer)
{
	v->sharer = sharer ? *sharer : (struct vfs_sharer){ .arg = NULL };
}

void share_cut(struct vfs *v, uint64_t ino, uint64_t size)
{
	if (v->sharer.arg)
		v->sharer.cut(v->sharer.arg, ino, size);
}

void share_change(struct vfs *v, uint64_t ino, uint64_t end)
{
	if (v->sharer.arg)
		v->sharer.changed(v->sharer.arg, ino, end);
}

void share_mode(struct vfs *v, uint64_t ino)
{
	if (v->sharer.arg)
		v->sharer.mode(v->sharer.arg, ino);
}

void share_times(struct vfs *v, uint64_t ino)
{
	if (v->sharer.arg)
		v->sharer.asked(v->sharer.arg, ino);
}

errint_t vfs_getattr(struct vfs *v, uint64_t ino, struct fs_attr *ret_attr)
{
	share_times(v, ino);
	return fs_getattr(v->config.fs, ino, ret_attr);
}

errint_t vfs_statfs(struct vfs *v, uint64_t ino, struct fs_statfs *ret_statfs)
{
	return fs_statfs(v->config.fs, ino, ret_statfs);
}

errint_t vfs_get_xflags(struct vfs *v, uint64_t ino, struct fs_xflags *ret_xflags)
{
	return fs_get_xflags(v->config.fs, ino, ret_xflags);
}

/* ---- extended attributes ------------------------------------------------------------- */

ssize_t vfs_getxattr(struct vfs *v, uint64_t ino, const char *name, void *value, size_t size)
{
	return fs_getxattr(v->config.fs, ino, name, value, size);
}

static bool has_trusted(const char *names, size_t length)
{
	for (size_t at = 0; at < length; at += strnlen(names + at, length - at - 1) + 1) {
		if (!strncmp(names + at, "trusted.", 8))
			return true;
	}
	return false;
}

/* The length without the names that are for administrators. */
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

ssize_t vfs_listxattr(struct vfs *v, const struct vfs_request *request, uint64_t ino, char *list,
		      size_t size)
{
	CLEANUP_FREE char *names = malloc(DXF_XATTR_MAX);
	ssize_t n = -ENOMEM;

	if (names)
		n = fs_listxattr(v->config.fs, ino, names, DXF_XATTR_MAX);
	if (n > 0 && has_trusted(names, (size_t)n) && !request->is_administrator(request))
		n = (ssize_t)drop_trusted(names, (size_t)n);
	if (size && n > (ssize_t)size)
		return -ERANGE;
	if (size && n > 0)
		memcpy(list, names, (size_t)n);
	return n;
}

/*
 * A caller who is not in the file's group loses sgid by setting its ACL, as with chmod(2). The
 * kernel says so in a flag that libfuse does not hand on.
 */
static errint_t drop_sgid(struct vfs *v, const struct vfs_request *request, uint64_t ino)
{
	struct fs_setattr set = { .valid = FS_SET_MODE };
	struct fs_attr attr;
	int err = fs_getattr(v->config.fs, ino, &attr);

	if (err || !(attr.mode & S_ISGID) || request->who.uid == 0 ||
	    request->is_member(request, attr.gid))
		return err;
	set.mode = attr.mode & 07777 & ~(uint32_t)S_ISGID;
	return fs_setattr(v->config.fs, ino, &set, &attr);
}

errint_t vfs_setxattr(struct vfs *v, const struct vfs_request *request, uint64_t ino,
		      const char *name, const void *value, size_t size, int flags)
{
	struct vfs_retry retry = { false };
	bool is_acl = !strcmp(name, "system.posix_acl_access");
	int64_t result;
	int err = 0;

	if (answer_is_known(request, &result))
		return 0;
	if (is_acl)
		err = drop_sgid(v, request, ino);
	if (!err) {
		do {
			err = fs_setxattr(v->config.fs, &request->who, ino, name, value, size,
					  flags);
		} while (vfs_reclaims(v, &retry, err));
	}
	if (is_acl)
		share_mode(v, ino);
	vfs_note(v, ino, DXF_WATCH_ATTR, 0, 0);
	return err;
}

errint_t vfs_removexattr(struct vfs *v, const struct vfs_request *request, uint64_t ino,
			 const char *name)
{
	int64_t result;
	int err;

	if (answer_is_known(request, &result))
		return 0;
	err = fs_removexattr(v->config.fs, &request->who, ino, name);
	vfs_note(v, ino, DXF_WATCH_ATTR, 0, 0);
	return err;
}

/* ---- quotas, the label ----------------------------------------------------------------- */

errint_t vfs_quota_get(struct vfs *v, uint32_t project, struct fs_quota *ret_quota)
{
	return fs_quota_get(v->config.fs, project, ret_quota);
}

errint_t vfs_quota_set(struct vfs *v, uint32_t project, uint64_t block_limit, uint64_t inode_limit)
{
	return fs_quota_set(v->config.fs, project, block_limit, inode_limit);
}

struct next_quota {
	uint32_t from;
	bool found;
	struct fs_quota quota;
};

static int take_lower_quota(const struct fs_quota *quota, void *arg)
{
	struct next_quota *next = arg;

	if (quota->project >= next->from &&
	    (!next->found || quota->project < next->quota.project)) {
		next->quota = *quota;
		next->found = true;
	}
	return 0;
}

errint_t vfs_quota_next(struct vfs *v, uint32_t project, struct fs_quota *ret_quota)
{
	struct next_quota next = { .from = project };
	int err = fs_quota_list(v->config.fs, take_lower_quota, &next);

	if (!err && !next.found)
		err = -ENOENT;
	if (!err)
		*ret_quota = next.quota;
	return err;
}

errint_t vfs_set_label(struct vfs *v, const char *label)
{
	return fs_set_label(v->config.fs, label);
}
