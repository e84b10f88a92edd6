/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The extent allocator: 2 MiB units, and 4 KiB blocks in units split for them.
 * See alloc.c for how it keeps whole units whole.
 */
#ifndef DAXFUSE_MEDIA_ALLOC_H
#define DAXFUSE_MEDIA_ALLOC_H

#include "tx.h"
#include "daxfuse/base/errint.h"

/* Load from the unit words and bitmaps. 0, -ENOMEM, -EUCLEAN. */
errint_t alloc_open(struct volume *vol);
void alloc_close(struct volume *vol);

/*
 * Reserve count blocks (at most 512), all or none; device offsets, bytes. They
 * are the transaction's: taken by its commit, given back by its abort. -ENOSPC.
 */
errint_t alloc_blocks(struct tx *tx, unsigned count, uint64_t *ret_offsets);
/*
 * Reserve a whole unit that gets the given state. goal: the offset of the one that is wanted,
 * taken if it is free; 0: none. room: how many more will be asked for, each with the one
 * behind the last as its goal: otherwise it is one with free units behind it, that others
 * keep off as long as they can. 0: it stands alone, away from files that grow. -ENOSPC.
 */
errint_t alloc_unit(struct tx *tx, enum dxf_unit_state state, uint64_t goal, uint64_t room,
		    uint64_t *ret_offset);
/* Whether the block, which nobody uses yet, can be touched; nothing of it is needed, so
 * poison that the device can clear is no harm. */
bool alloc_is_good(const struct volume *vol, uint64_t offset);
/* Freed by the commit, reusable once it is over. Space that can't be marked as free, as its bitmap
 * or word is poisoned, is lost until fsck has healed that. */
void free_block(struct tx *tx, uint64_t offset);
void free_unit(struct tx *tx, uint64_t offset);

/* Whether offset may be what a block or unit entry of the given kind points to:
 * inside the data area, aligned, and in a unit of the right state, as far as that
 * can be read. */
bool alloc_is_block(const struct volume *vol, uint64_t offset);
/* Whether the block (alloc_is_block()) is marked taken on media. */
bool alloc_is_taken(const struct volume *vol, uint64_t offset);
bool alloc_is_unit(const struct volume *vol, uint64_t offset);

/* Blocks that the calling thread can have without a unit being split; a hint. */
uint64_t alloc_holes(struct volume *vol);

/*
 * Space that somebody outside has mapped, and that must not be given out until it is let go, even
 * if it is freed meanwhile. Of whole blocks, taken or free; counted, block by block; in memory
 * only: after a crash of the machine, space that is free on media is free. alloc_busy_insert():
 * -EINVAL: not of the data area, or no whole blocks; -ENOMEM. alloc_busy_clear() leaves blocks
 * alone that are not busy.
 */
errint_t alloc_busy_insert(struct volume *vol, uint64_t offset, uint64_t length);
void alloc_busy_clear(struct volume *vol, uint64_t offset, uint64_t length);

struct alloc_space {
	uint64_t units, free_units, split_units, free_blocks, bad_blocks;
	uint64_t busy_blocks; /* freed, but busy: in none of the others */
};
void alloc_space(struct volume *vol, struct alloc_space *ret_space);

/* Of tx.c: the end of a transaction. The one place where freed space becomes reusable, at once or
 * when nobody holds it any more. */
void alloc_release(struct volume *vol, enum tx_space kind, uint64_t offset);
/* Of tx.c: an abort. As alloc_release(); but a unit that can't be touched, which may be why
 * it is given back, counts as bad until the unmount, so that the next one gets another. */
void alloc_give_back(struct volume *vol, enum tx_space kind, uint64_t offset);

#endif
