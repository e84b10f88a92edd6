/* SPDX-License-Identifier: BSD-3-Clause */
/* The table and the states of pages, against a flat array. */
#include "fake.h"

#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/session/object.h"

enum { PAGES = 64, ROUNDS = 3000 };
#define BASE UINT64_C(0x10000000)

static struct object object = { .holds = 1 };

static void insert(uint64_t first, uint64_t end)
{
	struct region region = { .start = BASE + first * PAGE_BYTES,
				 .end = BASE + end * PAGE_BYTES,
				 .offset = first * PAGE_BYTES,
				 .object = &object };

	assert_int_equal(regions_reserve(1), 0);
	assert_int_equal(area_new(region.offset, region.end - region.start, &region.area), 0);
	region_insert(&region);
	object.holds++;
}

static void take_out(uint64_t first, uint64_t end)
{
	struct region *r;

	assert_int_equal(regions_reserve(2), 0);
	region_cut(BASE + first * PAGE_BYTES);
	region_cut(BASE + end * PAGE_BYTES);
	while ((r = region_from(BASE + first * PAGE_BYTES)) && r->start < BASE + end * PAGE_BYTES) {
		region_remove(r);
		object.holds--;
	}
}

static void check(const bool *mapped)
{
	uintptr_t before = 0;
	uint32_t n = 0;

	for (uint64_t page = 0; page < PAGES; page++) {
		struct region *r = region_at(BASE + page * PAGE_BYTES);

		assert_int_equal(mapped[page], r != NULL);
		if (r)
			assert_int_equal(r->offset + (BASE + page * PAGE_BYTES - r->start),
					 page * PAGE_BYTES);
	}
	for (struct region *r = region_from(0); r; r = region_next(r), n++) {
		assert_true(r->start >= before);
		assert_true(r->end > r->start);
		before = r->end;
	}
	assert_int_equal(object.holds, n + 1);
}

static void test_table(void **state)
{
	bool mapped[PAGES] = { false };

	srand(1);
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t first = (uint64_t)rand() % PAGES,
			 end = first + 1 + (uint64_t)rand() % (PAGES - first);
		bool add = rand() % 2;

		take_out(first, end);
		if (add)
			insert(first, end);
		for (uint64_t page = first; page < end; page++)
			mapped[page] = add;
		check(mapped);
	}
	take_out(0, PAGES);
}

static enum page_state after(enum page_state was, enum page_state to)
{
	return to == PAGE_READ && was >= PAGE_DIRTY ? PAGE_DIRTY : to;
}

/* A whole unit that is mapped at once may say too much of its pages: that they are dirty. */
static void check_page(enum page_state got, enum page_state *expected)
{
	if (got == PAGE_DIRTY && *expected == PAGE_READ)
		*expected = got;
	assert_int_equal(got, *expected);
}

static void check_stored(const struct area *area, uint64_t base, const enum page_state *page,
			 uint64_t first, uint64_t end)
{
	uint64_t offset = base + first * PAGE_BYTES, stop = base + end * PAGE_BYTES;
	bool any = area_stored(area, &offset, &stop);
	uint64_t low = end, high = first;

	for (uint64_t i = first; i < end; i++) {
		if (page[i] >= PAGE_DIRTY)
			low = MIN(low, i), high = i + 1;
	}
	assert_int_equal(any, low < high);
	if (any) {
		assert_int_equal(offset, base + low * PAGE_BYTES);
		assert_int_equal(stop, base + high * PAGE_BYTES);
	}
}

static void test_area(void **state)
{
	static enum page_state page[4 * UNIT_PAGES];
	const uint64_t base = 5 * UNIT_BYTES + 7 * PAGE_BYTES;
	struct area *area;

	assert_int_equal(area_new(base, 3 * UNIT_BYTES, &area), 0);
	area_hold(area);
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t first = (uint64_t)rand() % (3 * UNIT_PAGES);
		uint64_t end = first + 1 + (uint64_t)rand() % (3 * UNIT_PAGES - first);
		enum page_state to = rand() % PAGE_STATES;
		uint64_t from = base + first * PAGE_BYTES, stop = base + end * PAGE_BYTES;
		int what = rand() % 6;

		if (what == 0)
			area_protect(area, from, stop);
		else if (what == 1)
			area_clean(area, from, stop);
		else
			area_set(area, from, stop, to, true, 3);
		for (uint64_t i = first; i < end; i++)
			page[i] = what == 0 && page[i] == PAGE_WRITE   ? PAGE_DIRTY
				  : what == 1 && page[i] == PAGE_DIRTY ? PAGE_READ
				  : what > 1                           ? after(page[i], to)
								       : page[i];
		for (uint64_t i = 0; i < 3 * UNIT_PAGES; i++)
			check_page(area_page(area, base + i * PAGE_BYTES), &page[i]);
		check_stored(area, base, page, first, end);
	}
	area_put(area);
}

/* Whole units of the file only; what is set in part is none any more. */
static void test_huge(void **state)
{
	struct area *area;

	assert_int_equal(area_new(0, 3 * UNIT_BYTES, &area), 0);
	area_hold(area);
	area_set(area, 0, 3 * UNIT_BYTES, PAGE_WRITE, true, 0);
	assert_true(area_is_huge(area, UNIT_BYTES));
	area_protect(area, UNIT_BYTES, 2 * UNIT_BYTES);
	assert_true(area_is_huge(area, UNIT_BYTES));
	assert_int_equal(area_page(area, UNIT_BYTES), PAGE_DIRTY);
	area_set(area, UNIT_BYTES, 2 * UNIT_BYTES, PAGE_READ, true, 0);
	assert_int_equal(area_page(area, UNIT_BYTES), PAGE_DIRTY);
	area_clean(area, UNIT_BYTES, 2 * UNIT_BYTES);
	assert_true(area_is_huge(area, UNIT_BYTES));
	assert_int_equal(area_page(area, UNIT_BYTES), PAGE_READ);
	area_set(area, UNIT_BYTES, UNIT_BYTES + PAGE_BYTES, PAGE_ZERO, false, DXF_REASON_SHORT);
	assert_false(area_is_huge(area, UNIT_BYTES));
	assert_int_equal(area_page(area, UNIT_BYTES + PAGE_BYTES), PAGE_READ);
	assert_int_equal(area_reason(area, UNIT_BYTES), DXF_REASON_SHORT);
	area_put(area);
}

/* All of it is with the lock. */
static int take_lock(void **state)
{
	lock_take();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_area),
		cmocka_unit_test(test_huge),
	};

	return cmocka_run_group_tests(tests, take_lock, NULL);
}
