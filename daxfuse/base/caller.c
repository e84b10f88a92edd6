/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * FUSE tells us a caller's uid, and 0 is also what root in a container has that shares our user
 * namespace, and was left next to nothing else. So control of the mount needs the capability that
 * mount(2) needs, which such a root does not have. A request has no capabilities in it; /proc has
 * those of the thread that makes it:
 *   - The thread is there, and is the same one: a request that has reached us can't be withdrawn,
 *     not even by SIGKILL, and a process that waits in a thread can't execute another program.
 *   - Capabilities are those of a user namespace, and anybody has all of them in one of their own.
 *     So it must be ours, which is that of the mount: its daemon has made it.
 *   - Numbers of processes are those of our own namespace, so /proc must be of that one, too.
 * A socket is another matter: the process that has connected it may be gone, and its number be
 * another one's. A pidfd of it (since Linux 6.5) still says, after the look, whether it was there
 * all the time.
 *
 * To look at the namespace of root the daemon needs CAP_SYS_PTRACE if it lacks a capability that
 * the caller has: a unit that bounds its capabilities lists that one.
 */
#include "caller.h"

#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* Our own number, as this /proc has it, is the one that we know. */
static bool proc_is_ours(void)
{
	char link[16], own[16];
	ssize_t n = readlink("/proc/self", link, sizeof(link) - 1);

	link[n < 0 ? 0 : n] = '\0';
	snprintf(own, sizeof(own), "%d", (int)getpid());
	return !strcmp(link, own);
}

static bool is_in_our_user_namespace(pid_t pid)
{
	struct stat own, theirs;
	char path[40];

	if (stat("/proc/self/ns/user", &own))
		return errno == ENOENT; /* a kernel without any */
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	return !stat(path, &theirs) && own.st_dev == theirs.st_dev && own.st_ino == theirs.st_ino;
}

static bool has_capability(pid_t pid, unsigned capability)
{
	CLEANUP_FILE FILE *status = NULL;
	CLEANUP_FREE char *line = NULL;
	unsigned long long effective = 0;
	char path[40];
	size_t room = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	status = fopen(path, "re");
	while (status && getline(&line, &room, status) > 0) {
		if (sscanf(line, "CapEff: %llx", &effective) == 1)
			break;
	}
	return effective >> capability & 1;
}

bool caller_is_administrator(pid_t pid, uid_t uid)
{
	if (pid <= 0 || !proc_is_ours() || !is_in_our_user_namespace(pid))
		return false;
	return (geteuid() != 0 && uid == geteuid()) || has_capability(pid, CAP_SYS_ADMIN);
}

/* Readable, or an error: it has ended. Without SO_PEERPIDFD nobody can say. */
static bool was_there_all_the_time(int pidfd)
{
	struct pollfd process = { .fd = pidfd, .events = POLLIN };

	return pidfd < 0 || poll(&process, 1, 0) == 0;
}

bool caller_of_socket_is_administrator(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer), pidfd_size = sizeof(int);
	CLEANUP_FD int pidfd = -1;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
		return false;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &pidfd_size) && errno != ENOPROTOOPT)
		return false;
	return caller_is_administrator(peer.pid, peer.uid) && was_there_all_the_time(pidfd);
}
