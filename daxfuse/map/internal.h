/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Of the room: an engine, its files, their views. Of the one lock order (base/lockrank.h) it has
 * LOCK_FILE, then LOCK_ENTRY, then those of the backend, then the leaf LOCK_VIEW: a mapper needs
 * that one alone to let go of something, so a thread that waits for a mapper may hold the file and
 * entries, and the answer still gets through.
 */
#ifndef DAXFUSE_MAP_INTERNAL_H
#define DAXFUSE_MAP_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "daxfuse/base/bits.h"
#include "entry.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "map.h"
#include "pin.h"

/* Counters and file locks come in stripes, a thread using its own: threads that fault in
 * one file share no cache line. */
enum { STRIPES = 8 };

struct counters {
	_Alignas(64) atomic_uint_least64_t count[MAP_COUNTERS];
};

struct map_engine {
	struct counters counters[STRIPES];
	const struct map_backend *backend;
	void *pool;
	struct wait_table *waits;
	struct map_hook *hooks;
	unsigned answer_ms;
	bool (*waiting)(void *arg, bool begins); /* or NULL */
	void *waiting_arg;
	uint64_t first_grant;
};

struct file_stripe {
	_Alignas(64) pthread_rwlock_t lock;
};

struct map_file {
	struct file_stripe stripe[STRIPES]; /* LOCK_FILE: shared is one, exclusive all */
	struct map_engine *engine;
	void *file; /* the backend's */
	struct entry_map entries;
	atomic_uint_least64_t layout;    /* extents have moved so often, their entries locked */
	atomic_uint_least64_t unflushed; /* tags of entries that a writeback is to look for */
	unsigned removed; /* entries since memory was last given back; LOCK_FILE exclusive */
	atomic_uint refs;
	pthread_mutex_t views_lock; /* the list; a leaf */
	struct map_view *views;
	atomic_uint_least64_t count[MAP_COUNTERS];
};

/* A piece that has left its file while somebody has it mapped. */
struct quarantine {
	atomic_uint refs; /* held by stale pins */
	struct map_engine *engine;
	uint64_t device_offset, length;
};

/* A pin on such a piece: the file may have something else there by now. */
struct stale_pin {
	struct stale_pin *next;
	struct quarantine *quarantine;
	uint64_t from, last; /* pages of the file, as they were granted */
	uint64_t grant;      /* up to which the mapper has them */
};

struct map_view {
	struct map_view *next; /* in its file, as long as it has references */
	atomic_uint refs;
	struct map_file *file; /* referenced */
	const struct mapper_ops *ops;
	void *mapper;
	pthread_mutex_t lock;  /* LOCK_VIEW: all below */
	pthread_cond_t let_go; /* pins were dropped */
	struct pins pins;
	struct stale_pin *stale;
	uint64_t grants; /* the last number given */
	bool closed;
	bool silent; /* has not answered in time; waited for no more until it does */
};

/* ---- counter.c ------------------------------------------------------------ */

/* The calling thread's stripe. */
unsigned stripe_of_thread(void);
void count(struct map_file *file, unsigned counter);

/* ---- file.c --------------------------------------------------------------- */

void file_lock_shared(struct map_file *file);
void file_unlock_shared(struct map_file *file);
void file_lock_exclusive(struct map_file *file);
void file_unlock_exclusive(struct map_file *file);
/* With no lock of it held: give back the memory of retired tables, if there are many. */
void file_trim(struct map_file *file);
/* Exclusive: an entry was removed. */
void file_entry_removed(struct map_file *file);

/* ---- view.c --------------------------------------------------------------- */

/* The next view after one (NULL: the first), referenced; that one's reference is given
 * back. */
struct map_view *view_next(struct map_file *file, struct map_view *view);
void view_get(struct map_view *view);
void view_put(struct map_view *view);
void view_lock(struct map_view *view);
void view_unlock(struct map_view *view);
/* Pin a page or unit; *ret_grant is its number. -ENOTCONN, -ENOMEM */
errint_t view_pin(struct map_view *view, uint64_t start, unsigned order, bool writable,
		  uint64_t *ret_grant);

