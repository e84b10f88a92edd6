/* SPDX-License-Identifier: BSD-3-Clause */
/* The wait table; wait.h has the argument. */
#include "wait.h"
#include "daxfuse/base/errint.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "daxfuse/base/lockrank.h"
#include "map.h"
#include "probe.h"

enum { BUCKETS = 1024 };

/* On the stack of a thread that sleeps. */
struct sleeper {
	struct sleeper *next;
	const void *map;
	uint64_t start;
	bool woken; /* under the bucket's mutex; it is off the list then */
	pthread_cond_t wake;
};

struct bucket {
	_Alignas(64) pthread_mutex_t lock;
	struct sleeper *first; /* the longest sleeping one first */
	atomic_uint count;     /* of those who sleep or are about to */
};

struct wait_table {
	struct bucket bucket[BUCKETS];
};

static struct bucket *bucket_of(struct wait_table *table, const void *map, uint64_t start)
{
	uint64_t key = ((uint64_t)(uintptr_t)map >> 4) + start;

	return &table->bucket[key * UINT64_C(0x9e3779b97f4a7c15) >> 54];
}

_Static_assert(BUCKETS == 1 << (64 - 54), "bucket_of() takes the upper 10 bits");

errint_t wait_table_new(struct wait_table **ret_table)
{
	struct wait_table *table = aligned_alloc(64, sizeof(*table));

	if (!table)
		return -ENOMEM;
	for (unsigned i = 0; i < BUCKETS; i++) {
		pthread_mutex_init(&table->bucket[i].lock, NULL);
		table->bucket[i].first = NULL;
		atomic_init(&table->bucket[i].count, 0);
	}
	*ret_table = table;
	return 0;
}

void wait_table_free(struct wait_table *table)
{
	for (unsigned i = 0; table && i < BUCKETS; i++)
		pthread_mutex_destroy(&table->bucket[i].lock);
	free(table);
}

static void append(struct bucket *bucket, struct sleeper *sleeper)
{
	struct sleeper **last = &bucket->first;

	while (*last)
		last = &(*last)->next;
	*last = sleeper;
}

void wait_sleep(struct wait_table *table, const void *map, uint64_t file, uint64_t start,
		bool (*blocked)(const void *arg), const void *arg)
{
	struct bucket *bucket = bucket_of(table, map, start);
	struct sleeper me = { .map = map, .start = start };

	lock_mutex(LOCK_WAIT, &bucket->lock);
	atomic_fetch_add(&bucket->count, 1);
	if (blocked(arg)) {
		pthread_cond_init(&me.wake, NULL);
		append(bucket, &me);
		probe_lock_wait_begin(file, start * MAP_PAGE_SIZE);
		while (!me.woken)
			pthread_cond_wait(&me.wake, &bucket->lock);
		probe_lock_wait_end(file, start * MAP_PAGE_SIZE);
		pthread_cond_destroy(&me.wake);
	}
	atomic_fetch_sub(&bucket->count, 1);
	unlock_mutex(LOCK_WAIT, &bucket->lock);
}

void wait_wake(struct wait_table *table, const void *map, uint64_t start, enum wait_wake how)
{
	struct bucket *bucket = bucket_of(table, map, start);
	struct sleeper **at = &bucket->first;

	if (!atomic_load(&bucket->count))
		return;
	lock_mutex(LOCK_WAIT, &bucket->lock);
	while (*at) {
		struct sleeper *sleeper = *at;

		if (sleeper->map != map || sleeper->start != start) {
			at = &sleeper->next;
			continue;
		}
		*at = sleeper->next;
		sleeper->woken = true;
		pthread_cond_signal(&sleeper->wake);
		if (how == WAKE_ONE)
			break;
	}
	unlock_mutex(LOCK_WAIT, &bucket->lock);
}

unsigned wait_sleepers(struct wait_table *table)
{
	unsigned count = 0;

	for (unsigned i = 0; i < BUCKETS; i++) {
		lock_mutex(LOCK_WAIT, &table->bucket[i].lock);
		for (struct sleeper *s = table->bucket[i].first; s; s = s->next)
			count++;
		unlock_mutex(LOCK_WAIT, &table->bucket[i].lock);
	}
	return count;
}
