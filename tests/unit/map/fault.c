/* SPDX-License-Identifier: BSD-3-Clause */
/* Faults: zeroes, first writes, the reasons for which a huge mapping is refused. */
#include "mapping.h"

static void test_read_only_first(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	assert_int_equal(fake_allocate(f->file, 0, MAP_UNIT_SIZE), 0);
	assert_int_equal(mapper_fault(m, 5, MAP_READ, ORDER_PMD), 0);
	assert_int_equal(m->page[511], f->file->page[511]);
	assert_false(mapper_store(m, 5, 0, 1));
	assert_int_equal(survey(f).huge, MAP_UNIT_SIZE);
	assert_int_equal(survey(f).dirty, 0);
	assert_int_equal(f->hooked, 0);
	assert_int_equal(f->file->touched, 0);
	/* mkwrite */
	assert_int_equal(mapper_fault(m, 5, MAP_WRITE, ORDER_PMD), 0);
	assert_true(mapper_store(m, 5, 0, 1));
	assert_int_equal(survey(f).dirty, MAP_UNIT_SIZE);
	assert_int_equal(f->hooked, 1);
	assert_int_equal(f->hooked_offset, 0);
	assert_int_equal(f->hooked_length, MAP_UNIT_SIZE);
	assert_int_equal(f->file->touched, 1);
	/* a second writer finds it dirty: no event, but a time */
	m = open_mapper(f, &client_ops);
	assert_int_equal(mapper_fault(m, 5, MAP_WRITE, ORDER_PMD), 0);
	assert_int_equal(f->hooked, 1);
	assert_int_equal(f->file->touched, 2);
}

static void test_writable_at_once(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &guest_ops);

	/* reading a hole allocates it: it can't come back to write */
	assert_int_equal(mapper_fault(m, 0, MAP_READ, ORDER_PMD), 0);
	assert_true(mapper_store(m, 7, 0, 1));
	assert_int_equal(survey(f).zeroes, 0);
	assert_int_equal(survey(f).dirty, MAP_UNIT_SIZE);
}

static void test_no_zeroes_for_keepers(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &deaf_ops);

	assert_int_equal(mapper_fault(m, 0, MAP_READ, ORDER_PTE), 0);
	assert_int_equal(m->page[0], f->file->page[0]);
	assert_false(m->writable[0]);
	assert_int_equal(survey(f).pages, MAP_PAGE_SIZE);
	assert_int_equal(survey(f).dirty, 0);
}

static void test_zeroes_then_data(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *reader = open_mapper(f, &client_ops);
	struct fake_mapper *writer = open_mapper(f, &client_ops);

	assert_int_equal(mapper_fault(reader, 0, MAP_READ, ORDER_PMD), 0);
	assert_int_equal(reader->page[100], ZEROES);
	assert_int_equal(survey(f).zeroes, MAP_UNIT_SIZE);
	assert_int_equal(f->file->page[0], -1);
	forget_log(f);
	assert_int_equal(mapper_fault(writer, 0, MAP_WRITE, ORDER_PMD), 0);
	/* allocated, then who maps the zeroes is asked, then it is said to be written */
	assert_string_equal(f->fake->log, "auh");
	assert_int_equal(reader->page[100], NOT_MAPPED);
	assert_true(mapper_store(writer, 100, 0, 42));
	assert_int_equal(mapper_fault(reader, 100, MAP_READ, ORDER_PMD), 0);
	assert_int_equal(load(reader, 100), 42);
}

/* Its own zeroes are not asked back, but replaced by the piece. */
static void test_own_zeroes(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	m->silent = true;
	assert_int_equal(mapper_fault(m, 0, MAP_READ, ORDER_PMD), 0);
	assert_int_equal(mapper_fault(m, 0, MAP_WRITE, ORDER_PMD), 0);
	assert_int_equal(m->asked, 0);
	assert_true(mapper_store(m, 3, 0, 1));
}

