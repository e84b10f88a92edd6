/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names: looking them up, making, linking, renaming, removing and listing them.
 *
 * Each that changes something must be executed once: it begins by asking whether an earlier
 * process has done so. Then core, again as long as there is hope for space; then watchers hear of
 * it, also of a failure, which may have come to a part.
 */
#include "internal.h"
#include "daxfuse/base/errint.h"

errint_t vfs_lookup(struct vfs *v, uint64_t parent, const char *name, struct fs_attr *ret_attr)
{
	struct fs_attr attr;
	int err = fs_lookup(v->config.fs, parent, name, &attr);

	if (!err && attr.nlink == 0)
		err = -ESTALE;
	if (!err)
		*ret_attr = attr;
	return err;
}

/* ---- for watchers ------------------------------------------------------------------ */

static void note_names(struct vfs *v, uint64_t parent)
{
	vfs_note(v, parent, DXF_WATCH_NAMES | DXF_WATCH_ATTR, 0, 0);
}

/* A name in parent was made, of what attr says. */
static void note_entry(struct vfs *v, uint64_t parent, int err, const struct fs_attr *attr)
{
	note_names(v, parent);
	if (!err)
		vfs_note(v, attr->ino, DXF_WATCH_ATTR, 0, 0);
}

/* The inode of a name that is to go, or to move; 0: nothing, or nobody cares. Transports change the
 * names of a directory one at a time. */
static uint64_t watched_ino(struct vfs *v, uint64_t parent, const char *name)
{
	struct fs_attr attr;

	if (!vfs_is_watched(v) || fs_lookup(v->config.fs, parent, name, &attr))
		return 0;
	return attr.ino;
}

/* Its links or times are others now. */
static void note_links(struct vfs *v, uint64_t ino)
{
	if (ino)
		vfs_note(v, ino, DXF_WATCH_ATTR, 0, 0);
}

/* ---- making ------------------------------------------------------------------------ */

int vfs_mknod(struct vfs *v, const struct vfs_request *request, uint64_t parent, const char *name,
	      uint32_t mode, uint32_t rdev, struct fs_attr *ret_attr)
{
	struct vfs_retry retry = { false };
	int err;

	if (answer_of_made(v, request, &err, ret_attr))
		return err;
	do {
		err = fs_mknod(v->config.fs, &request->who, parent, name, mode, rdev, ret_attr);
	} while (vfs_reclaims(v, &retry, err));
	note_entry(v, parent, err, ret_attr);
	return err;
}

int vfs_mkdir(struct vfs *v, const struct vfs_request *request, uint64_t parent, const char *name,
	      uint32_t mode, struct fs_attr *ret_attr)
{
	struct vfs_retry retry = { false };
	int err;

	if (answer_of_made(v, request, &err, ret_attr))
		return err;
	do {
		err = fs_mkdir(v->config.fs, &request->who, parent, name, mode, ret_attr);
	} while (vfs_reclaims(v, &retry, err));
	note_entry(v, parent, err, ret_attr);
	return err;
}

int vfs_symlink(struct vfs *v, const struct vfs_request *request, uint64_t parent, const char *name,
		const char *target, struct fs_attr *ret_attr)
{
	struct vfs_retry retry = { false };
	int err;

	if (answer_of_made(v, request, &err, ret_attr))
		return err;
	do {
		err = fs_symlink(v->config.fs, &request->who, parent, name, target, ret_attr);
	} while (vfs_reclaims(v, &retry, err));
	note_entry(v, parent, err, ret_attr);
	return err;
}

errint_t vfs_link(struct vfs *v, const struct vfs_request *request, uint64_t ino, uint64_t parent,
		  const char *name, struct fs_attr *ret_attr)
{
	struct vfs_retry retry = { false };
	int64_t result;
	int err;

	if (answer_is_known(request, &result))
		return fs_getattr(v->config.fs, ino, ret_attr);
	do {
		err = fs_link(v->config.fs, &request->who, ino, parent, name, ret_attr);
	} while (vfs_reclaims(v, &retry, err));
	note_entry(v, parent, err, ret_attr);
	return err;
}

/* ---- removing and renaming ----------------------------------------------------------- */

static errint_t remove_name(struct vfs *v, const struct vfs_request *request, uint64_t parent,
			    const char *name,
			    errint_t (*remove)(struct fs *fs, const struct fs_request *request,
					       uint64_t parent, const char *name))
{
	int64_t result;
	uint64_t ino;
	int err;

	if (answer_is_known(request, &result))
		return 0;
	ino = watched_ino(v, parent, name);
	err = remove(v->config.fs, &request->who, parent, name);
	note_names(v, parent);
	note_links(v, ino);
	return err;
}

errint_t vfs_unlink(struct vfs *v, const struct vfs_request *request, uint64_t parent,
		    const char *name)
{
	return remove_name(v, request, parent, name, fs_unlink);
}

errint_t vfs_rmdir(struct vfs *v, const struct vfs_request *request, uint64_t parent,
		   const char *name)
{
	return remove_name(v, request, parent, name, fs_rmdir);
}

errint_t vfs_rename(struct vfs *v, const struct vfs_request *request, uint64_t parent,
		    const char *name, uint64_t new_parent, const char *new_name, unsigned flags)
{
	struct vfs_retry retry = { false };
	uint64_t ino, replaced;
	int64_t result;
	int err;

	if (answer_is_known(request, &result))
		return 0;
	ino = watched_ino(v, parent, name);
	replaced = watched_ino(v, new_parent, new_name);
	do {
		err = fs_rename(v->config.fs, &request->who, parent, name, new_parent, new_name,
				flags);
	} while (vfs_reclaims(v, &retry, err));
	note_names(v, parent);
	note_names(v, new_parent);
	note_links(v, ino);
	note_links(v, replaced);
	return err;
}

/* ---- reading ------------------------------------------------------------------------- */

ssize_t vfs_readlink(struct vfs *v, uint64_t ino, char *buf, size_t size)
{
	return fs_readlink(v->config.fs, ino, buf, size);
}

int vfs_readdir(struct vfs *v, uint64_t ino, uint64_t cookie,
		int (*emit)(const struct fs_dirent *entry, void *arg), void *arg)
{
	return fs_readdir(v->config.fs, ino, cookie, emit, arg);
}
