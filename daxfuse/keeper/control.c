/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The path contains the number of the process that made it: two mounts never have the same. The
 * mode of the socket keeps out users who will not be welcome; the kernel's word on the peer decides
 * (clients/server.c).
 */
#include "control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/clients/clients.h"
#include "log.h"

enum { BACKLOG = 128 };

/* A folder that nobody else can write to. */
static errint_t make_folder(char *ret_path, size_t size)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	struct stat st;

	if (geteuid() == 0)
		snprintf(ret_path, size, "/run/daxfuse");
	else if (runtime && *runtime == '/')
		snprintf(ret_path, size, "%s/daxfuse", runtime);
	else
		snprintf(ret_path, size, "/tmp/daxfuse-%u", (unsigned)geteuid());
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

static int listen_at(const struct clients_policy *policy, const char *path)
{
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int err;

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	unlink(path); /* of an earlier process with our number */
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)))
		return -errno;
	err = restrict_to(policy, path);
	if (!err && listen(fd, BACKLOG))
		err = -errno;
	if (err)
		unlink(path);
	return err ? err : TAKE_FD(fd);
}

int control_open(const struct clients_policy *policy, char *ret_path, size_t size)
{
	char folder[256], path[300];
	int fd;

	*ret_path = '\0';
	if (policy->who == CLIENTS_NOBODY)
		return -1;
	fd = make_folder(folder, sizeof(folder));
	snprintf(path, sizeof(path), "%s/%d.socket", folder, (int)getpid());
	if (!fd && strlen(path) >= size)
		fd = -ENAMETOOLONG;
	if (!fd)
		fd = listen_at(policy, path);
	if (fd < 0) {
		log_error("daxfuse: %s: no direct mappings, programs map through the kernel: %s\n",
			  path, strerror(-fd));
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
