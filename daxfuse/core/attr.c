/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Attributes of an inode: what stat shows, what chmod, chown, utimens, truncate
 * and the FSXATTR ioctls set. One transaction each; times alone that a write or
 * read moves are stored in place, 8 bytes each.
 */
#include <errno.h>

#include "internal.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "daxfuse/media/table.h"
#include "daxfuse/media/xattr.h"

static bool is_dax(const struct fs *fs, const struct dxf_inode *inode)
{
	if (!S_ISREG(inode->mode) || fs->options.dax == FS_DAX_NEVER)
		return false;
	return fs->options.dax == FS_DAX_ALWAYS || (inode->flags & DXF_FLAG_DAX);
}

/* st_blocks. Data in the inode itself counts as one sector: tar and others take
 * a file without blocks for a hole. */
static uint64_t sectors(const struct dxf_inode *inode)
{
	bool in_inode = inode->data_format == DXF_DATA_INLINE && inode->size;

	return inode->blocks * (DXF_BLOCK_SIZE / 512) + in_inode;
}

void fill_attr(const struct fs *fs, const struct dxf_inode *inode, struct fs_attr *ret_attr)
{
	*ret_attr = (struct fs_attr){
		.ino = inode->ino,
		.generation = inode->generation,
		.mode = inode->mode,
		.nlink = inode->nlink,
		.uid = inode->uid,
		.gid = inode->gid,
		.rdev = inode->rdev,
		.size = inode->size,
		.blocks = sectors(inode),
		.atime = (int64_t)pmem_read_once64(&inode->atime),
		.mtime = (int64_t)pmem_read_once64(&inode->mtime),
		.ctime = (int64_t)pmem_read_once64(&inode->ctime),
		.btime = inode->btime,
		.flags = inode->flags & ~DXF_FLAG_INTERNAL,
		.project = inode->project,
		.extsize = inode->extsize,
		.dax = is_dax(fs, inode),
	};
}

void inode_attr(const struct fs *fs, const struct inode *inode, struct fs_attr *ret_attr)
{
	fill_attr(fs, inode->media, ret_attr);
	ret_attr->size = tail_size(inode);
}

bool kill_suidgid(struct dxf_inode *di, bool any_sgid)
{
	uint32_t mode = di->mode & ~(uint32_t)S_ISUID;

	if (any_sgid || (mode & S_IXGRP))
		mode &= ~(uint32_t)S_ISGID;
	if (mode == di->mode)
		return false;
	di->mode = mode;
	return true;
}

void touch_in_place(struct fs *fs, struct inode *inode)
{
	int64_t now = fs_clock();

	pmem_store64(fs->pm, &inode->media->mtime, (uint64_t)now);
	pmem_store64(fs->pm, &inode->media->ctime, (uint64_t)now);
	pmem_flush(fs->pm, &inode->media->mtime, 16);
}

errint_t fs_getattr(struct fs *fs, uint64_t ino, struct fs_attr *ret_attr)
{
	struct inode *inode;
	int err = inode_lock_attr(fs, ino, &inode);

	if (err)
		return err;
	inode_attr(fs, inode, ret_attr);
	inode_unlock(fs, inode);
	return 0;
}

errint_t fs_find_times(struct fs *fs, uint64_t ino, uint64_t *ret_device_offset)
{
	struct inode *inode;
	int err = inode_get(fs, ino, &inode);

	if (err)
		return err;
	*ret_device_offset = pmem_offset(fs->pm, &inode->media->mtime);
	inode_put(fs, inode);
	return 0;
}

/* ---- setattr -------------------------------------------------------------- */

/* An append-only file may be touched, and its times be left alone; nothing else. */
static bool is_touch(const struct fs_setattr *set)
{
	unsigned times = FS_SET_ATIME | FS_SET_MTIME | FS_SET_CTIME | FS_SET_TOUCH;

	return !(set->valid & ~times) &&
	       (!(set->valid & (FS_SET_ATIME | FS_SET_MTIME)) || (set->valid & FS_SET_TOUCH));
}

