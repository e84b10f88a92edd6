/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Open files, and inodes without a name, which live as long as somebody has them open. Several of
 * one inode that are read in different ways are the matter of opens.c.
 *
 * An O_TMPFILE is an orphan from the start. Until it is open it must not be taken for one to free:
 * making one holds the lock of orphans shared, freeing one exclusively.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"

enum { RELEASE_MS = 10 };

#define DAY (24 * 60 * 60 * INT64_C(1000000000))

/*
 * A read that a transport's cache answers never comes here, and so would never move the access
 * time. Where it is due, the cache is dropped at open, and the first read comes.
 */
static bool atime_is_due(const struct vfs *v, const struct fs_attr *attr)
{
	if (fs_is_read_only(v->config.fs) || (attr->flags & DXF_FLAG_NOATIME))
		return false;
	switch (fs_atime(v->config.fs)) {
	case FS_ATIME_NEVER:
		return false;
	case FS_ATIME_STRICT:
		return true;
	case FS_ATIME_RELATIVE:
		break;
	}
	return attr->atime <= attr->mtime || attr->atime <= attr->ctime ||
	       fs_clock() - attr->atime >= DAY;
}

/*
 * With dax=auto an open goes past the cache that may be followed by a direct mapping of use: one
 * for reading and writing, of whatever size, as a new file is empty; else of a file of a unit or
 * more. A program that reads a small file again and again opens it for reading only. A large one
 * that may be executed is read only through the cache, as each mapping of one open past it has the
 * kernel drop its pages, which are others' text. To one for writing only the cache is of no use.
 */
static bool goes_past_cache(const struct fs_attr *attr, int flags)
{
	int access = flags & O_ACCMODE;

	if (access != O_RDONLY)
		return true;
	return attr->size >= MAP_UNIT_SIZE && !(attr->mode & 0111);
}

static unsigned way_to_open(const struct vfs *v, const struct fs_attr *attr, int flags)
{
	bool automatic = vfs_dax(v) == FS_DAX_AUTO;
	int access = flags & O_ACCMODE;
	unsigned how = (access != O_WRONLY ? OPEN_READS : 0) |
		       (access != O_RDONLY ? OPEN_WRITES : 0);

	/* O_DIRECT asks for just that, and the kernel's own way leaves old pages to others */
	if (attr->dax || (flags & O_DIRECT) || (automatic && goes_past_cache(attr, flags)))
		how |= OPEN_DIRECT;
	if (access != O_WRONLY && !(flags & O_NOATIME) && atime_is_due(v, attr))
		how |= OPEN_DROPS;
	return how | (automatic ? OPEN_FOLLOWS : 0) | (attr->size ? 0 : OPEN_EMPTY) |
	       (v->may_cache ? OPEN_YIELDS : 0);
}

static void fill_opened(struct vfs *v, struct vfs_answer *answer, const struct fs_attr *attr,
			int flags, struct vfs_opened *ret_opened)
{
	struct open_way way;

	open_enter(v, answer, attr->ino, way_to_open(v, attr, flags), &way);
	*ret_opened = (struct vfs_opened){
		.attr = *attr,
		.handle = way.handle,
		.direct = way.direct,
		.keep_cache = way.keep_cache,
		.only_appends = attr->flags & DXF_FLAG_APPEND,
	};
}

static errint_t truncate_opened(struct vfs *v, const struct vfs_request *request, uint64_t ino,
				bool kill_suidgid, struct fs_attr *attr)
{
	struct fs_setattr set = {
		.valid = FS_SET_SIZE | (kill_suidgid ? FS_SET_KILL_SUIDGID : 0),
	};
	uint32_t mode = attr->mode;
	int err = vfs_setattr(v, request, ino, &set, attr);

	/* an earlier process may have changed it, and died before it could say so */
	if (!err && (attr->mode != mode || request->repeated))
		vfs_forget_cached(v, ino, false);
	return err;
}

