/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mapping engine: which mapper has which part of which file, in mappings of which size.
 * docs/design/mapping.md argues the races.
 *
 * One engine a mounted filesystem, one map_file for each file that is mapped, one
 * map_view for each mapper of a file. All offsets and lengths are in bytes. Functions
 * return 0 or a negative errno and may be called from any thread, unless they say
 * otherwise; ret_* are untouched on error.
 */
#ifndef DAXFUSE_MAP_MAP_H
#define DAXFUSE_MAP_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend.h"
#include "mapper.h"
#include "daxfuse/base/errint.h"

#define MAP_PAGE_SIZE UINT64_C(4096)
#define MAP_UNIT_SIZE (UINT64_C(2) << 20)
/* "To the end", of lengths. */
#define MAP_TO_END UINT64_MAX

struct map_engine;
struct map_file;
struct map_view;

/* ---- counters ------------------------------------------------------------- */

/* Why a fault that wanted a huge mapping was told to fall back. */
enum map_fallback {
	MAP_FALLBACK_START = 1, /* the mapping starts inside the unit */
	MAP_FALLBACK_END,       /* it ends inside the unit */
	MAP_FALLBACK_EOF,       /* the unit reaches beyond the end of the file */
	MAP_FALLBACK_SHORT,     /* the extent does not fill the unit */
	MAP_FALLBACK_ALIGN,     /* it is not aligned on the device */
	MAP_FALLBACK_DEVICE,    /* the device can't: poison */
	MAP_FALLBACK_PTES,      /* the unit has PTE entries */
	MAP_FALLBACK_PUD,       /* there are no extents of 1 GiB */
	MAP_FALLBACKS,
};

enum map_counter {
	/* 1 .. MAP_FALLBACKS - 1: enum map_fallback */
	MAP_COUNT_HUGE = MAP_FALLBACKS, /* faults that gave a unit */
	MAP_COUNT_PAGE,                 /* faults that gave a page */
	MAP_COUNT_ZERO,                 /* of both: shared zeroes */
	MAP_COUNT_FIRST_WRITE,          /* an entry became writable */
	MAP_COUNT_DOWNGRADE,            /* zeroes of a unit became pages */
	MAP_COUNT_PROMOTED,
	MAP_COUNT_NOT_PROMOTED, /* no unit free, or somebody did not let go */
	MAP_COUNT_FLUSHED,      /* entries written back */
	MAP_COUNT_STAYS_DIRTY,  /* of them: writable by a mapper all along */
	MAP_COUNT_ASKED,        /* mappers asked to let go */
	MAP_COUNT_WAITED,       /* of them: were waited for */
	MAP_COUNT_UNANSWERED,   /* of them: did not, in time */
	MAP_COUNT_QUARANTINED,  /* pieces freed, but pinned */
	MAP_COUNT_KEPT,         /* pieces zeroed in place, as their mapper can't let go */
	MAP_COUNTERS,
};

/* Its name in reports, as "fallback_eof"; NULL: there is no such counter. */
const char *map_counter_name(unsigned counter);

/* ---- life ----------------------------------------------------------------- */

/* The backend and pool outlive the engine. */
errint_t map_engine_new(const struct map_backend *backend, void *pool,
			struct map_engine **ret_engine);
/* No file may be left. NULL is fine. */
void map_engine_free(struct map_engine *engine);
/* How long a mapper that said it would answer is waited for (1000). Not while in use. */
void map_engine_set_answer_ms(struct map_engine *engine, unsigned ms);
/* The last number of an earlier engine, whose mappers live on: views that are opened from now on
 * give higher numbers. Not while in use. */
void map_engine_set_first_grant(struct map_engine *engine, uint64_t grant);
uint64_t map_engine_count(const struct map_engine *engine, enum map_counter counter);

/* Somebody who wants to know of first writes: an entry, clean until now, is about to
 * become writable. Called with the entry locked; must not call the engine. */
