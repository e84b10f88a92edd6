/* SPDX-License-Identifier: BSD-3-Clause */
/* The protocols of systemd's fd store and of its notifications, see systemd.h. */
#include "systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/rights.h"

enum { FIRST_FD = 3 }; /* SD_LISTEN_FDS_START */

static const struct {
	const char *name;
	size_t field;
} stored[] = {
	{ "fuse", offsetof(struct kept_fds, fuse) },
	{ "device", offsetof(struct kept_fds, device) },
	{ "mount", offsetof(struct kept_fds, mount) },
	{ "mount-peer", offsetof(struct kept_fds, mount_peer) },
	{ "control", offsetof(struct kept_fds, control) },
	{ "program", offsetof(struct kept_fds, program) },
	{ "memory",
	  offsetof(struct kept_fds, memory) }, /* with it all is there that a mount needs */
	{ "shelf", offsetof(struct kept_fds, shelf_in) },
	{ "shelf-out", offsetof(struct kept_fds, shelf_out) },
	{ "views", offsetof(struct kept_fds, views) },
};

static int *field_of(struct kept_fds *fds, size_t i)
{
	return (int *)(void *)((char *)fds + stored[i].field);
}

/* ---- to the manager ------------------------------------------------------------ */

bool systemd_is_there(void)
{
	return getenv("NOTIFY_SOCKET") != NULL;
}

/* fd below 0: none goes along. */
static errint_t notify_manager(const char *text, int fd)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	union rights rights;
	struct iovec iov = { (void *)text, strlen(text) };
	struct msghdr message = { .msg_name = &address, .msg_iov = &iov, .msg_iovlen = 1 };
	CLEANUP_FD int out = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (!path || !*path || strlen(path) >= sizeof(address.sun_path))
		return -ENOTCONN;
	if (out < 0)
		return -errno;
	memcpy(address.sun_path, path, strlen(path));
	if (*path == '@') /* an abstract name */
		address.sun_path[0] = '\0';
	message.msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	rights_put(&message, &rights, &fd, fd >= 0);
	return sendmsg(out, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static errint_t store_one(const char *name, int fd)
{
	char text[64];

	/* not polled: a connection that hangs up is for us to look into */
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	return fd < 0 ? 0 : notify_manager(text, fd);
}

static void forget_one(const char *name)
{
	char text[64];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	notify_manager(text, -1);
}

errint_t systemd_store(const struct kept_fds *fds)
{
	struct kept_fds copy = *fds;
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_SIZE(stored); i++)
		err = store_one(stored[i].name, *field_of(&copy, i));
	return err;
}

errint_t systemd_replace(enum systemd_fd which, int fd)
{
	static const char *const names[] = {
		[SYSTEMD_DEVICE] = "device",  [SYSTEMD_PROGRAM] = "program",
		[SYSTEMD_SHELF_IN] = "shelf", [SYSTEMD_SHELF_OUT] = "shelf-out",
		[SYSTEMD_VIEWS] = "views",
	};

	forget_one(names[which]);
	return store_one(names[which], fd);
}

void systemd_forget(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(stored); i++)
		forget_one(stored[i].name);
}

void systemd_ready(const char *status)
{
	char text[512];

	snprintf(text, sizeof(text), "READY=1\nSTATUS=%s", status);
	notify_manager(text, -1);
}

/* ---- from the manager ----------------------------------------------------------- */

static bool is_for_us(void)
{
	const char *pid = getenv("LISTEN_PID");

	return pid && strtol(pid, NULL, 10) == getpid();
}

static struct kept_fds find_stored(void)
{
	struct kept_fds fds = KEPT_FDS_NONE;
	CLEANUP_FREE char *names = NULL;
	char *save = NULL, *name;

	if (is_for_us() && getenv("LISTEN_FDNAMES"))
		names = strdup(getenv("LISTEN_FDNAMES"));
	name = names ? strtok_r(names, ":", &save) : NULL;
	for (int fd = FIRST_FD; name; fd++, name = strtok_r(NULL, ":", &save)) {
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		for (size_t i = 0; i < ARRAY_SIZE(stored); i++) {
			if (!strcmp(name, stored[i].name))
				*field_of(&fds, i) = fd;
		}
	}
	if (fds.shelf_in < 0 || fds.shelf_out < 0)
		kept_clear_shelf(&fds); /* the unit lets too few be stored */
	return fds;
}

int systemd_look(void)
{
	return find_stored().memory;
}

bool systemd_take(struct kept_fds *ret_fds)
{
	struct kept_fds fds = find_stored();

	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	if (fds.memory < 0)
		return false;
	*ret_fds = fds;
	return true;
}
