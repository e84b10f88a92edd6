/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A flight is a question to the daemon whose answer is not mapped yet. The daemon may take back
 * what it has granted before the answer arrives: each piece has a number, and a range that was
 * taken back up to a number is noted in all flights of that file. A thread that maps a piece does
 * it with the lock, after a look at the note.
 */
#ifndef DAXFUSE_DAXMAP_FLIGHT_H
#define DAXFUSE_DAXMAP_FLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/ioctl.h"

struct object;
struct session;

/* What was taken back while a flight was under way; several ranges are widened to one. */
struct notice {
	uint64_t offset, end, grant; /* grant 0: nothing */
};

/* The lock is for all but `busy` and `map`. */
struct flight {
	_Atomic bool busy;
	struct object *object; /* NULL: not under way */
	struct notice voided, protected;
	struct dxf_ioc_map map;
};

/* Waits, if there are none left; in signal handlers, too. Without the lock. */
struct flight *flight_new(void);
void flight_end(struct flight *flight);
/* In the child of a fork: none of the others' flights. */
void flights_reset(void);

/* It is under way from here on. */
void flight_start_locked(struct flight *flight, struct object *object);
/* Whether a piece of its answer must not be mapped any more; or not for writing. */
bool flight_is_void_locked(const struct flight *flight, const struct dxf_ioc_piece *piece);
bool flight_is_protected_locked(const struct flight *flight, const struct dxf_ioc_piece *piece);

/* Pieces of a range of a file that are on their way, up to the grant, must not be mapped. */
void flights_void_locked(struct object *object, uint64_t offset, uint64_t end, uint64_t grant);
void flights_protect_locked(struct object *object, uint64_t offset, uint64_t end, uint64_t grant);
/* Nor anything of its files, whatever its number. */
void flights_void_session_locked(const struct session *session);
/* Older answers for the same range that other threads have in hand must not come to lie over
 * this piece: they ask again. */
void flights_void_others_locked(const struct flight *flight, const struct dxf_ioc_piece *piece);

#endif
