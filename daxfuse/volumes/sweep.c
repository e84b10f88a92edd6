/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Deleting trees that belonged to somebody else, however deep, large or odd they are.
 *
 * A tree is flattened while it is deleted: a folder that is found in it is moved beside it, under
 * another name, so there is never more than one level, and no path. Each step leaves something
 * that the next sweep, after a crash as well, goes on with. Names are looked up in folders that
 * are open, and links are not followed: who still has the tree mounted can't lead us elsewhere.
 *
 * One process sweeps: it holds the lock of the folder. One that adds a tree and finds it locked
 * may leave, since the sweeper looks once more after it has let go of the lock.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>

#include "internal.h"

struct sweep {
	int folder; /* POOL/volumes/.removed */
	uint64_t deleted;
	uint64_t failed; /* in this round */
	int last_error;
	void (*progress)(uint64_t deleted);
};

enum { PROGRESS_STEP = 256 };

static DIR *open_folder(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

static bool is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

static void clear_flags(int at, const char *name)
{
	CLEANUP_FD int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct fsxattr attr;

	if (fd < 0 || ioctl(fd, FS_IOC_FSGETXATTR, &attr) < 0)
		return;
	attr.fsx_xflags &= ~(__u32)(FS_XFLAG_IMMUTABLE | FS_XFLAG_APPEND);
	(void)ioctl(fd, FS_IOC_FSSETXATTR, &attr);
}

/* A file is deleted, a folder is moved to where sweeps begin. */
static errint_t delete_entry(struct sweep *s, int at, const char *name)
{
	char other[40];
	int err;

	if (unlinkat(at, name, 0) == 0) {
		if (++s->deleted % PROGRESS_STEP == 0 && s->progress)
			s->progress(s->deleted);
		return 0;
	}
	if (errno != EISDIR)
		return -errno;
	err = volumes_random_name(other, sizeof(other));
	if (!err && renameat(at, name, s->folder, other))
		err = -errno;
	return err;
}

static void note_failure(struct sweep *s, int err)
{
	s->failed++;
	s->last_error = err;
}

static void empty_folder(struct sweep *s, DIR *dir)
{
	const struct dirent *entry;

	while ((entry = readdir(dir))) {
		int err = is_dots(entry->d_name) ? 0 : delete_entry(s, dirfd(dir), entry->d_name);

		if (err == -EPERM) {
			clear_flags(dirfd(dir), ".");
			clear_flags(dirfd(dir), entry->d_name);
			err = delete_entry(s, dirfd(dir), entry->d_name);
		}
		if (err && err != -ENOENT)
			note_failure(s, err);
	}
}

static errint_t delete_top(struct sweep *s, const char *name)
{
	CLEANUP_DIR DIR *dir = open_folder(s->folder, name);

	if (!dir && errno == EACCES)
		return -EACCES;
	if (dir)
		empty_folder(s, dir);
	if (unlinkat(s->folder, name, dir ? AT_REMOVEDIR : 0) == 0)
		return 0;
	return -errno;
}

/* Whether there was anything that could be deleted. */
static bool sweep_once(struct sweep *s)
{
	CLEANUP_DIR DIR *dir = open_folder(s->folder, ".");
	const struct dirent *entry;
	uint64_t before = s->deleted;
	bool some = false;

	s->failed = 0;
	while (dir && (entry = readdir(dir))) {
		int err = is_dots(entry->d_name) ? -ENOENT : delete_top(s, entry->d_name);

		if (!err)
			some = true;
		else if (err != -ENOENT)
			note_failure(s, err);
	}
	return some || s->deleted != before;
}

static bool is_empty(int at)
{
	CLEANUP_DIR DIR *dir = open_folder(at, ".");
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (!is_dots(entry->d_name))
			return false;
	}
	return true;
}

/* What was being made when its process died; nobody makes one now. */
static void take_unfinished(const struct volume_pool *pool, const struct sweep *s)
{
	CLEANUP_DIR DIR *dir = open_folder(pool->folder, VOLUMES_NEW);
	CLEANUP_FD int lock = -1;
	struct volume_error error;
	const struct dirent *entry;
	char other[40];

	if (!dir || pool_lock(pool, &lock, &error))
		return;
	while ((entry = readdir(dir))) {
		if (!is_dots(entry->d_name) && !volumes_random_name(other, sizeof(other)))
			(void)renameat(dirfd(dir), entry->d_name, s->folder, other);
	}
}

int volumes_sweep(struct volume_pool *pool, bool wait, void (*progress)(uint64_t deleted))
{
	CLEANUP_FD int folder = -1;
	struct sweep s = { .progress = progress };

	if (pool->folder < 0)
		return 0;
	folder = openat(pool->folder, VOLUMES_REMOVED,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (folder < 0)
		return errno == ENOENT ? 0 : -errno;
	s.folder = folder;
	take_unfinished(pool, &s);
	do {
		if (flock(folder, LOCK_EX | (wait ? 0 : LOCK_NB)))
			return wait ? -errno : 0; /* another one does it */
		while (sweep_once(&s))
			;
		flock(folder, LOCK_UN);
	} while (!s.failed && !is_empty(folder));
	if (s.progress)
		s.progress(s.deleted);
	return s.failed ? s.last_error : 0;
}
