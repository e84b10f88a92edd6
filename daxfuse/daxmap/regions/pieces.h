/* SPDX-License-Identifier: BSD-3-Clause */
/* What is mapped of regions; its head is the life of a piece. */
#ifndef DAXFUSE_DAXMAP_PIECES_H
#define DAXFUSE_DAXMAP_PIECES_H

#include <stdbool.h>
#include <stdint.h>

#include "region.h"
#include "daxfuse/base/errint.h"

#include "daxfuse/ioctl.h"

/* Changes whenever what is mapped does: a thread that sees the same fault twice with one number
 * knows that it is not about to be resolved. */
uint64_t pieces_generation(void);

/* The background's descriptor; made with the first mapping. Without the lock. */
errint_t pieces_prepare(void);
/* It has another number now. */
void pieces_renumber_locked(int fd, int other);

/* Map nothing at these addresses; the table is the caller's. */
errint_t pieces_background_locked(uintptr_t start, uintptr_t end, int prot);
/* Nothing of the region's part any more. */
errint_t pieces_clear_locked(struct region *region, uintptr_t start, uintptr_t end);
/* What may have been stored to there is about to be unmapped: the file owes a flush. */
void pieces_note_stores_locked(const struct region *region, uintptr_t start, uintptr_t end);
/* A new protection of the whole region. What may be stored to from now on must be asked for, but
 * for what has a long-term pin. An error with PROT_WRITE: it may be read-only now. */
errint_t pieces_protect_locked(struct region *region, int prot);

/* A part of a piece, at [offset, end) of the file, which lies in the region. flags: more for mmap,
 * MAP_POPULATE. */
errint_t piece_map_locked(struct region *region, const struct dxf_ioc_piece *piece, uint64_t offset,
			  uint64_t end, bool writable, int flags);
/* At an address that the kernel chooses (start: a hint, or 0), for a region that will be entered:
 * all of a piece, or the background. */
errint_t piece_map_anywhere_locked(struct region *region, const struct dxf_ioc_piece *piece,
				   bool writable);
errint_t pieces_background_anywhere_locked(struct region *region);

/*
 * Wherever a range of a file is mapped, without what has a long-term pin (asked: the daemon wants
 * it back): nothing any more; nothing to store to. Errors: it is still mapped somewhere.
 */
errint_t pieces_clear_file_locked(struct object *object, uint64_t offset, uint64_t end);
errint_t pieces_protect_file_locked(struct object *object, uint64_t offset, uint64_t end);
/* No zeroes in a part of a region. Whether there were some. */
bool pieces_drop_zeroes_locked(struct region *region, uintptr_t start, uintptr_t end);

#endif
