/* SPDX-License-Identifier: BSD-3-Clause */
/* Of window*.c: what a window consists of. All of it is used by turns (window_take_turn()). */
#ifndef DAXFUSE_VHOST_WINDOW_STATE_H
#define DAXFUSE_VHOST_WINDOW_STATE_H

#include <errno.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/vfs/mapped.h"
#include "dialect.h"
#include "window.h"

_Static_assert(WINDOW_UNIT == MAP_UNIT_SIZE, "a unit is the engine's");

enum { FILE_BUCKETS = 256 };

enum unit_state { UNIT_FREE, UNIT_ASKED, UNIT_MAPPED, UNIT_LEAVING, UNIT_LEFT };

/* A file with units in the window: open past the cache, so that no reader gets stale pages. */
struct window_file {
	struct window_file *next; /* in its bucket; or of those that are closed */
	uint64_t ino, handle;
	struct vfs_file *file; /* referenced */
	struct map_view *view;
	uint64_t units;
	bool wrote;
};

struct window_unit {
	uint32_t state;       /* enum unit_state */
	uint32_t writable;    /* as the engine has granted it */
	uint64_t ino, offset; /* in that file */
	uint64_t device_offset;
};

/* What outlives the serving process: the VMM goes on, with what it has mapped. */
struct window_record {
	uint32_t owed;  /* an answer, to a request of: */
	uint32_t kind;  /* enum shmem_kind */
	uint64_t asked; /* about this unit */
	struct window_unit unit[];
};

struct window {
	struct window_config config;
	struct mapper_ops ops;
	int turn; /* a semaphore of one */
	atomic_bool connected;
	/* by turns: */
	struct shmem shmem;
	struct window_record *record; /* the caller's */
	bool doubtful;                /* an earlier process has left UNIT_LEAVING: mapped, or not */
	bool barrier_due;             /* something was answered, and may not be in effect */
	uint64_t left;                /* units that are UNIT_LEFT */
	struct window_file *files[FILE_BUCKETS];
	struct window_file *closed; /* their inodes may be let go of */
	_Atomic uint64_t unit_count, file_count, mapped, removed, upgraded, refused, lost;
	uint64_t count;
	/* of each unit; NULL: of none, or it can't be opened any more */
	struct window_file *file[];
};

static inline void add_to(_Atomic uint64_t *counter, uint64_t value)
{
	atomic_fetch_add_explicit(counter, value, memory_order_relaxed);
}

static inline struct window_unit *window_unit_at(const struct window *w, uint64_t at)
{
	return &w->record->unit[at];
}

/* ---- window.c ------------------------------------------------------------------------ */

/* -ECANCELED */
errint_t window_take_turn(struct window *w, const struct shmem_patience *patience);
void window_give_turn(struct window *w);

/* ---- window_unit.c --------------------------------------------------------------------- */

/* mapped: it is already, since an earlier process had it. */
errint_t window_get_file(struct window *w, uint64_t ino, bool mapped,
			 struct window_file **ret_file);
/* Without units it is closed. */
void window_put_file(struct window *w, struct window_file *f);
/* The guest can't reach it any more, or never could. */
void window_release_unit(struct window *w, uint64_t at);
/* The unit is this one of the file, pinned; the VMM is not asked yet. */
errint_t window_pin_unit(struct window *w, uint64_t at, uint64_t ino, uint64_t offset, bool writes);
/* It is granted by the engine, for writing, too: where it was, if it was pinned. -EBUSY */
errint_t window_fault(struct window *w, struct window_file *f, uint64_t offset, bool writes,
		      struct map_piece *ret_piece);
bool window_has(const struct window *w, uint64_t ino, uint64_t offset);

#endif
