/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mapper holds mappings: a program through the client library, a guest through its DAX window, a
 * view in the kernel, the kernel's page cache. The engine does not know which kind it is, only what
 * it can do:
 *
 *                       client     guest      kernel view   page cache
 *   smallest            PMD, PTE   PTE        PMD           PTE
 *   read_only_first     yes        no         yes           yes
 *   map                 NULL       maps       maps          NULL
 *   unmap               -EINPROGRESS NULL     0             0
 *   write_protect       NULL       NULL       0             NULL
 *   flush               NULL       NULL       0             NULL
 *   flushes             no         no         yes           no
 *   keeps_times         no         no         yes           no
 *
 * A long-term pin is a mapper whose unmap() says -EBUSY.
 *
 * The functions are called with the file locked, and map() and write_protect() with an
 * entry locked, too. They must not call the engine, but for map_let_go(). They must
 * not wait for something that needs a fault or a change of that file to go on: so a
 * client holds no lock of its own, that its answer needs, while it waits for a fault.
 */
#ifndef DAXFUSE_MAP_MAPPER_H
#define DAXFUSE_MAP_MAPPER_H

#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"

/* Sizes of mappings, as the power of two of their pages. */
enum { ORDER_PTE = 0, ORDER_PMD = 9, ORDER_PUD = 18 };
enum { UNIT_PAGES = 1 << ORDER_PMD };

/* What a fault gives. */
struct map_piece {
	bool zero; /* shared zeroes, to be mapped read-only; no device offset */
	bool writable;
	unsigned order; /* of the single mappings that it allows */
	uint64_t file_offset;
	uint64_t length;
	uint64_t device_offset;
	/* All that was granted up to a number is void once unmap() came with that number or a
	 * higher one: a piece that was on its way then must not be mapped any more, but faulted
	 * again. */
	uint64_t grant;
	uint64_t last_grant; /* of all that was joined in it: letting go up to here is letting go
				 * of all of it */
	int reason;          /* enum map_fallback: why it is no larger; 0: nothing was in the way */
	/* Before the piece is mapped, the view unmaps this (0 bytes: nothing). It may map over the
	 * part that the piece itself covers. */
	uint64_t drop_offset;
	uint64_t drop_length;
};

struct mapper_ops {
	/* The smallest order that it can map: with ORDER_PMD, units that are no whole
	 * ones are promoted, and the last unit is mapped beyond the end of the file. */
	unsigned smallest;
	/* It can be given less than it may have, and comes back to write. Else every fault
	 * is one for writing. */
	bool read_only_first;
	/* It knows what it has stored to. That is durable after flush(), when it has let go of it,
	 * and when it has been write-protected: if nobody else stored there, we flush nothing, and
	 * leave it what it may store to. */
	bool flushes;
	/* It moves the file's times itself when it stores: we do not when it is allowed to. */
	bool keeps_times;

	/* Map it, over any mapping that is there. Failing, it is taken to be mapped. NULL: the
	 * pieces are taken from what map_fault() returns. */
	errint_t (*map)(void *mapper, const struct map_piece *piece);
	/* Let go of a file range, of all that was granted up to that number. 0: it has.
	 * -EINPROGRESS: it will say so by map_let_go(). Any other error: it will not, or not
	 * before long (-EBUSY: it means to keep it; it is stopped, or can't be reached): it
	 * is not waited for. NULL: it can't be told, and goes on using it as the file's. */
	errint_t (*unmap)(void *mapper, uint64_t offset, uint64_t length, uint64_t grant);
	/* From now on a store to the range faults, by all that was granted up to that number: a
	 * piece that was on its way then must be mapped read-only. NULL, or failing: it stays
	 * writable, and the range dirty. */
	errint_t (*write_protect)(void *mapper, uint64_t offset, uint64_t length, uint64_t grant);
	/* Bring its stores to where the device sees them. NULL: they are there, and a flush
	 * of the CPU's lines makes them durable. One that flushes makes them durable. */
	errint_t (*flush)(void *mapper, uint64_t offset, uint64_t length);
	/* After map_view_close(), when nobody is in one of the above any more, nor will be:
	 * the mapper may be freed. Any lock of the engine may be held. NULL is fine. */
	void (*gone)(void *mapper);
};

#endif