struct map_hook {
	void (*first_write)(void *arg, void *file, uint64_t offset, uint64_t length);
	void *arg;
	struct map_hook *next;
};
/* The hook outlives the engine. Not while in use. */
void map_engine_add_hook(struct map_engine *engine, struct map_hook *hook);

/*
 * Somebody who wants to know of threads that wait for mappers to answer: one begins, or is done.
 * False: it is not to wait, as too many do; it goes on as if there were no answer. Called with
 * locks held; must not call the engine. Not while in use.
 */
void map_engine_set_waiting(struct map_engine *engine, bool (*waiting)(void *arg, bool begins),
			    void *arg);

errint_t map_file_new(struct map_engine *engine, void *file, struct map_file **ret_file);
/* Its views may still be open: it lives as long as they do. NULL is fine. */
void map_file_put(struct map_file *file);
uint64_t map_file_count(const struct map_file *file, enum map_counter counter);

/* How a file is mapped now, in bytes. */
struct map_survey {
	uint64_t huge;  /* DATA in PMD entries */
	uint64_t pages; /* DATA in PTE entries */
	uint64_t zeroes;
	uint64_t dirty; /* may be stored to without asking, or was and is not flushed */
};
void map_file_survey(struct map_file *file, struct map_survey *ret_survey);

/* ---- views ---------------------------------------------------------------- */

/* ops and mapper stay good until the mapper is told that it is gone. */
errint_t map_view_open(struct map_file *file, const struct mapper_ops *ops, void *mapper,
		       struct map_view **ret_view);
/* The mapper is dead, and all that it had mapped is gone: needs no lock of the file. Its
 * faults in other threads fail with -ENOTCONN from now on; the caller makes no new ones. */
void map_view_close(struct map_view *view);
/* The mapper has let go of a file range, of what was granted up to that number
 * (UINT64_MAX: all): an answer to unmap(), or of its own accord. Needs no lock of the
 * file. */
void map_let_go(struct map_view *view, uint64_t offset, uint64_t length, uint64_t grant);
/* The highest number of a piece that the view was given. */
uint64_t map_view_last_grant(struct map_view *view);
/*
 * Before the first fault of a view: its mapper has a piece that an earlier engine gave, which is
 * held against being allocated. [offset, offset + length) of the file on [device_offset, ...),
 * whole pages or (ORDER_PMD) aligned units, in mappings of that order. Where the file still has
 * just that, it is pinned again, as a fault would have left it, and backend.release() comes at
 * once: it is the file's. The rest is quarantined for this view, and release() comes when it lets
 * go: once for each byte in any case, so a caller that restores a piece for several views holds it
 * as often. Any answer that covers a piece lets go of it, whatever number it has.
 *
 * -EINVAL: not aligned, or too late; nothing has been done. -ENOMEM, -ENOTCONN, and errors of the
 * backend: a piece that could not be restored is never released.
 */
int map_view_restore(struct map_view *view, uint64_t offset, uint64_t length,
		     uint64_t device_offset, unsigned order, bool writable);
/* Whether the view pins anything of a file range, or of pieces that were quarantined. */
bool map_view_pins(struct map_view *view, uint64_t offset, uint64_t length);

/* ---- faults --------------------------------------------------------------- */

enum map_access {
	MAP_READ,
	MAP_WRITE,
	MAP_EAGER, /* for writing, but holes for reading */
};

struct map_request {
	uint64_t offset;
	enum map_access access;
	unsigned order;      /* ORDER_PTE, ORDER_PMD, ORDER_PUD */
	uint64_t start, end; /* of the mapping that the fault is in, as file offsets */
	bool gather;         /* a unit that lies in blocks, and is worth it, is promoted first */
};

/*
 * The only way to get a mapping. The piece is pinned. Above 0: an enum map_fallback; the caller
 * asks for the next smaller order. -ENXIO: beyond the end of the file; -EIO: poison; -ENOSPC,
 * -EDQUOT; -ENOTCONN: the view is closed; -EBUSY: it takes whole units only, and this one can't be
 * made one now.
 */
