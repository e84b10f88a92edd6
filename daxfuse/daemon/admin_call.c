/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tools' side of admin.h. A serving process that was killed leaves its socket, and the next one
 * puts its own there: in between it is waited for, for a while.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "admin_message.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/ioctl.h"
#include "daxfuse/keeper/control.h"
#include "daxfuse/pmem/device.h"

enum { TRIES = 100, PAUSE_NS = 20000000, ANSWER_SECONDS = 20 };

errint_t admin_path(const char *device, char *ret_path, size_t size)
{
	char identity[64], folder[256];
	int err = device_identity(device, identity, sizeof(identity));

	if (!err)
		err = control_folder(folder, sizeof(folder));
	if (err)
		return err;
	for (char *at = identity; *at; at++)
		*at = *at == '/' ? '-' : *at;
	if (snprintf(ret_path, size, "%s/%s" ADMIN_SUFFIX, folder, identity) >= (int)size)
		return -ENAMETOOLONG;
	return 0;
}

bool admin_is_there(const char *device)
{
	char path[108];

	return !admin_path(device, path, sizeof(path)) && !access(path, F_OK);
}

static errint_t connect_once(const char *path, int *ret_fd)
{
	const struct timeval limit = { .tv_sec = ANSWER_SECONDS };
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct ucred daemon;
	socklen_t size = sizeof(daemon);

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    connect(fd, (const struct sockaddr *)&address, sizeof(address)) ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &daemon, &size))
		return -errno;
	if (daemon.uid != geteuid()) /* somebody else has made a folder of that name */
		return -EPERM;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static errint_t connect_to(const char *device, int *ret_fd)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	char path[108];
	int err = admin_path(device, path, sizeof(path));

	if (!err)
		err = connect_once(path, ret_fd);
	for (unsigned i = 0; err == -ECONNREFUSED && i < TRIES; i++) {
		nanosleep(&pause, NULL);
		err = connect_once(path, ret_fd);
	}
	return err == -ECONNREFUSED ? -ENOENT : err;
}

static errint_t talk(int fd, const struct admin_request *request, struct admin_answer *answer)
{
	size_t size = offsetof(struct admin_request, body) + _IOC_SIZE(request->cmd);
	ssize_t n = send(fd, request, size, MSG_NOSIGNAL) < 0
			    ? -1
			    : recv(fd, answer, sizeof(*answer), 0);

	if (n < 0)
		return errno == EPIPE ? -ECONNRESET : errno == EAGAIN ? -ETIMEDOUT : -errno;
	if (!n)
		return -ECONNRESET;
	if ((size_t)n < offsetof(struct admin_answer, body) ||
	    (!answer->err &&
	     (size_t)n != offsetof(struct admin_answer, body) + _IOC_SIZE(request->cmd)))
		return -EPROTO;
	return answer->err > 0 ? -EPROTO : answer->err;
}

errint_t admin_call(const char *device, unsigned cmd, const char *directory, void *data)
{
	CLEANUP_FREE struct admin_request *request = calloc(1, sizeof(*request));
	CLEANUP_FREE struct admin_answer *answer = calloc(1, sizeof(*answer));
	CLEANUP_FD int fd = -1;
	int err;

	if (!request || !answer)
		return -ENOMEM;
	if (strlen(directory) >= sizeof(request->directory))
		return -ENAMETOOLONG;
	request->cmd = cmd;
	strcpy(request->directory, directory);
	if (data)
		memcpy(request->body, data, _IOC_SIZE(cmd));
	err = connect_to(device, &fd);
	if (!err)
		err = talk(fd, request, answer);
	if (!err && data)
		memcpy(data, answer->body, _IOC_SIZE(cmd));
	return err;
}

errint_t admin_call_either(int fd, const char *device, unsigned cmd, void *data)
{
	if (fd < 0)
		return admin_call(device, cmd, "", data);
	return ioctl(fd, cmd, data) < 0 ? -errno : 0;
}

static errint_t read_status(const char *path, struct admin_answer *answer)
{
	CLEANUP_FREE struct admin_request *request = calloc(1, sizeof(*request));
	CLEANUP_FD int fd = -1;
	int err = request ? connect_once(path, &fd) : -ENOMEM;

	if (err)
		return err;
	request->cmd = DXF_IOC_STATUS;
	return talk(fd, request, answer);
}

static bool is_socket_name(const char *name)
{
	size_t length = strlen(name), suffix = strlen(ADMIN_SUFFIX);

	return *name != '.' && length > suffix && !strcmp(name + length - suffix, ADMIN_SUFFIX);
}

int admin_each(int (*fn)(const char *json, void *arg), void *arg)
{
	CLEANUP_FREE struct admin_answer *answer = calloc(1, sizeof(*answer) + 1);
	const struct dirent *entry;
	char folder[256], path[600];
	int result = 0;
	DIR *dir = control_folder(folder, sizeof(folder)) ? NULL : opendir(folder);

	while (dir && answer && !result && (entry = readdir(dir))) {
		if (!is_socket_name(entry->d_name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (!read_status(path, answer))
			result = fn(answer->body, arg);
	}
	if (dir)
		closedir(dir);
	return result;
}
