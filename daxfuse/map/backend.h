/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the mapping engine needs of a filesystem: where a file's bytes lie, and the
 * few changes that a fault makes. All offsets and lengths are in bytes. `file` and
 * `pool` are the filesystem's own; the engine only hands them back.
 *
 * These are called with any lock of the engine held but a view's (base/lockrank.h). They
 * may take the inode's lock, the allocator and the journal; they must not call the
 * engine. So the filesystem, in turn, calls the engine before it locks an inode.
 */
#ifndef DAXFUSE_MAP_BACKEND_H
#define DAXFUSE_MAP_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"

enum map_extent_kind { MAP_HOLE, MAP_UNWRITTEN, MAP_MAPPED };

/* The answer to "where is this file range". */
struct map_extent {
	enum map_extent_kind kind;
	uint64_t file_offset;   /* as asked */
	uint64_t length;        /* contiguous on the device; at most as asked */
	uint64_t device_offset; /* unless it is a hole */
};

struct map_backend {
	/* The number by which people know the file, for probes. NULL: 0. */
	uint64_t (*id)(void *file);
	errint_t (*size)(void *file, uint64_t *ret_size);
	errint_t (*iomap)(void *file, uint64_t offset, uint64_t length,
			  struct map_extent *ret_extent);
	/*
	 * Make [offset, offset + length), a page or a unit, MAPPED; parts that were holes or
	 * unwritten are zeroed. A unit becomes a whole aligned one if there is one, and may become
	 * blocks else; its part behind the end of the file reads as zeroes. When this returns 0,
	 * the extents are in the journal and the zeroes durable: a mapper sees them next. -ENOSPC,
	 * -EDQUOT.
	 */
	errint_t (*allocate)(void *file, uint64_t offset, uint64_t length);
	/*
	 * Gather the unit at offset into one whole aligned unit, as allocate() makes it,
	 * with the same contents: take it, copy, flush, switch the extents in one
	 * transaction, free the old blocks. Nobody maps any of the unit meanwhile. -ENOSPC.
	 */
	errint_t (*promote)(void *file, uint64_t offset);
	/* Zero in place, durably, all that the file has of the range, also behind its end; holes
	 * stay holes. */
	errint_t (*zero)(void *file, uint64_t offset, uint64_t length);
	/* Whether enough of the unit at offset is in use for it to be gathered by the way. */
	bool (*is_worth_a_unit)(void *file, uint64_t offset);
	/* Somebody is about to store to the file: mtime and ctime. */
	errint_t (*touch)(void *file);

	/* Whether the device can't give that range: poison, or an alignment of its own. */
	bool (*is_bad)(void *pool, uint64_t device_offset, uint64_t length);
	/* The CPU's caches hold no line of that range when this returns. */
	void (*flush)(void *pool, uint64_t device_offset, uint64_t length);
	/* The last pin on a piece that was quarantined (map_change_begin(),
	 * map_view_restore()) is gone: it may be allocated again, if nobody else holds it. Or it
	 * was held for a change that has left it in its file (MAP_CHANGE_FAILED). */
	void (*release)(void *pool, uint64_t device_offset, uint64_t length);
};

#endif