int map_fault(struct map_view *view, const struct map_request *request,
	      struct map_piece *ret_piece);

/*
 * Faults for all of [request->offset, length bytes), each part in the largest order up to
 * the wanted one that it can have, until the end of the file or of pieces[max], or for a while;
 * neighbours come as one piece. The first piece may begin before offset; to go on, ask again
 * behind the last one. Fails, as map_fault() does, only if there is not even one piece; it never
 * says above 0, but -EBUSY. The backend is asked once for an extent, however long.
 */
int map_fault_run(struct map_view *view, const struct map_request *request, uint64_t length,
		  struct map_piece *pieces, unsigned max, unsigned *ret_count);

/* ---- the file changes ----------------------------------------------------- */

enum map_change_kind {
	MAP_CHANGE_TRUNCATE, /* all from offset, the new size, is cut off */
	MAP_CHANGE_PUNCH,    /* a range becomes a hole */
	MAP_CHANGE_MOVE,     /* extents move or are replaced: collapse, insert, realign */
	MAP_CHANGE_FREE,     /* the file goes */
};

/* What is still pinned of what the change frees. */
struct map_pinned {
	uint64_t file_offset;
	uint64_t device_offset;
	uint64_t length;
	/* True: its mapper can't let go, and goes on using it as this part of the file:
	 * zero it in place, it stays the file's. False: it leaves the file, but must not be
	 * allocated again before backend.release(): hold it before the transaction that
	 * takes it out of the file. (A crash of the machine ends all mappings.) */
	bool keep;
};

struct map_change {
	struct map_file *file;
	enum map_change_kind kind;
	uint64_t offset, end;
	struct map_pinned *pinned; /* ascending */
	unsigned count;
};

/*
 * Before the extents of a range are freed or moved: nobody faults in the file until
 * map_change_end(), called by the same thread, and all mappers that can let go of the range have.
 * No lock of the inode may be held. -EBUSY (MOVE): somebody did not.
 */
errint_t map_change_begin(struct map_file *file, enum map_change_kind kind, uint64_t offset,
			  uint64_t length, struct map_change *ret_change);
enum map_outcome {
	MAP_CHANGE_UNTOUCHED, /* it was not begun: all is as before. The caller ends its holds */
	MAP_CHANGE_MADE,
	/* It failed, perhaps in the middle. The backend is asked what is in the file: each piece
	 * of it is as before, and then its hold ends by backend.release(), or as if made. */
	MAP_CHANGE_FAILED,
};
/* -EIO: the bytes behind the new end could not be zeroed. */
errint_t map_change_end(struct map_change *change, enum map_outcome outcome);

/* The file is about to grow from old_size: bytes that mappers have stored behind its end are gone.
 * No lock of the inode may be held. */
errint_t map_grow(struct map_file *file, uint64_t old_size);
/* A range was written, through the filesystem: mappers that read zeroes there, as it was a hole,
 * let go of them. No lock of the inode may be held. */
int map_wrote(struct map_file *file, uint64_t offset, uint64_t length);
/* fsync: earlier stores to the range are durable when it returns. */
errint_t map_writeback(struct map_file *file, uint64_t offset, uint64_t length);
/* The same, and the next store to the range asks, and is a first one again: of mappers that can be
 * made to. */
errint_t map_protect(struct map_file *file, uint64_t offset, uint64_t length);
/* Whether something may be stored to the range without asking, or was since it was written back. */
bool map_is_dirty(struct map_file *file, uint64_t offset, uint64_t length);
/* Make the unit at offset one PMD entry over a whole aligned unit. -EBUSY: somebody did
 * not let go of a part of it; -ENOSPC; -ENXIO: not a byte of it is in the file. */
errint_t map_promote(struct map_file *file, uint64_t offset);

#endif
