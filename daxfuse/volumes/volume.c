/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is known of a volume: the record in its folder's xattr, as it was asked for, and its
 * project, which is the folder's. Who has been root on some machine may have written to the pool:
 * so a record is believed only as far as it is shown, and the project is taken from the folder.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>

#include "internal.h"

enum { RECORD_MAX = 8192 };

static struct json_object *read_record(int fd)
{
	CLEANUP_FREE char *text = calloc(1, RECORD_MAX + 1);
	struct json_object *record;
	ssize_t n = text ? fgetxattr(fd, VOLUME_XATTR, text, RECORD_MAX) : -1;

	if (n < 0)
		return NULL;
	record = json_tokener_parse(text);
	if (json_object_is_type(record, json_type_object))
		return record;
	json_object_put(record);
	return NULL;
}

static errint_t complain_missing(const char *name, struct volume_error *error)
{
	return volumes_fail(error, -ENOENT, "%s: no such volume", name);
}

errint_t volumes_open(const struct volume_pool *pool, const char *name, int *ret_fd,
		      struct json_object **ret_record, struct volume_error *error)
{
	CLEANUP_FD int fd = -1;
	int err = volumes_check_name(name, error);

	if (err)
		return err;
	if (pool->folder < 0)
		return complain_missing(name, error);
	fd = openat(pool->folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
		return volumes_fail(error, -errno, "%s: %s", name, strerror(errno));
	*ret_record = fd < 0 ? NULL : read_record(fd);
	if (!*ret_record)
		return complain_missing(name, error);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

errint_t volumes_project(int fd, uint32_t *ret_project)
{
	struct fsxattr attr;

	if (ioctl(fd, FS_IOC_FSGETXATTR, &attr) < 0)
		return -errno;
	*ret_project = attr.fsx_projid;
	return 0;
}

errint_t volumes_get_quota(int fd, uint32_t project, struct dxf_ioc_quota *ret_quota)
{
	*ret_quota = (struct dxf_ioc_quota){ .project = project };
	if (ioctl(fd, DXF_IOC_QUOTA_GET, ret_quota) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

errint_t volumes_set_limits(int fd, uint32_t project, uint64_t size, uint64_t inodes)
{
	struct dxf_ioc_quota quota = {
		.project = project,
		.byte_limit = size,
		.inode_limit = inodes,
	};

	return ioctl(fd, DXF_IOC_QUOTA_SET, &quota) < 0 ? -errno : 0;
}

/* ---- shown ---------------------------------------------------------------------------- */

static void add_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

static void add_mountpoint(struct json_object *o, const struct volume_pool *pool, const char *name)
{
	CLEANUP_FREE char *path = NULL;

	if (asprintf(&path, "%s/" VOLUMES_FOLDER "/%s", strcmp(pool->path, "/") ? pool->path : "",
		     name) < 0)
		path = NULL;
	json_object_object_add(o, "mountpoint", path ? json_object_new_string(path) : NULL);
}

errint_t volumes_open_counted(const struct volume_pool *pool, const char *name, int *ret_fd,
			      struct json_object **ret_record, uint32_t *ret_project,
			      struct dxf_ioc_quota *ret_quota, struct volume_error *error)
{
	int err = volumes_open(pool, name, ret_fd, ret_record, error);

	if (err)
		return err;
	err = volumes_project(*ret_fd, ret_project);
	if (!err)
		err = volumes_get_quota(*ret_fd, *ret_project, ret_quota);
	return err ? volumes_fail(error, err, "%s: %s", name, strerror(-err)) : 0;
}

errint_t volumes_describe(const struct volume_pool *pool, const char *name,
			  struct json_object **ret_object, struct volume_error *error)
{
	CLEANUP_JSON struct json_object *record = NULL;
	CLEANUP_FD int fd = -1;
	struct json_object *o;
	struct dxf_ioc_quota quota;
	uint32_t project;
	int err = volumes_open_counted(pool, name, &fd, &record, &project, &quota, error);

	if (err)
		return err;
	o = json_object_new_object();
	json_object_object_add(o, "name", json_object_new_string(name));
	add_mountpoint(o, pool, name);
	json_object_object_add(o, "created",
			       json_object_get(json_object_object_get(record, "created")));
	add_number(o, "project", project);
	json_object_object_add(o, "options",
			       json_object_get(json_object_object_get(record, "options")));
	add_number(o, "size", quota.byte_limit);
	add_number(o, "used", quota.bytes);
	add_number(o, "inodes", quota.inode_limit);
	add_number(o, "inodes_used", quota.inodes);
	*ret_object = o;
	return 0;
}

int volumes_each(const struct volume_pool *pool,
		 int (*fn)(const struct volume_pool *pool, const char *name, void *arg), void *arg)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *entry;
	int fd, result = 0;

	if (pool->folder < 0)
		return 0;
	fd = openat(pool->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir && fd >= 0)
		close(fd);
	if (!dir)
		return -errno;
	while (!result && (entry = readdir(dir))) {
		if (volumes_name_is_valid(entry->d_name))
			result = fn(pool, entry->d_name, arg);
	}
	return result;
}

static int add_to_list(const struct volume_pool *pool, const char *name, void *arg)
{
	struct volume_error error;
	struct json_object *o;

	/* it may have been removed since the folder was read */
	if (!volumes_describe(pool, name, &o, &error))
		json_object_array_add(arg, o);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	struct json_object *const *x = a, *const *y = b;

	return strcmp(json_object_get_string(json_object_object_get(*x, "name")),
		      json_object_get_string(json_object_object_get(*y, "name")));
}

errint_t volumes_list(const struct volume_pool *pool, struct json_object **ret_array,
		      struct volume_error *error)
{
	struct json_object *list = json_object_new_array();
	int err = volumes_each(pool, add_to_list, list);

	if (err) {
		json_object_put(list);
		return volumes_fail(error, err, "%.256s/%s: %s", pool->path, VOLUMES_FOLDER,
				    strerror(-err));
	}
	json_object_array_sort(list, by_name);
	*ret_array = list;
	return 0;
}
