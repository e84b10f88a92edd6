/* SPDX-License-Identifier: BSD-3-Clause */
/* The xattr calls: which names there are, and the side effects of an ACL. */
#include <errno.h>
#include <sys/xattr.h>

#include "internal.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/media/xattr.h"

enum name_class { NAME_PLAIN, NAME_ACL_ACCESS, NAME_ACL_DEFAULT };

static errint_t classify(const char *name, enum name_class *ret_class)
{
	static const char *const prefixes[] = { "user.", "trusted.", "security." };

	if (strcmp(name, "system.posix_acl_access") == 0) {
		*ret_class = NAME_ACL_ACCESS;
		return 0;
	}
	if (strcmp(name, "system.posix_acl_default") == 0) {
		*ret_class = NAME_ACL_DEFAULT;
		return 0;
	}
	*ret_class = NAME_PLAIN;
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		size_t length = strlen(prefixes[i]);

		if (strncmp(name, prefixes[i], length) == 0)
			return name[length] ? 0 : -EINVAL;
	}
	return -EOPNOTSUPP;
}

ssize_t fs_getxattr(struct fs *fs, uint64_t ino, const char *name, void *value, size_t size)
{
	enum name_class class;
	struct inode *inode;
	ssize_t n = classify(name, &class);

	if (!n)
		n = inode_lock_attr(fs, ino, &inode);
	if (n)
		return n;
	n = xattr_get(fs->vol, inode->media, name, value, size);
	inode_unlock(fs, inode);
	return n;
}

ssize_t fs_listxattr(struct fs *fs, uint64_t ino, char *list, size_t size)
{
	struct inode *inode;
	ssize_t n = inode_lock_attr(fs, ino, &inode);

	if (n)
		return n;
	n = xattr_list(fs->vol, inode->media, list, size);
	inode_unlock(fs, inode);
	return n;
}

static errint_t may_change(const struct dxf_inode *inode, const char *name)
{
	if (inode->flags & (DXF_FLAG_IMMUTABLE | DXF_FLAG_APPEND))
		return -EPERM;
	/* as everywhere: user. is for files and directories only */
	if (strncmp(name, "user.", 5) == 0 && !S_ISREG(inode->mode) && !S_ISDIR(inode->mode))
		return -EPERM;
	return 0;
}

/* value NULL removes. */
static errint_t change(struct fs *fs, struct tx *tx, struct dxf_inode *di, const char *name,
		       enum name_class class, const void *value, size_t size, int flags)
{
	bool minimal = false;
	int err;

	if (class != NAME_PLAIN && value) {
		err = acl_set(value, size, class == NAME_ACL_ACCESS, di, &minimal);
		if (err)
			return err;
		if (minimal)
			value = NULL;
	}
	di->ctime = fs_clock();
	err = xattr_set(tx, di, name, value, size, flags);
	/* that there was nothing to remove is an error for plain names only */
	return err == -ENODATA && class != NAME_PLAIN && !(flags & XATTR_REPLACE) ? 0 : err;
}

static errint_t change_xattr(struct fs *fs, const struct fs_request *request, uint64_t ino,
			     const char *name, const void *value, size_t size, int flags)
{
	enum name_class class;
	struct dxf_inode *di;
	struct inode *inode;
	struct tx *tx;
	int err = classify(name, &class);

	if (!err && fs_is_read_only(fs))
		err = -EROFS;
	if (!err)
		err = inode_lock(fs, ino, true, &inode);
	if (err)
		return err;
	err = may_change(inode->media, name);
	if (!err)
		err = edit_begin(fs, inode, &tx, &di);
	if (!err) {
		tx_decides(tx, once_of(request), 0);
		err = edit_end(tx, change(fs, tx, di, name, class, value, size, flags));
	}
	inode_unlock(fs, inode);
	return err;
}

errint_t fs_setxattr(struct fs *fs, const struct fs_request *request, uint64_t ino,
		     const char *name, const void *value, size_t size, int flags)
{
	return change_xattr(fs, request, ino, name, value ? value : "", size, flags);
}

errint_t fs_removexattr(struct fs *fs, const struct fs_request *request, uint64_t ino,
			const char *name)
{
	return change_xattr(fs, request, ino, name, NULL, 0, 0);
}
