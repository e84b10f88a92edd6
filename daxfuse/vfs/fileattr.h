/* SPDX-License-Identifier: BSD-3-Clause */
/* Flags of files as the kernel's ioctls have them, for all transports. */
#ifndef DAXFUSE_VFS_FILEATTR_H
#define DAXFUSE_VFS_FILEATTR_H

#include <linux/fs.h>

#include "vfs.h"

/* FS_IOC_GETFLAGS and SETFLAGS, FS_IOC_FSGETXATTR and FSSETXATTR. -EOPNOTSUPP: a flag that we don't
 * have; else as vfs_set_xflags(). */
errint_t fileattr_get_flags(struct vfs *v, uint64_t ino, uint32_t *ret_flags);
errint_t fileattr_set_flags(struct vfs *v, const struct vfs_request *request, uint64_t ino,
			    uint32_t flags);
errint_t fileattr_get(struct vfs *v, uint64_t ino, struct fsxattr *ret_attr);
errint_t fileattr_set(struct vfs *v, const struct vfs_request *request, uint64_t ino,
		      const struct fsxattr *attr);

#endif