static errint_t may_set(const struct dxf_inode *inode, const struct fs_setattr *set)
{
	if (inode->flags & DXF_FLAG_IMMUTABLE)
		return -EPERM;
	if ((inode->flags & DXF_FLAG_APPEND) && !is_touch(set))
		return -EPERM;
	if (set->valid & FS_SET_SIZE) {
		if (S_ISDIR(inode->mode))
			return -EISDIR;
		if (!S_ISREG(inode->mode))
			return -EINVAL;
		if (set->size > DXF_FILE_MAX)
			return -EFBIG;
	}
	return 0;
}

errint_t fs_may_setattr(struct fs *fs, uint64_t ino, const struct fs_setattr *set)
{
	struct inode *inode;
	int err = fs_is_read_only(fs) ? -EROFS : inode_lock_attr(fs, ino, &inode);

	if (err)
		return err;
	err = may_set(inode->media, set);
	inode_unlock(fs, inode);
	return err;
}

static void set_times(struct dxf_inode *di, const struct fs_setattr *set, int64_t now)
{
	if (set->valid & FS_SET_ATIME)
		di->atime = set->atime;
	if (set->valid & FS_SET_SIZE)
		di->mtime = now;
	if (set->valid & FS_SET_MTIME)
		di->mtime = set->mtime;
	di->ctime = set->valid & FS_SET_CTIME ? set->ctime : now;
}

/* Edits di, ends tx. */
static errint_t set_locked(struct fs *fs, struct inode *inode, struct tx *tx, struct dxf_inode *di,
			   const struct fs_setattr *set)
{
	int err = 0;

	lock_assert(LOCK_INODE);
	if (set->valid & FS_SET_UID)
		di->uid = set->uid;
	if (set->valid & FS_SET_GID)
		di->gid = set->gid;
	if (set->valid & FS_SET_KILL_SUIDGID)
		kill_suidgid(di, set->valid & FS_SET_KILL_SGID);
	if (set->valid & FS_SET_MODE) {
		di->mode = (di->mode & S_IFMT) | (set->mode & ~(uint32_t)S_IFMT & 07777);
		err = acl_chmod(fs, tx, di);
	}
	set_times(di, set, fs_clock());
	if (!err && (set->valid & FS_SET_SIZE))
		return truncate_commit(fs, inode, tx, di, set->size);
	return edit_end(tx, err);
}

errint_t fs_setattr(struct fs *fs, uint64_t ino, const struct fs_setattr *set,
		    struct fs_attr *ret_attr)
{
	struct dxf_inode *di;
	struct inode *inode;
	struct tx *tx;
	int err;

	if (fs_is_read_only(fs))
		return -EROFS;
	err = inode_lock(fs, ino, true, &inode);
	if (err)
		return err;
	err = may_set(inode->media, set);
	if (!err && (set->valid & FS_SET_SIZE) && (inode->media->flags & DXF_FLAG_TRUNCATING))
		err = truncate_finish(fs, inode);
	if (!err)
		err = edit_begin(fs, inode, &tx, &di);
	if (!err)
		err = set_locked(fs, inode, tx, di, set);
	if (!err && ret_attr)
		fill_attr(fs, inode->media, ret_attr);
	inode_unlock(fs, inode);
	return err;
}

/* ---- privileges ----------------------------------------------------------- */

static const char capability[] = "security.capability";

static bool has_capability(struct fs *fs, const struct dxf_inode *inode)
{
	return inode->xattr_bytes && xattr_get(fs->vol, inode, capability, NULL, 0) >= 0;
}

static bool has_bits(const struct dxf_inode *inode, unsigned kill)
{
	struct dxf_inode copy = { .mode = inode->mode };

	return (kill & FS_WRITE_KILL_SUIDGID) && kill_suidgid(&copy, kill & FS_WRITE_KILL_SGID);
}

