/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A volume is removed by moving its folder to where volumes_sweep() deletes it: at once, whatever
 * is in it, and for good, whatever happens then.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "internal.h"

/* With these flags it could not be moved. */
static errint_t clear_flags(int fd)
{
	struct fsxattr attr;

	if (ioctl(fd, FS_IOC_FSGETXATTR, &attr) < 0)
		return -errno;
	if (!(attr.fsx_xflags & (FS_XFLAG_IMMUTABLE | FS_XFLAG_APPEND)))
		return 0;
	attr.fsx_xflags &= ~(__u32)(FS_XFLAG_IMMUTABLE | FS_XFLAG_APPEND);
	return ioctl(fd, FS_IOC_FSSETXATTR, &attr) < 0 ? -errno : 0;
}

static errint_t move_away(const struct volume_pool *pool, const char *name)
{
	CLEANUP_FD int to = openat(pool->folder, VOLUMES_REMOVED,
				   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	char other[40];
	int err = to < 0 ? -errno : volumes_random_name(other, sizeof(other));

	if (!err && renameat(pool->folder, name, to, other))
		err = -errno;
	return err;
}

static errint_t remove_locked(struct volume_pool *pool, const char *name,
			      struct volume_error *error)
{
	CLEANUP_JSON struct json_object *record = NULL;
	CLEANUP_FD int fd = -1;
	int err = volumes_open(pool, name, &fd, &record, error);
	bool used;

	if (err)
		return err;
	err = volumes_look_for_users(pool, name, &used);
	if (err)
		return volumes_fail(error, err,
				    "%s: is not removed: whether a container has it mounted "
				    "cannot be told from /proc: %s",
				    name, strerror(-err));
	if (used)
		return volumes_fail(error, -EBUSY, "%s: is in use: a container has it mounted",
				    name);
	err = clear_flags(fd);
	if (!err)
		err = move_away(pool, name);
	return err ? volumes_fail(error, err, "%s: cannot be removed: %s", name, strerror(-err))
		   : 0;
}

errint_t volumes_remove(struct volume_pool *pool, const char *name, struct volume_error *error)
{
	CLEANUP_FD int lock = -1;
	int err = volumes_check_name(name, error);

	if (!err && pool->folder < 0)
		err = volumes_fail(error, -ENOENT, "%s: no such volume", name);
	if (!err)
		err = pool_make_folders(pool, error);
	if (!err)
		err = pool_lock(pool, &lock, error);
	return err ? err : remove_locked(pool, name, error);
}
