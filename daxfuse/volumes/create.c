/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A volume is made under another name and moved into its place, complete: a crash leaves a folder
 * that is no volume, and volumes_sweep() deletes it.
 *
 * Its project is the lowest number that counts nothing: each volume counts one inode at least, its
 * folder, and one that was removed is counted until it is deleted. Numbers are used again because
 * the pool's table of projects keeps every one that it has seen.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>

#include "internal.h"

/* Numbers that volumes have are passed over; one that was removed may count still. */
static errint_t find_project(const struct volume_pool *pool, const struct census *census,
			     uint32_t *ret_project)
{
	struct dxf_ioc_quota quota;
	size_t at = 0;

	for (uint32_t project = VOLUME_FIRST_PROJECT; project < UINT32_MAX; project++) {
		int err;

		while (at < census->count && census->project[at] < project)
			at++;
		if (at < census->count && census->project[at] == project)
			continue;
		err = volumes_get_quota(pool->fd, project, &quota);
		if (err)
			return err;
		if (!quota.bytes && !quota.inodes) {
			*ret_project = project;
			return 0;
		}
	}
	return -ENOSPC;
}

static struct json_object *make_record(const char *name, uint32_t project,
				       struct json_object *options)
{
	struct json_object *record = json_object_new_object();
	time_t now = time(NULL);
	char created[32];
	struct tm tm;

