/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Directories: linear hash tables of names, see dir.c. All under the
 * directory's lock (shared to look, exclusive to change); a directory that is
 * changed is a transaction's shadow.
 */
#ifndef DAXFUSE_MEDIA_DIR_H
#define DAXFUSE_MEDIA_DIR_H

#include "bucket.h"
#include "daxfuse/base/errint.h"

/* tx may be NULL. -ENOENT, -ENAMETOOLONG, -EUCLEAN, -EIO. */
errint_t dir_find(const struct volume *vol, struct tx *tx, const struct dxf_inode *dir,
		  const char *name, unsigned name_length, struct bucket_place *ret_place,
		  struct bucket_entry *ret_entry);

/* The caller has seen that name is not there. -ENOSPC, -EUCLEAN, -EIO. */
errint_t dir_add(struct tx *tx, struct dxf_inode *dir, const char *name, unsigned name_length,
		 uint32_t ino, uint8_t type);
/* Remove what dir_find() in this transaction found. */
errint_t dir_remove(struct tx *tx, struct dxf_inode *dir, const struct bucket_entry *entry,
		    const struct bucket_place *place);

/*
 * The entries of one bucket whose keys are at least `from`, ascending, at most
 * max of them (then *ret_next is the key after the last); *ret_next: the key to
 * go on from, or 0 at the end. Returns their count. Buckets without such entries
 * give 0 with a *ret_next. -EUCLEAN, -EIO.
 */
int dir_list(const struct volume *vol, const struct dxf_inode *dir, uint64_t from,
	     struct bucket_entry *entries, unsigned max, uint64_t *ret_next);

#endif
