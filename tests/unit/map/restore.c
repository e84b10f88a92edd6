/* SPDX-License-Identifier: BSD-3-Clause */
/* Mappers that have outlived the engine that they were mapped by: what they have is pinned
 * again if the file has it still, and else nobody's before they let go of it. */
#include "mapping.h"

enum { FIRST_GRANT = 1000 };

static int setup_second(void **state)
{
	struct fixture *f;

	setup(state);
	f = *state;
	map_engine_set_first_grant(f->engine, FIRST_GRANT);
	return 0;
}

/* It has these pages of the device, from its first life; the new process holds them. */
static void have(struct fake_mapper *m, unsigned page, unsigned count, int device, bool writable)
{
	for (unsigned i = 0; i < count; i++) {
		struct fake_page *at = &m->fake->page[device + (int)i];

		m->page[page + i] = device + (int)i;
		m->writable[page + i] = writable;
		at->holds++;
		if (atomic_load(&at->state) == PAGE_FREE)
			atomic_store(&at->state, PAGE_QUARANTINED);
	}
}

static int restore(struct fake_mapper *m, unsigned page, unsigned count, unsigned order,
		   bool writable)
{
	return map_view_restore(m->view, page * MAP_PAGE_SIZE, count * MAP_PAGE_SIZE,
				(uint64_t)m->page[page] * MAP_PAGE_SIZE, order, writable);
}

static void allocate(struct fixture *f, unsigned page, unsigned count)
{
	assert_int_equal(fake_allocate(f->file, page * MAP_PAGE_SIZE, count * MAP_PAGE_SIZE), 0);
}

static unsigned holds(struct fixture *f)
{
	unsigned sum = 0;

	for (unsigned n = 0; n < DEVICE_PAGES; n++)
		sum += f->fake->page[n].holds;
	return sum;
}

/* The file has it still. */
static void test_unit(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &huge_client_ops);
	int unit;

	allocate(f, 0, UNIT_PAGES);
	unit = f->file->page[0];
	have(m, 0, UNIT_PAGES, unit, true);
	assert_int_equal(restore(m, 0, UNIT_PAGES, ORDER_PMD, true), 0);
	/* it is the file's, and needs no other hold */
	assert_int_equal(holds(f), 0);
	assert_int_equal(f->fake->page[unit].state, PAGE_USED);
	assert_int_equal(survey(f).huge, MAP_UNIT_SIZE);
	assert_int_equal(survey(f).dirty, MAP_UNIT_SIZE);
	assert_true(mapper_store(m, 3, 0, 7));
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	assert_int_equal(atomic_load(&f->fake->page[unit + 3].durable[0]), 7);
	/* it may store without asking, all along */
	assert_int_equal(survey(f).dirty, MAP_UNIT_SIZE);
	assert_int_equal(punch(f->map, f->file, 0, MAP_UNIT_SIZE), 0);
	assert_int_equal(m->asked, 1);
	assert_int_equal(m->asked_grant, FIRST_GRANT);
	assert_int_equal(m->page[3], NOT_MAPPED);
	assert_int_equal(f->fake->page[unit].state, PAGE_FREE);
	assert_int_equal(survey(f).huge, 0);
}

static void test_pages(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	f->fake->no_units = true;
	for (unsigned i = 0; i < 5; i++)
		allocate(f, 14 - i, 1);
	have(m, 10, 5, f->file->page[10], false);
	assert_int_equal(restore(m, 10, 5, ORDER_PTE, false), 0);
	assert_int_equal(holds(f), 0);
	assert_int_equal(survey(f).pages, 5 * MAP_PAGE_SIZE);
	assert_int_equal(survey(f).dirty, 0);
	assert_true(map_view_pins(m->view, 14 * MAP_PAGE_SIZE, MAP_PAGE_SIZE));
	assert_false(map_view_pins(m->view, 15 * MAP_PAGE_SIZE, MAP_PAGE_SIZE));
	/* it comes back to write */
	assert_int_equal(mapper_fault(m, 12, MAP_WRITE, ORDER_PTE), 0);
	assert_int_equal(m->last_grant, FIRST_GRANT + 1);
	assert_int_equal(f->hooked, 1);
	assert_int_equal(survey(f).dirty, MAP_PAGE_SIZE);
	assert_true(mapper_store(m, 12, 0, 1));
}

