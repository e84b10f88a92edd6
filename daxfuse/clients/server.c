/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket: one thread, which never waits for anything but messages. It is the one
 * that takes programs' answers, so threads that serve requests may wait for these.
 *
 * All that comes is checked: a message has its size, a program speaks for its own session only, and
 * says nothing before HELLO. A program that breaks the rules is disconnected; its pins stay until
 * its files are closed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/rights.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "daxfuse/direct.h"
#include "internal.h"

enum { CONNECTIONS_MAX = 4096, GROUPS_MAX = 1024, EVENTS = 16, PAUSE_MS = 100 };

struct connection {
	LIST_ENTRY(connection) link;
	int fd;
	struct ucred peer;
	struct session *session; /* after HELLO */
};

struct server {
	struct clients *clients;
	int epoll, stop;
	pthread_t thread;
	LIST_HEAD(, connection) connections;
	unsigned count, max;
	bool paused; /* no descriptor is left: nobody is accepted for a moment */
};

/* ---- whom the device is given ------------------------------------------------------ */

static bool is_in_group(int fd, const struct ucred *peer, uint32_t group)
{
	gid_t groups[GROUPS_MAX];
	socklen_t size = sizeof(groups);

	if (peer->gid == group)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size))
		return false;
	for (size_t i = 0; i < size / sizeof(groups[0]); i++) {
		if (groups[i] == group)
			return true;
	}
	return false;
}

static bool is_allowed(const struct clients *c, const struct connection *conn)
{
	if (c->config.policy.who == CLIENTS_NOBODY)
		return false;
	if (conn->peer.uid == 0 || conn->peer.uid == geteuid() ||
	    c->config.policy.who == CLIENTS_EVERYBODY)
		return true;
	return c->config.policy.who == CLIENTS_GROUP &&
	       is_in_group(conn->fd, &conn->peer, c->config.policy.group);
}

/* ---- messages ----------------------------------------------------------------------- */

