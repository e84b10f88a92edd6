/* SPDX-License-Identifier: BSD-3-Clause */
/* Section by section what entry.h promises, where need be with a second thread. */
#include "daxfuse/map/entry.h"

#include <stdlib.h>

#include "map_test.h"

struct fixture {
	struct wait_table *waits;
	struct entry_map map;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(wait_table_new(&f->waits), 0);
	entry_map_init(&f->map, f->waits);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(wait_sleepers(f->waits), 0);
	entry_map_destroy(&f->map);
	assert_int_equal(entry_map_bytes(&f->map), 0);
	wait_table_free(f->waits);
	free(f);
	return 0;
}

/* An entry of that order and value, unlocked. */
static void make(struct fixture *f, uint64_t index, unsigned order, uint64_t value)
{
	struct entry entry;

	assert_int_equal(entry_grab(&f->map, index, order, &entry), 0);
	entry.value = value;
	entry_unlock(&entry);
}

/* Another thread that takes an entry, and holds it until it is told to go on. */
struct other {
	struct fixture *f;
	uint64_t index;
	unsigned order;
	uint64_t value; /* what it is unlocked with; 0: as it was */
	bool present_only;
	pthread_t thread;
	atomic_bool has, go_on;
	int result;
	struct entry entry;
};

static void *other_run(void *arg)
{
	struct other *o = arg;

	if (o->present_only)
		o->result = !entry_grab_present(&o->f->map, o->index, &o->entry);
	else
		o->result = entry_grab(&o->f->map, o->index, o->order, &o->entry);
	atomic_store(&o->has, true);
	while (!atomic_load(&o->go_on))
		usleep(100);
	if (!o->result) {
		if (o->value)
			o->entry.value = o->value;
		entry_unlock(&o->entry);
	}
	return NULL;
}

static void other_start(struct other *o, struct fixture *f, uint64_t index, unsigned order)
{
	o->f = f;
	o->index = index;
	o->order = order;
	atomic_init(&o->has, false);
	atomic_init(&o->go_on, false);
	assert_int_equal(pthread_create(&o->thread, NULL, other_run, o), 0);
}

static void other_end(struct other *o)
{
	wait_until(atomic_load(&o->has));
	atomic_store(&o->go_on, true);
	pthread_join(o->thread, NULL);
}

static void test_nothing_there(void **state)
{
	struct fixture *f = *state;
	struct entry entry, seen;

	assert_false(entry_grab_present(&f->map, 1000, &entry));
	assert_int_equal(entry_grab(&f->map, 1000, ORDER_PMD, &entry), 0);
	assert_int_equal(entry.value, ENTRY_EMPTY);
	assert_int_equal(entry.start, 512);
	assert_int_equal(entry.order, ORDER_PMD);
	assert_true(entry_next(&f->map, 0, UINT64_MAX, &seen));
	assert_int_equal(seen.value, ENTRY_EMPTY | ENTRY_LOCKED);
	/* EMPTY is only there to be locked */
	entry_unlock(&entry);
	assert_false(entry_next(&f->map, 0, UINT64_MAX, &seen));
}

static void test_any_index(void **state)
{
	struct fixture *f = *state;
	struct entry entry;

	make(f, 1024, ORDER_PMD, ENTRY_DATA | ENTRY_DIRTY);
	for (uint64_t i = 1024; i < 1536; i += 73) {
		assert_int_equal(entry_grab(&f->map, i, ORDER_PTE, &entry), 0);
		assert_int_equal(entry.start, 1024);
		assert_int_equal(entry.order, ORDER_PMD);
		assert_int_equal(entry.value, ENTRY_DATA | ENTRY_DIRTY);
		entry_unlock(&entry);
	}
	assert_false(entry_grab_present(&f->map, 1023, &entry));
	assert_false(entry_grab_present(&f->map, 1536, &entry));
}

