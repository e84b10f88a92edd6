/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names: looking them up, making, linking, renaming and removing them.
 *
 * What was changed is told to the other transport afterwards: the directory with its entries, the
 * name, and the inode whose links or times are others now.
 */
#include <errno.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "daxfuse/vfs/answers.h"
#include "request.h"

static struct vfs *vfs_of(const struct request *r)
{
	return r->guest->config.vfs;
}

static void name_changed(struct request *r, uint64_t parent, const char *name)
{
	request_changed(r, parent, name, true, false);
}

static void links_changed(struct request *r, uint64_t ino)
{
	if (ino)
		request_changed(r, ino, NULL, false, false);
}

ssize_t do_lookup(struct request *r)
{
	const char *name = request_take_name(r);
	struct fs_attr attr;
	int err;

	if (!name)
		return request_malformed(r);
	err = vfs_lookup(vfs_of(r), r->ino, name, &attr);
	return reply_with_entry(r, err, &attr);
}

/* ---- making ---------------------------------------------------------------------------- */

/* The name is there, whatever becomes of the answer. */
static ssize_t reply_made(struct request *r, int err, const char *name, struct fs_attr *attr)
{
	if (!err)
		name_changed(r, r->ino, name);
	return reply_with_entry(r, err, attr);
}

/* From the kernel's encoding. */
static uint32_t unpack_rdev(uint32_t dev)
{
	return (dev >> 8 & 0xfff) << 20 | (dev >> 12 & 0xfff00) | (dev & 0xff);
}

ssize_t do_mknod(struct request *r)
{
	const struct fuse_mknod_in *in = request_take(r, sizeof(*in));
	const char *name = in ? request_take_name(r) : NULL;
	struct fs_attr attr;
	int err;

	if (!name)
		return request_malformed(r);
	r->vfs.who.umask = in->umask & 0777;
	err = vfs_mknod(vfs_of(r), &r->vfs, r->ino, name, in->mode, unpack_rdev(in->rdev), &attr);
	return reply_made(r, err, name, &attr);
}

ssize_t do_mkdir(struct request *r)
{
	const struct fuse_mkdir_in *in = request_take(r, sizeof(*in));
	const char *name = in ? request_take_name(r) : NULL;
	struct fs_attr attr;
	int err;

	if (!name)
		return request_malformed(r);
	r->vfs.who.umask = in->umask & 0777;
	err = vfs_mkdir(vfs_of(r), &r->vfs, r->ino, name, in->mode & 07777, &attr);
	return reply_made(r, err, name, &attr);
}

ssize_t do_symlink(struct request *r)
{
	const char *name = request_take_name(r);
	const char *target = name ? request_take_string(r) : NULL;
	struct fs_attr attr;
	int err;

	if (!target)
		return request_malformed(r);
	err = vfs_symlink(vfs_of(r), &r->vfs, r->ino, name, target, &attr);
	return reply_made(r, err, name, &attr);
}

ssize_t do_link(struct request *r)
{
	const struct fuse_link_in *in = request_take(r, sizeof(*in));
	const char *name = in ? request_take_name(r) : NULL;
	struct fs_attr attr;
	uint64_t ino;
	int err;

	if (!name)
		return request_malformed(r);
	err = request_other(r, in->oldnodeid, &ino);
	if (!err)
		err = vfs_link(vfs_of(r), &r->vfs, ino, r->ino, name, &attr);
	if (!err)
		links_changed(r, ino);
	return reply_made(r, err, name, &attr);
}

/* ---- removing and renaming ---------------------------------------------------------------- */

/* What has that name, for links_changed() afterwards: if it is another one by then, nothing is lost
 * but a question. 0: nothing. */
static uint64_t ino_of_name(struct request *r, uint64_t parent, const char *name)
{
	struct fs_attr attr;

	return vfs_lookup(vfs_of(r), parent, name, &attr) ? 0 : attr.ino;
}

/* What loses that name: of a request that is made once more, what it was the first time. */
static uint64_t unnamed_ino(struct request *r, uint64_t parent, const char *name)
{
	struct vfs_answer *slot = r->vfs.answer;
	uint64_t ino;

	if (r->vfs.repeated && slot->unnamed)
		return slot->unnamed;
	ino = ino_of_name(r, parent, name);
	if (slot)
		slot->unnamed = ino;
	return ino;
}

static ssize_t remove_name(struct request *r,
			   errint_t (*remove)(struct vfs *v, const struct vfs_request *request,
					      uint64_t parent, const char *name))
{
	const char *name = request_take_name(r);
	uint64_t ino;
	int err;

	if (!name)
		return request_malformed(r);
	ino = unnamed_ino(r, r->ino, name);
	err = remove(vfs_of(r), &r->vfs, r->ino, name);
	if (err)
		return err;
	name_changed(r, r->ino, name);
	links_changed(r, ino);
	r->guest->config.host->let_go(r->guest->config.host->arg, ino);
	return 0;
}

ssize_t do_unlink(struct request *r)
{
	return remove_name(r, vfs_unlink);
}

ssize_t do_rmdir(struct request *r)
{
	return remove_name(r, vfs_rmdir);
}

static ssize_t rename_node(struct request *r, uint64_t new_number, unsigned flags)
{
	const char *name = request_take_name(r);
	const char *new_name = name ? request_take_name(r) : NULL;
	uint64_t new_parent, moved, replaced;
	int err;

	if (!new_name)
		return request_malformed(r);
	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
		return -EINVAL;
	err = request_other(r, new_number, &new_parent);
	if (err)
		return err;
	moved = ino_of_name(r, r->ino, name);
	replaced = unnamed_ino(r, new_parent, new_name);
	err = vfs_rename(vfs_of(r), &r->vfs, r->ino, name, new_parent, new_name, flags);
	if (err)
		return err;
	name_changed(r, r->ino, name);
	name_changed(r, new_parent, new_name);
	links_changed(r, moved ? moved : ino_of_name(r, new_parent, new_name));
	links_changed(r, replaced);
	r->guest->config.host->let_go(r->guest->config.host->arg, replaced);
	return 0;
}

ssize_t do_rename(struct request *r)
{
	const struct fuse_rename_in *in = request_take(r, sizeof(*in));

	return in ? rename_node(r, in->newdir, 0) : request_malformed(r);
}

ssize_t do_rename2(struct request *r)
{
	const struct fuse_rename2_in *in = request_take(r, sizeof(*in));

	return in ? rename_node(r, in->newdir, in->flags) : request_malformed(r);
}

ssize_t do_readlink(struct request *r)
{
	return vfs_readlink(vfs_of(r), r->ino, r->out, r->room);
}

/* ---- forgetting ---------------------------------------------------------------------------- */

ssize_t do_forget(struct request *r)
{
	const struct fuse_forget_in *in = request_take(r, sizeof(*in));

	if (!in)
		return request_malformed(r);
	if (!request_is_done(r))
		nodes_forget(&r->guest->nodes, r->in->nodeid, in->nlookup);
	return 0;
}

ssize_t do_batch_forget(struct request *r)
{
	const struct fuse_batch_forget_in *in = request_take(r, sizeof(*in));

	if (!in)
		return request_malformed(r);
	if (request_is_done(r))
		return 0;
	for (uint32_t i = 0; i < in->count; i++) {
		const struct fuse_forget_one *one = request_take(r, sizeof(*one));

		if (!one)
			return request_malformed(r);
		nodes_forget(&r->guest->nodes, one->nodeid, one->nlookup);
	}
	return 0;
}