static void test_unwritten_reads_zeroes(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	assert_int_equal(fake_allocate(f->file, 0, MAP_UNIT_SIZE), 0);
	for (unsigned i = 0; i < UNIT_PAGES; i++) {
		f->file->unwritten[i] = true;
		page_fill(&f->fake->page[f->file->page[i]], GARBAGE);
	}
	assert_int_equal(mapper_fault(m, 0, MAP_READ, ORDER_PMD), 0);
	assert_int_equal(m->page[0], ZEROES);
	assert_int_equal(mapper_fault(m, 0, MAP_WRITE, ORDER_PMD), 0);
	assert_int_equal(load(m, 511), 0);
	assert_int_equal(m->page[0], f->file->page[0]);
}

static void test_downgrade(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *reader = open_mapper(f, &client_ops);
	struct fake_mapper *writer = open_mapper(f, &client_ops);

	assert_int_equal(mapper_fault(reader, 0, MAP_READ, ORDER_PMD), 0);
	assert_int_equal(mapper_fault(writer, 9, MAP_READ, ORDER_PMD), 0);
	/* a page is wanted where there is a unit of zeroes */
	assert_int_equal(mapper_fault(writer, 9, MAP_WRITE, ORDER_PTE), 0);
	assert_int_equal(reader->page[9], NOT_MAPPED);
	assert_int_equal(reader->page[10], NOT_MAPPED);
	/* the writer has dropped the rest by itself */
	assert_int_equal(writer->asked, 0);
	assert_int_equal(writer->page[10], NOT_MAPPED);
	assert_true(mapper_store(writer, 9, 0, 1));
	assert_int_equal(survey(f).zeroes, 0);
	assert_int_equal(survey(f).pages, MAP_PAGE_SIZE);
	assert_int_equal(map_engine_count(f->engine, MAP_COUNT_DOWNGRADE), 1);
}

static void test_page_of_huge_data(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	assert_int_equal(fake_allocate(f->file, 0, MAP_UNIT_SIZE), 0);
	assert_int_equal(mapper_fault(m, 0, MAP_READ, ORDER_PMD), 0);
	assert_int_equal(mapper_fault(m, 9, MAP_WRITE, ORDER_PTE), 0);
	assert_true(mapper_store(m, 9, 0, 1));
	assert_false(mapper_store(m, 10, 0, 1));
	assert_int_equal(survey(f).huge, MAP_UNIT_SIZE);
	/* all of it is dirty */
	assert_int_equal(survey(f).dirty, MAP_UNIT_SIZE);
}

/* ---- two faults on one page ------------------------------------------------ */

static atomic_bool paused, go_on, armed;

/* The first iomap that is asked waits until it is told to go on. */
static void pause_iomap(struct fake *fake)
{
	if (!atomic_exchange(&armed, false))
		return;
	atomic_store(&paused, true);
	while (!atomic_load(&go_on))
		usleep(100);
}

struct faulting {
	struct fake_mapper *m;
	enum map_access access;
	atomic_bool done;
	int err;
};

static void *fault_run(void *arg)
{
	struct faulting *faulting = arg;

	faulting->err = mapper_fault(faulting->m, 3, faulting->access, ORDER_PTE);
	atomic_store(&faulting->done, true);
	return NULL;
}

/*
 * A reader has been told of a hole and has not mapped it yet, while a writer comes. Were
 * the entry not there before the hole was asked for, the writer would allocate, and the
 * reader map zeroes over data.
 */
static void test_entry_before_iomap(void **state)
{
	struct fixture *f = *state;
	struct faulting read = { .m = open_mapper(f, &client_ops), .access = MAP_READ };
	struct faulting write = { .m = open_mapper(f, &client_ops), .access = MAP_WRITE };
	pthread_t reader, writer;

	atomic_store(&armed, true);
	f->fake->in_iomap = pause_iomap;
	assert_int_equal(pthread_create(&reader, NULL, fault_run, &read), 0);
	wait_until(atomic_load(&paused));
	assert_int_equal(pthread_create(&writer, NULL, fault_run, &write), 0);
	usleep(50000);
	assert_false(atomic_load(&write.done));
	atomic_store(&go_on, true);
	pthread_join(reader, NULL);
	pthread_join(writer, NULL);
	assert_int_equal(read.err, 0);
	assert_int_equal(write.err, 0);
	assert_int_not_equal(read.m->page[3], ZEROES);
	assert_true(mapper_store(write.m, 3, 0, 1));
}