static void refuse_hello(const struct connection *conn, int err, const char *text)
{
	struct direct_message message = {
		.kind = DIRECT_REFUSED,
		.version = DIRECT_VERSION,
		.error = -err,
	};

	strncpy(message.text, text, sizeof(message.text) - 1);
	send(conn->fd, &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static uint32_t welcome_flags(const struct clients *c)
{
	const char *granularity = device_granularity(c->config.dev);
	uint32_t flags = c->client_ops.smallest == ORDER_PMD ? DIRECT_UNITS : 0;

	if (!strcmp(granularity, "cache_line"))
		flags |= DIRECT_FLUSH;
	if (device_info(c->config.dev)->kind == DEVICE_IMAGE && strcmp(granularity, "page"))
		flags |= DIRECT_MAP_SYNC;
	if (c->mount)
		flags |= DIRECT_MOUNT;
	return flags;
}

/* Ours may be open for writing, as the mount may be made writable. The new description has a lock
 * of its own, beside ours, which is shared while we only read. -ENOLCK: it is exclusive still. */
static errint_t reopen_to_read(const struct clients *c, int *ret_fd)
{
	CLEANUP_FD int fd = -1;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", device_fd(c->config.dev));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_SH | LOCK_NB))
		return errno == EWOULDBLOCK ? -ENOLCK : -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* The device goes along as the very description that carries our lock, or one with a lock for
 * reading: it stays locked as long as anybody maps it, so that no other daemon, mkfs or fsck
 * writes beneath them. */
static errint_t send_welcome(const struct clients *c, const struct connection *conn)
{
	struct direct_message message = {
		.kind = DIRECT_WELCOME,
		.version = DIRECT_VERSION,
		.session = conn->session->id,
		.flags = welcome_flags(c),
		.cookie = c->mount,
	};
	union rights rights;
	struct iovec iov = { &message, sizeof(message) };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	bool reads = vfs_is_read_only(c->config.vfs);
	CLEANUP_FD int own = -1;
	int err = reads ? reopen_to_read(c, &own) : 0;
	int fd = reads ? own : device_fd(c->config.dev);

	if (err)
		return err;
	rights_put(&header, &rights, &fd, 1);
	return sendmsg(conn->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static errint_t new_id(uint64_t *ret_id)
{
	do {
		if (getrandom(ret_id, sizeof(*ret_id), 0) != sizeof(*ret_id))
			return -EIO;
	} while (!*ret_id);
	return 0;
}

/* Opened once: who asks may not open anything. pid 0: not any more. */
static void watch_state_locked(struct session *session, int pid)
{
	char path[32];

	lock_assert(LOCK_SESSION);
	if (session->state >= 0)
		close(session->state);
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	session->state = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}

/* WELCOME is the first message: nobody puts a question before. -EBUSY: it belongs to another
 * program that is connected. */
static errint_t connect_session(const struct clients *c, const struct connection *conn)
{
	struct session *session = conn->session;
	int err = 0;

	lock_mutex(LOCK_SESSION, &session->lock);
	if (session->fd >= 0 && session->pid != conn->peer.pid)
		err = -EBUSY;
	else
		err = send_welcome(c, conn);
	if (!err) {
		session->fd = conn->fd;
		session->pid = conn->peer.pid;
		watch_state_locked(session, session->pid);
		session->expected = false;
		session->silent = false;
	}
	unlock_mutex(LOCK_SESSION, &session->lock);
	return err;
}

static errint_t take_hello(struct clients *c, struct connection *conn,
			   const struct direct_message *message)
{
	uint64_t id = message->session;
	int err = 0;

	if (message->version != DIRECT_VERSION) {
		refuse_hello(conn, -EPROTONOSUPPORT,
			     "another version of the protocol: use the libdaxmap of "
			     "the daemon's release");
		return -EPROTONOSUPPORT;
	}
	if (!is_allowed(c, conn)) {
		refuse_hello(conn, -EACCES,
			     "this mount gives its device to others only: see direct= in "
			     "daxfuse(8), and what it means");
		return -EACCES;
	}
	if (!id)
		err = new_id(&id);
	if (!err)
		err = session_get(c, id, &conn->session);
	if (!err) {
		err = connect_session(c, conn);
		if (err)
			session_put(c, TAKE_POINTER(conn->session));
	}
	if (err)
		refuse_hello(conn, err,
			     err == -EBUSY ? "the session belongs to another program"
					   : "the daemon lacks something");
	return err;
}

static void take_let_go(struct clients *c, struct session *session,
			const struct direct_message *message)
{
	struct holder *h = holder_of_session(c, session, message->cookie);

	if (!h)
		return;
	holder_let_go(h, message->offset, message->length, message->grant);
	holder_leave(h);
}

static errint_t take_message(struct clients *c, struct connection *conn,
			     const struct direct_message *message)
{
	if (!conn->session) {
		int err = message->kind == DIRECT_HELLO ? take_hello(c, conn, message) : -EPROTO;

		if (!err)
			client_spoke(c, conn->session);
		return err;
	}
	switch (message->kind) {
	case DIRECT_LET_GO:
		take_let_go(c, conn->session, message);
		break;
	case DIRECT_PROTECTED:
		client_protected(conn->session, message->cookie, message->offset, message->length,
				 message->grant);
		break;
	default:
		return -EPROTO;
	}
	client_spoke(c, conn->session);
	return 0;
}

/* ---- connections --------------------------------------------------------------------- */

static void listen_again(struct server *server, bool on)
{
	struct epoll_event event = { .events = on ? EPOLLIN : 0, .data.ptr = server };

	if (server->paused == on &&
	    !epoll_ctl(server->epoll, EPOLL_CTL_MOD, server->clients->config.listener, &event))
		server->paused = !on;
}

static void hang_up(struct session *session, int fd)
{
	lock_mutex(LOCK_SESSION, &session->lock);
	if (session->fd == fd) {
		session->fd = -1;
		watch_state_locked(session, 0);
	}
	pthread_cond_broadcast(&session->answered);
	unlock_mutex(LOCK_SESSION, &session->lock);
}

static void close_connection(struct server *server, struct connection *conn)
{
	if (conn->session) {
		hang_up(conn->session, conn->fd);
		session_put(server->clients, conn->session);
	}
	LIST_REMOVE(conn, link);
	server->count--;
	/* to close it is not enough: a child that we have forked may have it open still */
	epoll_ctl(server->epoll, EPOLL_CTL_DEL, conn->fd, NULL);
	close(conn->fd);
	free(conn);
	listen_again(server, true);
}

static void read_connection(struct server *server, struct connection *conn)
{
	struct direct_message message;
	ssize_t n = recv(conn->fd, &message, sizeof(message), MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != sizeof(message) || take_message(server->clients, conn, &message))
		close_connection(server, conn);
}

static void accept_connection(struct server *server)
{
	CLEANUP_FD int fd = accept4(server->clients->config.listener, NULL, NULL,
				    SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct epoll_event event = { .events = EPOLLIN };
	struct connection *conn;
	socklen_t size = sizeof(conn->peer);

	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
		listen_again(server, false);
	if (fd < 0 || server->count >= server->max)
		return;
	conn = calloc(1, sizeof(*conn));
	if (!conn)
		return;
	event.data.ptr = conn;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &conn->peer, &size) ||
	    epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event)) {
		free(conn);
		return;
	}
	conn->fd = TAKE_FD(fd);
	LIST_INSERT_HEAD(&server->connections, conn, link);
	server->count++;
}

static void *run_server(void *arg)
{
	struct server *server = arg;
	bool stopping = false;

	while (!stopping) {
		struct epoll_event events[EVENTS];
		int count = epoll_wait(server->epoll, events, EVENTS,
				       server->paused ? PAUSE_MS : -1);

		if (!count)
			listen_again(server, true);
		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == &server->stop)
				stopping = true;
			else if (events[i].data.ptr == server)
				accept_connection(server);
			else
				read_connection(server, events[i].data.ptr);
		}
	}
	return NULL;
}

static errint_t add_to_epoll(const struct server *server, int fd, void *tag)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = tag };

	return epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* Each program takes two descriptors; half of them are for the rest of the daemon. */
