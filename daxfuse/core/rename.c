/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rename, in one transaction: the new name, the old name, parents, link counts.
 *
 * The locks: renames between directories are one at a time, so that nobody can move a directory
 * below itself while another checks. The same goes for renames of a directory to the name of
 * another one: they lock two that are unrelated, which only one thread may do, or the order of the
 * tree would not be enough for the others. See internal.h for the order of the four inodes.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/fs.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"
#include "names.h"
#include "daxfuse/media/ialloc.h"

struct rename {
	struct fs *fs;
	const struct fs_request *request;
	const char *name, *new_name;
	unsigned flags;
	bool cross;  /* from one directory to another */
	bool serial; /* rename_lock is held */
	struct inode *dir, *new_dir;
	struct inode *source; /* the inode that moves */
	struct inode *target; /* the one that has the new name now, or NULL */
	struct found from, to;
};

/* Whether a is b or above b. Directories only move under rename_lock, held. */
static errint_t is_above(struct fs *fs, uint32_t a, uint32_t b, bool *ret_above)
{
	uint32_t root = fs->vol->super.root_ino;
	uint64_t left, max;

	ialloc_count(fs->vol, &left, &max);
	while (a != b && b != root) {
		struct inode *dir;
		/* deeper than there are inodes: in circles */
		int err = left-- ? inode_get(fs, b, &dir) : -EUCLEAN;

		if (err)
			return err == -ESTALE ? -ENOENT : err; /* it was removed, and its parent */
		b = pmem_read_once32(&dir->media->parent);
		inode_put(fs, dir);
	}
	*ret_above = a == b;
	return 0;
}

static bool is_dir(const struct inode *inode)
{
	return inode && inode_is_dir(inode);
}

/* Whether new_dir must be locked before dir: an ancestor first, else by number. */
static errint_t new_dir_first(struct rename *r, bool *ret_first)
{
	bool above = false;
	int err = is_above(r->fs, r->dir->ino, r->new_dir->ino, &above);

	if (!err && !above) {
		err = is_above(r->fs, r->new_dir->ino, r->dir->ino, &above);
		*ret_first = above || r->new_dir->ino < r->dir->ino;
	} else {
		*ret_first = false;
	}
	return err;
}

/* Reference and lock both directories; on error neither is locked. */
static errint_t lock_dirs(struct rename *r, uint64_t parent, uint64_t new_parent)
{
	bool new_first = false;
	int err = inode_get(r->fs, parent, &r->dir);

	if (!err)
		err = inode_get(r->fs, new_parent, &r->new_dir);
	if (!err && (!is_dir(r->dir) || !is_dir(r->new_dir)))
		err = -ENOTDIR;
	if (!err && r->cross)
		err = new_dir_first(r, &new_first);
	if (err)
		return err;
	lock_exclusive(LOCK_INODE, new_first ? &r->new_dir->lock : &r->dir->lock);
	if (r->cross)
		lock_exclusive(LOCK_INODE, new_first ? &r->dir->lock : &r->new_dir->lock);
	return 0;
}

static void unlock_dirs(struct rename *r)
{
	unlock_rw(LOCK_INODE, &r->dir->lock);
	if (r->cross)
		unlock_rw(LOCK_INODE, &r->new_dir->lock);
}

/* Both names, and the inodes behind them, referenced. */
static errint_t find_both(struct rename *r)
{
	int err = name_find(r->fs, r->dir, r->name, &r->from);

	if (!err)
		err = inode_get(r->fs, r->from.entry.ino, &r->source);
	if (err)
		return err;
	err = name_find(r->fs, r->new_dir, r->new_name, &r->to);
	if (err == -ENOENT)
		return r->flags & RENAME_EXCHANGE ? -ENOENT : 0;
	if (!err && (r->flags & RENAME_NOREPLACE))
		err = -EEXIST;
	return err ? err : inode_get(r->fs, r->to.entry.ino, &r->target);
}