/* The mapper dies while it faults: nothing of it stays. */
static void test_death_in_a_fault(void **state)
{
	struct fixture *f = *state;
	struct faulting write = { .m = open_mapper(f, &client_ops), .access = MAP_WRITE };
	struct map_change change;
	pthread_t writer;

	atomic_store(&paused, false);
	atomic_store(&go_on, false);
	atomic_store(&armed, true);
	f->fake->in_iomap = pause_iomap;
	assert_int_equal(pthread_create(&writer, NULL, fault_run, &write), 0);
	wait_until(atomic_load(&paused));
	map_view_close(write.m->view);
	assert_false(atomic_load(&write.m->gone));
	atomic_store(&go_on, true);
	pthread_join(writer, NULL);
	assert_true(atomic_load(&write.m->gone));
	write.m->view = NULL;
	assert_int_equal(write.err, -ENOTCONN);
	assert_int_equal(map_change_begin(f->map, MAP_CHANGE_FREE, 0, MAP_TO_END, &change), 0);
	assert_int_equal(change.count, 0);
	assert_int_equal(map_change_end(&change, MAP_CHANGE_UNTOUCHED), 0);
}

/* ---- fallback -------------------------------------------------------------- */

static void refused(struct fixture *f, struct fake_mapper *m, const struct map_request *request,
		    enum map_fallback reason)
{
	uint64_t before = map_engine_count(f->engine, (enum map_counter)reason);
	struct map_piece piece;

	assert_int_equal(map_fault(m->view, request, &piece), reason);
	assert_int_equal(map_engine_count(f->engine, (enum map_counter)reason), before + 1);
	assert_int_equal(map_file_count(f->map, (enum map_counter)reason), before + 1);
	assert_non_null(map_counter_name(reason));
	/* and leaves nothing behind that would be in the way of the next one */
	if (reason != MAP_FALLBACK_PTES)
		assert_int_equal(map_file_count(f->map, (enum map_counter)MAP_FALLBACK_PTES), 0);
}

static void test_fallback_reasons(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);
	uint64_t unit = MAP_UNIT_SIZE, page = MAP_PAGE_SIZE;

	refused(f, m,
		&(struct map_request){ unit, MAP_READ, ORDER_PMD, unit + page, 4 * unit, false },
		MAP_FALLBACK_START);
	refused(f, m, &(struct map_request){ unit, MAP_READ, ORDER_PMD, 0, 2 * unit - page, false },
		MAP_FALLBACK_END);
	refused(f, m, &(struct map_request){ 0, MAP_READ, ORDER_PUD, 0, 4 * unit, false },
		MAP_FALLBACK_PUD);
	/* a hole behind the first page */
	assert_int_equal(fake_allocate(f->file, 0, page), 0);
	refused(f, m, &(struct map_request){ 0, MAP_READ, ORDER_PMD, 0, 4 * unit, false },
		MAP_FALLBACK_SHORT);
	/* contiguous, but not aligned */
	for (int i = 0; i < UNIT_PAGES; i++)
		f->file->page[UNIT_PAGES + i] = 1 + i;
	refused(f, m, &(struct map_request){ unit, MAP_READ, ORDER_PMD, 0, 4 * unit, false },
		MAP_FALLBACK_ALIGN);
	for (int i = 0; i < UNIT_PAGES; i++)
		f->file->page[UNIT_PAGES + i] = i;
	f->fake->page[77].bad = true;
	refused(f, m, &(struct map_request){ unit, MAP_READ, ORDER_PMD, 0, 4 * unit, false },
		MAP_FALLBACK_DEVICE);
	f->fake->page[77].bad = false;
	assert_int_equal(mapper_fault(m, UNIT_PAGES, MAP_READ, ORDER_PMD), 0);
	f->file->size = 4 * unit - page;
	refused(f, m, &(struct map_request){ 3 * unit, MAP_READ, ORDER_PMD, 0, 4 * unit, false },
		MAP_FALLBACK_EOF);
	assert_int_equal(mapper_fault(m, 3 * UNIT_PAGES, MAP_READ, ORDER_PTE), 0);
	f->file->size = 4 * unit - 1;
	refused(f, m, &(struct map_request){ 3 * unit, MAP_READ, ORDER_PMD, 0, 4 * unit, false },
		MAP_FALLBACK_PTES);
}

