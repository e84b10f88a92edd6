/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading /proc/self/mounts. A mount of ours has the type fuse.daxfuse and the
 * device's real path as its source.
 *
 * Paths of mounts are compared as text: to resolve one would ask its daemon, or that of
 * the mount that the device lies on, which may be dead or hang.
 */
#include "mounts.h"

#include <errno.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/cleanup.h"

/* A line has two paths, whose blanks are four characters each, and options. */
#define LINE_SIZE (2 * 4 * PATH_MAX + 2 * 4096)

int mounts_each(int (*fn)(const char *device, const char *mountpoint, void *arg), void *arg)
{
	CLEANUP_FREE char *line = malloc(LINE_SIZE);
	FILE *file = line ? setmntent("/proc/self/mounts", "re") : NULL;
	struct mntent mount;
	int result = 0;

	if (!file)
		return -errno;
	while (!result && getmntent_r(file, &mount, line, LINE_SIZE)) {
		if (!strcmp(mount.mnt_type, "fuse.daxfuse"))
			result = fn(mount.mnt_fsname, mount.mnt_dir, arg);
	}
	endmntent(file);
	return result;
}

struct search {
	const char *wanted; /* canonical */
	char *ret;
	size_t size;
	bool found;
};

static int match_device(const char *device, const char *mountpoint, void *arg)
{
	struct search *search = arg;

	if (strcmp(search->wanted, device))
		return 0;
	snprintf(search->ret, search->size, "%s", mountpoint);
	search->found = true;
	return 1;
}

static int match_mountpoint(const char *device, const char *mountpoint, void *arg)
{
	struct search *search = arg;

	if (!strcmp(search->wanted, mountpoint)) {
		snprintf(search->ret, search->size, "%s", device);
		search->found = true;
	}
	return 0;
}

static int search_mounts(const char *wanted, char *ret, size_t size,
			 int (*match)(const char *device, const char *mountpoint, void *arg))
{
	struct search search = { .wanted = wanted, .ret = ret, .size = size };
	int err = mounts_each(match, &search);

	if (err < 0)
		return err;
	return search.found ? 0 : -ENOENT;
}

int mounts_find_device(const char *device, char *ret_mountpoint, size_t size)
{
	CLEANUP_FREE char *wanted = realpath(device, NULL);

	if (!wanted)
		return -errno;
	return search_mounts(wanted, ret_mountpoint, size, match_device);
}

/* Without the "/" and "/." at its end. */
static void cut_end(char *path)
{
	size_t length = strlen(path);

	while (length > 1 &&
	       (path[length - 1] == '/' || (path[length - 1] == '.' && path[length - 2] == '/')))
		path[--length] = '\0';
}

static char *absolute_path(const char *path)
{
	CLEANUP_FREE char *here = NULL;
	char *result;

	if (*path == '/')
		return strdup(path);
	here = getcwd(NULL, 0);
	return here && asprintf(&result, "%s/%s", here, path) >= 0 ? result : NULL;
}

/* The mount point's parent is resolved, and its own name appended. */
static char *resolve_parent(const char *path)
{
	CLEANUP_FREE char *copy = strdup(path);
	CLEANUP_FREE char *parent = NULL;
	char *slash, *result;

	if (!copy)
		return NULL;
	slash = strrchr(copy, '/');
	if (!strcmp(slash + 1, "..") || !slash[1])
		return realpath(copy, NULL);
	*slash = '\0';
	parent = realpath(slash == copy ? "/" : copy, NULL);
	if (!parent || asprintf(&result, "%s/%s", strcmp(parent, "/") ? parent : "", slash + 1) < 0)
		return NULL;
	return result;
}

int mounts_find_mountpoint(const char *mountpoint, char *ret_device, size_t size)
{
	CLEANUP_FREE char *absolute = absolute_path(mountpoint);
	CLEANUP_FREE char *wanted = NULL;

	if (!absolute)
		return -ENOENT;
	cut_end(absolute);
	if (search_mounts(absolute, ret_device, size, match_mountpoint) == 0)
		return 0;
	wanted = resolve_parent(absolute);
	if (!wanted)
		return -ENOENT;
	return search_mounts(wanted, ret_device, size, match_mountpoint);
}
