/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs as mappers: the engine's questions become messages, which the program's
 * own thread answers (include/daxfuse/direct.h).
 *
 * A question that can't be put now is owed: the program has no connection (we have just replaced
 * its daemon), or does not read. When it connects or answers again it is asked to let go of the
 * whole file, which is always true, and it faults in again the pieces that it needs.
 *
 * A program that can't answer is not waited for: one that is stopped, or has not been connected for
 * long. It keeps its pins, and only the space stays busy.
 */
#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "daxfuse/direct.h"

#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

enum { ANSWER_MS = 1000 };

/* Somebody waits for PROTECTED with these numbers. On that one's stack. */
struct question {
	struct question *next;
	uint64_t cookie, offset, length, grant;
	bool answered;
};

static errint_t send_locked(const struct session *session, uint32_t kind, uint64_t cookie,
			    uint64_t offset, uint64_t length, uint64_t grant)
{
	const struct direct_message message = {
		.kind = kind,
		.cookie = cookie,
		.offset = offset,
		.length = length,
		.grant = grant,
	};

	lock_assert(LOCK_SESSION);
	return send(session->fd, &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL) < 0
		       ? -errno
		       : 0;
}

/* By a debugger or a signal: it can't answer before somebody lets it. Nothing is opened: a thread
 * that serves a guest may not. */
static bool is_stopped_locked(const struct session *session)
{
	char text[256], *state;
	ssize_t n = pread(session->state, text, sizeof(text) - 1, 0);

	lock_assert(LOCK_SESSION);
	text[MAX(n, 0)] = '\0';
	state = strrchr(text, ')');
	return state && (state[1] == ' ') && (state[2] == 'T' || state[2] == 't');
}

static bool is_stopped(struct session *session)
{
	bool stopped;

	lock_mutex(LOCK_SESSION, &session->lock);
	stopped = is_stopped_locked(session);
	unlock_mutex(LOCK_SESSION, &session->lock);
	return stopped;
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A question is put: whether an earlier one has had no answer for so
 * long that there is no point in waiting, whichever file it was about. */
static bool is_mute_locked(struct session *session)
{
	int64_t at = now_ns();

	lock_assert(LOCK_SESSION);
	if (!session->asked)
		session->asked = at;
	return at - session->asked > ANSWER_MS * INT64_C(1000000);
}

static void owe_locked(struct session *session, struct holder *h)
{
	lock_assert(LOCK_SESSION);
	atomic_store(&h->owed, true);
	session->owed = true;
}

static errint_t client_unmap(void *mapper, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct holder *h = mapper;
	struct session *session = h->session;
	int err = -ENOTCONN;
	bool expected, mute, stopped;

	lock_mutex(LOCK_SESSION, &session->lock);
	expected = session->expected;
	if (session->fd >= 0)
		err = send_locked(session, DIRECT_UNMAP, h->cookie, offset, length, grant);
	if (err)
		owe_locked(session, h);
	mute = is_mute_locked(session);
	stopped = !err && is_stopped_locked(session);
	unlock_mutex(LOCK_SESSION, &session->lock);
	if (err && !expected)
		return err;
	return mute || stopped ? -EAGAIN : -EINPROGRESS;
}

static errint_t long_term_unmap(void *mapper, uint64_t offset, uint64_t length, uint64_t grant)
{
	return -EBUSY;
}

/* ---- write protection ------------------------------------------------------------ */

static bool is_same_question(const struct question *a, uint64_t cookie, uint64_t offset,
			     uint64_t length, uint64_t grant)
{
	return a->cookie == cookie && a->offset == offset && a->length == length &&
	       a->grant == grant;
}

void client_protected(struct session *session, uint64_t cookie, uint64_t offset, uint64_t length,
		      uint64_t grant)
{
	lock_mutex(LOCK_SESSION, &session->lock);
	session->silent = false;
	for (struct question *q = session->questions; q; q = q->next)
		q->answered |= is_same_question(q, cookie, offset, length, grant);
	pthread_cond_broadcast(&session->answered);
	unlock_mutex(LOCK_SESSION, &session->lock);
}

static void await_locked(struct session *session, const struct question *q)
{
	struct timespec until;
	int err = 0;

	lock_assert(LOCK_SESSION);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ANSWER_MS / 1000;
	while (!q->answered && session->fd >= 0 && !err)
		err = pthread_cond_timedwait(&session->answered, &session->lock, &until);
}

/*
 * Only while somebody watches: for durability alone it is cheaper to flush the lines of what
 * stays writable than to have each first store fault again. A program that let us wait in vain
 * is not asked again before it has answered, or each of its pieces would cost a
 * second.
 */
static errint_t client_write_protect(void *mapper, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct holder *h = mapper;
	struct session *session = h->session;
	struct question q = { NULL, h->cookie, offset, length, grant, false };
	struct question **at;

	if (!vfs_is_watched(h->clients->config.vfs) || is_stopped(session))
		return -EAGAIN;
	lock_mutex(LOCK_SESSION, &session->lock);
	if (session->fd >= 0 && !session->silent &&
	    !send_locked(session, DIRECT_PROTECT, h->cookie, offset, length, grant)) {
		q.next = session->questions;
		session->questions = &q;
		if (vfs_waiting(h->clients->config.vfs, true)) {
			await_locked(session, &q);
			vfs_waiting(h->clients->config.vfs, false);
			session->silent |= !q.answered;
		}
		for (at = &session->questions; *at != &q; at = &(*at)->next)
			;
		*at = q.next;
	}
	unlock_mutex(LOCK_SESSION, &session->lock);
	return q.answered ? 0 : -EAGAIN;
}

/* ---- debts ------------------------------------------------------------------------ */

/* The number is read after the debt is taken, so it covers all pieces that the debt is about.
 * False: it can't be put, and is owed again; nor can others. */
static bool recall_all(struct holder *h)
{
	struct session *session = h->session;
	uint64_t grant;
	bool put;

	if (!atomic_exchange(&h->owed, false))
		return true;
	grant = map_view_last_grant(h->view);
	lock_mutex(LOCK_SESSION, &session->lock);
	put = session->fd >= 0 &&
	      !send_locked(session, DIRECT_UNMAP, h->cookie, 0, UINT64_MAX, grant);
	if (!put)
		owe_locked(session, h);
	unlock_mutex(LOCK_SESSION, &session->lock);
	return put;
}

void client_spoke(struct clients *c, struct session *session)
{
	struct holder *h;
	bool owed;

	lock_mutex(LOCK_SESSION, &session->lock);
	owed = session->owed;
	session->owed = false;
	session->asked = 0;
	unlock_mutex(LOCK_SESSION, &session->lock);
	while (owed && (h = holder_owing(c, session))) {
		owed = recall_all(h);
		holder_leave(h);
	}
}

void client_ops_init(struct clients *c, unsigned smallest)
{
	c->client_ops = (struct mapper_ops){
		.smallest = smallest,
		.read_only_first = true,
		.unmap = client_unmap,
		.write_protect = client_write_protect,
		.gone = holder_gone,
	};
	c->long_term_ops = (struct mapper_ops){
		.smallest = smallest,
		.unmap = long_term_unmap,
		.gone = holder_gone,
	};
}