errint_t vfs_open_inode(struct vfs *v, const struct vfs_request *request, uint64_t ino, int flags,
			bool kill_suidgid, struct vfs_opened *ret_opened)
{
	struct fs_attr attr;
	int err = fs_open(v->config.fs, ino, flags, &attr);

	if (!err && (flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY) {
		err = truncate_opened(v, request, ino, kill_suidgid, &attr);
		if (err)
			fs_release(v->config.fs, ino);
	}
	if (!err)
		fill_opened(v, request->answer, &attr, flags, ret_opened);
	return err;
}

/* One that was just made. */
static errint_t open_made(struct vfs *v, const struct vfs_request *request,
			  const struct fs_attr *made, int flags, struct vfs_opened *ret_opened)
{
	struct fs_attr attr;
	int err = fs_open(v->config.fs, made->ino, O_RDONLY, &attr);

	if (!err)
		fill_opened(v, request->answer, &attr, flags, ret_opened);
	return err;
}

int vfs_create(struct vfs *v, const struct vfs_request *request, uint64_t parent, const char *name,
	       uint32_t mode, int flags, struct vfs_opened *ret_opened)
{
	struct fs_attr attr;
	int err = vfs_mknod(v, request, parent, name, (mode & 07777) | S_IFREG, 0, &attr);

	return err ? err : open_made(v, request, &attr, flags, ret_opened);
}

int vfs_tmpfile(struct vfs *v, const struct vfs_request *request, uint64_t parent, uint32_t mode,
		int flags, struct vfs_opened *ret_opened)
{
	struct fs_attr attr;
	int err;

	lock_shared(LOCK_ORPHANS, &v->orphans);
	if (!answer_of_made(v, request, &err, &attr))
		err = fs_tmpfile(v->config.fs, &request->who, parent, (mode & 07777) | S_IFREG,
				 &attr);
	if (!err)
		err = open_made(v, request, &attr, flags, ret_opened);
	unlock_rw(LOCK_ORPHANS, &v->orphans);
	return err;
}

void vfs_cancel_open(struct vfs *v, const struct vfs_opened *opened)
{
	open_was_in_vain(v, opened->handle);
	vfs_release(v, opened->attr.ino, opened->handle);
}

/* Pins end first: the file may be trimmed when nobody maps it. */
void vfs_release(struct vfs *v, uint64_t ino, uint64_t handle)
{
	if (v->released)
		v->released(v->released_arg, handle);
	watch_release(v, handle);
	open_leave(v, handle);
	fs_release(v->config.fs, ino);
}

void vfs_on_release(struct vfs *v, void (*fn)(void *arg, uint64_t handle), void *arg)
{
	v->released = fn;
	v->released_arg = arg;
}

/* ---- mapping -------------------------------------------------------------------------- */

/* One that was closed just now may be on its way still, but not for long. */
static bool keeps_cached_readers(struct vfs *v, uint64_t ino)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	for (int i = 0; i < RELEASE_MS; i++) {
		if (!vfs_cached_readers(v, ino))
			return false;
		nanosleep(&pause, NULL);
	}
	return vfs_cached_readers(v, ino);
}

errint_t vfs_may_map(struct vfs *v, const struct vfs_open_file *file, const struct fs_attr *attr)
{
	if (!S_ISREG(attr->mode) || (!attr->dax && vfs_dax(v) != FS_DAX_AUTO))
		return -EOPNOTSUPP;
	if (vfs_is_cached(file->handle) || keeps_cached_readers(v, file->ino))
		return -ETXTBSY;
	/* it keeps others away from the cache, unless the flag does: that stays while it is
	 * mapped */
	return attr->dax || vfs_is_recorded(v, file->handle) ? 0 : -ETXTBSY;
}

/* ---- inodes that a transport knows --------------------------------------------------- */

errint_t vfs_hold(struct vfs *v, uint64_t ino, struct fs_attr *ret_attr)
{
	return fs_hold(v->config.fs, ino, ret_attr);
}

void vfs_unhold(struct vfs *v, uint64_t ino)
{
	fs_unhold(v->config.fs, ino);
}

/* ---- orphans ------------------------------------------------------------------------ */

bool vfs_is_orphan(struct vfs *v, uint64_t ino, uint32_t *ret_generation)
{
	struct fs_attr attr;

	if (!fs_is_orphan(v->config.fs, ino) || fs_getattr(v->config.fs, ino, &attr))
		return false;
	*ret_generation = attr.generation;
	return true;
}

void vfs_reap(struct vfs *v, uint64_t ino, uint32_t generation)
{
	struct fs_attr attr;

	lock_exclusive(LOCK_ORPHANS, &v->orphans);
	if (fs_getattr(v->config.fs, ino, &attr) == 0 && attr.generation == generation)
		fs_forget(v->config.fs, ino);
	unlock_rw(LOCK_ORPHANS, &v->orphans);
}

struct orphan_walk {
	struct vfs *vfs;
	void (*fn)(void *arg, uint64_t ino, uint32_t generation);
	void *arg;
};

static int visit_orphan(uint64_t ino, void *arg)
{
	const struct orphan_walk *walk = arg;
	struct fs_attr attr;

	if (fs_getattr(walk->vfs->config.fs, ino, &attr) == 0 && attr.nlink == 0)
		walk->fn(walk->arg, ino, attr.generation);
	return 0;
}

void vfs_orphans_for_each(struct vfs *v, void (*fn)(void *arg, uint64_t ino, uint32_t generation),
			  void *arg)
{
	struct orphan_walk walk = { v, fn, arg };

	/* a poisoned one stays an orphan */
	fs_for_each_orphan(v->config.fs, visit_orphan, &walk);
}