/* No directory may come to lie below itself, and none that is above the source
 * can be replaced. Before the inodes are locked, as it decides the order. */
static errint_t check_topology(struct rename *r)
{
	bool above = false;
	int err = 0;

	if (!r->cross)
		return 0;
	if (is_dir(r->source))
		err = is_above(r->fs, r->source->ino, r->new_dir->ino, &above);
	if (!err && above)
		return -EINVAL;
	if (!err && is_dir(r->target))
		err = is_above(r->fs, r->target->ino, r->dir->ino, &above);
	if (!err && above)
		return r->flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
	return err;
}

static bool crosses_project(const struct inode *dir, const struct inode *inode)
{
	return (dir->media->flags & DXF_FLAG_PROJINHERIT) &&
	       dir->media->project != inode->media->project;
}

static errint_t check_rules(const struct rename *r)
{
	bool exchange = r->flags & RENAME_EXCHANGE;
	int err = name_may_go(r->dir, r->source);

	if (!err && r->target)
		err = name_may_go(r->new_dir, r->target);
	if (err)
		return err;
	if (r->target && !exchange) {
		if (is_dir(r->source) && !is_dir(r->target))
			return -ENOTDIR;
		if (!is_dir(r->source) && is_dir(r->target))
			return -EISDIR;
		if (is_dir(r->target) && r->target->media->entries)
			return -ENOTEMPTY;
	}
	if (crosses_project(r->new_dir, r->source) ||
	    (exchange && crosses_project(r->dir, r->target)))
		return -EXDEV;
	if (r->cross && is_dir(r->source) && !is_dir(r->target) &&
	    r->new_dir->media->nlink >= DXF_LINK_MAX)
		return -EMLINK;
	return 0;
}

static uint8_t type_of(const struct inode *inode)
{
	return (uint8_t)IFTODT(inode->media->mode);
}

/* A directory has come under new_dir from dir. */
static void move_parent(struct tx *tx, struct inode *child, struct inode *from, struct inode *to)
{
	if (!is_dir(child) || from == to)
		return;
	tx_edit_inode(tx, child->media)->parent = to->ino;
	tx_edit_inode(tx, from->media)->nlink--;
	tx_edit_inode(tx, to->media)->nlink++;
}

static errint_t exchange(struct rename *r, struct tx *tx, int64_t now)
{
	int err = bucket_set(tx, &r->from.place, r->target->ino, type_of(r->target));

	if (!err)
		err = bucket_set(tx, &r->to.place, r->source->ino, type_of(r->source));
	move_parent(tx, r->source, r->dir, r->new_dir);
	move_parent(tx, r->target, r->new_dir, r->dir);
	tx_edit_inode(tx, r->target->media)->ctime = now;
	return err;
}

/* The new name: the inode that had it loses it, or it is added. */
static errint_t take_name(struct rename *r, struct tx *tx, int64_t now)
{
	if (!r->target)
		return dir_add(tx, tx_edit_inode(tx, r->new_dir->media), r->new_name,
			       (unsigned)strlen(r->new_name), r->source->ino, type_of(r->source));
	name_drop(tx, r->target, now);
	if (is_dir(r->target))
		tx_edit_inode(tx, r->new_dir->media)->nlink--;
	return bucket_set(tx, &r->to.place, r->source->ino, type_of(r->source));
}

/* The old name: it goes, or a whiteout takes it. The addition may have moved it. */
static errint_t leave_name(struct rename *r, struct tx *tx)
{
	struct new_inode what = { .mode = S_IFCHR };
	struct dxf_inode *dir = tx_edit_inode(tx, r->dir->media), *whiteout;
	struct found found;
	int err = dir_find(r->fs->vol, tx, dir, r->name, (unsigned)strlen(r->name), &found.place,
			   &found.entry);

	if (err)
		return err == -ENOENT ? -EUCLEAN : err;
	if (!(r->flags & RENAME_WHITEOUT))
		return dir_remove(tx, dir, &found.entry, &found.place);
	err = create_inode(r->fs, tx, r->request, r->dir->media, r->dir->ino, &what, &whiteout);
	return err ? err : bucket_set(tx, &found.place, whiteout->ino, DT_CHR);
}

