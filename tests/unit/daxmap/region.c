/* SPDX-License-Identifier: BSD-3-Clause */
/* The table and the states of pages, against a flat array. */
#include "fake.h"

#include "daxfuse/daxmap/object.h"

enum { PAGES = 64, ROUNDS = 3000 };
#define BASE UINT64_C(0x10000000)

static struct object object = { .holds = 1 };

static void insert(uint64_t first, uint64_t end)
{
	struct region region = { .start = BASE + first * PAGE_BYTES, .end = BASE + end * PAGE_BYTES,
				 .offset = first * PAGE_BYTES, .object = &object };

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
		uint64_t first = (uint64_t)rand() % PAGES, end = first + 1 + (uint64_t)rand() % (PAGES - first);
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

static void test_area(void **state)
{
	static enum page_state page[4 * UNIT_PAGES];
	const uint64_t base = 5 * UNIT_BYTES + 7 * PAGE_BYTES;
	struct area *area;

	assert_int_equal(area_new(base, 3 * UNIT_BYTES, &area), 0);
	area->regions = 1;
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t first = (uint64_t)rand() % (3 * UNIT_PAGES);
		uint64_t end = first + 1 + (uint64_t)rand() % (3 * UNIT_PAGES - first);
		enum page_state to = rand() % PAGE_STATES;
		bool protect = rand() % 4 == 0;

		if (protect)
			area_protect(area, base + first * PAGE_BYTES, base + end * PAGE_BYTES);
		else
			area_set(area, base + first * PAGE_BYTES, base + end * PAGE_BYTES, to, true, 3);
		for (uint64_t i = first; i < end; i++)
			page[i] = !protect ? to : page[i] == PAGE_WRITE ? PAGE_READ : page[i];
		for (uint64_t i = 0; i < 3 * UNIT_PAGES; i++)
			assert_int_equal(area_page(area, base + i * PAGE_BYTES), page[i]);
	}
	area_put(area);
}

/* Whole units of the file only; what is set in part is none any more. */
static void test_huge(void **state)
{
	struct area *area;

	assert_int_equal(area_new(0, 3 * UNIT_BYTES, &area), 0);
	area->regions = 1;
	area_set(area, 0, 3 * UNIT_BYTES, PAGE_WRITE, true, 0);
	assert_true(area_is_huge(area, UNIT_BYTES));
	area_protect(area, UNIT_BYTES, 2 * UNIT_BYTES);
	assert_true(area_is_huge(area, UNIT_BYTES));
	assert_int_equal(area_page(area, UNIT_BYTES), PAGE_READ);
	area_set(area, UNIT_BYTES, UNIT_BYTES + PAGE_BYTES, PAGE_ZERO, false, DXF_REASON_SHORT);
	assert_false(area_is_huge(area, UNIT_BYTES));
	assert_int_equal(area_page(area, UNIT_BYTES + PAGE_BYTES), PAGE_READ);
	assert_int_equal(area_reason(area, UNIT_BYTES), DXF_REASON_SHORT);
	area_put(area);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_area),
		cmocka_unit_test(test_huge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
