/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which process holds the lock: every process's descriptors are compared with ours, and
 * /proc/PID/fdinfo/FD of a match has a line "lock:" if that descriptor holds it. /proc/locks would
 * not do: it names the process that took the lock, which for a daemon is the parent that is gone. A
 * process that has closed the descriptor, but still maps the device by it, holds the lock as well:
 * /proc/PID/maps tells.
 */
#include "holder.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"

static bool descriptor_holds_lock(const char *pid, const char *fd)
{
	char path[64], line[256];
	CLEANUP_FILE FILE *file = NULL;

	snprintf(path, sizeof(path), "/proc/%.16s/fdinfo/%.16s", pid, fd);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "lock:", 5) && strstr(line, "FLOCK"))
			return true;
	}
	return false;
}

static bool process_holds_lock(const char *pid, const struct stat *ours)
{
	CLEANUP_DIR DIR *dir = NULL;
	struct dirent *entry;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%.16s/fd", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		struct stat st;

		if (isdigit((unsigned char)entry->d_name[0]) &&
		    fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && st.st_dev == ours->st_dev &&
		    st.st_ino == ours->st_ino && descriptor_holds_lock(pid, entry->d_name))
			return true;
	}
	return false;
}

static bool process_maps(const char *pid, const struct stat *ours)
{
	CLEANUP_FILE FILE *file = NULL;
	char path[64], line[512];

	snprintf(path, sizeof(path), "/proc/%.16s/maps", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		unsigned major_no, minor_no;
		unsigned long inode;

		/* the rest of a line that is longer has no such numbers */
		if (sscanf(line, "%*x-%*x %*s %*x %x:%x %lu", &major_no, &minor_no, &inode) == 3 &&
		    makedev(major_no, minor_no) == ours->st_dev && inode == ours->st_ino)
			return true;
	}
	return false;
}

static void process_name(const char *pid, char *ret_name, size_t size)
{
	CLEANUP_FILE FILE *file = NULL;
	char path[64], comm[32] = "process";

	snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
	file = fopen(path, "re");
	if (file && fgets(comm, sizeof(comm), file))
		comm[strcspn(comm, "\n")] = '\0';
	snprintf(ret_name, size, "%s (pid %.16s)", comm, pid);
}

errint_t holder_find(int fd, char *ret_name, size_t size)
{
	CLEANUP_DIR DIR *proc = opendir("/proc");
	struct dirent *entry;
	struct stat ours;

	if (!proc || fstat(fd, &ours) < 0)
		return -errno;
	while ((entry = readdir(proc))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		if (process_holds_lock(entry->d_name, &ours) ||
		    process_maps(entry->d_name, &ours)) {
			process_name(entry->d_name, ret_name, size);
			return 0;
		}
	}
	return -ENOENT;
}
