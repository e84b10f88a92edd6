/* SPDX-License-Identifier: BSD-3-Clause */
/* Of the room: names in directories. */
#ifndef DAXFUSE_CORE_NAMES_H
#define DAXFUSE_CORE_NAMES_H

#include "internal.h"
#include "daxfuse/base/errint.h"

struct found {
	struct bucket_entry entry;
	struct bucket_place place;
};

/* A name that may be made or removed: -EINVAL, -EEXIST ("." and ".."),
 * -ENAMETOOLONG. */
errint_t name_check(const char *name);
/* The directory, exclusively locked, for a change of its names. -EROFS,
 * -ENOTDIR, -EPERM (immutable), -ENOENT (it was removed). */
errint_t dir_lock(struct fs *fs, uint64_t ino, struct inode **ret_dir);
/* The same checks for a directory that is locked already. */
errint_t dir_may_change(const struct inode *dir);
/* dir is locked. */
errint_t name_find(struct fs *fs, const struct inode *dir, const char *name,
		   struct found *ret_found);
/* May the name be taken from dir? Append-only and immutable say no. */
errint_t name_may_go(const struct inode *dir, const struct inode *child);
/* In tx, a name of child has gone: link count, ctime, orphan bit. The directory
 * loses its two links at once. */
void name_drop(struct tx *tx, const struct inode *child, int64_t now);

#endif
