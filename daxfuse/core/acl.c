/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * POSIX ACLs. They are stored as the xattrs that the kernel speaks
 * (<linux/posix_acl_xattr.h>); the kernel checks them at every access. Here are
 * the rules that come with them: a new inode inherits, mode and access ACL stay
 * one (POSIX 1003.1e draft 17, section 23.1.6).
 */
#include <errno.h>
#include <linux/limits.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdlib.h>
#include <sys/xattr.h>

#include "daxfuse/base/cleanup.h"
#include "internal.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/media/xattr.h"

#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

struct acl {
	struct posix_acl_xattr_header header;
	struct posix_acl_xattr_entry entry[];
};

static size_t acl_count(size_t size)
{
	return (size - sizeof(struct posix_acl_xattr_header)) /
	       sizeof(struct posix_acl_xattr_entry);
}

static struct posix_acl_xattr_entry *find_tag(struct acl *acl, size_t count, unsigned tag)
{
	for (size_t i = 0; i < count; i++)
		if (acl->entry[i].e_tag == tag)
			return &acl->entry[i];
	return NULL;
}

/* One owner, group and other; a mask where there are named ones; in order. */
static bool is_valid(const struct acl *acl, size_t size)
{
	size_t count, seen[6] = { 0 };
	unsigned last = 0;

	if (size < sizeof(acl->header) || (size - sizeof(acl->header)) % sizeof(acl->entry[0]) ||
	    acl->header.a_version != POSIX_ACL_XATTR_VERSION)
		return false;
	count = acl_count(size);
	for (size_t i = 0; i < count; i++) {
		unsigned tag = acl->entry[i].e_tag;

		if (!is_power_of_two(tag) || tag > ACL_OTHER || tag < last ||
		    acl->entry[i].e_perm > 7)
			return false;
		last = tag;
		seen[bits_first(tag)]++;
	}
	return seen[bits_first(ACL_USER_OBJ)] == 1 && seen[bits_first(ACL_GROUP_OBJ)] == 1 &&
	       seen[bits_first(ACL_OTHER)] == 1 && seen[bits_first(ACL_MASK)] <= 1 &&
	       (seen[bits_first(ACL_MASK)] ||
		(!seen[bits_first(ACL_USER)] && !seen[bits_first(ACL_GROUP)]));
}

/* The permissions that the mode shows for the group: the mask if there is one. */
static struct posix_acl_xattr_entry *group_entry(struct acl *acl, size_t count)
{
	struct posix_acl_xattr_entry *mask = find_tag(acl, count, ACL_MASK);

	return mask ? mask : find_tag(acl, count, ACL_GROUP_OBJ);
}

static uint32_t acl_mode(struct acl *acl, size_t count)
{
	return (uint32_t)find_tag(acl, count, ACL_USER_OBJ)->e_perm << 6 |
	       (uint32_t)group_entry(acl, count)->e_perm << 3 |
	       (uint32_t)find_tag(acl, count, ACL_OTHER)->e_perm;
}

errint_t acl_set(const void *value, size_t size, bool access, struct dxf_inode *inode,
		 bool *ret_minimal)
{
	CLEANUP_FREE struct acl *acl = NULL;
	size_t count;

	if (size > XATTR_SIZE_MAX)
		return -E2BIG;
	acl = malloc(size + 1); /* a copy, as value may lie anywhere */
	if (!acl)
		return -ENOMEM;
	memcpy(acl, value, size);
	*ret_minimal = false;
	if (S_ISLNK(inode->mode))
		return -EOPNOTSUPP;
	if (!access && !S_ISDIR(inode->mode))
		return -EACCES;
	if (size == sizeof(acl->header) && !access &&
	    acl->header.a_version == POSIX_ACL_XATTR_VERSION) {
		*ret_minimal = true; /* an empty default ACL is none */
		return 0;
	}
	if (!is_valid(acl, size))
		return -EINVAL;
	count = acl_count(size);
	if (access) {
		inode->mode = (inode->mode & ~(uint32_t)0777) | acl_mode(acl, count);
		*ret_minimal = count == 3;
	}
	return 0;
}

/* An ACL xattr of the inode in *acl; its size, 0 if there is none. */
static ssize_t read_acl(struct fs *fs, const struct dxf_inode *inode, const char *name,
			struct acl **acl)
{
	ssize_t size = inode->xattr_bytes ? xattr_get(fs->vol, inode, name, NULL, 0) : -ENODATA;

	*acl = NULL;
	if (size == -ENODATA)
		return 0;
	if (size < 0)
		return size;
	*acl = malloc((size_t)size + 1);
	if (!*acl)
		return -ENOMEM;
	size = xattr_get(fs->vol, inode, name, *acl, (size_t)size);
	if (size >= 0 && !is_valid(*acl, (size_t)size))
		size = -EUCLEAN;
	if (size < 0) {
		free(*acl);
		*acl = NULL;
	}
	return size;
}

errint_t acl_chmod(struct fs *fs, struct tx *tx, struct dxf_inode *inode)
{
	struct acl *acl;
	ssize_t size = read_acl(fs, inode, ACCESS, &acl);
	size_t count;
	int err;

	if (size <= 0)
		return (int)size;
	count = acl_count((size_t)size);
	find_tag(acl, count, ACL_USER_OBJ)->e_perm = inode->mode >> 6 & 7;
	group_entry(acl, count)->e_perm = inode->mode >> 3 & 7;
	find_tag(acl, count, ACL_OTHER)->e_perm = inode->mode & 7;
	err = xattr_set(tx, inode, ACCESS, acl, (size_t)size, XATTR_REPLACE);
	free(acl);
	return err;
}

/* The part of the default ACL that the mode asked for leaves; the mode that results. */
static void mask_by_mode(struct acl *acl, size_t count, struct dxf_inode *inode)
{
	struct posix_acl_xattr_entry *owner = find_tag(acl, count, ACL_USER_OBJ);
	struct posix_acl_xattr_entry *group = group_entry(acl, count);
	struct posix_acl_xattr_entry *other = find_tag(acl, count, ACL_OTHER);

	owner->e_perm &= inode->mode >> 6 & 7;
	group->e_perm &= inode->mode >> 3 & 7;
	other->e_perm &= inode->mode & 7;
	inode->mode = (inode->mode & ~(uint32_t)0777) | acl_mode(acl, count);
}

errint_t acl_inherit(struct fs *fs, struct tx *tx, const struct dxf_inode *dir,
		     struct dxf_inode *inode, uint32_t umask)
{
	struct acl *acl;
	ssize_t size;
	int err = 0;

	if (S_ISLNK(inode->mode))
		return 0;
	size = read_acl(fs, dir, DEFAULT, &acl);
	if (size < 0)
		return (int)size;
	if (!size) {
		inode->mode &= ~(umask & 0777);
		return 0;
	}
	if (S_ISDIR(inode->mode))
		err = xattr_set(tx, inode, DEFAULT, acl, (size_t)size, 0);
	mask_by_mode(acl, acl_count((size_t)size), inode);
	if (!err && acl_count((size_t)size) > 3)
		err = xattr_set(tx, inode, ACCESS, acl, (size_t)size, 0);
	free(acl);
	return err;
}
