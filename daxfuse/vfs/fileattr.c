/* SPDX-License-Identifier: BSD-3-Clause */
/* One table of flags, in the words of the media and of both pairs of ioctls. */
#include "fileattr.h"

#include <errno.h>

#include "daxfuse/base/bits.h"

static const struct {
	uint32_t core, fs_flag, xflag;
} flag_table[] = {
	{ DXF_FLAG_DAX, FS_DAX_FL, FS_XFLAG_DAX },
	{ DXF_FLAG_IMMUTABLE, FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE },
	{ DXF_FLAG_APPEND, FS_APPEND_FL, FS_XFLAG_APPEND },
	{ DXF_FLAG_PROJINHERIT, FS_PROJINHERIT_FL, FS_XFLAG_PROJINHERIT },
	{ DXF_FLAG_EXTSIZE, 0, FS_XFLAG_EXTSIZE },
	{ DXF_FLAG_EXTSZINHERIT, 0, FS_XFLAG_EXTSZINHERIT },
	{ DXF_FLAG_NODUMP, FS_NODUMP_FL, FS_XFLAG_NODUMP },
	{ DXF_FLAG_NOATIME, FS_NOATIME_FL, FS_XFLAG_NOATIME },
	{ DXF_FLAG_SYNC, FS_SYNC_FL, FS_XFLAG_SYNC },
};

errint_t fileattr_get_flags(struct vfs *v, uint64_t ino, uint32_t *ret_flags)
{
	struct fs_attr attr; /* which costs nothing: extents are not counted for it */
	int err = vfs_getattr(v, ino, &attr);

	*ret_flags = 0;
	for (size_t i = 0; !err && i < ARRAY_SIZE(flag_table); i++) {
		if (attr.flags & flag_table[i].core)
			*ret_flags |= flag_table[i].fs_flag;
	}
	return err;
}

errint_t fileattr_set_flags(struct vfs *v, const struct vfs_request *request, uint64_t ino,
			    uint32_t flags)
{
	struct fs_xflags xflags;
	struct fs_attr attr;
	int err = vfs_getattr(v, ino, &attr);

	if (err)
		return err;
	xflags = (struct fs_xflags){
		.flags = attr.flags,
		.project = attr.project,
		.extsize = attr.extsize,
	};
	for (size_t i = 0; i < ARRAY_SIZE(flag_table); i++) {
		if (!flag_table[i].fs_flag)
			continue;
		xflags.flags &= ~flag_table[i].core;
		if (flags & flag_table[i].fs_flag)
			xflags.flags |= flag_table[i].core;
		flags &= ~flag_table[i].fs_flag;
	}
	return flags ? -EOPNOTSUPP : vfs_set_xflags(v, request, ino, &xflags);
}

errint_t fileattr_get(struct vfs *v, uint64_t ino, struct fsxattr *ret_attr)
{
	struct fs_xflags xflags;
	int err = vfs_get_xflags(v, ino, &xflags);

	*ret_attr = (struct fsxattr){ 0 };
	if (err)
		return err;
	ret_attr->fsx_extsize = xflags.extsize;
	ret_attr->fsx_nextents = xflags.extents;
	ret_attr->fsx_projid = xflags.project;
	for (size_t i = 0; i < ARRAY_SIZE(flag_table); i++) {
		if (xflags.flags & flag_table[i].core)
			ret_attr->fsx_xflags |= flag_table[i].xflag;
	}
	return 0;
}

errint_t fileattr_set(struct vfs *v, const struct vfs_request *request, uint64_t ino,
		      const struct fsxattr *attr)
{
	struct fs_xflags xflags = { .project = attr->fsx_projid, .extsize = attr->fsx_extsize };
	uint32_t left = attr->fsx_xflags;

	for (size_t i = 0; i < ARRAY_SIZE(flag_table); i++) {
		if (left & flag_table[i].xflag)
			xflags.flags |= flag_table[i].core;
		left &= ~flag_table[i].xflag;
	}
	/* FS_XFLAG_HASATTR is an answer, and comes back with the flags that were read */
	if (left & ~(uint32_t)FS_XFLAG_HASATTR)
		return -EOPNOTSUPP;
	return vfs_set_xflags(v, request, ino, &xflags);
}