/* Whether a range is still pinned after all mappers have been asked. */
enum held { HELD_NOT, HELD_UNANSWERED, HELD_KEPT };
/* Ask all views but one (NULL: all) to let go of a range of pages, and wait for those that
 * answer. Entries of the range are locked, or the file is, exclusively. */
enum held views_ask(struct map_file *file, uint64_t from, uint64_t last,
		    const struct map_view *except);
/* Have a view let go of a range that it has no pins for any more, and do not wait for it. */
void view_ask_late(struct map_view *view, uint64_t from, uint64_t last);
/* It could not let go of something, or be write-protected: see writeback.c. */
void view_keeps(struct map_view *view);
enum held views_held(struct map_file *file, uint64_t from, uint64_t last);
/* Forget the pins in a range: zeroes need none. */
void views_drop(struct map_file *file, uint64_t from, uint64_t last);

/* ---- quarantine.c --------------------------------------------------------- */

/* All pins on a piece that has just left the file become stale ones. */
void quarantine(struct map_file *file, const struct map_pinned *piece);
/* A piece that one view has, and its file has not: stale from the beginning. Released at
 * once if the view is closed (-ENOTCONN); never without memory (-ENOMEM). */
errint_t quarantine_stray(struct map_view *view, const struct map_pinned *piece);
/* Take from view all that it has stale in a range, up to a grant; needs its lock. The result goes
 * to stale_free(), without. */
struct stale_pin *stale_take(struct map_view *view, uint64_t from, uint64_t last, uint64_t grant);
void stale_free(struct stale_pin *stale);

/* ---- change.c ------------------------------------------------------------- */

/* For probes: what a range is asked back for. */
enum revoke_reason {
	REVOKE_ZEROES, /* a hole that is read through zeroes becomes data */
	REVOKE_PROMOTE,
	REVOKE_CHANGE, /* map_change_begin() */
};
/* views_ask(), with its probes. */
enum held revoke_range(struct map_file *file, uint64_t from, uint64_t last,
		       const struct map_view *except, enum revoke_reason why);

/* ---- writeback.c ---------------------------------------------------------- */

/* Write a locked entry back; its value says then whether it is still dirty. */
errint_t writeback_entry(struct map_file *file, struct entry *entry);

/* ---- promote.c ------------------------------------------------------------ */

/* As map_promote(), the file locked shared. */
errint_t promote_locked(struct map_file *file, uint64_t offset);

/* ---- small ones ----------------------------------------------------------- */

static inline uint64_t pages_of_order(unsigned order)
{
	return UINT64_C(1) << order;
}

static inline uint64_t bytes_of_order(unsigned order)
{
	return MAP_PAGE_SIZE << order;
}

static inline uint64_t entry_last(const struct entry *entry)
{
	return entry->start + pages_of_order(entry->order) - 1;
}

static inline uint64_t entry_offset(const struct entry *entry)
{
	return entry->start * MAP_PAGE_SIZE;
}

static inline uint64_t entry_kind(const struct entry *entry)
{
	return entry->value & ENTRY_KIND;
}

/* A range of bytes as the pages it touches; length is not 0. */
static inline uint64_t first_page(uint64_t offset)
{
	return offset / MAP_PAGE_SIZE;
}

static inline uint64_t range_end(uint64_t offset, uint64_t length)
{
	return length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
}

static inline uint64_t last_page(uint64_t offset, uint64_t length)
{
	return (range_end(offset, length) - 1) / MAP_PAGE_SIZE;
}

static inline uint64_t range_length(uint64_t from, uint64_t last)
{
	return last >= UINT64_MAX / MAP_PAGE_SIZE ? MAP_TO_END : (last - from + 1) * MAP_PAGE_SIZE;
}

#endif
