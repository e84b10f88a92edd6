/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs as mappers: the engine's questions become messages, which the program's
 * own thread answers (include/daxfuse/direct.h).
 *
 * A question that can't be put now is owed: the program has no connection (we have just
 * replaced its daemon), or does not read. When it connects or answers again it is asked
 * to let go of the whole file, which is always true, and it faults in again what it needs.
 *
 * Nobody is waited for who can't answer: a program that is stopped, or has not been
 * connected for long. It keeps its pins, and only the space stays busy.
 */
#include "daxfuse/direct.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "daxfuse/direct/internal.h"

enum { PROTECT_MS = 1000 };

/* Somebody waits for PROTECTED with these numbers. On that one's stack. */
struct question {
	struct question *next;
	uint64_t cookie, offset, length, grant;
	bool answered;
};

/* The session's lock is held. */
static int send_locked(const struct session *session, uint32_t kind, uint64_t cookie,
		       uint64_t offset, uint64_t length, uint64_t grant)
{
	const struct direct_message message = {
		.kind = kind, .cookie = cookie, .offset = offset, .length = length, .grant = grant,
	};

	return send(session->fd, &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ?
	       -errno : 0;
}

/* By a debugger or a signal: it can't answer before somebody lets it. */
static bool is_stopped(int pid)
{
	char path[32], text[256], *state;
	size_t n = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (file) {
		n = fread(text, 1, sizeof(text) - 1, file);
		fclose(file);
	}
	text[n] = '\0';
	state = strrchr(text, ')');
	return state && (state[1] == ' ') && (state[2] == 'T' || state[2] == 't');
}

static int client_unmap(void *mapper, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct holder *h = mapper;
	struct session *session = h->session;
	bool expected;
	int err = -ENOTCONN;

	pthread_mutex_lock(&session->lock);
	expected = session->expected;
	if (session->fd >= 0)
		err = send_locked(session, DIRECT_UNMAP, h->cookie, offset, length, grant);
	if (err)
		atomic_store(&h->owed, true);
	pthread_mutex_unlock(&session->lock);
	if (err)
		return expected ? -EINPROGRESS : err;
	return is_stopped(session->pid) ? -EAGAIN : -EINPROGRESS;
}

static int long_term_unmap(void *mapper, uint64_t offset, uint64_t length, uint64_t grant)
{
	return -EBUSY;
}

/* ---- write protection ------------------------------------------------------------ */

static bool is_same(const struct question *a, uint64_t cookie, uint64_t offset, uint64_t length,
		    uint64_t grant)
{
	return a->cookie == cookie && a->offset == offset && a->length == length &&
	       a->grant == grant;
}

void client_protected(struct session *session, uint64_t cookie, uint64_t offset, uint64_t length,
		      uint64_t grant)
{
	pthread_mutex_lock(&session->lock);
	for (struct question *q = session->questions; q; q = q->next)
		q->answered |= is_same(q, cookie, offset, length, grant);
	pthread_cond_broadcast(&session->answered);
	pthread_mutex_unlock(&session->lock);
}

static void await_locked(struct session *session, const struct question *q)
{
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PROTECT_MS / 1000;
	while (!q->answered && session->fd >= 0 && !err)
		err = pthread_cond_timedwait(&session->answered, &session->lock, &until);
}

/*
 * Only while somebody watches: for durability alone it is cheaper to flush the lines of what
 * stays writable than to have each first store fault again.
 */
static int client_write_protect(void *mapper, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct holder *h = mapper;
	struct session *session = h->session;
	struct question q = { NULL, h->cookie, offset, length, grant, false };
	struct question **at;

	if (!direct_is_watched(h->d) || is_stopped(session->pid))
		return -EAGAIN;
	pthread_mutex_lock(&session->lock);
	if (session->fd >= 0 &&
	    !send_locked(session, DIRECT_PROTECT, h->cookie, offset, length, grant)) {
		q.next = session->questions;
		session->questions = &q;
		await_locked(session, &q);
		for (at = &session->questions; *at != &q; at = &(*at)->next)
			;
		*at = q.next;
	}
	pthread_mutex_unlock(&session->lock);
	return q.answered ? 0 : -EAGAIN;
}

/* ---- debts ------------------------------------------------------------------------ */

static void ask_all(struct holder *h)
{
	struct session *session = h->session;
	uint64_t grant = map_view_last_grant(h->view);

	if (!atomic_exchange(&h->owed, false))
		return;
	pthread_mutex_lock(&session->lock);
	if (session->fd < 0 ||
	    send_locked(session, DIRECT_UNMAP, h->cookie, 0, UINT64_MAX, grant))
		atomic_store(&h->owed, true);
	pthread_mutex_unlock(&session->lock);
}

void client_ask_owed(struct direct *d, struct session *session)
{
	holders_of_session(d, session, ask_all);
}

void client_ops_init(struct direct *d, unsigned smallest)
{
	d->client_ops = (struct mapper_ops){
		.smallest = smallest,
		.read_only_first = true,
		.unmap = client_unmap,
		.write_protect = client_write_protect,
		.gone = holder_gone,
	};
	d->long_term_ops = (struct mapper_ops){
		.smallest = smallest,
		.unmap = long_term_unmap,
		.gone = holder_gone,
	};
}