static errint_t rename_commit(struct rename *r)
{
	int64_t now = fs_clock();
	struct dxf_inode *di;
	struct tx *tx;
	int err = tx_begin(r->fs->vol, &tx);

	if (err)
		return err;
	if (r->flags & RENAME_EXCHANGE) {
		err = exchange(r, tx, now);
	} else {
		err = take_name(r, tx, now);
		if (!err)
			err = leave_name(r, tx);
		move_parent(tx, r->source, r->dir, r->new_dir);
	}
	tx_edit_inode(tx, r->source->media)->ctime = now;
	di = tx_edit_inode(tx, r->dir->media);
	di->mtime = di->ctime = now;
	di = tx_edit_inode(tx, r->new_dir->media);
	di->mtime = di->ctime = now;
	tx_decides(tx, once_of(r->request), 0);
	return edit_end(tx, err);
}

/* The directories are locked. -EAGAIN: it takes rename_lock, see `serial`. */
static errint_t rename_locked(struct rename *r)
{
	int err = dir_may_change(r->dir);

	lock_assert(LOCK_INODE);
	if (!err)
		err = dir_may_change(r->new_dir);
	if (!err)
		err = find_both(r);
	if (err == -ESTALE)
		return -EUCLEAN; /* a name of nothing */
	if (err || r->source == r->target)
		return err; /* two names of one inode: nothing to do */
	if (r->source == r->dir || r->target == r->new_dir)
		return -EUCLEAN; /* a directory in itself */
	if (r->source == r->new_dir)
		return -EINVAL;
	if (r->target == r->dir)
		return r->flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
	if (is_dir(r->source) && is_dir(r->target) && !r->serial)
		return -EAGAIN;
	err = check_topology(r);
	if (err)
		return err;
	err = inode_lock_two(r->fs, r->source, r->target);
	if (err)
		return err;
	err = check_rules(r);
	if (!err)
		err = rename_commit(r);
	inode_unlock_two(r->source, r->target);
	return err;
}

static void put_all(struct rename *r)
{
	inode_put(r->fs, r->source);
	inode_put(r->fs, r->target);
	inode_put(r->fs, r->dir);
	inode_put(r->fs, r->new_dir);
	r->source = r->target = r->dir = r->new_dir = NULL;
}

static errint_t try_rename(struct rename *r, uint64_t parent, uint64_t new_parent)
{
	int err;

	if (r->serial)
		lock_mutex(LOCK_RENAME, &r->fs->rename_lock);
	err = lock_dirs(r, parent, new_parent);
	if (!err) {
		err = r->dir->gone || r->new_dir->gone ? -ESTALE : rename_locked(r);
		unlock_dirs(r);
	}
	if (r->serial)
		unlock_mutex(LOCK_RENAME, &r->fs->rename_lock);
	put_all(r);
	return err;
}

errint_t fs_rename(struct fs *fs, const struct fs_request *request, uint64_t parent,
		   const char *name, uint64_t new_parent, const char *new_name, unsigned flags)
{
	bool cross = parent != new_parent;
	struct rename r = { .fs = fs,
			    .request = request,
			    .name = name,
			    .new_name = new_name,
			    .flags = flags,
			    .cross = cross,
			    .serial = cross };
	int err = name_check(name);

	if (!err)
		err = name_check(new_name);
	if (err)
		return err == -EEXIST ? -EBUSY : err;
	if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) ||
	    ((flags & RENAME_EXCHANGE) && (flags & (RENAME_NOREPLACE | RENAME_WHITEOUT))))
		return -EINVAL;
	if (fs_is_read_only(fs))
		return -EROFS;
	err = try_rename(&r, parent, new_parent);
	if (err == -EAGAIN && !r.serial) {
		r.serial = true;
		err = try_rename(&r, parent, new_parent);
	}
	return err;
}
