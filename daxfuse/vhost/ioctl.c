/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ioctls of a guest: flags of files, and nothing else. Its kernel has checked owner, capabilities
 * for these four numbers, and for no other (fuse/ioctl.c has more on that); what its root may
 * do there is not what ours may: flags that bind everybody, and projects, stay as they are.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/vfs/fileattr.h"
#include "request.h"

/* Arguments and answer are as long as the guest says, and these can't be shorter. */
union argument {
	uint32_t flags;
	uint64_t wide;
	struct fsxattr attr;
};

static struct vfs *vfs_of(const struct request *r)
{
	return r->guest->config.vfs;
}

static errint_t get_flags(struct request *r, union argument *a)
{
	uint32_t flags;
	int err = fileattr_get_flags(vfs_of(r), r->ino, &flags);

	a->wide = flags;
	return err;
}

static errint_t set_flags(struct request *r, union argument *a)
{
	return fileattr_set_flags(vfs_of(r), &r->vfs, r->ino, a->flags);
}

static errint_t get_attr(struct request *r, union argument *a)
{
	return fileattr_get(vfs_of(r), r->ino, &a->attr);
}

static errint_t set_attr(struct request *r, union argument *a)
{
	return fileattr_set(vfs_of(r), &r->vfs, r->ino, &a->attr);
}

static const struct command {
	uint32_t number;
	errint_t (*run)(struct request *r, union argument *a);
	bool sets;
	size_t least, most; /* bytes, of what is set or got */
} commands[] = {
	{ (uint32_t)FS_IOC_GETFLAGS, get_flags, false, sizeof(uint32_t), sizeof(uint64_t) },
	{ (uint32_t)FS_IOC_SETFLAGS, set_flags, true, sizeof(uint32_t), sizeof(uint64_t) },
	{ (uint32_t)FS_IOC_FSGETXATTR, get_attr, false, sizeof(struct fsxattr),
	  sizeof(struct fsxattr) },
	{ (uint32_t)FS_IOC_FSSETXATTR, set_attr, true, sizeof(struct fsxattr),
	  sizeof(struct fsxattr) },
};

static const struct command *find_command(uint32_t number)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (commands[i].number == number)
			return &commands[i];
	}
	return NULL;
}

/* A directory is opened without a handle. */
static errint_t check_handle(struct request *r, uint64_t handle)
{
	struct vfs_open_file file;
	struct fs_attr attr;
	int err = vfs_getattr(vfs_of(r), r->ino, &attr);

	if (err || S_ISDIR(attr.mode))
		return err;
	return request_file(r, handle, r->ino, 0, &file);
}

/* The answer is as long as was asked for, as the guest's kernel doesn't look how long it is. */
static ssize_t run_command(struct request *r, const struct command *command,
			   const struct fuse_ioctl_in *in)
{
	const uint32_t size = command->sets ? in->in_size : in->out_size;
	const void *data = command->sets ? request_take(r, size) : NULL;
	union argument argument = { 0 };
	struct fuse_ioctl_out *out;
	int err;

	if (size < command->least || size > command->most || (command->sets && !data))
		return request_malformed(r);
	out = reply_room(r, sizeof(*out) + (command->sets ? 0 : size));
	if (!out)
		return -ENOBUFS;
	if (data)
		memcpy(&argument, data, size);
	err = command->run(r, &argument);
	if (command->sets)
		request_changed(r, r->ino, NULL, false, false);
	if (err)
		return err;
	if (!command->sets)
		memcpy(out + 1, &argument, size);
	return (ssize_t)(sizeof(*out) + (command->sets ? 0 : size));
}

ssize_t do_ioctl(struct request *r)
{
	const struct fuse_ioctl_in *in = request_take(r, sizeof(*in));
	const struct command *command = in ? find_command(in->cmd) : NULL;
	int err;

	if (!in)
		return request_malformed(r);
	if (!command)
		return -ENOTTY;
	err = check_handle(r, in->fh);
	if (!err && command->sets && r->guest->config.read_only)
		err = -EROFS;
	return err ? err : run_command(r, command, in);
}
