/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's side of admin.h: a thread that takes one call after the other. Beside the mode of
 * the socket the capabilities of the peer decide who may call, as for the ioctls: a container's
 * root may have the folder. The path is ours as long as we have the device, which nobody else can
 * lock.
 */
#include "admin_serve.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "admin_message.h"
#include "daxfuse/base/bits.h"
#include "daxfuse/base/caller.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/ioctl.h"
#include "daxfuse/keeper/control.h"
#include "guests.h"
#include "restart.h"
#include "status.h"

enum { CALLER_SECONDS = 5, PAUSE_MS = 100 };

struct admin {
	struct daemon *daemon;
	int listener, stop;
	pthread_t thread;
	bool serves;
	char path[108];
	struct admin_request request;
	struct admin_answer answer;
};

/* ---- one call ------------------------------------------------------------------------------- */

static errint_t export(struct admin *a)
{
	struct dxf_ioc_export call;

	memcpy(&call, a->request.body, sizeof(call));
	if (!memchr(call.socket, '\0', sizeof(call.socket)) ||
	    !memchr(call.tag, '\0', sizeof(call.tag)))
		return -EINVAL;
	return guests_export_below(a->daemon, a->request.directory, &call);
}

static errint_t tell_status(struct admin *a)
{
	return status_json(a->daemon, true, a->answer.body, sizeof(a->answer.body));
}

static int prepare_restart(struct admin *a)
{
	struct dxf_ioc_restart answer = { .reason = "" };

	answer.error = (__u32)-restart_prepare(a->daemon, answer.reason, sizeof(answer.reason));
	memcpy(a->answer.body, &answer, sizeof(answer));
	return 0;
}

static errint_t carry_out(struct admin *a)
{
	switch (a->request.cmd) {
	case DXF_IOC_STATUS:
		return tell_status(a);
	case DXF_IOC_EXPORT:
		return export(a);
	case DXF_IOC_RESTART:
		return prepare_restart(a);
	case ADMIN_STOP:
		return 0;
	}
	return -ENOTTY;
}

/* What must come after the answer. */
static void carry_on(struct admin *a)
{
	struct dxf_ioc_restart restart;

	if (a->request.cmd == ADMIN_STOP)
		kill(getpid(), SIGTERM);
	if (a->request.cmd != DXF_IOC_RESTART)
		return;
	memcpy(&restart, a->answer.body, sizeof(restart));
	if (!restart.error)
		restart_now(a->daemon);
}

static bool read_request(struct admin *a, int fd)
{
	const size_t least = offsetof(struct admin_request, body);
	ssize_t n = recv(fd, &a->request, sizeof(a->request), 0);

	return n >= (ssize_t)least && (size_t)n == least + _IOC_SIZE(a->request.cmd) &&
	       memchr(a->request.directory, '\0', sizeof(a->request.directory));
}

static void serve_caller(struct admin *a, int fd)
{
	const struct timeval limit = { .tv_sec = CALLER_SECONDS };
	size_t size = offsetof(struct admin_answer, body);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (!read_request(a, fd))
		return;
	memset(&a->answer, 0, sizeof(a->answer));
	a->answer.err = caller_of_socket_is_administrator(fd) ? carry_out(a) : -EPERM;
	if (!a->answer.err)
		size += _IOC_SIZE(a->request.cmd);
	/* one that has gone is obeyed all the same */
	send(fd, &a->answer, size, MSG_NOSIGNAL);
	if (!a->answer.err)
		carry_on(a);
}

/* ---- all ------------------------------------------------------------------------------------ */

static void *run(void *arg)
{
	struct admin *a = arg;
	struct pollfd fds[] = {
		{ .fd = a->listener, .events = POLLIN },
		{ .fd = a->stop, .events = POLLIN },
	};

	while (!fds[1].revents) {
		int fd;

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 || fds[1].revents || !fds[0].revents)
			continue;
		fd = accept4(a->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) {
			poll(&fds[1], 1, PAUSE_MS); /* no descriptor is left */
			continue;
		}
		serve_caller(a, fd);
		close(fd);
	}
	return NULL;
}

errint_t admin_open(struct daemon *d, struct admin **ret_admin)
{
	CLEANUP_FREE struct admin *a = calloc(1, sizeof(*a));
	char folder[256];
	int err;

	if (!a)
		return -ENOMEM;
	a->daemon = d;
	err = control_make_folder(folder, sizeof(folder));
	if (!err)
		err = admin_path(d->device, a->path, sizeof(a->path));
	if (err)
		return err;
	a->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (a->stop < 0)
		return -errno;
	err = control_listen(a->path, &a->listener);
	if (err) {
		close(a->stop);
		return err;
	}
	*ret_admin = TAKE_POINTER(a);
	return 0;
}

errint_t admin_serve(struct admin *a)
{
	int err = a ? -pthread_create(&a->thread, NULL, run, a) : 0;

	if (a)
		a->serves = !err;
	return err;
}

void admin_close(struct admin *a)
{
	if (!a)
		return;
	control_remove(a->path);
	eventfd_write(a->stop, 1);
	if (a->serves)
		pthread_join(a->thread, NULL);
	close(a->listener);
	close(a->stop);
	free(a);
}