errint_t drop_privileges_locked(struct fs *fs, struct inode *inode, unsigned kill,
				bool *ret_dropped)
{
	bool capable = has_capability(fs, inode->media);
	struct dxf_inode *di;
	struct tx *tx;
	int err;

	lock_assert(LOCK_INODE);
	*ret_dropped = capable || has_bits(inode->media, kill);
	if (!*ret_dropped)
		return 0;
	err = edit_begin(fs, inode, &tx, &di);
	if (err)
		return err;
	if (kill & FS_WRITE_KILL_SUIDGID)
		kill_suidgid(di, kill & FS_WRITE_KILL_SGID);
	if (capable)
		err = xattr_set(tx, di, capability, NULL, 0, 0);
	di->ctime = fs_clock();
	return edit_end(tx, err);
}

errint_t fs_drop_privileges(struct fs *fs, uint64_t ino, unsigned kill, bool *ret_dropped)
{
	struct inode *inode;
	int err = fs_is_read_only(fs) ? -EROFS : inode_lock(fs, ino, true, &inode);

	*ret_dropped = false;
	if (err)
		return err;
	err = inode->media->flags & DXF_FLAG_IMMUTABLE
		      ? -EPERM
		      : drop_privileges_locked(fs, inode, kill, ret_dropped);
	inode_unlock(fs, inode);
	return err;
}

/* ---- flags ---------------------------------------------------------------- */

errint_t fs_get_xflags(struct fs *fs, uint64_t ino, struct fs_xflags *ret_xflags)
{
	struct inode *inode;
	uint32_t extents = 0;
	int err = inode_lock(fs, ino, false, &inode);

	if (err)
		return err;
	if (S_ISREG(inode->media->mode))
		err = table_count_extents(fs->vol, inode->media, &extents);
	if (!err)
		*ret_xflags = (struct fs_xflags){
			.flags = inode->media->flags & ~DXF_FLAG_INTERNAL,
			.project = inode->media->project,
			.extsize = inode->media->extsize,
			.extents = extents,
		};
	inode_unlock(fs, inode);
	return err;
}

static errint_t check_xflags(const struct dxf_inode *inode, const struct fs_xflags *x)
{
	uint32_t only_dirs = DXF_FLAG_PROJINHERIT | DXF_FLAG_EXTSZINHERIT;

	if (x->flags & (~DXF_FLAG_KNOWN | DXF_FLAG_INTERNAL))
		return -EOPNOTSUPP;
	if (!S_ISDIR(inode->mode) && (x->flags & only_dirs))
		return -EINVAL;
	if (!S_ISREG(inode->mode) && (x->flags & DXF_FLAG_EXTSIZE))
		return -EINVAL;
	if (x->extsize % DXF_BLOCK_SIZE)
		return -EINVAL;
	if ((x->flags ^ inode->flags) & x->fixed)
		return -EPERM;
	if (x->same_project &&
	    (x->project != inode->project || ((x->flags ^ inode->flags) & DXF_FLAG_PROJINHERIT)))
		return -EPERM;
	return 0;
}

errint_t fs_set_xflags(struct fs *fs, uint64_t ino, const struct fs_xflags *xflags)
{
	struct dxf_inode *di;
	struct inode *inode;
	struct tx *tx;
	int err;

	if (fs_is_read_only(fs))
		return -EROFS;
	err = inode_lock(fs, ino, true, &inode);
	if (err)
		return err;
	err = check_xflags(inode->media, xflags);
	if (!err)
		err = edit_begin(fs, inode, &tx, &di);
	if (!err) {
		di->flags = (di->flags & DXF_FLAG_INTERNAL) | xflags->flags;
		di->project = xflags->project;
		di->extsize = xflags->extsize;
		di->ctime = fs_clock();
		err = edit_end(tx, 0);
	}
	inode_unlock(fs, inode);
	return err;
}
