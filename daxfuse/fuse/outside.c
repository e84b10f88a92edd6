/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Why a process: a thread that waits for an answer of its own daemon can't be
 * killed any more once SIGKILL has ended those that would answer. It keeps
 * /dev/fuse open, so the connection never ends, and whoever touches the mount
 * hangs for ever. A child that has closed our descriptors is only one more
 * client: when the daemon dies, it gets ENOTCONN.
 */
#include "outside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daxfuse/base/cleanup.h"

/* Run fn in a child that has no descriptors but stdio. */
static int outside(int (*fn)(const struct state *s), const struct state *s)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return -errno;
	if (child == 0) {
		prctl(PR_SET_NAME, "daxfuse-outside");
		close_range(3, ~0U, 0);
		_exit(-fn(s));
	}
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}

/*
 * The kernel reads ahead 128 KiB on a FUSE mount and can't be told otherwise
 * through FUSE; root may set it from outside, to one whole READ. Its answer to
 * our greeting would set it back, so that must have come first: statfs() waits
 * for it.
 */
static int look(const struct state *s)
{
	CLEANUP_FD int fd = -1;
	struct statfs ignored;
	struct stat st;
	char path[64];

	if (statfs(s->mountpoint, &ignored) || stat(s->mountpoint, &st))
		return -errno;
	if (geteuid() != 0)
		return 0;
	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(st.st_dev),
		 minor(st.st_dev));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || dprintf(fd, "%d", STATE_IO_MAX >> 10) < 0 ? -errno : 0;
}

void outside_look(const struct state *s)
{
	outside(look, s);
}

static int run_fusermount(const struct state *s, const char *how)
{
	execlp("fusermount3", "fusermount3", how, "-q", "--", s->mountpoint, (char *)NULL);
	return -errno;
}

static int unmount(const struct state *s)
{
	int fd = open(s->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	/* a busy mount can't be unmounted, but nothing of it shall be lost */
	if (fd >= 0) {
		syncfs(fd);
		close(fd);
	}
	if (umount2(s->mountpoint, UMOUNT_NOFOLLOW) == 0)
		return 0;
	return errno == EPERM ? run_fusermount(s, "-u") : -errno;
}

int outside_unmount(const struct state *s)
{
	return outside(unmount, s) ? -EBUSY : 0;
}

static int detach(const struct state *s)
{
	if (umount2(s->mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		return 0;
	return errno == EPERM ? run_fusermount(s, "-uz") : -errno;
}

void outside_detach(const struct state *s)
{
	outside(detach, s);
}
