/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The entries of one file: what is known of each aligned range of it, and whether a thread works on
 * it just now.
 *
 * An entry is of order 0 (a page, 4 KiB) or 9 (a unit, 2 MiB), and is found by any page index
 * inside it. No page ever has two: a unit's slot holds either its PMD entry or a table of its PTE
 * entries, and changes from one to the other in one store. A thread that finds a locked entry
 * sleeps on the start of that entry, whatever index it came with.
 *
 * No lock is common to two entries: to take one is a walk down a radix tree and a
 * compare-and-swap.
 *
 * The map belongs to a file that has a lock of its own (LOCK_FILE). Everything here
 * is called with it held shared, but for the functions that say: exclusive.
 */
#ifndef DAXFUSE_MAP_ENTRY_H
#define DAXFUSE_MAP_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "mapper.h"
#include "tree.h"
#include "wait.h"
#include "daxfuse/base/errint.h"

/* An entry's value: its kind and its tags. */
enum {
	ENTRY_EMPTY = 1, /* only there to be locked */
	ENTRY_ZERO = 2,  /* a hole that is read through shared zeroes */
	ENTRY_DATA = 3,
	ENTRY_KIND = 3,       /* mask; 0: no entry */
	ENTRY_LOCKED = 4,     /* never in a struct entry's value */
	ENTRY_DIRTY = 8,      /* the CPU's caches may hold lines that are not durable */
	ENTRY_WRITABLE = 16,  /* somebody may store to it without asking */
	ENTRY_UNFLUSHED = 32, /* dirty by a mapper that does not flush */
};

struct pte_table;

struct entry_map {
	struct tree slots; /* of units: 0, a PMD entry, or a table */
	uint64_t file;     /* backend.id(), for probes; entry_map_init() makes it 0 */
	struct wait_table *waits;
	_Atomic(struct pte_table *) retired;
	atomic_uint retired_count;
	atomic_size_t tables;
};

/* An entry that the caller has locked, or (entry_next()) only seen. */
struct entry {
	struct entry_map *map;
	uint64_t start; /* page index */
	unsigned order;
	uint64_t value; /* becomes the entry's when it is unlocked */
	_Atomic uint64_t *word;
};

void entry_map_init(struct entry_map *map, struct wait_table *waits);
/* Nobody may use the map any more. */
void entry_map_destroy(struct entry_map *map);

/*
 * Lock the entry over page index; if there is none, one of that order, EMPTY. Sleeps
 * while somebody else has it locked. May give a PMD entry where a PTE was wanted: one
 * of DATA is to be used, others to be split by entry_downgrade(). ENTRY_FALLBACK: a PMD
 * was wanted, and there are PTE entries in the unit; nothing is locked. -ENOMEM.
 */
enum { ENTRY_FALLBACK = 1 };
int entry_grab(struct entry_map *map, uint64_t index, unsigned order, struct entry *ret_entry);
/* Lock the entry over page index, if there is one; whether there was. */
bool entry_grab_present(struct entry_map *map, uint64_t index, struct entry *ret_entry);

/* An EMPTY one goes, and all who wait for it wake; else one does. */
void entry_unlock(struct entry *entry);
/* Remove a locked entry; all who wait for it wake. */
void entry_remove(struct entry *entry);

/*
 * In place of a locked PMD entry, of which nothing is mapped any more: a locked EMPTY
 * PTE entry for page index, which *entry is then. All who wait for the old one wake.
 * -ENOMEM: nothing has changed.
 */
errint_t entry_downgrade(struct entry *entry, uint64_t index);

/* The first entry that reaches into the pages from `from` to `last`, as it is at the
 * moment and not locked; its value may contain ENTRY_LOCKED. */
bool entry_next(struct entry_map *map, uint64_t from, uint64_t last, struct entry *ret_entry);

/*
 * All entries of a unit, locked in ascending order: of pages that have none, EMPTY
 * ones. Or its one PMD entry, an EMPTY one if there was nothing at all.
 */
struct entry_unit {
	struct entry pmd; /* if table is NULL */
	struct pte_table *table;
};
/* -ENOMEM */
errint_t entry_grab_unit(struct entry_map *map, uint64_t index, struct entry_unit *ret_unit);
/* As entry_unlock() for each. */
void entry_unlock_unit(struct entry_unit *unit);
/* In place of all of them one PMD entry of that value, locked, in *ret_entry. All who wait
 * for a PTE entry wake. */
void entry_upgrade(struct entry_unit *unit, uint64_t value, struct entry *ret_entry);

/* How many tables wait to be freed by entry_map_trim(). */
unsigned entry_map_retired(struct entry_map *map);
/* Exclusive: give back the memory of what is no longer there. */
void entry_map_trim(struct entry_map *map);
/* The memory that the entries take. */
size_t entry_map_bytes(const struct entry_map *map);

#endif