static void test_pmd_over_ptes_falls_back(void **state)
{
	struct fixture *f = *state;
	struct entry pte, entry;

	make(f, 700, ORDER_PTE, ENTRY_DATA);
	assert_int_equal(entry_grab(&f->map, 600, ORDER_PMD, &entry), ENTRY_FALLBACK);
	/* even if the PTE entry is locked: it is no wait for it */
	assert_int_equal(entry_grab(&f->map, 700, ORDER_PTE, &pte), 0);
	assert_int_equal(entry_grab(&f->map, 600, ORDER_PMD, &entry), ENTRY_FALLBACK);
	entry_unlock(&pte);
	/* other units are not concerned */
	make(f, 1024, ORDER_PMD, ENTRY_DATA);
}

static void test_downgrade(void **state)
{
	struct fixture *f = *state;
	struct other waiter[2] = { 0 };
	struct entry entry, seen;

	make(f, 512, ORDER_PMD, ENTRY_ZERO);
	assert_int_equal(entry_grab(&f->map, 700, ORDER_PTE, &entry), 0);
	assert_int_equal(entry.order, ORDER_PMD);
	assert_int_equal(entry.value, ENTRY_ZERO);
	/* both sleep on the unit's start, whatever index they came with */
	other_start(&waiter[0], f, 513, ORDER_PTE);
	other_start(&waiter[1], f, 1023, ORDER_PMD);
	wait_until(wait_sleepers(f->waits) == 2);
	assert_int_equal(entry_downgrade(&entry, 700), 0);
	assert_int_equal(entry.start, 700);
	assert_int_equal(entry.order, ORDER_PTE);
	assert_int_equal(entry.value, ENTRY_EMPTY);
	/* all wake: one takes a page of its own, one falls back, though 700 is locked */
	other_end(&waiter[0]);
	other_end(&waiter[1]);
	assert_int_equal(waiter[0].result, 0);
	assert_int_equal(waiter[0].entry.start, 513);
	assert_int_equal(waiter[1].result, ENTRY_FALLBACK);
	entry.value = ENTRY_DATA;
	entry_unlock(&entry);
	assert_true(entry_next(&f->map, 0, UINT64_MAX, &seen));
	assert_int_equal(seen.start, 700);
	assert_int_equal(seen.order, ORDER_PTE);
	assert_false(entry_next(&f->map, 701, UINT64_MAX, &seen));
}

/* The loser of two faults sleeps, and then sees what the winner made of the entry. */
static void test_loser_sees_result(void **state)
{
	struct fixture *f = *state;
	struct other loser = { 0 };
	struct entry entry;

	assert_int_equal(entry_grab(&f->map, 5, ORDER_PTE, &entry), 0);
	other_start(&loser, f, 5, ORDER_PTE);
	wait_until(wait_sleepers(f->waits) == 1);
	entry.value = ENTRY_DATA | ENTRY_WRITABLE;
	entry_unlock(&entry);
	other_end(&loser);
	assert_int_equal(loser.entry.value, ENTRY_DATA | ENTRY_WRITABLE);
}

static void test_unlock_wakes_one(void **state)
{
	struct fixture *f = *state;
	struct other waiter[3] = { 0 };
	struct entry entry;

	make(f, 0, ORDER_PMD, ENTRY_DATA);
	assert_int_equal(entry_grab(&f->map, 0, ORDER_PMD, &entry), 0);
	for (unsigned i = 0; i < 3; i++) {
		other_start(&waiter[i], f, 100 * i, ORDER_PTE);
		wait_until(wait_sleepers(f->waits) == i + 1);
	}
	entry_unlock(&entry);
	for (unsigned i = 0; i < 3; i++) {
		/* in the order in which they came, one after the other */
		wait_until(atomic_load(&waiter[i].has));
		assert_int_equal(wait_sleepers(f->waits), 2 - i);
		other_end(&waiter[i]);
	}
}

