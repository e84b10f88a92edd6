/* SPDX-License-Identifier: BSD-3-Clause */
/* Of the room: an export, what of it outlives the serving process, and the list of all. */
#ifndef DAXFUSE_VHOST_EXPORT_H
#define DAXFUSE_VHOST_EXPORT_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "backend.h"
#include "daxfuse/base/shelf.h"
#include "exports.h"

/* In a memory of its own (memfd), which lies on the shelf with the descriptors. EXPORTS_LAYOUT
 * grows when the meaning of it changes, or of a part of it, and its size does not. */
#define EXPORTS_LAYOUT 1
struct export_record {
	uint64_t layout; /* first: exports_layout() of the process that has made it */
	char socket[EXPORTS_SOCKET_MAX + 1];
	char tag[EXPORTS_TAG_MAX + 1];
	uint64_t root;
	uint64_t window;     /* bytes; 0: none */
	uint64_t generation; /* of the root */
	uint32_t cache, vmm;
	bool read_only;
	bool removed;           /* under the list's lock; whatever lies on the shelf */
	_Atomic uint64_t keeps; /* the newest lot of it says so, or is not up to date */
	int32_t vmm_pid;        /* of the last connection; 0: not known */
	_Atomic uint64_t connections, bad_chains;
	struct backend_record backend;
	/* and behind it, each at the next page, struct guest_record and struct window_record */
};

struct export
{
	LIST_ENTRY(export) link;
	struct exports *all;
	unsigned number; /* no other in the list has it */
	struct guest *guest;
	struct window *window; /* NULL: none */
	int memory;            /* the record's */
	struct export_record *record;
	int listener, stop;
	int process; /* a VMM that is not connected any more, but has units in its window; -1: none */
	/* of a connection that an earlier process has served; once */
	bool adopted;
	struct backend_fds fds;
	atomic_bool confined; /* its threads' system calls are filtered */
	/* under the list's lock */
	bool ready; /* its thread runs */
	bool kept;
	bool began;     /* its first connection has all queues running that were */
	int connection; /* -1: nobody is there */
};

struct exports {
	struct exports_config config;
	struct shelf shelf;
	pthread_mutex_t lock;
	pthread_cond_t ended; /* a thread has, or a connection has begun */
	LIST_HEAD(, export) list;
	unsigned count;           /* in the list */
	bool number[EXPORTS_MAX]; /* in use */
	bool started;
	bool paused;      /* no message is taken any more */
	int ending;       /* an eventfd: the mount ends */
	unsigned threads; /* also of those that are removed */
};

/* ---- export.c ------------------------------------------------------------------------ */

/* Serves what the record says; not in the list yet, and without a thread. Takes `memory`, unless it
 * fails. -ENOMEM, -ENOTDIR, -ESTALE */
errint_t export_new(struct exports *e, int memory, struct export_record *record,
		    struct export **ret_export);
void export_free(struct export *x);
/* Its number is free. */
void exports_insert_locked(struct export *x);

/* ---- serve.c ------------------------------------------------------------------------- */

/* An export's thread. */
void *export_run(void *x);

/* ---- keep.c ---------------------------------------------------------------------------- */

/* A new record, all zeroes but for the window's size. -errno */
errint_t record_make(uint64_t window, int *ret_memory, struct export_record **ret_record);
void record_free(int memory, struct export_record *record);
struct guest_record *record_guest(struct export_record *record);
struct window_record *record_window(struct export_record *record);
/* What the next process finds: the listener, and the connection with its descriptors (NULL: nobody
 * is there). */
void export_keep(struct export *x, const struct backend_fds *fds);
/* Exports of an earlier process, into the list. How many could not be gone on with. */
unsigned exports_adopt(struct exports *e);

#endif
