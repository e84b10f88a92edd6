/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mounting a descriptor of /dev/fuse that a keeper holds: by mount(2) as root, else by fusermount3,
 * whose message with the descriptor stays in a socket of the keeper's, where every process looks at
 * it without taking it. In both cases the kernel is asked whether a descriptor is mounted; notes
 * about it may be older than a death.
 */
#define FUSE_USE_VERSION 317 /* its functions for option strings */
#include "attach.h"

#include <errno.h>
#include <fuse_opt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/rights.h"
#include "daxfuse/base/cleanup.h"

enum { LATE_MS = 1000 };

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

/*
 * A read that is too short to get anything is refused with EPERM if there is no
 * mount, with EINVAL if there is or was one (fs/fuse/dev.c).
 */
enum attach_state attach_look(int fd)
{
	struct pollfd poll_fd = { .fd = fd };
	char byte;

	if (read(fd, &byte, 0) < 0 && errno == EPERM)
		return ATTACH_NEVER;
	if (poll(&poll_fd, 1, 0) > 0 && poll_fd.revents & POLLERR)
		return ATTACH_GONE;
	return ATTACH_MOUNTED;
}

/* A look at the message leaves it, and with it a reference to the descriptor, in
 * the socket, which the keeper has open. */
int attach_find(const struct kept_fds *fds)
{
	union rights rights;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fd;

	rights_expect(&message, &rights);
	if (fds->mount < 0 ||
	    recvmsg(fds->mount, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
		return -1;
	return rights_take(&message, &fd, 1) ? fd : -1;
}

/* As mount(8) does, options of SELinux are left out where there is none. */
static bool has_labels(void)
{
	return access("/sys/fs/selinux/enforce", F_OK) == 0;
}

char *attach_words(const struct attach *a)
{
	CLEANUP_FREE char *source = NULL;
	char *words = NULL;
	int err;

	if (asprintf(&source, "fsname=%s", a->device) < 0)
		return NULL;
	err = fuse_opt_add_opt_escaped(&words, source) ||
	      fuse_opt_add_opt(&words, "subtype=daxfuse") ||
	      fuse_opt_add_opt(&words, "default_permissions");
	/* they mount nosuid and nodev unless told otherwise; for others than root
	 * that is so in any case */
	if (!err && geteuid() == 0)
		err = fuse_opt_add_opt(&words, a->no_suid ? "nosuid" : "suid") ||
		      fuse_opt_add_opt(&words, a->no_dev ? "nodev" : "dev");
	if (!err && a->allow_other)
		err = fuse_opt_add_opt(&words, "allow_other");
	if (!err && a->read_only)
		err = fuse_opt_add_opt(&words, "ro");
	if (!err && a->no_atime)
		err = fuse_opt_add_opt(&words, "noatime");
	if (!err && a->no_exec)
		err = fuse_opt_add_opt(&words, "noexec");
	if (!err && a->no_symfollow)
		err = fuse_opt_add_opt(&words, "nosymfollow");
	if (!err && a->no_dir_atime)
		err = fuse_opt_add_opt(&words, "nodiratime");
	for (unsigned i = 0; !err && has_labels() && i < a->word_count; i++)
		err = fuse_opt_add_opt_escaped(&words, a->words[i]);
	if (err) {
		free(words);
		return NULL;
	}
	return words;
}

int attach_mounted(const struct kept_fds *fds)
{
	int fd = attach_find(fds);

	if (fd < 0 && fds->fuse >= 0 && attach_look(fds->fuse) != ATTACH_NEVER)
		fd = fds->fuse;
	return fd;
}

bool attach_is_mounted(const struct kept *kept, const struct kept_fds *fds)
{
	int fd = kept->no_mount ? -1 : attach_mounted(fds);

	if (kept->no_mount)
		return kept->served;
	if (fd >= 0 && fd != fds->fuse)
		close(fd);
	return fd >= 0;
}

/* ---- mount(2) --------------------------------------------------------------- */

static unsigned long mount_flags(const struct attach *a)
{
	unsigned long flags = 0;

	flags |= a->no_suid ? MS_NOSUID : 0;
	flags |= a->no_dev ? MS_NODEV : 0;
	flags |= a->read_only ? MS_RDONLY : 0;
	flags |= a->no_exec ? MS_NOEXEC : 0;
	flags |= a->no_symfollow ? MS_NOSYMFOLLOW : 0;
	flags |= a->no_atime ? MS_NOATIME : 0;
	/* or it would show relatime, which a remount takes for the user's wish */
	flags |= a->strict_atime ? MS_STRICTATIME : 0;
	flags |= a->no_dir_atime ? MS_NODIRATIME : 0;
	return flags;
}

static int mount_direct(const struct attach *a, int fd)
{
	CLEANUP_FREE char *data = NULL;
	size_t size;
	CLEANUP_FILE FILE *text = open_memstream(&data, &size);

	if (!text)
		return -ENOMEM;
	fprintf(text, "fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions%s", fd,
		(unsigned)geteuid(), (unsigned)getegid(), a->allow_other ? ",allow_other" : "");
	for (unsigned i = 0; has_labels() && i < a->word_count; i++)
		fprintf(text, ",%s", a->words[i]);
	if (fflush(text))
		return -ENOMEM;
	if (mount(a->device, a->mountpoint, "fuse.daxfuse", mount_flags(a), data))
		return -errno;
	return fd;
}

/* ---- fusermount3 ------------------------------------------------------------- */

static void run_fusermount(const struct attach *a, const struct kept_fds *fds, const char *words)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", dup(fds->mount_peer)); /* without close-on-exec */
	setenv("_FUSE_COMMFD", number, 1);
	execlp("fusermount3", "fusermount3", "-o", words, "--", a->mountpoint, (char *)NULL);
	_exit(127);
}

/* A process that was killed while it waited for fusermount3 does not end that: it
 * mounts, and there must not be a second mount. */
static int find_late(const struct attach *a, const struct kept_fds *fds)
{
	struct pollfd poll_fd = { .fd = fds->mount, .events = POLLIN };

	if (a->kept->mounting)
		poll(&poll_fd, 1, LATE_MS);
	return attach_find(fds);
}

static int mount_by_helper(const struct attach *a, const struct kept_fds *fds)
{
	CLEANUP_FREE char *words = attach_words(a);
	int status, fd = find_late(a, fds);
	pid_t child;

	if (fd >= 0)
		return fd;
	if (!words)
		return -ENOMEM;
	a->kept->mounting = true;
	child = fork();
	if (child < 0)
		return -errno;
	if (child == 0)
		run_fusermount(a, fds, words);
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	a->kept->mounting = false;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return -EPERM;
	fd = attach_find(fds);
	return fd < 0 ? -EIO : fd;
}

int attach_mount(const struct attach *a, const struct kept_fds *fds)
{
	int fd = fds->fuse >= 0 ? mount_direct(a, fds->fuse) : -EPERM;

	return fd == -EPERM ? mount_by_helper(a, fds) : fd;
}
