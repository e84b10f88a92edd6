/* SPDX-License-Identifier: BSD-3-Clause */
/* Sessions: programs that have connected to the control socket, by their number. */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

/* sessions_lock is held. */
static struct session *find(struct direct *d, uint64_t id)
{
	struct session *session = d->sessions;

	while (session && session->id != id)
		session = session->next;
	if (session)
		session->refs++;
	return session;
}

struct session *session_find(struct direct *d, uint64_t id)
{
	struct session *session;

	pthread_mutex_lock(&d->sessions_lock);
	session = find(d, id);
	pthread_mutex_unlock(&d->sessions_lock);
	return session;
}

/* sessions_lock is held. NULL: no memory. */
static struct session *make(struct direct *d, uint64_t id)
{
	struct session *session = calloc(1, sizeof(*session));
	pthread_condattr_t monotonic;

	if (!session)
		return NULL;
	session->id = id;
	session->refs = 1;
	session->fd = -1;
	LIST_INIT(&session->holders);
	pthread_mutex_init(&session->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&session->answered, &monotonic);
	pthread_condattr_destroy(&monotonic);
	session->next = d->sessions;
	d->sessions = session;
	return session;
}

int session_get(struct direct *d, uint64_t id, struct session **ret_session)
{
	struct session *session;

	pthread_mutex_lock(&d->sessions_lock);
	session = find(d, id);
	if (!session)
		session = make(d, id);
	pthread_mutex_unlock(&d->sessions_lock);
	if (!session)
		return -ENOMEM;
	*ret_session = session;
	return 0;
}

void session_put(struct direct *d, struct session *session)
{
	struct session **at = &d->sessions;

	pthread_mutex_lock(&d->sessions_lock);
	if (--session->refs) {
		pthread_mutex_unlock(&d->sessions_lock);
		return;
	}
	while (*at != session)
		at = &(*at)->next;
	*at = session->next;
	pthread_mutex_unlock(&d->sessions_lock);
	pthread_cond_destroy(&session->answered);
	pthread_mutex_destroy(&session->lock);
	free(session);
}

bool session_is_connected(struct session *session)
{
	bool connected;

	pthread_mutex_lock(&session->lock);
	connected = session->fd >= 0;
	pthread_mutex_unlock(&session->lock);
	return connected;
}
