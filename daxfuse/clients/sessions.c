/* SPDX-License-Identifier: BSD-3-Clause */
/* Sessions: programs that have connected to the control socket, by their number. */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "internal.h"

/* Numbers are random, or come from a program that was there before. */
static struct session **session_bucket(struct clients *c, uint64_t id)
{
	return &c->sessions[id % SESSION_BUCKETS];
}

static struct session *find_session_locked(struct clients *c, uint64_t id)
{
	struct session *session = *session_bucket(c, id);

	lock_assert(LOCK_SESSIONS);
	while (session && session->id != id)
		session = session->next;
	if (session)
		session->refs++;
	return session;
}

struct session *session_find(struct clients *c, uint64_t id)
{
	struct session *session;

	lock_mutex(LOCK_SESSIONS, &c->sessions_lock);
	session = find_session_locked(c, id);
	unlock_mutex(LOCK_SESSIONS, &c->sessions_lock);
	return session;
}

/* NULL: no memory. */
static struct session *make_session_locked(struct clients *c, uint64_t id)
{
	struct session *session = calloc(1, sizeof(*session));
	pthread_condattr_t monotonic;

	lock_assert(LOCK_SESSIONS);
	if (!session)
		return NULL;
	session->id = id;
	session->refs = 1;
	session->fd = session->state = -1;
	LIST_INIT(&session->holders);
	pthread_mutex_init(&session->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&session->answered, &monotonic);
	pthread_condattr_destroy(&monotonic);
	session->next = *session_bucket(c, id);
	*session_bucket(c, id) = session;
	return session;
}

errint_t session_get(struct clients *c, uint64_t id, struct session **ret_session)
{
	struct session *session;

	lock_mutex(LOCK_SESSIONS, &c->sessions_lock);
	session = find_session_locked(c, id);
	if (!session)
		session = make_session_locked(c, id);
	unlock_mutex(LOCK_SESSIONS, &c->sessions_lock);
	if (!session)
		return -ENOMEM;
	*ret_session = session;
	return 0;
}

void session_put(struct clients *c, struct session *session)
{
	struct session **at = session_bucket(c, session->id);

	lock_mutex(LOCK_SESSIONS, &c->sessions_lock);
	if (--session->refs) {
		unlock_mutex(LOCK_SESSIONS, &c->sessions_lock);
		return;
	}
	while (*at != session)
		at = &(*at)->next;
	*at = session->next;
	unlock_mutex(LOCK_SESSIONS, &c->sessions_lock);
	pthread_cond_destroy(&session->answered);
	pthread_mutex_destroy(&session->lock);
	if (session->state >= 0)
		close(session->state);
	free(session);
}

bool session_is_connected(struct session *session)
{
	bool connected;

	lock_mutex(LOCK_SESSION, &session->lock);
	connected = session->fd >= 0;
	unlock_mutex(LOCK_SESSION, &session->lock);
	return connected;
}
