/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Daemons for the views: a thread that answers each question with the next free unit, or with its
 * error; and a process that dies, whose views are left to the next one.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "views.h"

struct server server;

/* A unit of the device for each unit of the file that the range touches. */
static void serve_range(const struct view *view, const struct daxview_question *question)
{
	__u64 at = question->offset, end = at + question->length;

	while (at < end) {
		__u64 next = (at & ~(UNIT - 1)) + UNIT, length = (next < end ? next : end) - at;

		if (server.next >= UNITS) {
			answer(view->session, question->question, ENOSPC);
			return;
		}
		memset(memory + server.next * UNIT, 0, UNIT);
		place(view, at, length, server.next++ * UNIT + at % UNIT);
		at += length;
	}
}

static void serve_one(const struct daxview_question *question)
{
	struct view *view = NULL;
	bool told = question->kind == DAXVIEW_POISON || question->kind == DAXVIEW_CLOSED;

	server.asked[question->kind]++;
	for (unsigned int i = 0; i < server.count; i++)
		if (server.views[i].number == question->view)
			view = &server.views[i];
	CHECK(told || (view && question->cookie == 7));
	if (server.error || told) {
		answer(server.views->session, question->question, server.error);
	} else if (question->kind == DAXVIEW_ASK_STRIP) {
		set_privileged(view, false);
	} else if (question->kind == DAXVIEW_ASK_EXTEND) {
		resize(view, question->offset + question->length);
	} else {
		serve_range(view, question);
	}
}

static void *serve(void *argument)
{
	struct daxview_question question;

	(void)argument;
	while (read(server.views->session, &question, sizeof(question)) == sizeof(question))
		serve_one(&question);
	return NULL;
}

pthread_t start_server(struct view *views, unsigned int count)
{
	pthread_t thread;

	server.views = views;
	server.count = count;
	server.next = UNITS / 2;
	CHECK(!pthread_create(&thread, NULL, serve, NULL));
	return thread;
}

void stop_server(pthread_t thread)
{
	pthread_cancel(thread);
	pthread_join(thread, NULL);
}

/* The view's number, and its descriptor. */
static void send_view(int socket, struct view *view)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec vector = { &view->number, sizeof(view->number) };
	struct msghdr message = { .msg_iov = &vector,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &view->fd, sizeof(int));
	CHECK(sendmsg(socket, &message, 0) > 0);
}

static void receive_view(int socket, struct view *view)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec vector = { &view->number, sizeof(view->number) };
	struct msghdr message = { .msg_iov = &vector,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };

	CHECK(recvmsg(socket, &message, 0) == sizeof(view->number));
	memcpy(&view->fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
}

int holder = -1;

pid_t killed_owner(struct view *view, struct view (*make)(void), bool kill_now)
{
	struct daxview_hold hold = { .size = sizeof(hold) };
	int ends[2];
	pid_t child;

	if (holder < 0)
		holder = open(DAXVIEW_PATH, O_RDWR);
	CHECK(holder >= 0 && !socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	child = fork();
	if (!child) {
		*view = make();
		hold.session = view->session;
		CHECK(!ioctl(holder, DAXVIEW_IOC_HOLD, &hold));
		send_view(ends[0], view);
		for (;;)
			pause();
	}
	receive_view(ends[1], view);
	close(ends[0]);
	close(ends[1]);
	if (kill_now)
		CHECK(!kill(child, SIGKILL) && waitpid(child, NULL, 0) == child);
	return child;
}