static void test_every_counter_has_a_name(void **state)
{
	for (unsigned i = 1; i < MAP_COUNTERS; i++)
		assert_non_null(map_counter_name(i));
	assert_null(map_counter_name(0));
	assert_null(map_counter_name(MAP_COUNTERS));
}

static const struct map_request read_all = { 0, MAP_READ, ORDER_PMD, 0, UINT64_MAX, false };

/* No unit left: the unit is refused, a page of it can be had. */
static void test_no_space(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	f->fake->full = true;
	assert_int_equal(mapper_fault(m, 0, MAP_WRITE, ORDER_PMD), MAP_FALLBACK_SHORT);
	assert_int_equal(mapper_fault(m, 0, MAP_WRITE, ORDER_PTE), -ENOSPC);
	assert_int_equal(survey(f).dirty, 0);
	f->fake->full = false;
	f->fake->no_units = true;
	assert_int_equal(mapper_fault(m, 0, MAP_WRITE, ORDER_PMD), MAP_FALLBACK_SHORT);
	assert_int_equal(mapper_fault(m, 0, MAP_WRITE, ORDER_PTE), 0);
}

/* A page of a unit of zeroes is to be written, and can't be had: the unit is zeroes no more, and its
 * mapper must not go on with them, as nobody would tell it when they become data. */
static void test_zeroes_go_with_an_error(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	assert_int_equal(mapper_fault(m, 0, MAP_READ, ORDER_PMD), 0);
	assert_int_equal(m->page[5], ZEROES);
	f->fake->full = true;
	assert_int_equal(mapper_fault(m, 3, MAP_WRITE, ORDER_PTE), -ENOSPC);
	assert_int_equal(m->page[5], NOT_MAPPED);
	assert_int_equal(m->page[3], NOT_MAPPED);
}

/* The same of a piece that is made, and has no room in the answer. */
static void test_zeroes_go_without_a_piece(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);
	const struct map_request request = { 0, MAP_WRITE, ORDER_PMD, 0, UINT64_MAX, false };
	struct map_piece piece;
	unsigned count;

	assert_int_equal(mapper_fault_run(m, &read_all, MAP_TO_END), 1);
	assert_int_equal(m->page[UNIT_PAGES], ZEROES);
	assert_int_equal(map_fault_run(m->view, &request, MAP_TO_END, &piece, 1, &count), 0);
	assert_int_equal(count, 1);
	mapper_map(m, &piece);
	assert_int_equal(m->page[0], f->file->page[0]);
	assert_true(f->file->page[UNIT_PAGES] >= 0);
	assert_int_equal(m->page[UNIT_PAGES], NOT_MAPPED);
	assert_int_equal(m->page[2 * UNIT_PAGES], ZEROES);
	assert_int_equal(mapper_fault(m, UNIT_PAGES, MAP_WRITE, ORDER_PMD), 0);
	assert_int_equal(m->page[UNIT_PAGES], f->file->page[UNIT_PAGES]);
}

static void test_poison(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);
	struct fake_mapper *whole = open_mapper(f, &huge_client_ops);

	assert_int_equal(fake_allocate(f->file, 0, MAP_UNIT_SIZE), 0);
	f->fake->page[f->file->page[9]].bad = true;
	assert_int_equal(mapper_fault(m, 8, MAP_READ, ORDER_PTE), 0);
	assert_int_equal(mapper_fault(m, 9, MAP_READ, ORDER_PTE), -EIO);
	assert_int_equal(mapper_fault(whole, 8, MAP_READ, ORDER_PMD), -EIO);
}

static void test_beyond_the_end(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	f->file->size = MAP_PAGE_SIZE + 1;
	assert_int_equal(mapper_fault(m, 1, MAP_READ, ORDER_PTE), 0);
	assert_int_equal(mapper_fault(m, 2, MAP_READ, ORDER_PTE), -ENXIO);
}

/* ---- runs ------------------------------------------------------------------- */

