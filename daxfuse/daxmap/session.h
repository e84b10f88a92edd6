/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connection to one mount's daemon: the device's descriptor, and a thread that answers when
 * the daemon asks to let go. It connects again for as long as files are held; without any it
 * ends, some seconds later.
 */
#ifndef DAXFUSE_DAXMAP_SESSION_H
#define DAXFUSE_DAXMAP_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum session_state {
	SESSION_FREE,
	SESSION_CONNECTING, /* by who wants it first */
	SESSION_UP,
	SESSION_LOST, /* its thread connects again */
};

struct session {
	_Atomic enum session_state state;
	uint32_t holds;
	_Atomic uint64_t id;
	_Atomic uint32_t flags; /* DIRECT_* */
	int device; /* -1: a fork's child could not connect */
	int socket;
	dev_t dev;
	char path[108];
};

/* Held; connects if need be. Not with the lock. */
int session_get(const char *path, dev_t dev, struct session **ret_session);
void session_put(struct session *session);
void session_put_locked(struct session *session);
/* A descriptor has another number now. With the lock. */
void session_renumber(int fd, int other);
/* In the child of a fork: connect anew, all sessions that are held. */
void session_after_fork(void);

#endif