static void test_remove_wakes_all(void **state)
{
	struct fixture *f = *state;
	struct other waiter[3] = { 0 };
	struct entry entry;

	make(f, 0, ORDER_PMD, ENTRY_DATA);
	assert_int_equal(entry_grab(&f->map, 0, ORDER_PMD, &entry), 0);
	for (unsigned i = 0; i < 3; i++) {
		waiter[i].present_only = true;
		other_start(&waiter[i], f, 100 * i, ORDER_PTE);
	}
	wait_until(wait_sleepers(f->waits) == 3);
	entry_remove(&entry);
	for (unsigned i = 0; i < 3; i++) {
		other_end(&waiter[i]);
		assert_int_equal(waiter[i].result, 1);
	}
}

/* An EMPTY entry that goes is removed: all who wait for it must wake, as none of them
 * would have anything to unlock. */
static void test_empty_wakes_all(void **state)
{
	struct fixture *f = *state;
	struct other waiter[2] = { 0 };
	struct entry entry;

	assert_int_equal(entry_grab(&f->map, 9, ORDER_PTE, &entry), 0);
	for (unsigned i = 0; i < 2; i++) {
		waiter[i].present_only = true;
		other_start(&waiter[i], f, 9, ORDER_PTE);
	}
	wait_until(wait_sleepers(f->waits) == 2);
	entry_unlock(&entry);
	for (unsigned i = 0; i < 2; i++)
		other_end(&waiter[i]);
}

static void test_upgrade(void **state)
{
	struct fixture *f = *state;
	struct other pte = { 0 }, absent = { 0 };
	struct entry_unit unit;
	struct entry entry, seen;

	make(f, 515, ORDER_PTE, ENTRY_DATA | ENTRY_DIRTY);
	make(f, 1023, ORDER_PTE, ENTRY_ZERO);
	assert_int_equal(entry_grab_unit(&f->map, 600, &unit), 0);
	assert_non_null(unit.table);
	/* nobody gets in, neither where there was an entry nor where there was none */
	other_start(&pte, f, 515, ORDER_PTE);
	other_start(&absent, f, 800, ORDER_PTE);
	wait_until(wait_sleepers(f->waits) == 2);
	entry_upgrade(&unit, ENTRY_DATA, &entry);
	assert_int_equal(entry.start, 512);
	/* they are awake, and wait for the PMD entry now */
	assert_true(entry_next(&f->map, 0, UINT64_MAX, &seen));
	assert_int_equal(seen.order, ORDER_PMD);
	assert_int_equal(seen.value, ENTRY_DATA | ENTRY_LOCKED);
	assert_false(atomic_load(&pte.has));
	entry_unlock(&entry);
	atomic_store(&pte.go_on, true);
	atomic_store(&absent.go_on, true);
	other_end(&pte);
	other_end(&absent);
	assert_int_equal(pte.entry.start, 512);
	assert_int_equal(pte.entry.order, ORDER_PMD);
	assert_int_equal(absent.entry.start, 512);
	assert_int_equal(entry_map_retired(&f->map), 1);
	entry_map_trim(&f->map);
	assert_int_equal(entry_map_retired(&f->map), 0);
}

static void test_unit_of_nothing(void **state)
{
	struct fixture *f = *state;
	struct entry_unit unit;
	struct entry seen;

	assert_int_equal(entry_grab_unit(&f->map, 600, &unit), 0);
	assert_null(unit.table);
	assert_int_equal(unit.pmd.value, ENTRY_EMPTY);
	entry_unlock_unit(&unit);
	assert_false(entry_next(&f->map, 0, UINT64_MAX, &seen));
}

static void test_unit_given_up(void **state)
{
	struct fixture *f = *state;
	struct entry_unit unit;
	struct entry seen;

	make(f, 515, ORDER_PTE, ENTRY_DATA | ENTRY_DIRTY);
	assert_int_equal(entry_grab_unit(&f->map, 600, &unit), 0);
	entry_unlock_unit(&unit);
	assert_true(entry_next(&f->map, 0, UINT64_MAX, &seen));
	assert_int_equal(seen.start, 515);
	assert_int_equal(seen.value, ENTRY_DATA | ENTRY_DIRTY);
	assert_false(entry_next(&f->map, 516, UINT64_MAX, &seen));
}