static const struct map_request write_all = { 0, MAP_WRITE, ORDER_PMD, 0, UINT64_MAX, false };
static const struct map_request eager = { 0, MAP_EAGER, ORDER_PMD, 0, UINT64_MAX, false };

static void test_run(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);
	struct map_request request = { 0, MAP_READ, ORDER_PUD, 0, UINT64_MAX, false };
	struct map_piece pieces[8];
	unsigned count;

	/* two neighbouring units, a unit in pages, and two pages to the end of the file */
	assert_int_equal(fake_allocate(f->file, 0, MAP_UNIT_SIZE), 0);
	assert_int_equal(fake_allocate(f->file, MAP_UNIT_SIZE, MAP_UNIT_SIZE), 0);
	assert_int_equal(fake_allocate(f->file, 2 * MAP_UNIT_SIZE, MAP_PAGE_SIZE), 0);
	f->file->size = 3 * MAP_UNIT_SIZE + MAP_PAGE_SIZE + 1;
	assert_int_equal(map_fault_run(m->view, &request, MAP_TO_END, pieces, 8, &count), 0);
	assert_int_equal(count, 4);
	assert_int_equal(pieces[0].length, 2 * MAP_UNIT_SIZE);
	assert_int_equal(pieces[0].order, ORDER_PMD);
	assert_int_equal(pieces[0].device_offset, 0);
	assert_int_equal(pieces[0].reason, 0);
	assert_int_equal(pieces[0].last_grant, pieces[0].grant + 1);
	assert_int_equal(pieces[1].file_offset, 2 * MAP_UNIT_SIZE);
	assert_int_equal(pieces[1].length, MAP_PAGE_SIZE);
	assert_int_equal(pieces[1].reason, MAP_FALLBACK_SHORT);
	assert_true(pieces[2].zero);
	assert_int_equal(pieces[2].order, ORDER_PTE);
	assert_int_equal(pieces[2].length, MAP_UNIT_SIZE - MAP_PAGE_SIZE);
	assert_int_equal(pieces[3].length, 2 * MAP_PAGE_SIZE);
	assert_int_equal(pieces[3].reason, MAP_FALLBACK_EOF);
	assert_int_equal(pieces[3].last_grant, map_view_last_grant(m->view));
	assert_int_equal(map_fault_run(m->view, &request, MAP_TO_END, pieces, 1, &count), 0);
	assert_int_equal(count, 1);
	request.offset = 4 * MAP_UNIT_SIZE;
	assert_int_equal(map_fault_run(m->view, &request, 1, pieces, 8, &count), -ENXIO);
}

/* What lies in one extent is asked for once, however many units it is. */
static void test_run_asks_once(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	for (unsigned i = 0; i < FILE_UNITS; i++)
		assert_int_equal(fake_allocate(f->file, i * MAP_UNIT_SIZE, MAP_UNIT_SIZE), 0);
	f->file->asked = 0;
	assert_int_equal(mapper_fault_run(m, &read_all, MAP_TO_END), 1);
	assert_int_equal(f->file->asked, 2);
	assert_int_equal(mapper_fault_run(m, &write_all, MAP_TO_END), 1);
	assert_int_equal(f->file->asked, 4);
	assert_int_equal(f->file->touched, 1);
	assert_int_equal(survey(f).dirty, FILE_UNITS * MAP_UNIT_SIZE);
	for (unsigned i = 0; i < FILE_PAGES; i++)
		assert_int_equal(m->page[i], f->file->page[i]);
}

/* Data to write to, holes to read. */
static void test_eager_run(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	assert_int_equal(fake_allocate(f->file, 0, MAP_UNIT_SIZE), 0);
	assert_int_equal(fake_allocate(f->file, 2 * MAP_UNIT_SIZE, MAP_UNIT_SIZE), 0);
	assert_int_equal(mapper_fault_run(m, &eager, MAP_TO_END), 4);
	assert_true(mapper_store(m, 0, 0, 1));
	assert_int_equal(m->page[UNIT_PAGES], ZEROES);
	assert_true(mapper_store(m, 2 * UNIT_PAGES, 0, 1));
	assert_int_equal(m->page[3 * UNIT_PAGES], ZEROES);
	assert_int_equal(f->file->page[UNIT_PAGES], -1);
}

