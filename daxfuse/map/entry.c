/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A slot says what its unit has by its two lowest bits: 0 and nothing else: nothing;
 * 0: the address of a table of 512 PTE entries; else it is itself the PMD entry. All
 * transitions, made by whom, and who wakes:
 *
 *   slot    nothing -> EMPTY PMD, locked          entry_grab()          -
 *   slot    nothing -> table with one locked PTE  entry_grab()          -
 *   slot    PMD, locked -> table, one locked PTE  entry_downgrade()     all of the PMD
 *   slot    table, all locked -> PMD, locked      entry_upgrade()       all of each PTE
 *   word    nothing -> EMPTY, locked              entry_grab()          -
 *   word    entry -> the same, locked             entry_grab()          -
 *   word    locked -> unlocked, other kind, tags  entry_unlock()        one
 *   word    locked -> nothing                     entry_remove(), entry_unlock() of EMPTY  all
 *   word    PTE, locked -> DEAD                   entry_upgrade()       all
 *
 * entry_grab() of a PMD entry upgrades a table in which nothing is left, too.
 *
 * Only the holder stores to a locked word; every other transition is a
 * compare-and-swap from the value that was seen.
 *
 * A table that an upgrade has replaced may still be in somebody's hands. They find all
 * of its words locked, and then DEAD: then the slot has its new value already, and they
 * start again there. Its memory waits in a list for entry_map_trim(), which has the
 * file for itself. A lock on one PTE entry keeps the whole table: the upgrade needs them
 * all.
 */
#include "entry.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"

/* A word of a retired table: kind 0, so that nobody takes it for an entry. */
#define DEAD UINT64_C(32)

struct pte_table {
	_Atomic uint64_t entry[UNIT_PAGES];
	struct pte_table *next; /* once retired */
};

void entry_map_init(struct entry_map *map, struct wait_table *waits)
{
	*map = (struct entry_map){ .waits = waits };
}

/* ---- words ---------------------------------------------------------------- */

static bool is_table(uint64_t slot)
{
	return slot && !(slot & ENTRY_KIND);
}

static struct pte_table *table_of(uint64_t slot)
{
	return (struct pte_table *)(uintptr_t)slot;
}

static uint64_t unit_start(uint64_t index)
{
	return round_down(index, UNIT_PAGES);
}

static bool is_locked(const void *arg)
{
	const _Atomic uint64_t *word = arg;
	uint64_t value = atomic_load(word);

	return (value & ENTRY_KIND) && (value & ENTRY_LOCKED);
}

/*
 * One attempt to lock an entry that was seen as `seen`, or to insert an EMPTY one if it
 * was 0. False after a sleep or a lost race: look again from the slot on.
 */
static bool try_lock(struct entry_map *map, _Atomic uint64_t *word, uint64_t seen, uint64_t start,
		     unsigned order, struct entry *ret_entry)
{
	uint64_t value = seen ? seen : ENTRY_EMPTY;

	if (seen & ENTRY_LOCKED) {
		wait_sleep(map->waits, map, map->file, start, is_locked, word);
		return false;
	}
	if (!atomic_compare_exchange_strong(word, &seen, value | ENTRY_LOCKED))
		return false;
	lock_enter(LOCK_ENTRY, start);
	*ret_entry = (struct entry){ map, start, order, value, word };
	return true;
}

/* Let a lock go: the word's new value, and who wakes. */
static void publish(struct entry_map *map, _Atomic uint64_t *word, uint64_t value, uint64_t start)
{
	lock_leave(LOCK_ENTRY);
	atomic_store(word, value);
	wait_wake(map->waits, map, start, value & ENTRY_KIND ? WAKE_ONE : WAKE_ALL);
}

/* ---- tables --------------------------------------------------------------- */

/* A table with one locked EMPTY entry. */
static struct pte_table *table_new(struct entry_map *map, uint64_t index)
{
	struct pte_table *table = calloc(1, sizeof(*table));

	if (table) {
		atomic_init(&table->entry[index % UNIT_PAGES], ENTRY_EMPTY | ENTRY_LOCKED);
		atomic_fetch_add_explicit(&map->tables, 1, memory_order_relaxed);
	}
	return table;
}

static void table_free(struct entry_map *map, struct pte_table *table)
{
	atomic_fetch_sub_explicit(&map->tables, 1, memory_order_relaxed);
	free(table);
}

static void table_retire(struct entry_map *map, struct pte_table *table)
{
	table->next = atomic_load(&map->retired);
	while (!atomic_compare_exchange_weak(&map->retired, &table->next, table))
		;
	atomic_fetch_add(&map->retired_count, 1);
}

static bool table_is_empty(struct pte_table *table)
{
	for (unsigned i = 0; i < UNIT_PAGES; i++)
		if (atomic_load_explicit(&table->entry[i], memory_order_relaxed))
			return false;
	return true;
}