/* The file has something else there, or nothing. */
static void test_lost(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	have(m, 0, UNIT_PAGES, 2 * UNIT_PAGES, true);
	allocate(f, UNIT_PAGES, 1);
	have(m, UNIT_PAGES, 2, 4 * UNIT_PAGES, true);
	assert_int_equal(restore(m, 0, UNIT_PAGES, ORDER_PMD, true), 0);
	assert_int_equal(restore(m, UNIT_PAGES, 2, ORDER_PTE, true), 0);
	assert_int_equal(holds(f), UNIT_PAGES + 2);
	assert_int_equal(survey(f).huge + survey(f).pages + survey(f).zeroes, 0);
	assert_true(map_view_pins(m->view, 0, MAP_PAGE_SIZE));
	assert_int_equal(map_engine_count(f->engine, MAP_COUNT_QUARANTINED), 2);
	/* the file goes on, whatever it does there */
	assert_int_equal(mapper_fault(m, 5, MAP_WRITE, ORDER_PTE), 0);
	assert_int_equal(punch(f->map, f->file, 0, MAP_UNIT_SIZE), 0);
	assert_int_equal(f->fake->page[2 * UNIT_PAGES].state, PAGE_FREE);
	assert_int_equal(holds(f), 2);
	/* its mapper says so; of any number */
	map_let_go(m->view, MAP_UNIT_SIZE, MAP_UNIT_SIZE, 0);
	assert_int_equal(holds(f), 0);
	assert_int_equal(f->fake->page[4 * UNIT_PAGES].state, PAGE_FREE);
}

/* A part of a unit was replaced: the rest is pinned in pages. */
static void test_half_lost(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &huge_client_ops);
	int unit;

	allocate(f, 0, UNIT_PAGES);
	unit = f->file->page[0];
	have(m, 0, UNIT_PAGES, unit, true);
	for (unsigned i = 100; i < 110; i++) {
		page_free(f->fake, unit + (int)i);
		set_page(f->file, i, -1);
	}
	assert_int_equal(restore(m, 0, UNIT_PAGES, ORDER_PMD, true), 0);
	assert_int_equal(survey(f).huge, 0);
	assert_int_equal(survey(f).pages, (UNIT_PAGES - 10) * MAP_PAGE_SIZE);
	assert_int_equal(holds(f), 10);
	assert_int_equal(f->fake->page[unit + 109].state, PAGE_QUARANTINED);
	/* one answer for all of it */
	assert_int_equal(punch(f->map, f->file, 0, MAP_UNIT_SIZE), 0);
	map_let_go(m->view, 0, MAP_UNIT_SIZE, FIRST_GRANT);
	assert_int_equal(holds(f), 0);
	assert_int_equal(f->fake->page[unit + 109].state, PAGE_FREE);
	assert_false(map_view_pins(m->view, 0, MAP_TO_END));
}

/* Each has a hold of its own. */
static void test_two_have_it(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *a = open_mapper(f, &client_ops), *b = open_mapper(f, &client_ops);

	have(a, 7, 1, 70, true);
	have(b, 7, 1, 70, false);
	assert_int_equal(restore(a, 7, 1, ORDER_PTE, true), 0);
	assert_int_equal(restore(b, 7, 1, ORDER_PTE, false), 0);
	assert_int_equal(f->fake->page[70].holds, 2);
	close_mapper(a);
	assert_int_equal(f->fake->page[70].state, PAGE_QUARANTINED);
	close_mapper(b);
	assert_int_equal(f->fake->page[70].state, PAGE_FREE);
}

/* No page gets two entries: the size of the one that is there is taken. */
static void test_other_sizes(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *huge = open_mapper(f, &client_ops),
			   *small = open_mapper(f, &client_ops);

	allocate(f, 0, UNIT_PAGES);
	allocate(f, UNIT_PAGES, UNIT_PAGES);
	have(huge, 0, 2 * UNIT_PAGES, f->file->page[0], true);
	have(small, 3, 2, f->file->page[3], false);
	have(small, UNIT_PAGES + 3, 2, f->file->page[UNIT_PAGES + 3], true);
	assert_int_equal(restore(small, 3, 2, ORDER_PTE, false), 0);
	assert_int_equal(restore(huge, 0, 2 * UNIT_PAGES, ORDER_PMD, false), 0);
	assert_int_equal(restore(small, UNIT_PAGES + 3, 2, ORDER_PTE, true), 0);
	assert_int_equal(holds(f), 0);
	assert_int_equal(survey(f).pages, MAP_UNIT_SIZE);
	assert_int_equal(survey(f).huge, MAP_UNIT_SIZE);
	assert_int_equal(survey(f).dirty, MAP_UNIT_SIZE);
	assert_true(map_view_pins(huge->view, 500 * MAP_PAGE_SIZE, MAP_PAGE_SIZE));
	assert_true(map_view_pins(small->view, (UNIT_PAGES + 4) * MAP_PAGE_SIZE, MAP_PAGE_SIZE));
	/* both are asked, and then it goes */
	assert_int_equal(punch(f->map, f->file, 0, MAP_TO_END), 0);
	assert_int_equal(huge->page[500], NOT_MAPPED);
	assert_int_equal(small->page[4], NOT_MAPPED);
	assert_int_equal(small->page[UNIT_PAGES + 4], NOT_MAPPED);
	assert_int_equal(survey(f).pages + survey(f).huge, 0);
}