	strftime(created, sizeof(created), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	json_object_object_add(record, "name", json_object_new_string(name));
	json_object_object_add(record, "created", json_object_new_string(created));
	json_object_object_add(record, "project", json_object_new_int64(project));
	json_object_object_add(record, "options",
			       options ? json_object_get(options) : json_object_new_object());
	return record;
}

static errint_t write_record(int fd, struct json_object *record)
{
	const char *text = json_object_to_json_string_ext(record, JSON_C_TO_STRING_PLAIN);

	return fsetxattr(fd, VOLUME_XATTR, text, strlen(text), 0) ? -errno : 0;
}

static errint_t set_flags(int fd, uint32_t project, const struct volume_options *o)
{
	struct fsxattr attr;

	if (ioctl(fd, FS_IOC_FSGETXATTR, &attr) < 0)
		return -errno;
	attr.fsx_projid = project;
	attr.fsx_xflags |= FS_XFLAG_PROJINHERIT;
	if (o->dax)
		attr.fsx_xflags |= FS_XFLAG_DAX;
	if (o->extsize) {
		attr.fsx_xflags |= FS_XFLAG_EXTSZINHERIT;
		attr.fsx_extsize = (uint32_t)o->extsize;
	}
	return ioctl(fd, FS_IOC_FSSETXATTR, &attr) < 0 ? -errno : 0;
}

/* The limits come last: the folder itself is not to fail at them. */
static errint_t fill_in(int fd, const char *name, struct json_object *options,
			const struct volume_options *o, uint32_t project)
{
	CLEANUP_JSON struct json_object *record = make_record(name, project, options);
	int err = volumes_set_limits(fd, project, 0, 0);

	if (!err)
		err = set_flags(fd, project, o);
	if (!err && (fchown(fd, o->uid, o->gid) || fchmod(fd, o->mode)))
		err = -errno;
	if (!err)
		err = write_record(fd, record);
	if (!err)
		err = volumes_set_limits(fd, project, o->size, o->inodes);
	return err;
}

static errint_t make_volume(const struct volume_pool *pool, const char *name,
			    struct json_object *options, const struct volume_options *o,
			    const struct census *census)
{
	CLEANUP_FD int aside = openat(pool->folder, VOLUMES_NEW,
				      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	CLEANUP_FD int fd = -1;
	uint32_t project = 0;
	int err = aside < 0 ? -errno : find_project(pool, census, &project);

	if (err)
		return err;
	if (mkdirat(aside, name, 0700) && errno != EEXIST)
		return -errno;
	fd = openat(aside, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	err = fd < 0 ? -errno : fill_in(fd, name, options, o, project);
	if (!err && renameat2(aside, name, pool->folder, name, RENAME_NOREPLACE))
		err = -errno;
	if (err)
		unlinkat(aside, name, AT_REMOVEDIR);
	return err;
}

/* That of the same name. */
static errint_t compare_volume(const char *name, struct json_object *record,
			       struct json_object *options, struct volume_error *error)
{
	if (volumes_same_options(json_object_object_get(record, "options"), options))
		return 0;
	return volumes_fail(error, -EEXIST, "%s: is there already, with other options", name);
}

static errint_t create_locked(const struct volume_pool *pool, const char *name,
			      struct json_object *options, const struct volume_options *o,
			      struct volume_error *error)
{
	CLEANUP_JSON struct json_object *record = NULL;
	CLEANUP_CENSUS struct census census = { 0 };
	CLEANUP_FD int fd = -1;
	int err = volumes_open(pool, name, &fd, &record, error);

	if (!err)
		return compare_volume(name, record, options, error);
	if (err != -ENOENT)
		return err;
	err = volumes_count(pool, NULL, &census, error);
	if (!err)
		err = volumes_check_size(pool, o, &census, error);
	if (err)
		return err;
	err = make_volume(pool, name, options, o, &census);
	if (err == -EEXIST)
		return volumes_fail(error, err, "%s: is there already, and no volume", name);
	return err ? volumes_fail(error, err, "%s: cannot be made: %s%s", name, strerror(-err),
				  err == -EPERM ? " (it takes CAP_SYS_ADMIN)" : "")
		   : 0;
}

errint_t volumes_create(struct volume_pool *pool, const char *name, struct json_object *options,
			struct volume_error *error)
{
	CLEANUP_FD int lock = -1;
	struct volume_options o;
	int err = volumes_check_name(name, error);

	if (!err)
		err = volumes_parse_options(options, &o, error);
	if (!err)
		err = pool_make_folders(pool, error);
	if (!err)
		err = pool_lock(pool, &lock, error);
	return err ? err : create_locked(pool, name, options, &o, error);
}

/* ---- other limits ----------------------------------------------------------------------- */

/* What was said replaces what was said before. */
static void merge_options(struct json_object *record, struct json_object *changes)
{
	struct json_object *options = json_object_object_get(record, "options");

	if (!json_object_is_type(options, json_type_object)) {
		options = json_object_new_object();
		json_object_object_add(record, "options", options);
	}
	json_object_object_foreach(changes, name, value)
		json_object_object_add(options, name, json_object_get(value));
}

static errint_t check_use(const char *name, const struct volume_options *o,
			  const struct dxf_ioc_quota *quota, struct volume_error *error)
{
	if (o->has_size && o->size && o->size < quota->bytes)
		return volumes_fail(error, -EBUSY, "%s: %llu bytes are in use", name, quota->bytes);
	if (o->has_inodes && o->inodes && o->inodes < quota->inodes)
		return volumes_fail(error, -EBUSY, "%s: %llu files are in use", name,
				    quota->inodes);
	return 0;
}

static errint_t resize_locked(const struct volume_pool *pool, const char *name,
			      struct json_object *changes, struct volume_options *o,
			      struct volume_error *error)
{
	CLEANUP_JSON struct json_object *record = NULL;
	CLEANUP_CENSUS struct census others = { 0 };
	CLEANUP_FD int fd = -1;
	struct dxf_ioc_quota quota;
	uint32_t project;
	int err = volumes_open_counted(pool, name, &fd, &record, &project, &quota, error);

	if (err)
		return err;
	err = check_use(name, o, &quota, error);
	if (!err)
		err = volumes_count(pool, name, &others, error);
	if (!err)
		err = volumes_check_size(pool, o, &others, error);
	if (err)
		return err;
	merge_options(record, changes);
	err = volumes_set_limits(fd, project, o->has_size ? o->size : quota.byte_limit,
				 o->has_inodes ? o->inodes : quota.inode_limit);
	if (!err)
		err = write_record(fd, record);
	return err ? volumes_fail(error, err, "%s: cannot be resized: %s", name, strerror(-err))
		   : 0;
}

static errint_t check_changes(struct json_object *changes, struct volume_error *error)
{
	json_object_object_foreach(changes, name, value) {
		(void)value;
		if (strcmp(name, "size") && strcmp(name, "inodes") && strcmp(name, "overcommit"))
			return volumes_fail(error, -EINVAL, "%.64s: cannot be changed later", name);
	}
	return 0;
}

errint_t volumes_resize(struct volume_pool *pool, const char *name, struct json_object *options,
			struct volume_error *error)
{
	CLEANUP_FD int lock = -1;
	struct volume_options o;
	int err = volumes_check_name(name, error);

	if (!err)
		err = volumes_parse_options(options, &o, error);
	if (!err)
		err = check_changes(options, error);
	if (!err && pool->folder < 0)
		err = volumes_fail(error, -ENOENT, "%s: no such volume", name);
	if (!err)
		err = pool_lock(pool, &lock, error);
	return err ? err : resize_locked(pool, name, options, &o, error);
}
