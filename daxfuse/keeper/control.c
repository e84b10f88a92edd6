/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The path contains a random number: two mounts never have the same, whichever containers their
 * daemons run in. Until it listens a socket has another name, so one that nobody answers at under
 * its own is of a daemon that was killed, and is removed by the next. The mode of the socket keeps
 * out users who will not be welcome; the kernel's word on the peer decides (clients/server.c).
 */
#include "control.h"

#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/clients/clients.h"
#include "log.h"

#define SUFFIX ".socket"

enum { BACKLOG = 128 };

errint_t control_folder(char *ret_path, size_t size)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	int length;

	if (geteuid() == 0)
		length = snprintf(ret_path, size, "/run/daxfuse");
	else if (runtime && *runtime == '/')
		length = snprintf(ret_path, size, "%s/daxfuse", runtime);
	else
		length = snprintf(ret_path, size, "/tmp/daxfuse-%u", (unsigned)geteuid());
	return length >= (int)size ? -ENAMETOOLONG : 0;
}

errint_t control_make_folder(char *ret_path, size_t size)
{
	int err = control_folder(ret_path, size);
	struct stat st;

	if (err)
		return err;
	if (mkdir(ret_path, 0755) == 0) {
		if (chmod(ret_path,
			  0755)) /* whatever the umask is: the socket has a mode of its own */
			return -errno;
	} else if (errno != EEXIST) {
		return -errno;
	}
	if (lstat(ret_path, &st))
		return -errno;
	return S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022) ? 0 : -EPERM;
}

static errint_t restrict_to(const struct clients_policy *policy, const char *path)
{
	switch (policy->who) {
	case CLIENTS_EVERYBODY:
		return chmod(path, 0666) ? -errno : 0;
	case CLIENTS_GROUP:
		return chown(path, (uid_t)-1, policy->group) || chmod(path, 0660) ? -errno : 0;
	case CLIENTS_OWNER:
	case CLIENTS_NOBODY:
		break;
	}
	return chmod(path, 0600) ? -errno : 0;
}

static errint_t listen_at(const struct clients_policy *policy, const char *path, int *ret_fd)
{
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int err;

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)))
		return -errno;
	err = restrict_to(policy, path);
	if (!err && listen(fd, BACKLOG))
		err = -errno;
	if (err)
		unlink(path);
	else
		*ret_fd = TAKE_FD(fd);
	return err;
}

static bool is_dead(const char *path)
{
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
		return false;
	strcpy(address.sun_path, path);
	return connect(fd, (const struct sockaddr *)&address, sizeof(address)) &&
	       errno == ECONNREFUSED;
}

static void remove_dead(const char *folder)
{
	char pattern[300];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/%s", folder, "*" SUFFIX);
	if (glob(pattern, GLOB_NOSORT, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		if (is_dead(found.gl_pathv[i]))
			unlink(found.gl_pathv[i]);
	}
	globfree(&found);
}

/* Until it listens it has another name. */
static errint_t listen_as(const struct clients_policy *policy, const char *hidden, const char *path,
			  int *ret_fd)
{
	CLEANUP_FD int fd = -1;
	int err = listen_at(policy, hidden, &fd);

	if (err)
		return err;
	if (rename(hidden, path)) {
		err = -errno;
		unlink(hidden);
		return err;
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static errint_t listen_in(const struct clients_policy *policy, const char *folder, char *ret_path,
			  size_t size, int *ret_fd)
{
	char hidden[300];
	uint64_t number;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return -EIO;
	snprintf(hidden, sizeof(hidden), "%s/.%016" PRIx64, folder, number);
	if (snprintf(ret_path, size, "%s/%016" PRIx64 SUFFIX, folder, number) >= (int)size)
		return -ENAMETOOLONG;
	return listen_as(policy, hidden, ret_path, ret_fd);
}

int control_open(const struct clients_policy *policy, char *ret_path, size_t size)
{
	char folder[256], path[300] = "";
	int fd = -1, err;

	*ret_path = '\0';
	if (policy->who == CLIENTS_NOBODY)
		return -1;
	err = control_make_folder(folder, sizeof(folder));
	if (!err) {
		remove_dead(folder);
		err = listen_in(policy, folder, path, MIN(size, sizeof(path)), &fd);
	}
	if (err) {
		log_error("daxfuse: %s: no direct mappings, programs map through the kernel: %s\n",
			  *path ? path : folder, strerror(-err));
		return -1;
	}
	strcpy(ret_path, path);
	return fd;
}

void control_remove(const char *path)
{
	if (*path)
		unlink(path);
}

errint_t control_listen(const char *path, int *ret_fd)
{
	static const struct clients_policy policy = { CLIENTS_OWNER, 0 };
	const char *slash = strrchr(path, '/');
	char hidden[300];

	if (snprintf(hidden, sizeof(hidden), "%.*s/.%s", (int)(slash - path), path, slash + 1) >=
	    (int)sizeof(hidden))
		return -ENAMETOOLONG;
	unlink(hidden); /* of a process that was killed in between */
	return listen_as(&policy, hidden, path, ret_fd);
}
