/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Of the allocator: space that is not given out although it is free, as somebody still has it
 * mapped. alloc_busy_insert() and alloc_busy_clear() stand in alloc.h. A function that ends in
 * _locked wants the arena's lock.
 */
#ifndef DAXFUSE_MEDIA_BUSY_H
#define DAXFUSE_MEDIA_BUSY_H

#include "alloc.h"
#include "arena.h"

/* A block or unit was freed. True: it is busy, and stays reserved until the last one lets
 * go. */
bool busy_freed_locked(struct arena *a, enum tx_space kind, uint64_t offset);
/* Nothing is busy any more: the volume ends. */
void busy_close(struct arena *a);

/* Of alloc.c: a block or unit that is reserved, and free on media, may be given out. */
void alloc_reuse_locked(struct alloc *al, struct arena *a, enum tx_space kind, uint64_t offset);

#endif