static void free_retired(struct entry_map *map)
{
	struct pte_table *table = atomic_exchange(&map->retired, NULL);

	while (table) {
		struct pte_table *next = table->next;

		table_free(map, table);
		table = next;
	}
	atomic_store(&map->retired_count, 0);
}

/* ---- taking and giving back ----------------------------------------------- */

/* The table's entry of page index, locked; false: look again from the slot on. */
static bool grab_pte(struct entry_map *map, struct pte_table *table, uint64_t index,
		     struct entry *ret_entry)
{
	_Atomic uint64_t *word = &table->entry[index % UNIT_PAGES];
	uint64_t seen = atomic_load(word);

	return seen != DEAD && try_lock(map, word, seen, index, ORDER_PTE, ret_entry);
}

/* A table with page index's entry into a slot that was 0. *ret_taken: false if somebody else
 * was first. */
static errint_t insert_table(struct entry_map *map, _Atomic uint64_t *slot, uint64_t index,
			     struct entry *ret_entry, bool *ret_taken)
{
	struct pte_table *table = table_new(map, index);
	uint64_t none = 0;

	if (!table)
		return -ENOMEM;
	*ret_taken = atomic_compare_exchange_strong(slot, &none, (uintptr_t)table);
	if (!*ret_taken) {
		table_free(map, table);
		return 0;
	}
	lock_enter(LOCK_ENTRY, index);
	*ret_entry = (struct entry){ map, index, ORDER_PTE, ENTRY_EMPTY,
				     &table->entry[index % UNIT_PAGES] };
	return 0;
}

bool entry_grab_present(struct entry_map *map, uint64_t index, struct entry *ret_entry)
{
	_Atomic uint64_t *slot = tree_find(&map->slots, index >> ORDER_PMD);

	for (;;) {
		uint64_t seen = slot ? atomic_load(slot) : 0;
		_Atomic uint64_t *word = slot;
		bool pte = is_table(seen);

		if (pte) {
			word = &table_of(seen)->entry[index % UNIT_PAGES];
			seen = atomic_load(word);
		}
		if (!seen)
			return false;
		if (seen != DEAD && try_lock(map, word, seen, pte ? index : unit_start(index),
					     pte ? ORDER_PTE : ORDER_PMD, ret_entry))
			return true;
	}
}

void entry_unlock(struct entry *entry)
{
	bool stays = (entry->value & ENTRY_KIND) != ENTRY_EMPTY;

	publish(entry->map, entry->word, stays ? entry->value : 0, entry->start);
}

void entry_remove(struct entry *entry)
{
	publish(entry->map, entry->word, 0, entry->start);
}

errint_t entry_downgrade(struct entry *entry, uint64_t index)
{
	struct entry_map *map = entry->map;
	struct pte_table *table = table_new(map, index);

	if (!table)
		return -ENOMEM;
	assert(entry->order == ORDER_PMD && unit_start(index) == entry->start);
	lock_leave(LOCK_ENTRY);
	atomic_store(entry->word, (uintptr_t)table);
	wait_wake(map->waits, map, entry->start, WAKE_ALL);
	lock_enter(LOCK_ENTRY, index);
	*entry = (struct entry){ map, index, ORDER_PTE, ENTRY_EMPTY,
				 &table->entry[index % UNIT_PAGES] };
	return 0;
}

/* ---- walking -------------------------------------------------------------- */

static bool next_pte(struct entry_map *map, struct pte_table *table, uint64_t from, uint64_t last,
		     struct entry *ret_entry)
{
	for (uint64_t i = from; i <= last && i < unit_start(from) + UNIT_PAGES; i++) {
		_Atomic uint64_t *word = &table->entry[i % UNIT_PAGES];
		uint64_t value = atomic_load(word);

		if (value & ENTRY_KIND) {
			*ret_entry = (struct entry){ map, i, ORDER_PTE, value, word };
			return true;
		}
	}
	return false;
}

bool entry_next(struct entry_map *map, uint64_t from, uint64_t last, struct entry *ret_entry)
{
	uint64_t unit = from >> ORDER_PMD;
	_Atomic uint64_t *slot;

	while ((slot = tree_next(&map->slots, &unit, last >> ORDER_PMD))) {
		uint64_t start = unit << ORDER_PMD, seen = atomic_load(slot);

		if (is_table(seen)) {
			if (next_pte(map, table_of(seen), MAX(from, start), last, ret_entry))
				return true;
		} else if (seen) {
			*ret_entry = (struct entry){ map, start, ORDER_PMD, seen, slot };
			return true;
		}
		unit++;
	}
	return false;
}

/* ---- whole units ---------------------------------------------------------- */

/* False: the table was retired before the first entry was locked. */
static bool grab_all(struct entry_map *map, struct pte_table *table, uint64_t start)
{
	struct entry entry;

	for (unsigned i = 0; i < UNIT_PAGES; i++) {
		while (!grab_pte(map, table, start + i, &entry)) {
			/* with one locked, nobody else can retire it */
			if (atomic_load(&table->entry[i]) == DEAD)
				return false;
		}
	}
	return true;
}