/* Somebody reads a hole there already. */
static void test_over_zeroes(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops), *reader = open_mapper(f, &client_ops);

	assert_int_equal(mapper_fault(reader, 0, MAP_READ, ORDER_PMD), 0);
	have(m, 0, UNIT_PAGES, UNIT_PAGES, true);
	assert_int_equal(restore(m, 5, 1, ORDER_PTE, true), 0);
	assert_int_equal(restore(m, 0, UNIT_PAGES, ORDER_PMD, true), 0);
	assert_int_equal(survey(f).zeroes, MAP_UNIT_SIZE);
	assert_int_equal(reader->asked, 0);
	/* the filesystem says that this is the file's: it is believed later */
	assert_int_equal(mapper_fault(reader, UNIT_PAGES, MAP_READ, ORDER_PMD), 0);
	allocate(f, UNIT_PAGES + 9, 1);
	have(m, UNIT_PAGES + 9, 1, f->file->page[UNIT_PAGES + 9], true);
	assert_int_equal(restore(m, UNIT_PAGES + 9, 1, ORDER_PTE, true), 0);
	assert_int_equal(survey(f).zeroes, 2 * MAP_UNIT_SIZE);
	assert_int_equal(holds(f), UNIT_PAGES + 1);
	f->fake->page[UNIT_PAGES + 5].holds++; /* that page was restored twice */
	close_mapper(m);
	assert_int_equal(f->fake->page[UNIT_PAGES].state, PAGE_FREE);
}

/* The last unit is mapped beyond the end, and is the file's. */
static void test_behind_the_end(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &huge_client_ops);

	allocate(f, UNIT_PAGES, UNIT_PAGES);
	f->file->size = MAP_UNIT_SIZE + 5;
	have(m, UNIT_PAGES, UNIT_PAGES, f->file->page[UNIT_PAGES], true);
	for (unsigned i = 1; i < UNIT_PAGES; i++)
		f->file->unwritten[UNIT_PAGES + i] = true;
	assert_int_equal(restore(m, UNIT_PAGES, UNIT_PAGES, ORDER_PMD, true), 0);
	assert_int_equal(holds(f), 0);
	assert_int_equal(survey(f).huge, MAP_UNIT_SIZE);
}

static void test_refused(void **state)
{
	struct fixture *f = *state;
	struct map_view *view = open_mapper(f, &client_ops)->view;
	struct fake_mapper *m = &f->mapper[0];

	assert_int_equal(map_view_restore(view, 1, MAP_PAGE_SIZE, 0, ORDER_PTE, true), -EINVAL);
	assert_int_equal(map_view_restore(view, 0, 100, 0, ORDER_PTE, true), -EINVAL);
	assert_int_equal(map_view_restore(view, 0, 0, 0, ORDER_PTE, true), -EINVAL);
	assert_int_equal(map_view_restore(view, 0, MAP_PAGE_SIZE, 7, ORDER_PTE, true), -EINVAL);
	assert_int_equal(map_view_restore(view, 0, MAP_PAGE_SIZE, 0, ORDER_PMD, true), -EINVAL);
	assert_int_equal(map_view_restore(view, 0, MAP_UNIT_SIZE, MAP_PAGE_SIZE, ORDER_PMD, true),
			 -EINVAL);
	assert_int_equal(map_view_restore(view, 0, MAP_UNIT_SIZE, 0, ORDER_PUD, true), -EINVAL);
	assert_int_equal(map_view_restore(view, MAP_TO_END - 4095, MAP_PAGE_SIZE, 0, ORDER_PTE,
					  true),
			 -EINVAL);
	assert_false(map_view_pins(view, 0, MAP_TO_END));
	/* too late */
	allocate(f, 0, 1);
	assert_int_equal(mapper_fault(m, 0, MAP_READ, ORDER_PTE), 0);
	assert_int_equal(restore(m, 0, 1, ORDER_PTE, false), -EINVAL);
}

#define TEST_SECOND(name) cmocka_unit_test_setup_teardown(name, setup_second, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_SECOND(test_unit),        TEST_SECOND(test_pages),
		TEST_SECOND(test_lost),        TEST_SECOND(test_half_lost),
		TEST_SECOND(test_two_have_it), TEST_SECOND(test_other_sizes),
		TEST_SECOND(test_over_zeroes), TEST_SECOND(test_behind_the_end),
		TEST_SECOND(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
