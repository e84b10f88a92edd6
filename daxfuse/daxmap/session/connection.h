/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connection to one mount's daemon: the device's descriptor, and a thread that answers when
 * the daemon asks to let go. It connects again for as long as files are held; without any it
 * ends, some seconds later.
 */
#ifndef DAXFUSE_DAXMAP_CONNECTION_H
#define DAXFUSE_DAXMAP_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daxfuse/base/errint.h"

enum session_state {
	SESSION_FREE,
	SESSION_CONNECTING, /* by the thread that wants it first */
	SESSION_UP,
	SESSION_LOST, /* its thread connects again */
};

struct session;

/* What the session's thread does, at any time. */
struct session_ops {
	/* The daemon's questions. Errors: it could not be done; then there is no answer, and the
	 * daemon gives up waiting. */
	errint_t (*unmap)(uint64_t cookie, uint64_t offset, uint64_t length, uint64_t grant);
	errint_t (*protect)(uint64_t cookie, uint64_t offset, uint64_t length, uint64_t grant);
	/* The connection has ended; once more when it is there again, before anything is asked. */
	void (*lost)(const struct session *session);
	/* Now and then, while nothing is asked. */
	void (*idle)(void);
};

struct session {
	const struct session_ops *ops;
	_Atomic enum session_state state;
	uint32_t holds;
	_Atomic uint64_t id;
	_Atomic uint32_t flags; /* DIRECT_* */
	int device;             /* -1: a fork's child could not connect */
	int socket;
	dev_t dev;
	char path[108];
};

/* Held; connects if need be. Not with the lock. */
errint_t session_get(const char *path, dev_t dev, const struct session_ops *ops,
		     struct session **ret_session);
void session_put(struct session *session);
void session_put_locked(struct session *session);
/* A descriptor has another number now. */
void sessions_renumber_locked(int fd, int other);
/* In the child of a fork, whose only thread it is: connect anew, all sessions that are held. */
void sessions_after_fork(void);

#endif