static unsigned most_connections(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return CONNECTIONS_MAX;
	return (unsigned)MIN(limit.rlim_cur / 4, (rlim_t)CONNECTIONS_MAX);
}

errint_t server_start(struct clients *c)
{
	struct server *server = calloc(1, sizeof(*server));
	int err;

	if (!server)
		return -ENOMEM;
	server->max = most_connections();
	server->clients = c;
	LIST_INIT(&server->connections);
	server->epoll = epoll_create1(EPOLL_CLOEXEC);
	server->stop = eventfd(0, EFD_CLOEXEC);
	err = server->epoll < 0 || server->stop < 0 ? -errno : 0;
	if (!err)
		err = add_to_epoll(server, server->stop, &server->stop);
	if (!err)
		err = add_to_epoll(server, c->config.listener, server);
	if (!err)
		err = -pthread_create(&server->thread, NULL, run_server, server);
	if (err) {
		if (server->epoll >= 0)
			close(server->epoll);
		if (server->stop >= 0)
			close(server->stop);
		free(server);
		return err;
	}
	c->server = server;
	return 0;
}

void server_stop(struct clients *c)
{
	struct server *server = c->server;

	if (!server)
		return;
	eventfd_write(server->stop, 1);
	pthread_join(server->thread, NULL);
	while (!LIST_EMPTY(&server->connections))
		close_connection(server, LIST_FIRST(&server->connections));
	close(server->epoll);
	close(server->stop);
	free(server);
	c->server = NULL;
}
