/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading /proc/self/mounts. A mount of ours has the type fuse.daxfuse and the
 * device as its source. */
#include "daxfuse/tools/mounts.h"

#include <errno.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/cleanup.h"

int mounts_each(int (*fn)(const char *device, const char *mountpoint, void *arg), void *arg)
{
	FILE *file = setmntent("/proc/self/mounts", "re");
	struct mntent *mount;
	int result = 0;

	if (!file)
		return -errno;
	while (!result && (mount = getmntent(file))) {
		if (!strcmp(mount->mnt_type, "fuse.daxfuse"))
			result = fn(mount->mnt_fsname, mount->mnt_dir, arg);
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

static bool is_same_file(const char *canonical, const char *path)
{
	CLEANUP_FREE char *real = realpath(path, NULL);

	return real && !strcmp(real, canonical);
}

static int match_device(const char *device, const char *mountpoint, void *arg)
{
	struct search *search = arg;

	if (!is_same_file(search->wanted, device))
		return 0;
	snprintf(search->ret, search->size, "%s", mountpoint);
	search->found = true;
	return 1;
}

/* No realpath() here: it would ask the daemon, which may be dead. */
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

/* The mount point's parent is resolved, and its own name appended. */
static char *resolve_parent(const char *path)
{
	CLEANUP_FREE char *copy = strdup(path);
	CLEANUP_FREE char *parent = NULL;
	size_t length = copy ? strlen(copy) : 0;
	char *slash, *result;

	while (length > 1 && copy[length - 1] == '/')
		copy[--length] = '\0';
	if (!length)
		return NULL;
	slash = strrchr(copy, '/');
	if (!slash || !strcmp(slash + 1, ".") || !strcmp(slash + 1, "..") || !slash[1])
		return slash ? realpath(copy, NULL) : NULL;
	*slash = '\0';
	parent = realpath(slash == copy ? "/" : copy, NULL);
	if (!parent ||
	    asprintf(&result, "%s/%s", strcmp(parent, "/") ? parent : "", slash + 1) < 0)
		return NULL;
	return result;
}

int mounts_find_mountpoint(const char *mountpoint, char *ret_device, size_t size)
{
	CLEANUP_FREE char *absolute = NULL;
	CLEANUP_FREE char *wanted = NULL;
	CLEANUP_FREE char *here = NULL;

	if (*mountpoint == '/') {
		wanted = resolve_parent(mountpoint);
	} else {
		here = getcwd(NULL, 0);
		if (!here || asprintf(&absolute, "%s/%s", here, mountpoint) < 0)
			return -ENOENT;
		wanted = resolve_parent(absolute);
	}
	if (!wanted)
		return -ENOENT;
	return search_mounts(wanted, ret_device, size, match_mountpoint);
}
