/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * New inodes: files, directories, symlinks, special files, and files without a
 * name. One transaction: inode, its bit, the name, the directory.
 */
#include <dirent.h>
#include <errno.h>

#include "internal.h"
#include "names.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "daxfuse/media/alloc.h"
#include "daxfuse/media/ialloc.h"
#include "daxfuse/media/inode.h"

/* What a child inherits of its directory's flags. */
static uint32_t inherited_flags(const struct dxf_inode *dir, uint32_t mode)
{
	uint32_t flags = dir->flags &
			 (DXF_FLAG_DAX | DXF_FLAG_NODUMP | DXF_FLAG_NOATIME | DXF_FLAG_SYNC);

	if (S_ISDIR(mode))
		flags |= dir->flags & (DXF_FLAG_PROJINHERIT | DXF_FLAG_EXTSZINHERIT);
	else if (S_ISREG(mode) && (dir->flags & DXF_FLAG_EXTSZINHERIT))
		flags |= DXF_FLAG_EXTSIZE;
	else if (!S_ISREG(mode))
		flags &= ~DXF_FLAG_DAX;
	return flags;
}

/*
 * The slot's next generation: larger than its last one, and not smaller than the clock in steps of
 * 17 ms, so that it does not repeat either when the whole chunk was given up and came back.
 */
static uint32_t next_generation(const struct dxf_inode *slot)
{
	uint32_t clock = (uint32_t)(fs_clock() >> 24), next = slot->generation + 1;
	bool known = slot->magic == DXF_INODE_MAGIC && slot->crc == inode_crc(slot);

	if (!known || (int32_t)(next - clock) < 0)
		next = clock;
	return next ? next : 1;
}

