/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread that first wants a session connects it (SESSION_CONNECTING); others wait for that. The
 * session's own thread then answers the daemon's questions. When the daemon is replaced it connects
 * again, as long as files are held.
 */
#include "connection.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "daemon.h"
#include "descriptor.h"

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/sys.h"

enum {
	SESSIONS = 64,
	STACK = 256 << 10,
	IDLE_MS = 2000, /* how often an idle session looks whether it is still wanted */
	RETRY_FIRST_MS = 10,
	RETRY_MOST_MS = 1000,
};

static struct session sessions[SESSIONS];

static void session_end_locked(struct session *session)
{
	session->state = SESSION_FREE;
	descriptor_close(session->socket);
	descriptor_close(session->device);
}

/* Whether nobody holds it; then it has ended. */
static bool end_if_idle(struct session *session)
{
	struct lock_guard guard = lock_take();
	bool idle = !session->holds;

	if (idle)
		session_end_locked(session);
	lock_release(guard);
	return idle;
}

static errint_t answer_question(struct session *session, struct direct_message *message)
{
	int err = 0;

	if (message->kind == DIRECT_UNMAP)
		err = session->ops->unmap(message->cookie, message->offset, message->length,
					  message->grant);
	else if (message->kind == DIRECT_PROTECT)
		err = session->ops->protect(message->cookie, message->offset, message->length,
					    message->grant);
	else
		return 0;
	message->kind = message->kind == DIRECT_UNMAP ? DIRECT_LET_GO : DIRECT_PROTECTED;
	/* still mapped: no answer, the daemon gives up waiting, and the pin stays */
	return err ? 0 : daemon_send(session->socket, message);
}

/* Until the connection ends; false: it is not wanted any more. */
static bool serve_daemon(struct session *session)
{
	struct direct_message message;
	int err;

	do {
		err = daemon_receive(session->socket, IDLE_MS, &message);
		if (!err)
			err = answer_question(session, &message);
		if (err != -EAGAIN)
			continue;
		session->ops->idle();
		if (end_if_idle(session))
			return false;
	} while (!err || err == -EAGAIN || err == -EINTR);
	return true;
}

/*
 * The device's descriptor stays the one we have: it is mapped. The next process does not know
 * which programs have zeroes mapped: ours go as soon as the connection has ended, before it can
 * be asked to fill a hole; and once more after its WELCOME, as the last one may have answered
 * meanwhile.
 */
static errint_t reconnect_session(struct session *session)
{
	struct welcome welcome;
	int sock, err;

	session->ops->lost(session);
	err = daemon_connect(session->path, session->dev, session->id, &welcome, &sock);
	if (err)
		return err;
	session->ops->lost(session);
	descriptor_close(welcome.device);
	session->id = welcome.session;
	session->flags = welcome.flags;
	session->socket = sock;
	session->state = SESSION_UP;
	return 0;
}

static void *listen_to(void *argument)
{
	struct session *session = argument;

	while (serve_daemon(session)) {
		unsigned pause = RETRY_FIRST_MS;

		session->state = SESSION_LOST;
		descriptor_close(session->socket);
		session->socket = -1;
		while (reconnect_session(session)) {
			if (end_if_idle(session))
				return NULL;
			sys_sleep_ms(pause);
			pause = MIN(pause * 2, (unsigned)RETRY_MOST_MS);
		}
	}
	return NULL;
}

static errint_t start_listener(struct session *session)
{
	uint64_t mask = signals_block();
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, MAX((size_t)STACK, (size_t)PTHREAD_STACK_MIN));
	err = pthread_create(&thread, &attr, listen_to, session);
	pthread_attr_destroy(&attr);
	signals_restore(mask);
	return -err;
}

static errint_t start_session(struct session *session)
{
	struct welcome welcome;
	int err = daemon_connect(session->path, session->dev, 0, &welcome, &session->socket);

	if (err)
		return err;
	session->id = welcome.session;
	session->flags = welcome.flags;
	session->device = welcome.device;
	session->state = SESSION_UP;
	err = start_listener(session);
	if (!err)
		return 0;
	descriptor_close(session->socket);
	descriptor_close(session->device);
	session->socket = session->device = -1;
	return err;
}

/* The session of this path, or a free place for it; NULL: there is none. */
static struct session *find_session_locked(const char *path, dev_t dev)
{
	struct session *empty = NULL;

	for (size_t i = 0; i < SESSIONS; i++) {
		struct session *session = &sessions[i];

		if (session->state == SESSION_FREE)
			empty = empty ? empty : session;
		else if (session->dev == dev && !strcmp(session->path, path))
			return session;
	}
	return empty;
}

/* Hold it, or become the one that connects (*ret_first). -EAGAIN: somebody is connecting. */
static errint_t claim_session(const char *path, dev_t dev, const struct session_ops *ops,
			      struct session **ret_session, bool *ret_first)
{
	struct lock_guard guard = lock_take();
	struct session *session = find_session_locked(path, dev);
	int err = !session ? -EMFILE : session->state == SESSION_CONNECTING ? -EAGAIN : 0;

	if (!err) {
		*ret_first = session->state == SESSION_FREE;
		if (*ret_first) {
			session->state = SESSION_CONNECTING;
			session->ops = ops;
			session->dev = dev;
			session->holds = 0;
			memcpy(session->path, path, sizeof(session->path));
		}
		session->holds++;
		*ret_session = session;
	}
	lock_release(guard);
	return err;
}

errint_t session_get(const char *path, dev_t dev, const struct session_ops *ops,
		     struct session **ret_session)
{
	struct session *session;
	bool first;
	int err;

	while ((err = claim_session(path, dev, ops, &session, &first)) == -EAGAIN)
		sys_sleep_ms(1);
	if (!err && first) {
		err = start_session(session);
		if (err)
			session->state = SESSION_FREE;
	}
	if (!err)
		*ret_session = session;
	return err;
}

void session_put_locked(struct session *session)
{
	session->holds--;
}

void session_put(struct session *session)
{
	struct lock_guard guard = lock_take();

	session_put_locked(session);
	lock_release(guard);
}

void sessions_renumber_locked(int fd, int other)
{
	for (size_t i = 0; i < SESSIONS; i++) {
		if (sessions[i].socket == fd)
			sessions[i].socket = other;
		if (sessions[i].device == fd)
			sessions[i].device = other;
	}
}

void sessions_after_fork(void)
{
	for (size_t i = 0; i < SESSIONS; i++) {
		struct session *session = &sessions[i];

		if (session->state == SESSION_FREE)
			continue;
		descriptor_close(session->socket);
		descriptor_close(session->device);
		session->socket = session->device = -1;
		if (!session->holds || session->state == SESSION_CONNECTING)
			session->state = SESSION_FREE;
		else if (start_session(session))
			session->state = SESSION_LOST;
	}
}
