/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names: looking up, linking, unlinking, listing. An inode that loses its last
 * name becomes an orphan: a bit on media says so, and fs_forget() frees it.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"
#include "names.h"
#include "daxfuse/media/ialloc.h"
#include "daxfuse/media/table.h"

static bool is_dot(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

errint_t name_check(const char *name)
{
	size_t length = strlen(name);

	if (!length || strchr(name, '/'))
		return -EINVAL;
	if (length > DXF_NAME_MAX)
		return -ENAMETOOLONG;
	return is_dot(name) ? -EEXIST : 0;
}

errint_t dir_may_change(const struct inode *dir)
{
	if (!S_ISDIR(dir->media->mode))
		return -ENOTDIR;
	if (!dir->media->nlink)
		return -ENOENT;
	return dir->media->flags & DXF_FLAG_IMMUTABLE ? -EPERM : 0;
}

errint_t dir_lock(struct fs *fs, uint64_t ino, struct inode **ret_dir)
{
	struct inode *dir;
	int err = fs_is_read_only(fs) ? -EROFS : inode_lock(fs, ino, true, &dir);

	if (err)
		return err;
	err = dir_may_change(dir);
	if (err)
		inode_unlock(fs, dir);
	else
		*ret_dir = dir;
	return err;
}

errint_t name_find(struct fs *fs, const struct inode *dir, const char *name,
		   struct found *ret_found)
{
	return dir_find(fs->vol, NULL, dir->media, name, (unsigned)strlen(name), &ret_found->place,
			&ret_found->entry);
}

errint_t name_may_go(const struct inode *dir, const struct inode *child)
{
	uint32_t keep = DXF_FLAG_IMMUTABLE | DXF_FLAG_APPEND;

	if (!child->media->nlink)
		return -EUCLEAN; /* it has a name, after all */
	return (dir->media->flags & keep) || (child->media->flags & keep) ? -EPERM : 0;
}

void name_drop(struct tx *tx, const struct inode *child, int64_t now)
{
	struct dxf_inode *di = tx_edit_inode(tx, child->media);

	di->nlink = S_ISDIR(di->mode) ? 0 : di->nlink - 1;
	di->ctime = now;
	if (!di->nlink)
		ialloc_set_orphan(tx, child->ino, true);
}

/* ---- lookup --------------------------------------------------------------- */

errint_t fs_lookup(struct fs *fs, uint64_t parent, const char *name, struct fs_attr *ret_attr)
{
	struct inode *dir, *inode;
	struct found found;
	uint64_t ino;
	int err = inode_lock(fs, parent, false, &dir);

	if (err)
		return err;
	/* "." of anything: so an inode is found by its number (fs.h) */
	if (!strcmp(name, ".")) {
		ino = dir->ino;
	} else if (!S_ISDIR(dir->media->mode)) {
		err = -ENOTDIR;
	} else if (!strcmp(name, "..")) {
		ino = dir->media->parent;
	} else {
		err = name_find(fs, dir, name, &found);
		ino = found.entry.ino;
	}
	if (!err)
		err = inode_get(fs, ino, &inode);
	inode_unlock(fs, dir);
	if (err)
		return err == -ESTALE ? -EUCLEAN : err;
	lock_shared(LOCK_INODE, &inode->lock);
	if (inode->gone)
		err = -ENOENT;
	else
		inode_attr(fs, inode, ret_attr);
	inode_unlock(fs, inode);
	return err;
}

ssize_t fs_readlink(struct fs *fs, uint64_t ino, char *buf, size_t size)
{
	struct inode *inode;
	struct run run;
	ssize_t n;
	int err = inode_lock(fs, ino, false, &inode);

	if (err)
		return err;
	n = (ssize_t)MIN(size, inode->media->size);
	if (!S_ISLNK(inode->media->mode))
		err = -EINVAL;
	else if (inode->media->data_format == DXF_DATA_INLINE)
		memcpy(buf, inode->media->data, (size_t)n);
	else if (n > (ssize_t)DXF_BLOCK_SIZE)
		err = -EUCLEAN;
	else
		err = table_find(fs->vol, NULL, inode->media, 0, 1, &run);
	if (!err && inode->media->data_format != DXF_DATA_INLINE)
		err = run.written ? pmem_read(fs->pm, buf, pmem_at(fs->pm, run.offset), (size_t)n)
				  : -EUCLEAN;
	inode_unlock(fs, inode);
	return err ? err : n;
}

/* ---- link and unlink ------------------------------------------------------ */

static errint_t link_locked(struct fs *fs, const struct fs_request *request, struct inode *dir,
			    struct inode *inode, const char *name)
{
	struct dxf_inode *di, *parent;
	struct tx *tx;
	int err;

	lock_assert(LOCK_INODE);
	if (inode->media->flags & (DXF_FLAG_IMMUTABLE | DXF_FLAG_APPEND))
		return -EPERM;
	if (inode->media->nlink >= DXF_LINK_MAX)
		return -EMLINK;
	if ((dir->media->flags & DXF_FLAG_PROJINHERIT) &&
	    dir->media->project != inode->media->project)
		return -EXDEV;
	err = edit_begin(fs, dir, &tx, &parent);
	if (err)
		return err;
	di = tx_edit_inode(tx, inode->media);
	err = dir_add(tx, parent, name, (unsigned)strlen(name), inode->ino,
		      (uint8_t)IFTODT(inode->media->mode));
	if (!err && !di->nlink++)
		ialloc_set_orphan(tx, inode->ino, false);
	di->ctime = parent->mtime = parent->ctime = fs_clock();
	tx_decides(tx, once_of(request), 0);
	return edit_end(tx, err);
}

errint_t fs_link(struct fs *fs, const struct fs_request *request, uint64_t ino, uint64_t parent,
		 const char *name, struct fs_attr *ret_attr)
{
	struct inode *dir, *inode;
	struct found found;
	int err = name_check(name);

	if (!err)
		err = dir_lock(fs, parent, &dir);
	if (err)
		return err;
	/* a directory is refused before it is locked: it may lie above */
	err = inode_get(fs, ino, &inode);
	if (!err && inode_is_dir(inode)) {
		inode_put(fs, inode);
		err = -EPERM;
	}
	if (err) {
		inode_unlock(fs, dir);
		return err;
	}
	err = inode_lock_exclusive(fs, inode);
	if (err) {
		inode_put(fs, inode);
		inode_unlock(fs, dir);
		return err;
	}
	err = inode->gone ? -ESTALE : name_find(fs, dir, name, &found);
	if (!err)
		err = -EEXIST;
	else if (err == -ENOENT)
		err = link_locked(fs, request, dir, inode, name);
	if (!err) {
		fill_attr(fs, inode->media, ret_attr);
		inode->forgotten = false;
	}
	inode_unlock(fs, inode);
	inode_unlock(fs, dir);
	return err;
}

static errint_t unlink_locked(struct fs *fs, const struct fs_request *request, struct inode *dir,
			      struct inode *child, const struct found *found)
{
	struct dxf_inode *parent;
	int64_t now = fs_clock();
	struct tx *tx;
	int err = edit_begin(fs, dir, &tx, &parent);

	lock_assert(LOCK_INODE);
	if (err)
		return err;
	err = dir_remove(tx, parent, &found->entry, &found->place);
	name_drop(tx, child, now);
	parent->mtime = parent->ctime = now;
	if (S_ISDIR(child->media->mode))
		parent->nlink--;
	tx_decides(tx, once_of(request), 0);
	return edit_end(tx, err);
}

static errint_t remove_name(struct fs *fs, const struct fs_request *request, uint64_t parent,
			    const char *name, bool directory)
{
	struct inode *dir, *child = NULL;
	struct found found;
	int err = dir_lock(fs, parent, &dir);

	if (err)
		return err;
	err = name_find(fs, dir, name, &found);
	if (!err)
		err = found.entry.ino == dir->ino ? -EUCLEAN
						  : inode_lock(fs, found.entry.ino, true, &child);
	if (err) {
		inode_unlock(fs, dir);
		return err == -ESTALE ? -EUCLEAN : err;
	}
	if (directory != S_ISDIR(child->media->mode))
		err = directory ? -ENOTDIR : -EISDIR;
	else
		err = name_may_go(dir, child);
	if (!err && directory && child->media->entries)
		err = -ENOTEMPTY;
	if (!err)
		err = unlink_locked(fs, request, dir, child, &found);
	inode_unlock(fs, child);
	inode_unlock(fs, dir);
	return err;
}

errint_t fs_unlink(struct fs *fs, const struct fs_request *request, uint64_t parent,
		   const char *name)
{
	return remove_name(fs, request, parent, name, false);
}

errint_t fs_rmdir(struct fs *fs, const struct fs_request *request, uint64_t parent,
		  const char *name)
{
	if (strcmp(name, ".") == 0)
		return -EINVAL;
	if (strcmp(name, "..") == 0)
		return -ENOTEMPTY;
	return remove_name(fs, request, parent, name, true);
}

/* ---- listing -------------------------------------------------------------- */

enum { LIST_MAX = 64 };

/* "." has cookie 0, ".." has 1; keys begin at DXF_KEY_MIN. */
static int emit_dots(struct fs *fs, uint64_t ino, uint64_t cookie,
		     int (*emit)(const struct fs_dirent *entry, void *arg), void *arg,
		     uint64_t parent)
{
	struct fs_dirent dot = { .name = ".", .ino = ino, .next = 1, .type = DT_DIR };
	struct fs_dirent dotdot = { .name = "..", .ino = parent, .next = 2, .type = DT_DIR };
	int stop = 0;

	if (cookie < 1)
		stop = emit(&dot, arg);
	if (!stop && cookie < 2)
		stop = emit(&dotdot, arg);
	return stop;
}

static int emit_entries(const struct bucket_entry *entries, int count,
			int (*emit)(const struct fs_dirent *entry, void *arg), void *arg)
{
	for (int i = 0; i < count; i++) {
		struct fs_dirent dirent = { .name = entries[i].name,
					    .ino = entries[i].ino,
					    .next = entries[i].key + 1,
					    .type = entries[i].type };

		if (emit(&dirent, arg))
			return 1;
	}
	return 0;
}

int fs_readdir(struct fs *fs, uint64_t ino, uint64_t cookie,
	       int (*emit)(const struct fs_dirent *entry, void *arg), void *arg)
{
	struct bucket_entry *entries = malloc(LIST_MAX * sizeof(*entries));
	uint64_t from = MAX(cookie, DXF_KEY_MIN);
	struct inode *dir;
	int stop = 0, err = 0;

	if (!entries)
		return -ENOMEM;
	for (bool first = true; !err && !stop && from; first = false) {
		uint64_t parent, next = 0;
		int count;

		err = inode_lock(fs, ino, false, &dir);
		if (err)
			break;
		parent = dir->media->parent;
		count = !S_ISDIR(dir->media->mode)
				? -ENOTDIR
				: dir_list(fs->vol, dir->media, from, entries, LIST_MAX, &next);
		inode_unlock(fs, dir);
		if (count < 0)
			err = count;
		else if (first)
			stop = emit_dots(fs, ino, cookie, emit, arg, parent);
		if (!err && !stop)
			stop = emit_entries(entries, count, emit, arg);
		from = next;
	}
	free(entries);
	return err;
}
