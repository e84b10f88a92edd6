/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pool, by a folder of its mount. The descriptor keeps it mounted, and all that is done goes
 * through it: nothing is ever written to what lies beneath a mount point that is empty.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "daxfuse/base/bits.h"
#include "internal.h"

static errint_t complain_not_mounted(const char *path, struct volume_error *error)
{
	return volumes_fail(error, -ENXIO, "%.256s: no pool is mounted there", path);
}

/* The daemon's word: no other filesystem knows the question. */
static errint_t read_uuid(struct volume_pool *pool, const char *path, struct volume_error *error)
{
	CLEANUP_FREE struct dxf_ioc_status *status = calloc(1, sizeof(*status));
	CLEANUP_JSON struct json_object *object = NULL;
	const char *uuid;

	if (!status)
		return volumes_fail(error, -ENOMEM, "out of memory");
	if (ioctl(pool->fd, DXF_IOC_STATUS, status) < 0)
		return complain_not_mounted(path, error);
	status->json[sizeof(status->json) - 1] = '\0';
	object = json_tokener_parse(status->json);
	uuid = json_object_get_string(json_object_object_get(object, "uuid"));
	if (!uuid || strlen(uuid) != 36 || strspn(uuid, "0123456789abcdef-") != 36)
		return complain_not_mounted(path, error);
	strcpy(pool->uuid, uuid);
	return 0;
}

static errint_t open_pool(struct volume_pool *pool, const char *path, struct volume_error *error)
{
	int err;

	pool->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (pool->fd < 0 && errno != ENOTCONN && errno != ENOENT && errno != ENOTDIR)
		return volumes_fail(error, -errno, "%.256s: %s", path, strerror(errno));
	if (pool->fd < 0)
		return complain_not_mounted(path, error);
	err = read_uuid(pool, path, error);
	if (err)
		return err;
	if (!realpath(path, pool->path))
		return volumes_fail(error, -errno, "%.256s: %s", path, strerror(errno));
	pool->folder = openat(pool->fd, VOLUMES_FOLDER,
			      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (pool->folder < 0 && errno != ENOENT)
		return volumes_fail(error, -errno, "%.256s/%s: %s", pool->path, VOLUMES_FOLDER,
				    strerror(errno));
	return 0;
}

errint_t volumes_pool_open(const char *path, struct volume_pool **ret_pool,
			   struct volume_error *error)
{
	struct volume_pool *pool = calloc(1, sizeof(*pool));
	int err;

	if (!pool)
		return volumes_fail(error, -ENOMEM, "out of memory");
	pool->fd = pool->folder = -1;
	err = open_pool(pool, path, error);
	if (err)
		volumes_pool_close(pool);
	else
		*ret_pool = pool;
	return err;
}

void volumes_pool_close(struct volume_pool *pool)
{
	if (!pool)
		return;
	if (pool->folder >= 0)
		close(pool->folder);
	if (pool->fd >= 0)
		close(pool->fd);
	free(pool);
}

const char *volumes_pool_uuid(const struct volume_pool *pool)
{
	return pool->uuid;
}

/* Of no project, whatever the folder above hands on: else nothing could be moved into it. */
static errint_t make_folder(int at, const char *name, mode_t mode, int *ret_fd)
{
	struct fsxattr attr;
	CLEANUP_FD int fd = -1;

	if (mkdirat(at, name, mode) && errno != EEXIST)
		return -errno;
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fchmod(fd, mode) || ioctl(fd, FS_IOC_FSGETXATTR, &attr) < 0)
		return -errno;
	if (attr.fsx_projid || attr.fsx_xflags & FS_XFLAG_PROJINHERIT) {
		attr.fsx_projid = 0;
		attr.fsx_xflags &= ~(__u32)FS_XFLAG_PROJINHERIT;
		if (ioctl(fd, FS_IOC_FSSETXATTR, &attr) < 0)
			return -errno;
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

errint_t pool_make_folders(struct volume_pool *pool, struct volume_error *error)
{
	static const char *const inner[] = { VOLUMES_NEW, VOLUMES_REMOVED };
	int err = 0;

	/* others than root reach a volume that they know, and see no names */
	if (pool->folder < 0)
		err = make_folder(pool->fd, VOLUMES_FOLDER, 0711, &pool->folder);
	for (size_t i = 0; !err && i < ARRAY_SIZE(inner); i++) {
		CLEANUP_FD int fd = -1;

		err = make_folder(pool->folder, inner[i], 0700, &fd);
	}
	return err ? volumes_fail(error, err, "%.256s/%s: cannot be made: %s", pool->path,
				  VOLUMES_FOLDER, strerror(-err))
		   : 0;
}

errint_t pool_lock(const struct volume_pool *pool, int *ret_fd, struct volume_error *error)
{
	CLEANUP_FD int fd = openat(pool->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || flock(fd, LOCK_EX))
		return volumes_fail(error, -errno, "%.256s/%s: cannot be locked: %s", pool->path,
				    VOLUMES_FOLDER, strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}
