/* SPDX-License-Identifier: BSD-3-Clause */
/* A name that is a volume's, or an ID, is no path: both are checked before they are part of one. */
#include "ids.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/volumes/volumes.h"

enum { POOL_NAME_MAX = 200 };

/* The pool's path as the name of a folder. */
static void pool_name(const char *pool, char *ret_name)
{
	size_t i = 0;

	for (; pool[i] && i < POOL_NAME_MAX; i++)
		ret_name[i] = pool[i] == '/' ? '+' : pool[i];
	ret_name[i] = '\0';
}

static errint_t make_folder(const char *path)
{
	return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

static bool folder_path(const char *folder, const char *pool, const char *volume, char *ret_path,
			size_t size)
{
	char name[POOL_NAME_MAX + 1];

	pool_name(pool, name);
	return volumes_name_is_valid(volume) &&
	       snprintf(ret_path, size, "%s/%s/%s", folder, name, volume) < (int)size;
}

static errint_t make_folders(char *path)
{
	char *last = strrchr(path, '/'), *first;
	int err;

	*last = '\0';
	first = strrchr(path, '/');
	*first = '\0';
	err = make_folder(path);
	*first = '/';
	if (!err)
		err = make_folder(path);
	*last = '/';
	return err ? err : make_folder(path);
}

/* -ENOENT: no such volume is noted. */
static errint_t open_folder(const char *folder, const char *pool, const char *volume, bool make,
			    int *ret_fd)
{
	char path[1024];
	int err = folder_path(folder, pool, volume, path, sizeof(path)) ? 0 : -EINVAL;

	if (!err && make)
		err = make_folders(path);
	if (err)
		return err;
	*ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *ret_fd < 0 ? -errno : 0;
}

errint_t ids_add(const char *folder, const char *pool, const char *volume, const char *id)
{
	CLEANUP_FD int fd = -1;
	CLEANUP_FD int file = -1;
	int err = volumes_name_is_valid(id) ? 0 : -EINVAL;

	if (!err)
		err = open_folder(folder, pool, volume, true, &fd);
	if (err)
		return err;
	file = openat(fd, id, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	return file < 0 ? -errno : 0;
}

errint_t ids_remove(const char *folder, const char *pool, const char *volume, const char *id)
{
	CLEANUP_FD int fd = -1;
	int err = volumes_name_is_valid(id) ? 0 : -EINVAL;

	if (!err)
		err = open_folder(folder, pool, volume, false, &fd);
	if (!err && unlinkat(fd, id, 0))
		err = -errno;
	return err == -ENOENT ? 0 : err;
}

/* Calls fn for each ID; how many there are. */
static unsigned each_id(const char *folder, const char *pool, const char *volume,
			void (*fn)(int fd, const char *id))
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *entry;
	unsigned count = 0;
	int fd;

	if (open_folder(folder, pool, volume, false, &fd))
		return 0;
	dir = fdopendir(fd);
	if (!dir)
		close(fd);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		count++;
		if (fn)
			fn(fd, entry->d_name);
	}
	return count;
}

static void remove_id(int fd, const char *id)
{
	unlinkat(fd, id, 0);
}

void ids_forget(const char *folder, const char *pool, const char *volume)
{
	char path[1024];

	each_id(folder, pool, volume, remove_id);
	if (folder_path(folder, pool, volume, path, sizeof(path)))
		rmdir(path);
}

unsigned ids_count(const char *folder, const char *pool, const char *volume)
{
	return each_id(folder, pool, volume, NULL);
}

bool ids_is_known(const char *folder, const char *pool, const char *volume)
{
	char path[1024];

	return folder_path(folder, pool, volume, path, sizeof(path)) && !access(path, F_OK);
}
