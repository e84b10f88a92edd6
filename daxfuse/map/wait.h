/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where threads sleep that wait for an entry: a fixed hashed table, so that an
 * entry costs no memory for those who might wait for it. A sleeper is known by
 * the map and by the start of the entry.
 *
 * No wake-up is lost: a sleeper first counts itself in its bucket, then looks whether it is still
 * blocked; a thread that unblocks it stores first, then looks at the count. All four are
 * sequentially consistent, so one of the two sees the other's. Looking and falling asleep are one
 * step under the bucket's mutex.
 */
#ifndef DAXFUSE_MAP_WAIT_H
#define DAXFUSE_MAP_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"

struct wait_table;

enum wait_wake { WAKE_ONE, WAKE_ALL };

/* -ENOMEM */
errint_t wait_table_new(struct wait_table **ret_table);
/* Nobody may sleep in it. NULL is fine. */
void wait_table_free(struct wait_table *table);

/*
 * Sleep until somebody wakes (map, start), but not at all if blocked(arg) says no. blocked() must
 * use sequentially consistent loads. A thread that was woken by WAKE_ONE and then doesn't take the
 * entry must wake the next one. `file` is for probes only.
 */
void wait_sleep(struct wait_table *table, const void *map, uint64_t file, uint64_t start,
		bool (*blocked)(const void *arg), const void *arg);

/* Wake the thread that has slept longest on (map, start), or all. The store that unblocks them
 * comes before, and is sequentially consistent. */
void wait_wake(struct wait_table *table, const void *map, uint64_t start, enum wait_wake how);

/* How many sleep in the table now, for tests. */
unsigned wait_sleepers(struct wait_table *table);

#endif