static void fill_with_pages(struct fixture *f, unsigned unit, unsigned pages)
{
	for (unsigned i = 0; i < pages; i++)
		assert_int_equal(fake_allocate(f->file, unit * MAP_UNIT_SIZE + i * MAP_PAGE_SIZE,
					       MAP_PAGE_SIZE),
				 0);
}

/* A unit that lies in blocks is gathered if it is worth it, by a request that says so. */
static void test_gathering_run(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);
	struct map_request request = read_all;

	fill_with_pages(f, 0, UNIT_PAGES);
	fill_with_pages(f, 1, 3);
	assert_true(mapper_fault_run(m, &request, MAP_PAGE_SIZE) > 0);
	assert_int_equal(survey(f).huge, 0);
	request.gather = true;
	assert_true(mapper_fault_run(m, &request, 2 * MAP_UNIT_SIZE) > 0);
	assert_int_equal(survey(f).huge, MAP_UNIT_SIZE);
	assert_int_equal(map_engine_count(f->engine, MAP_COUNT_PROMOTED), 1);
	for (unsigned i = 0; i < UNIT_PAGES; i++)
		assert_int_equal(m->page[i], f->file->page[i]);
	/* no unit is free: pages, then, and the reason is told */
	fill_with_pages(f, 2, UNIT_PAGES);
	f->fake->full = true;
	request.offset = 2 * MAP_UNIT_SIZE;
	assert_true(mapper_fault_run(m, &request, MAP_UNIT_SIZE) > 0);
	assert_int_equal(survey(f).huge, MAP_UNIT_SIZE);
}

/* From a few pages before the second unit on. */
static void *read_on(void *arg)
{
	struct map_request request = read_all;
	struct faulting *faulting = arg;

	request.offset = MAP_UNIT_SIZE - 4 * MAP_PAGE_SIZE;
	faulting->err = mapper_fault_run(faulting->m, &request, MAP_TO_END);
	return NULL;
}

/* While a run is under way a unit ahead of it, of which it knows where it lies, moves. */
static void test_run_meets_a_promotion(void **state)
{
	struct fixture *f = *state;
	struct faulting read = { .m = open_mapper(f, &client_ops) };
	pthread_t reader;

	for (unsigned i = 0; i < FILE_PAGES; i++) /* one extent, aligned nowhere */
		set_page(f->file, i, (int)i + 1);
	for (unsigned i = 0; i < FILE_PAGES; i++)
		atomic_store(&f->fake->page[i + 1].state, PAGE_USED);
	read.m->file = f->file;
	atomic_store(&paused, false);
	atomic_store(&go_on, false);
	atomic_store(&armed, true);
	f->fake->in_iomap = pause_iomap;
	assert_int_equal(pthread_create(&reader, NULL, read_on, &read), 0);
	wait_until(atomic_load(&paused));
	assert_int_equal(map_promote(f->map, MAP_UNIT_SIZE), 0);
	atomic_store(&go_on, true);
	pthread_join(reader, NULL);
	assert_int_equal(read.err, 3);
	for (unsigned i = UNIT_PAGES - 4; i < FILE_PAGES; i++)
		mapped_page(read.m, i);
	assert_int_equal(survey(f).huge, MAP_UNIT_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_read_only_first),
		TEST(test_writable_at_once),
		TEST(test_no_zeroes_for_keepers),
		TEST(test_zeroes_then_data),
		TEST(test_own_zeroes),
		TEST(test_unwritten_reads_zeroes),
		TEST(test_downgrade),
		TEST(test_page_of_huge_data),
		TEST(test_entry_before_iomap),
		TEST(test_death_in_a_fault),
		TEST(test_fallback_reasons),
		TEST(test_every_counter_has_a_name),
		TEST(test_no_space),
		TEST(test_zeroes_go_with_an_error),
		TEST(test_zeroes_go_without_a_piece),
		TEST(test_poison),
		TEST(test_beyond_the_end),
		TEST(test_run),
		TEST(test_run_asks_once),
		TEST(test_eager_run),
		TEST(test_gathering_run),
		TEST(test_run_meets_a_promotion),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
