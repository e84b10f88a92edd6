/* SPDX-License-Identifier: BSD-3-Clause */
/* Promotion, and the end of the file for those that map whole units only. */
#include "mapping.h"

/* Four pages of the first unit, scattered, written by m. */
static void scatter(struct fixture *f, struct fake_mapper *m)
{
	for (uint64_t page = 0; page < 400; page += 100) {
		assert_int_equal(mapper_fault(m, page, MAP_WRITE, ORDER_PTE), 0);
		assert_true(mapper_store(m, page, 0, page + 1));
	}
	assert_int_equal(survey(f).pages, 4 * MAP_PAGE_SIZE);
}

static void test_promote(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *writer = open_mapper(f, &client_ops);
	struct fake_mapper *reader = open_mapper(f, &kernel_ops);
	int old;

	scatter(f, writer);
	old = f->file->page[100];
	assert_int_equal(mapper_fault(reader, 100, MAP_READ, ORDER_PMD), 0);
	/* it was promoted for the reader, which takes whole units only */
	assert_int_equal(map_engine_count(f->engine, MAP_COUNT_PROMOTED), 1);
	assert_int_equal(map_engine_count(f->engine, (enum map_counter)MAP_FALLBACK_PTES), 1);
	assert_int_equal(survey(f).huge, MAP_UNIT_SIZE);
	assert_int_equal(survey(f).pages, 0);
	/* copied and flushed: clean */
	assert_int_equal(survey(f).dirty, 0);
	assert_int_equal(load(reader, 300), 301);
	assert_int_equal(load(reader, 301), 0);
	/* what the writer had is gone: the old blocks are free, and not its any more */
	assert_false(mapper_store(writer, 100, 0, 5));
	assert_int_equal(f->fake->page[old].state, PAGE_FREE);
	/* it gets the unit now */
	assert_int_equal(mapper_fault(writer, 100, MAP_WRITE, ORDER_PMD), 0);
	assert_true(mapper_store(writer, 511, 0, 6));
	assert_int_equal(load(reader, 511), 6);
	assert_int_equal(map_promote(f->map, 5), 0);
	assert_int_equal(map_engine_count(f->engine, MAP_COUNT_PROMOTED), 1);
}

/* All let go before the copy is made. */
static void test_order(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	scatter(f, m);
	forget_log(f);
	assert_int_equal(map_promote(f->map, 0), 0);
	assert_string_equal(f->fake->log, "up");
}

static void refuses(struct fixture *f, struct fake_mapper *m, int err)
{
	int old[UNIT_PAGES];

	memcpy(old, f->file->page, sizeof(old));
	assert_int_equal(map_promote(f->map, 0), err);
	assert_memory_equal(old, f->file->page, sizeof(old));
	assert_int_equal(survey(f).pages, 4 * MAP_PAGE_SIZE);
	assert_int_equal(survey(f).dirty, 4 * MAP_PAGE_SIZE);
	assert_int_equal(map_engine_count(f->engine, MAP_COUNT_NOT_PROMOTED), 1);
	/* and no entry is left locked */
	assert_int_equal(mapper_fault(m, 101, MAP_READ, ORDER_PTE), 0);
}

static void test_keeper_prevents_it(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *guest = open_mapper(f, &guest_ops);

	scatter(f, guest);
	refuses(f, guest, -EBUSY);
	assert_true(mapper_store(guest, 100, 0, 5));
}

static void test_silence_prevents_it(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	scatter(f, m);
	m->silent = true;
	refuses(f, m, -EBUSY);
	assert_true(mapper_store(m, 100, 0, 5));
	m->silent = false;
	assert_int_equal(map_promote(f->map, 0), 0);
}

static void test_no_unit_free(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops), *whole;

	scatter(f, m);
	f->fake->no_units = true;
	refuses(f, m, -ENOSPC);
	whole = open_mapper(f, &huge_client_ops);
	assert_int_equal(mapper_fault(whole, 0, MAP_READ, ORDER_PMD), -ENOSPC);
}

static void test_beyond_the_end(void **state)
{
	struct fixture *f = *state;

	f->file->size = MAP_UNIT_SIZE;
	assert_int_equal(map_promote(f->map, MAP_UNIT_SIZE), -ENXIO);
}

/* A small file is mapped as a whole unit, where nothing else can be. */
static void test_last_unit_whole(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &huge_client_ops);

	f->file->size = 5000;
	assert_int_equal(fake_allocate(f->file, 0, 2 * MAP_PAGE_SIZE), 0);
	atomic_store(&f->fake->page[f->file->page[1]].word[0], 7);
	/* asked for a page, it gives what can be mapped */
	assert_int_equal(mapper_fault(m, 1, MAP_READ, ORDER_PTE), 0);
	assert_int_equal(load(m, 1), 7);
	assert_int_equal(load(m, 511), 0);
	assert_int_equal(map_engine_count(f->engine, (enum map_counter)MAP_FALLBACK_EOF), 0);
	/* its tail is in the same unit, though behind the end */
	assert_int_equal(mapper_fault(m, 300, MAP_READ, ORDER_PMD), 0);
	assert_int_equal(mapper_fault(m, 512, MAP_READ, ORDER_PMD), -ENXIO);
}

/* Behind the end there are zeroes, after it was cut and when it grows. */
static void test_tail_is_zeroed(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &huge_client_ops);

	f->file->size = MAP_UNIT_SIZE;
	f->file->whole_units = true;
	assert_int_equal(mapper_fault(m, 0, MAP_WRITE, ORDER_PMD), 0);
	for (uint64_t page = 0; page < UNIT_PAGES; page++)
		assert_true(mapper_store(m, page, 0, page + 1));
	assert_int_equal(truncate_to(f->map, f->file, 9 * MAP_PAGE_SIZE), 0);
	assert_int_equal(mapper_fault(m, 0, MAP_WRITE, ORDER_PMD), 0);
	assert_int_equal(load(m, 8), 9);
	for (uint64_t page = 9; page < UNIT_PAGES; page++)
		assert_int_equal(load(m, page), 0);
	/* it stores where it must not, and that is not seen when the file grows */
	assert_true(mapper_store(m, 20, 0, 55));
	assert_int_equal(truncate_to(f->map, f->file, 30 * MAP_PAGE_SIZE), 0);
	assert_int_equal(load(m, 20), 0);
	assert_int_equal(load(m, 8), 9);
}

static void test_partial_mapping_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &huge_client_ops);
	struct map_request request = { 0, MAP_READ, ORDER_PMD, 4096, UINT64_MAX, false };
	struct map_piece piece;

	assert_int_equal(map_fault(m->view, &request, &piece), -EINVAL);
	request.start = 0;
	request.end = MAP_UNIT_SIZE - 1;
	assert_int_equal(map_fault(m->view, &request, &piece), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_promote),
		TEST(test_order),
		TEST(test_keeper_prevents_it),
		TEST(test_silence_prevents_it),
		TEST(test_no_unit_free),
		TEST(test_beyond_the_end),
		TEST(test_last_unit_whole),
		TEST(test_tail_is_zeroed),
		TEST(test_partial_mapping_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
