/* SPDX-License-Identifier: BSD-3-Clause */
/* Of the room: names in directories. */
#ifndef DAXFUSE_CORE_NAMES_H
#define DAXFUSE_CORE_NAMES_H

#include "internal.h"

struct found {
	struct bucket_entry entry;
	struct bucket_place place;
};

/* A name that may be made or removed: -EINVAL, -EEXIST ("." and ".."),
 * -ENAMETOOLONG. */
int name_check(const char *name);
/* The directory, exclusively locked, for a change of its names. -EROFS,
 * -ENOTDIR, -EPERM (immutable), -ENOENT (it was removed). */
int dir_lock(struct fs *fs, uint64_t ino, struct inode **ret_dir);
/* The same checks for a directory that is locked already. */
int dir_may_change(const struct inode *dir);
/* dir is locked. */
int name_find(struct fs *fs, const struct inode *dir, const char *name, struct found *ret_found);
/* May the name be taken from dir? Append-only and immutable say no. */
int name_may_go(const struct inode *dir, const struct inode *child);
/* In tx, a name of child has gone: link count, ctime, orphan bit. The directory
 * loses its two links at once. */
void name_drop(struct tx *tx, const struct inode *child, int64_t now);

#endif
