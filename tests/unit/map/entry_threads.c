/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads take, downgrade, upgrade and remove entries of a few units. Each page has
 * an owner's mark, set by the thread that holds its entry: if two ever hold entries over one
 * page, one of them finds the other's mark. The threads come to an end: no wake-up
 * was lost.
 */
#include "daxfuse/map/entry.h"

#include <stdlib.h>

#include "map_test.h"

enum { THREADS = 6, UNITS = 2, STEPS = 30000 };

struct shared {
	struct entry_map map;
	pthread_rwlock_t file;
	atomic_uint owner[UNITS * UNIT_PAGES];
};

struct job {
	struct shared *shared;
	uint64_t rng;
	unsigned me;
};

static void mark(struct job *job, const struct entry *entry, bool take)
{
	for (uint64_t i = 0; i < UINT64_C(1) << entry->order; i++) {
		atomic_uint *owner = &job->shared->owner[entry->start + i];
		unsigned expected = take ? 0 : job->me;

		if (!atomic_compare_exchange_strong(owner, &expected, take ? job->me : 0))
			abort();
	}
}

static void give_back(struct job *job, struct entry *entry)
{
	static const uint64_t values[] = { ENTRY_EMPTY, ENTRY_ZERO, ENTRY_DATA,
					   ENTRY_DATA | ENTRY_DIRTY };
	uint64_t what = next_random(&job->rng) % 8;

	mark(job, entry, false);
	if (what < 4)
		entry->value = values[what];
	if (what == 4)
		entry_remove(entry);
	else
		entry_unlock(entry);
}

static void take(struct job *job, uint64_t index, unsigned order)
{
	struct entry entry;

	if (entry_grab(&job->shared->map, index, order, &entry))
		return;
	mark(job, &entry, true);
	if (order < entry.order && (entry.value & ENTRY_KIND) != ENTRY_DATA) {
		mark(job, &entry, false);
		if (entry_downgrade(&entry, index))
			abort();
		mark(job, &entry, true);
	}
	give_back(job, &entry);
}

static void take_unit(struct job *job, uint64_t index)
{
	struct entry_unit unit;
	struct entry entry;

	if (entry_grab_unit(&job->shared->map, index, &unit))
		abort();
	mark(job, &unit.pmd, true);
	if (next_random(&job->rng) % 2) {
		entry_upgrade(&unit, ENTRY_DATA, &entry);
		give_back(job, &entry);
	} else {
		mark(job, &unit.pmd, false);
		entry_unlock_unit(&unit);
	}
}

static void *run(void *arg)
{
	struct job *job = arg;
	struct shared *shared = job->shared;

	for (unsigned i = 0; i < STEPS; i++) {
		uint64_t unit = next_random(&job->rng) % UNITS;
		uint64_t index = unit * UNIT_PAGES + next_random(&job->rng) % 3;
		uint64_t what = next_random(&job->rng) % 64;
		struct entry entry;

		if (!what) {
			pthread_rwlock_wrlock(&shared->file);
			entry_map_trim(&shared->map);
			pthread_rwlock_unlock(&shared->file);
			continue;
		}
		pthread_rwlock_rdlock(&shared->file);
		if (what < 2) {
			take_unit(job, index);
		} else if (what < 10 && entry_grab_present(&shared->map, index, &entry)) {
			mark(job, &entry, true);
			give_back(job, &entry);
		} else {
			take(job, index, what % 3 ? ORDER_PTE : ORDER_PMD);
		}
		pthread_rwlock_unlock(&shared->file);
	}
	return NULL;
}

static void test_threads(void **state)
{
	static struct shared shared;
	struct job jobs[THREADS];
	pthread_t threads[THREADS];
	struct wait_table *waits;

	assert_int_equal(wait_table_new(&waits), 0);
	entry_map_init(&shared.map, waits);
	pthread_rwlock_init(&shared.file, NULL);
	for (unsigned i = 0; i < THREADS; i++) {
		jobs[i] = (struct job){ &shared, i, i + 1 };
		assert_int_equal(pthread_create(&threads[i], NULL, run, &jobs[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(wait_sleepers(waits), 0);
	entry_map_destroy(&shared.map);
	assert_int_equal(entry_map_bytes(&shared.map), 0);
	wait_table_free(waits);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_threads) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