static void set_owner(struct dxf_inode *di, const struct fs_request *request,
		      const struct dxf_inode *dir)
{
	di->uid = request->uid;
	di->gid = request->gid;
	if (dir->mode & S_ISGID) {
		di->gid = dir->gid;
		if (S_ISDIR(di->mode))
			di->mode |= S_ISGID;
		else if ((di->mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
			 !request->in_group && request->uid && request->gid != dir->gid)
			di->mode &= ~(uint32_t)S_ISGID;
	}
}

/* Order: the target into its block (it is fenced before the record). */
static errint_t store_target(struct fs *fs, struct tx *tx, struct dxf_inode *di, const char *target)
{
	size_t length = strlen(target);
	uint64_t offset;
	char *block;
	int err;

	di->size = length;
	if (length <= DXF_INLINE_MAX) {
		memcpy(di->data, target, length);
		return 0;
	}
	err = alloc_blocks(tx, 1, &offset);
	if (err)
		return err;
	block = pmem_at(fs->pm, offset);
	pmem_copy_nt(fs->pm, block, target, length);
	pmem_zero_nt(fs->pm, block + length, DXF_BLOCK_SIZE - length);
	tx_wrote_data(tx);
	di->data_format = DXF_DATA_DIRECT;
	offset |= 1;
	memcpy(di->data, &offset, 8);
	di->blocks = 1;
	return 0;
}

errint_t create_inode(struct fs *fs, struct tx *tx, const struct fs_request *request,
		      const struct dxf_inode *dir, uint32_t dir_ino, const struct new_inode *what,
		      struct dxf_inode **ret_shadow)
{
	struct dxf_inode *slot, *di;
	uint32_t ino, generation;
	int64_t now = fs_clock();
	int err = ialloc_get(tx, what->orphan, &ino);

	if (err)
		return err;
	slot = ialloc_slot(fs->vol, ino);
	err = pmem_probe(fs->pm, slot, sizeof(*slot));
	if (err)
		return err;
	generation = next_generation(slot);
	di = tx_edit_inode(tx, slot);
	memset(di, 0, sizeof(*di));
	*di = (struct dxf_inode){
		.magic = DXF_INODE_MAGIC,
		.ino = ino,
		.generation = generation,
		.mode = what->mode,
		.rdev = what->rdev,
		.nlink = what->orphan ? 0 : 1,
		.flags = inherited_flags(dir, what->mode),
		.project = dir->flags & DXF_FLAG_PROJINHERIT ? dir->project : 0,
		.extsize = dir->flags & DXF_FLAG_EXTSZINHERIT ? dir->extsize : 0,
		.atime = now,
		.mtime = now,
		.ctime = now,
		.btime = now,
	};
	if (S_ISDIR(di->mode)) {
		di->nlink = 2;
		di->parent = dir_ino;
	}
	set_owner(di, request, dir);
	err = acl_inherit(fs, tx, dir, di, request->umask);
	if (!err && what->target)
		err = store_target(fs, tx, di, what->target);
	tx_count_inode(tx, slot, 1);
	*ret_shadow = di;
	return err;
}

/* dir is locked and may get names. Ends the transaction. */
static errint_t create_locked(struct fs *fs, const struct fs_request *request, struct inode *dir,
			      const char *name, const struct new_inode *what,
			      struct fs_attr *ret_attr)
{
	struct dxf_inode *di, *parent = NULL;
	struct tx *tx;
	uint32_t ino = 0;
	int err = tx_begin(fs->vol, &tx);

	lock_assert(LOCK_INODE);
	if (err)
		return err;
	err = create_inode(fs, tx, request, dir->media, dir->ino, what, &di);
	if (!err && name) {
		ino = di->ino;
		parent = tx_edit_inode(tx, dir->media);
		err = dir_add(tx, parent, name, (unsigned)strlen(name), ino,
			      (uint8_t)IFTODT(what->mode));
	}
	if (err) {
		tx_abort(tx);
		return err;
	}
	ino = di->ino;
	if (parent) {
		parent->mtime = parent->ctime = di->ctime;
		if (S_ISDIR(what->mode))
			parent->nlink++;
	}
	tx_decides(tx, &request->once, FS_RESULT(ino, di->generation));
	err = tx_commit(tx);
	if (!err && ret_attr)
		fill_attr(fs, ialloc_slot(fs->vol, ino), ret_attr);
	return err;
}

static errint_t create(struct fs *fs, const struct fs_request *request, uint64_t parent,
		       const char *name, const struct new_inode *what, struct fs_attr *ret_attr)
{
	struct inode *dir;
	struct found found;
	int err = name_check(name);

	if (!err)
		err = dir_lock(fs, parent, &dir);
	if (err)
		return err;
	err = name_find(fs, dir, name, &found);
	if (!err)
		err = -EEXIST;
	else if (err == -ENOENT)
		err = S_ISDIR(what->mode) && dir->media->nlink >= DXF_LINK_MAX
			      ? -EMLINK
			      : create_locked(fs, request, dir, name, what, ret_attr);
	inode_unlock(fs, dir);
	return err;
}

errint_t fs_mknod(struct fs *fs, const struct fs_request *request, uint64_t parent,
		  const char *name, uint32_t mode, uint32_t rdev, struct fs_attr *ret_attr)
{
	struct new_inode what = { .mode = mode & (S_IFMT | 07777), .rdev = rdev };

	if (!(mode & S_IFMT))
		what.mode |= S_IFREG;
	switch (what.mode & S_IFMT) {
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK:
		what.rdev = 0;
		break;
	case S_IFCHR:
	case S_IFBLK:
		break;
	default:
		return -EINVAL;
	}
	return create(fs, request, parent, name, &what, ret_attr);
}

errint_t fs_mkdir(struct fs *fs, const struct fs_request *request, uint64_t parent,
		  const char *name, uint32_t mode, struct fs_attr *ret_attr)
{
	struct new_inode what = { .mode = S_IFDIR | (mode & 07777) };

	return create(fs, request, parent, name, &what, ret_attr);
}

errint_t fs_symlink(struct fs *fs, const struct fs_request *request, uint64_t parent,
		    const char *name, const char *target, struct fs_attr *ret_attr)
{
	struct new_inode what = { .mode = S_IFLNK | 0777, .target = target };

	if (!*target)
		return -ENOENT;
	if (strlen(target) >= DXF_BLOCK_SIZE)
		return -ENAMETOOLONG;
	return create(fs, request, parent, name, &what, ret_attr);
}

static errint_t create_nameless(struct fs *fs, const struct fs_request *request, uint64_t parent,
				const struct new_inode *what, struct fs_attr *ret_attr)
{
	struct inode *dir;
	int err = dir_lock(fs, parent, &dir);

	if (err)
		return err;
	err = create_locked(fs, request, dir, NULL, what, ret_attr);
	inode_unlock(fs, dir);
	return err;
}

errint_t fs_tmpfile(struct fs *fs, const struct fs_request *request, uint64_t parent, uint32_t mode,
		    struct fs_attr *ret_attr)
{
	struct new_inode what = { .mode = S_IFREG | (mode & 07777), .orphan = true };

	return create_nameless(fs, request, parent, &what, ret_attr);
}

errint_t create_scratch(struct fs *fs, struct fs_attr *ret_attr)
{
	struct new_inode what = { .mode = S_IFREG, .orphan = true };
	struct fs_request nobody = { 0 };

	return create_nameless(fs, &nobody, fs->vol->super.root_ino, &what, ret_attr);
}
