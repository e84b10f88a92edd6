/* SPDX-License-Identifier: BSD-3-Clause */
/* Of the room: a fault under way. One by itself (fault.c), or many in a row (run.c). */
#ifndef DAXFUSE_MAP_FAULT_H
#define DAXFUSE_MAP_FAULT_H

#include "internal.h"
#include "daxfuse/base/errint.h"

/*
 * Answers of the backend since the file was locked, which hold until it is unlocked: the size can
 * only have grown, and an extent that is MAPPED stays where it is, unless its unit is promoted
 * (struct map_file: layout). Of holes nothing is remembered, as a write fills them at any time.
 */
struct known {
	uint64_t size;
	struct map_extent extent; /* length 0: none */
	uint64_t layout;          /* of the file, when that was asked for */
	bool touched;             /* the file's times were moved for a store */
};

struct fault {
	struct map_view *view;
	struct map_file *file;
	const struct map_request *request;
	struct known known;
	uint64_t ahead; /* up to here it is worth asking where the file lies */
	uint64_t index; /* the page wanted */
	uint64_t start; /* of the piece, page */
	unsigned order; /* of the piece */
	bool write;
	bool data;          /* zeroes won't do */
	bool slow;          /* something was allocated or moved, or somebody was waited for */
	struct entry entry; /* locked; may be larger than the piece */
	struct map_extent extent;
	struct map_piece piece;
};

/* Lock the file, shared, and begin to know it. Nothing is locked on error. */
errint_t fault_enter(struct fault *f);
void fault_leave(struct fault *f);
/* A fault at an offset, of that order; what it gives is f->piece. As map_fault(). */
int fault_at(struct fault *f, uint64_t offset, unsigned order);
/* f->piece is not handed over: what it was to be mapped over must go all the same. */
void fault_discard(struct fault *f);

#endif
