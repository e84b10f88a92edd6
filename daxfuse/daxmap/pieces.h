/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is mapped of regions, and what is on its way.
 *
 * Where nothing is mapped of a region there is its background: a file of no length, mapped with
 * the region's protection. An access to it is a SIGBUS, in a system call EFAULT; so a
 * program's own mprotect and the kernel's behaviour behind the end of a file need no care.
 *
 * A flight is a question to the daemon whose answer is not mapped yet. The daemon may take back
 * what it has granted before the answer arrives: each piece has a number, and what was
 * taken back up to a number is noted in all flights of that file. Whoever maps a piece does it
 * under the lock, after a look at the note.
 */
#ifndef DAXFUSE_DAXMAP_PIECES_H
#define DAXFUSE_DAXMAP_PIECES_H

#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/daxmap/region.h"
#include "daxfuse/ioctl.h"

struct session;

/* Changes whenever what is mapped does: who sees the same fault twice with one number knows
 * that it is not about to be resolved. */
uint64_t pieces_generation(void);

/* Map nothing at these addresses. With the lock; the table is the caller's. */
int pieces_background(uintptr_t start, uintptr_t end, int prot);
/* Nothing of the region's part any more. With the lock. */
int pieces_clear(struct region *region, uintptr_t start, uintptr_t end);
/* What may have been stored to there is about to be unmapped: the file owes a flush. With the
 * lock. */
void pieces_note_stores(const struct region *region, uintptr_t start, uintptr_t end);

/* A new protection of the whole region; what may be stored to from now on must be asked for.
 * With the lock. */
int pieces_set_protection(struct region *region, int prot);

/* What the daemon asks for; errors: it is still mapped. They take the lock. */
int pieces_revoke(uint64_t cookie, uint64_t offset, uint64_t length, uint64_t grant);
int pieces_protect(uint64_t cookie, uint64_t offset, uint64_t length, uint64_t grant);

/* The connection has ended: no zeroes of the session's files any more, nor what is on its way.
 * Takes the lock. */
void pieces_drop_zeroes(const struct session *session);

/* What is on its way of a range of a file, up to the grant, shall not be mapped. With the lock. */
void flights_void(struct object *object, uint64_t offset, uint64_t end, uint64_t grant);
/* In the child of a fork: none of the others' flights. */
void flights_reset(void);

/*
 * Ask for the part of a region that is at [addr, end), or its first pieces, and map what comes.
 * *ret_done: up to where; addr, if nothing could be mapped this time (again). Errors: of
 * DXF_IOC_MAP, -ENOENT: there is no region, -ENOMEM: mmap. Not with the lock; in signal
 * handlers, too. flags: more for mmap, MAP_POPULATE.
 */
int pieces_ask(uintptr_t addr, uintptr_t end, uint32_t access, int flags, uintptr_t *ret_done);

/* The background's descriptor; made with the first mapping. */
int pieces_prepare(void);
/* It has another number now. With the lock. */
void pieces_renumber(int fd, int other);

#endif
