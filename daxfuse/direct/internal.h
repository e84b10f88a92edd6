/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Of the room: mapped files, holders of views, sessions.
 *
 *   file      an inode that somebody has mapped (files.c): one for an inode
 *   holder    an open file of a program with a view of it (holders.c): what the kernel's
 *             RELEASE ends; its pins are written down (pins.c)
 *   session   a program that is, or was, connected (server.c, client.c)
 *
 * Lock order, a lock on the left is taken before one on the right:
 *
 *   gate of the inode (files.c; shared by what changes a file that nobody maps, and then
 *                      over core's locks only)
 *   -> file's grow lock
 *   -> the engine's (map/lock.h), and with it core's
 *   -> holders_lock
 *   -> sessions_lock
 *   -> session's lock
 *
 * A holder's own lock is a leaf, over its records; so are those of watchers. The engine calls
 * back into client.c with its locks held: those functions take the session's lock only, and
 * holder_gone() sessions_lock.
 *
 * Threads that wait for an answer may hold all down to the engine's. So the one that takes
 * answers (server.c) takes none of these but a view's, which is a leaf, and what stands
 * below the engine's; it never closes a holder (holders.c).
 */
#ifndef DAXFUSE_DIRECT_INTERNAL_H
#define DAXFUSE_DIRECT_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "daxfuse/base/bits.h"
#include "direct.h"
#include "pins.h"
#include "daxfuse/map/map.h"

enum { GATES = 1024, FILE_BUCKETS = 1024, HOLDER_BUCKETS = 1024, FLUSHED_SLOTS = 1024 };

struct file {
	uint64_t ino; /* first: probes show it */
	struct direct *d;
	struct map_file *map;
	struct file *next;       /* in its bucket; under the gate */
	atomic_uint refs;        /* holders, and operations under way */
	atomic_uint holders;     /* of them: open ones */
	pthread_mutex_t grow;    /* over every change of the size, and what belongs to it */
};

struct session {
	struct session *next;
	uint64_t id;
	unsigned refs;           /* sessions_lock */
	pthread_mutex_t lock;    /* of all below */
	pthread_cond_t answered;
	LIST_HEAD(, holder) holders; /* holders_lock */
	int fd;                  /* -1: not connected (any more) */
	int pid;                 /* of the peer */
	bool expected;           /* an earlier process knew it, so it will connect again */
	bool silent;             /* did not answer a PROTECT in time, nor since */
	int64_t asked;           /* ns: since when a question has no answer; 0: all have */
	bool owed;               /* a holder may owe a question */
	struct question *questions;
};

/* A view of a file, for one open file of a program. */
struct holder {
	struct holder *next;     /* in its bucket */
	struct direct *d;
	struct file *file;       /* referenced */
	struct map_view *view;
	struct session *session; /* referenced; NULL: long-term */
	uint64_t handle;
	uint64_t cookie;
	struct dxf_ioc_pin pin;  /* long-term: what was asked for */
	uint32_t serial;         /* and a number that others of the handle have not; else 0 */
	LIST_ENTRY(holder) of_session; /* holders_lock, as are */
	unsigned refs;           /* the last one closes the view */
	unsigned busy;           /* the socket's thread works with it */
	atomic_bool owed;        /* a question could not be put; it is put at the next chance */
	bool wrote;              /* has, or had, pieces to write to */
	pthread_mutex_t lock;    /* of slots */
	struct pin_slots slots;
};

struct direct {
	struct direct_config config;
	struct map_engine *engine;
	struct mapper_ops client_ops, long_term_ops;
	struct pins_kept pins;
	uint64_t next_handle;            /* without a table */
	pthread_rwlock_t gate[GATES];
	struct file *files[FILE_BUCKETS];
	pthread_mutex_t holders_lock;
	pthread_cond_t holders_idle; /* of them: one is busy no more */
	struct holder *holders[HOLDER_BUCKETS];
	atomic_uint holder_count;
	pthread_mutex_t sessions_lock;
	struct session *sessions;
	uint64_t flushed[FLUSHED_SLOTS]; /* inodes: flush_once() in change.c */
	struct server *server;
	atomic_uint watchers;
	pthread_mutex_t watch_lock; /* a leaf: watcher_list */
	struct watcher *watcher_list;
	struct map_hook hook;
};

/* ---- backend.c -------------------------------------------------------------- */

/* Core, as the engine wants it: `file` is a struct file, `pool` a struct direct. */
extern const struct map_backend direct_backend;
/* Whether enough of a unit is used to gather it. */
bool is_worth_a_unit(struct file *file, uint64_t unit);

/* ---- files.c ---------------------------------------------------------------- */

/*
 * Begin an operation on an inode that may change its extents or bytes: the file if it is
 * mapped, referenced; or NULL, and then nobody can begin to map it before file_leave().
 */
struct file *file_enter(struct direct *d, uint64_t ino);
void file_leave(struct direct *d, uint64_t ino, struct file *file);
/* The file of an inode, referenced, made if need be: it is mapped from now on. */
int file_map(struct direct *d, uint64_t ino, struct file **ret_file);
/* Only if it is mapped. */
struct file *file_find(struct direct *d, uint64_t ino);
void file_put(struct file *file);
/* Call fn for each, referenced. */
void files_for_each(struct direct *d, void (*fn)(struct file *file, void *arg), void *arg);

/* ---- holders.c -------------------------------------------------------------- */

/* The holder of a program's handle, made if need be; referenced. -EINVAL: another
 * session's. */
int holder_get(struct direct *d, const struct direct_file *file, struct session *session,
	       uint64_t cookie, struct holder **ret_holder);
/* The one of a long-term pin. */
int holder_get_pin(struct direct *d, const struct direct_file *file, const struct dxf_ioc_pin *pin,
		   uint32_t serial, struct holder **ret_holder);
/* The ones that are there, or NULL; referenced. A pin: of the same range, or around it. */
struct holder *holder_of_handle(struct direct *d, uint64_t handle);
struct holder *holder_of_pin(struct direct *d, uint64_t handle, const struct dxf_ioc_pin *pin);
void holder_put(struct holder *holder);
/* Take the next holder of a handle, or that of a pin, out of the table; NULL: there is none. It
 * is the caller's. */
struct holder *holder_remove(struct direct *d, uint64_t handle);
struct holder *holder_remove_pin(struct direct *d, uint64_t handle, uint32_t serial);
/* For the socket's thread: a session's holder, until holder_leave(); meanwhile that thread
 * waits for nothing. */
struct holder *holder_of_session(struct direct *d, struct session *session, uint64_t cookie);
void holder_leave(struct holder *holder);
/* Call fn for each of a session's, with no lock held. */
void holders_of_session(struct direct *d, struct session *session,
			void (*fn)(struct holder *holder));
/* Of the engine's view: nobody is in one of the mapper's functions any more. */
void holder_gone(void *mapper);
/* The holder has let go, by its own account. */
void holder_let_go(struct holder *holder, uint64_t offset, uint64_t length, uint64_t grant);

/* ---- client.c --------------------------------------------------------------- */

void client_ops_init(struct direct *d, unsigned smallest);
/* A program's answer to write_protect(). */
void client_protected(struct session *session, uint64_t cookie, uint64_t offset, uint64_t length,
		      uint64_t grant);
/* It has connected, or answered: it will answer again, and is asked what could not be asked. */
void client_spoke(struct direct *d, struct session *session);

/* ---- watch.c ---------------------------------------------------------------- */

/* A struct map_hook's; arg is the struct direct. */
void watch_first_write(void *arg, void *file, uint64_t offset, uint64_t length);
/* The handle may have been a watcher. */
void watch_release(struct direct *d, uint64_t handle);
/* No handle is one any more. */
void watch_end(struct direct *d);

/* ---- session.c -------------------------------------------------------------- */

/* By its number, referenced; NULL: there is none. */
struct session *session_find(struct direct *d, uint64_t id);
/* The same, made if there is none. -ENOMEM */
int session_get(struct direct *d, uint64_t id, struct session **ret_session);
void session_put(struct direct *d, struct session *session);
bool session_is_connected(struct session *session);

/* ---- server.c --------------------------------------------------------------- */

int server_start(struct direct *d);
void server_stop(struct direct *d);

/* ---- restore.c -------------------------------------------------------------- */

/* Take over the pins of an earlier process; its held space is ours afterwards. */
void restore_pins(struct direct *d);

#endif