static void test_walk(void **state)
{
	struct fixture *f = *state;
	const uint64_t starts[] = { 3, 511, 512, 2048, UINT64_C(1) << 40 };
	struct entry seen;
	uint64_t from = 0;

	make(f, 3, ORDER_PTE, ENTRY_DATA);
	make(f, 511, ORDER_PTE, ENTRY_ZERO);
	make(f, 512, ORDER_PMD, ENTRY_DATA);
	make(f, 2048, ORDER_PTE, ENTRY_DATA);
	make(f, UINT64_C(1) << 40, ORDER_PMD, ENTRY_ZERO);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(entry_next(&f->map, from, UINT64_MAX, &seen));
		assert_int_equal(seen.start, starts[i]);
		from = seen.start + (UINT64_C(1) << seen.order);
	}
	assert_false(entry_next(&f->map, from, UINT64_MAX, &seen));
	/* a PMD entry reaches into a range that begins in its middle */
	assert_true(entry_next(&f->map, 1000, 1001, &seen));
	assert_int_equal(seen.start, 512);
	assert_false(entry_next(&f->map, 4, 510, &seen));
}

/* 1 TiB in huge entries. The promise is 1 byte a KiB, 2048 a unit. */
static void test_memory(void **state)
{
	struct fixture *f = *state;
	const uint64_t units = UINT64_C(1) << (40 - 21);

	for (uint64_t unit = 0; unit < units; unit++)
		make(f, unit * UNIT_PAGES, ORDER_PMD, ENTRY_DATA);
	assert_true(entry_map_bytes(&f->map) < units * 9);
	for (uint64_t unit = 0; unit < units; unit++) {
		struct entry entry;

		assert_true(entry_grab_present(&f->map, unit * UNIT_PAGES, &entry));
		entry_remove(&entry);
	}
	entry_map_trim(&f->map);
	assert_int_equal(entry_map_bytes(&f->map), 0);
}

static void test_memory_of_tables(void **state)
{
	struct fixture *f = *state;
	struct entry entry;

	make(f, 7, ORDER_PTE, ENTRY_DATA);
	assert_true(entry_map_bytes(&f->map) < 5000);
	assert_true(entry_grab_present(&f->map, 7, &entry));
	entry_remove(&entry);
	entry_map_trim(&f->map);
	assert_int_equal(entry_map_bytes(&f->map), 0);
}

/* A table in which nothing is left is no obstacle, one with a locked page is. */
static void test_pmd_over_empty_table(void **state)
{
	struct fixture *f = *state;
	struct entry pte, entry, seen;

	assert_int_equal(entry_grab(&f->map, 700, ORDER_PTE, &pte), 0);
	assert_int_equal(entry_grab(&f->map, 512, ORDER_PMD, &entry), ENTRY_FALLBACK);
	entry_unlock(&pte);
	assert_false(entry_next(&f->map, 0, UINT64_MAX, &seen));
	assert_int_equal(entry_grab(&f->map, 600, ORDER_PMD, &entry), 0);
	assert_int_equal(entry.start, 512);
	assert_int_equal(entry.value, ENTRY_EMPTY);
	entry.value = ENTRY_DATA;
	entry_unlock(&entry);
	assert_int_equal(entry_map_retired(&f->map), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nothing_there),
		TEST(test_any_index),
		TEST(test_pmd_over_ptes_falls_back),
		TEST(test_downgrade),
		TEST(test_loser_sees_result),
		TEST(test_unlock_wakes_one),
		TEST(test_remove_wakes_all),
		TEST(test_empty_wakes_all),
		TEST(test_upgrade),
		TEST(test_unit_of_nothing),
		TEST(test_unit_given_up),
		TEST(test_walk),
		TEST(test_memory),
		TEST(test_memory_of_tables),
		TEST(test_pmd_over_empty_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
