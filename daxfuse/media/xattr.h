/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Extended attributes: one blob an inode, in the inode or in blocks of its own.
 * A change writes the blob anew and switches to it. Names carry their prefix.
 * Under the inode's lock.
 */
#ifndef DAXFUSE_MEDIA_XATTR_H
#define DAXFUSE_MEDIA_XATTR_H

#include <sys/types.h>

#include "tx.h"
#include "daxfuse/base/errint.h"

/* size 0: only the length. -ENODATA, -ERANGE, -EUCLEAN, -EIO, -ENOMEM. */
ssize_t xattr_get(const struct volume *vol, const struct dxf_inode *inode, const char *name,
		  void *value, size_t size);
/* Names with NUL, one after the other. */
ssize_t xattr_list(const struct volume *vol, const struct dxf_inode *inode, char *list,
		   size_t size);
/* value NULL removes. flags: XATTR_CREATE, XATTR_REPLACE. inode is a shadow.
 * -EEXIST, -ENODATA, -ENOSPC (also: beyond DXF_XATTR_MAX in all), -E2BIG. */
errint_t xattr_set(struct tx *tx, struct dxf_inode *inode, const char *name, const void *value,
		   size_t size, int flags);
/* Free the blocks, if any. */
errint_t xattr_drop(struct tx *tx, struct dxf_inode *inode);

#endif