errint_t entry_grab_unit(struct entry_map *map, uint64_t index, struct entry_unit *ret_unit)
{
	_Atomic uint64_t *slot = tree_make(&map->slots, index >> ORDER_PMD);
	uint64_t start = unit_start(index);

	if (!slot)
		return -ENOMEM;
	*ret_unit = (struct entry_unit){ .pmd = { map, start, ORDER_PMD, 0, slot } };
	for (;;) {
		uint64_t seen = atomic_load(slot);

		if (is_table(seen)) {
			if (grab_all(map, table_of(seen), start)) {
				ret_unit->table = table_of(seen);
				return 0;
			}
		} else if (try_lock(map, slot, seen, start, ORDER_PMD, &ret_unit->pmd)) {
			return 0;
		}
	}
}

void entry_unlock_unit(struct entry_unit *unit)
{
	struct entry_map *map = unit->pmd.map;

	if (!unit->table) {
		entry_unlock(&unit->pmd);
		return;
	}
	for (unsigned i = 0; i < UNIT_PAGES; i++) {
		_Atomic uint64_t *word = &unit->table->entry[i];
		uint64_t value = atomic_load(word) & ~(uint64_t)ENTRY_LOCKED;

		if ((value & ENTRY_KIND) == ENTRY_EMPTY)
			value = 0;
		publish(map, word, value, unit->pmd.start + i);
	}
}

void entry_upgrade(struct entry_unit *unit, uint64_t value, struct entry *ret_entry)
{
	struct entry_map *map = unit->pmd.map;
	uint64_t start = unit->pmd.start;

	if (unit->table) {
		atomic_store(unit->pmd.word, value | ENTRY_LOCKED);
		for (unsigned i = 0; i < UNIT_PAGES; i++)
			publish(map, &unit->table->entry[i], DEAD, start + i);
		lock_enter(LOCK_ENTRY, start);
		table_retire(map, unit->table);
	}
	*ret_entry = unit->pmd;
	ret_entry->value = value;
}

/* ---- the entry wanted, or made ---------------------------------------------- */

/* A PMD entry in place of a table in which nothing is left; false: something is. Never waits: a
 * thread that has locked a page is there. */
static bool grab_empty_table(struct entry_map *map, _Atomic uint64_t *slot, struct pte_table *table,
			     uint64_t start, struct entry *ret_entry)
{
	struct entry_unit unit = { { map, start, ORDER_PMD, 0, slot }, table };
	struct entry entry;
	unsigned n = 0;

	if (!table_is_empty(table))
		return false;
	while (n < UNIT_PAGES && try_lock(map, &table->entry[n], 0, start + n, ORDER_PTE, &entry))
		n++;
	if (n == UNIT_PAGES) {
		entry_upgrade(&unit, ENTRY_EMPTY, ret_entry);
		return true;
	}
	while (n--)
		publish(map, &table->entry[n], 0, start + n);
	return false;
}

int entry_grab(struct entry_map *map, uint64_t index, unsigned order, struct entry *ret_entry)
{
	_Atomic uint64_t *slot = tree_make(&map->slots, index >> ORDER_PMD);
	bool taken = false;
	int err = 0;

	if (!slot)
		return -ENOMEM;
	while (!err && !taken) {
		uint64_t seen = atomic_load(slot);

		if (is_table(seen) && order != ORDER_PTE)
			return grab_empty_table(map, slot, table_of(seen), unit_start(index),
						ret_entry)
				       ? 0
				       : ENTRY_FALLBACK;
		if (is_table(seen))
			taken = grab_pte(map, table_of(seen), index, ret_entry);
		else if (!seen && order == ORDER_PTE)
			err = insert_table(map, slot, index, ret_entry, &taken);
		else
			taken = try_lock(map, slot, seen, unit_start(index), ORDER_PMD, ret_entry);
	}
	return err;
}

/* ---- memory --------------------------------------------------------------- */

unsigned entry_map_retired(struct entry_map *map)
{
	return atomic_load(&map->retired_count);
}

/* Free the tables that have no entry, or all. */
static void free_tables(struct entry_map *map, bool all)
{
	_Atomic uint64_t *slot;

	for (uint64_t unit = 0; (slot = tree_next(&map->slots, &unit, UINT64_MAX)); unit++) {
		uint64_t seen = atomic_load(slot);

		if (is_table(seen) && (all || table_is_empty(table_of(seen)))) {
			table_free(map, table_of(seen));
			atomic_store(slot, 0);
		}
	}
	free_retired(map);
}

void entry_map_trim(struct entry_map *map)
{
	free_tables(map, false);
	tree_prune(&map->slots);
}

void entry_map_destroy(struct entry_map *map)
{
	free_tables(map, true);
	tree_free(&map->slots);
}

size_t entry_map_bytes(const struct entry_map *map)
{
	return tree_bytes(&map->slots) +
	       atomic_load_explicit(&map->tables, memory_order_relaxed) * sizeof(struct pte_table);
}
