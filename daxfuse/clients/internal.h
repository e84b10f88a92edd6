/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Of the room: holders of views, and sessions.
 *
 *   holder    an open file of a program with a view of it (holders.c): what the kernel's
 *             RELEASE ends; its pins are written down (pins.c)
 *   session   a program that is, or was, connected (server.c, sessions.c)
 *
 * Locks: LOCK_HOLDERS, LOCK_SESSIONS, LOCK_SESSION, in that order and below the engine's and core's
 * (base/lockrank.h); LOCK_HOLDER over a holder's records. The engine calls back into recall.c with
 * its locks held: those functions take the session's lock only, and holder_gone() LOCK_SESSIONS.
 *
 * Threads that wait for an answer may hold all down to the engine's. So the one that takes answers
 * (server.c) takes none of these but a view's, which is a leaf, and those that stand below the
 * engine's; it never closes a holder (holders.c).
 */
#ifndef DAXFUSE_CLIENTS_INTERNAL_H
#define DAXFUSE_CLIENTS_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/vfs/mapped.h"
#include "clients.h"
#include "pins.h"

enum { HOLDER_BUCKETS = 1024, SESSION_BUCKETS = 256 };

struct session {
	struct session *next;
	uint64_t id;
	unsigned refs;        /* sessions_lock */
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t answered;
	LIST_HEAD(, holder) holders; /* holders_lock */
	int fd;                      /* -1: not connected (any more) */
	int pid;                     /* of the peer */
	int state;                   /* its /proc/PID/stat; -1: it can't be seen */
	bool expected;               /* an earlier process knew it, so it will connect again */
	bool silent;                 /* did not answer a PROTECT in time, nor since */
	int64_t asked;               /* ns: since when a question has no answer; 0: all have */
	bool owed;                   /* a holder may owe a question */
	struct question *questions;
};

/* A view of a file, for one open file of a program. */
struct holder {
	struct holder *next; /* in its bucket */
	struct clients *clients;
	struct vfs_file *file; /* referenced */
	struct map_view *view;
	struct session *session; /* referenced; NULL: long-term */
	uint64_t handle;
	uint64_t cookie;
	struct dxf_ioc_pin pin;        /* long-term: what was asked for */
	uint32_t serial;               /* and a number that others of the handle have not; else 0 */
	bool ending;                   /* chosen by holder_choose_pin(); holders_lock */
	LIST_ENTRY(holder) of_session; /* holders_lock, as are */
	unsigned refs;                 /* the last one closes the view */
	unsigned busy;                 /* the socket's thread works with it */
	atomic_bool owed;     /* a question could not be put; it is put at the next chance */
	atomic_bool wrote;    /* has, or had, pieces to write to */
	pthread_mutex_t lock; /* of slots */
	struct pin_slots slots;
};

struct clients {
	struct clients_config config;
	unsigned mount; /* clients_serve() */
	struct fs *fs;
	struct mapper_ops client_ops, long_term_ops;
	struct pins_kept pins;
	pthread_mutex_t holders_lock;
	pthread_cond_t holders_idle; /* of them: one is busy no more */
	struct holder *holders[HOLDER_BUCKETS];
	atomic_uint holder_count;
	pthread_mutex_t sessions_lock;
	struct session *sessions[SESSION_BUCKETS];
	struct server *server;
	/* Requests that were turned away: by the mount's mode or the lack of a flag; as the page
	 * cache has the file. */
	atomic_ulong refused_mode, refused_cached;
};

/* ---- holders.c -------------------------------------------------------------- */

/* The holder of a program's handle, made if need be; referenced. -EINVAL: another
 * session's. */
errint_t holder_get(struct clients *c, const struct vfs_open_file *file, struct session *session,
		    uint64_t cookie, struct holder **ret_holder);
/* The one of a long-term pin. */
errint_t holder_get_pin(struct clients *c, const struct vfs_open_file *file,
			const struct dxf_ioc_pin *pin, uint32_t serial, struct holder **ret_holder);
/* The ones that are there, or NULL; referenced. */
struct holder *holder_of_handle(struct clients *c, uint64_t handle);
struct holder *holder_of_pin(struct clients *c, uint64_t handle, uint32_t serial);
/* The number of the pin of a range, or around it, that nobody ends yet; it is ended by the
 * caller, if it is the same range. False: there is none. */
bool holder_choose_pin(struct clients *c, uint64_t handle, const struct dxf_ioc_pin *pin,
		       uint32_t *ret_serial);
void holder_put(struct holder *holder);
/* Take the next holder of a handle, or that of a pin, out of the table; NULL: there is none. It
 * is the caller's. */
struct holder *holder_remove(struct clients *c, uint64_t handle);
struct holder *holder_remove_pin(struct clients *c, uint64_t handle, uint32_t serial);
/* For the socket's thread: a session's holder, until holder_leave(); meanwhile that thread
 * waits for nothing. */
struct holder *holder_of_session(struct clients *c, struct session *session, uint64_t cookie);
void holder_leave(struct holder *holder);
/* The same, of one that owes a question; NULL: none does. */
struct holder *holder_owing(struct clients *c, struct session *session);
/* Of the engine's view: nobody is in one of the mapper's functions any more. */
void holder_gone(void *mapper);
/* The holder's program says that it has let go. */
void holder_let_go(struct holder *holder, uint64_t offset, uint64_t length, uint64_t grant);

/* ---- recall.c --------------------------------------------------------------- */

void client_ops_init(struct clients *c, unsigned smallest);
/* A program's answer to write_protect(). */
void client_protected(struct session *session, uint64_t cookie, uint64_t offset, uint64_t length,
		      uint64_t grant);
/* It has connected, or answered: it will answer again, and is asked what could not be asked. */
void client_spoke(struct clients *c, struct session *session);

/* ---- sessions.c -------------------------------------------------------------- */

/* By its number, referenced; NULL: there is none. */
struct session *session_find(struct clients *c, uint64_t id);
/* The same, made if there is none. -ENOMEM */
errint_t session_get(struct clients *c, uint64_t id, struct session **ret_session);
void session_put(struct clients *c, struct session *session);
bool session_is_connected(struct session *session);

/* ---- server.c --------------------------------------------------------------- */

errint_t server_start(struct clients *c);
void server_stop(struct clients *c);

/* ---- restore.c -------------------------------------------------------------- */

/* Take over the pins of an earlier process; its held space is ours afterwards. */
void restore_pins(struct clients *c);

#endif
