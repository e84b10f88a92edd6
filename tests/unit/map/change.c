/* SPDX-License-Identifier: BSD-3-Clause */
/* Truncate, punch, moving extents: who lets go, and what becomes of what is pinned. */
#include "mapping.h"

static int write_page(struct fake_mapper *m, uint64_t page, unsigned order, uint64_t value)
{
	int err = mapper_fault(m, page, MAP_WRITE, order);

	if (!err)
		assert_true(mapper_store(m, page, 0, value));
	return err;
}

static void test_punch(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *client = open_mapper(f, &client_ops);
	struct fake_mapper *kernel = open_mapper(f, &kernel_ops);
	int unit;

	assert_int_equal(write_page(client, 3, ORDER_PMD, 1), 0);
	assert_int_equal(write_page(kernel, UNIT_PAGES, ORDER_PMD, 2), 0);
	unit = f->file->page[0];
	assert_int_equal(punch(f->map, f->file, 0, MAP_UNIT_SIZE), 0);
	assert_int_equal(client->page[3], NOT_MAPPED);
	assert_int_equal(f->fake->page[unit].state, PAGE_FREE);
	assert_false(map_view_pins(client->view, 0, MAP_UNIT_SIZE));
	assert_int_equal(survey(f).dirty, MAP_UNIT_SIZE);
	/* the other unit is untouched */
	assert_int_equal(kernel->asked, 0);
	assert_true(mapper_store(kernel, UNIT_PAGES, 0, 3));
	/* it reads as a hole */
	assert_int_equal(mapper_fault(client, 3, MAP_READ, ORDER_PMD), 0);
	assert_int_equal(client->page[3], ZEROES);
}

/* A mapper of a unit of which a part goes lets go of it all; the rest of it is durable. */
static void test_punch_inside_unit(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	assert_int_equal(write_page(m, 3, ORDER_PMD, 33), 0);
	assert_true(mapper_store(m, 200, 0, 44));
	assert_int_equal(punch(f->map, f->file, 100 * MAP_PAGE_SIZE, 200 * MAP_PAGE_SIZE), 0);
	assert_int_equal(m->page[3], NOT_MAPPED);
	assert_int_equal(survey(f).huge, 0);
	assert_int_equal(survey(f).dirty, 0);
	assert_int_equal(atomic_load(&f->fake->page[f->file->page[3]].durable[0]), 33);
	assert_int_equal(f->file->page[200], -1);
	assert_int_equal(mapper_fault(m, 3, MAP_READ, ORDER_PTE), 0);
	assert_int_equal(load(m, 3), 33);
}

static void test_silent_client(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops), *other = open_mapper(f, &client_ops);
	int old;

	assert_int_equal(write_page(m, 3, ORDER_PTE, 1), 0);
	old = f->file->page[3];
	m->silent = true;
	assert_int_equal(punch(f->map, f->file, 0, MAP_UNIT_SIZE), 0);
	/* it is busy, and nobody else's */
	assert_int_equal(f->fake->page[old].state, PAGE_QUARANTINED);
	assert_int_equal(f->file->page[3], -1);
	assert_true(mapper_store(m, 3, 0, 2));
	assert_int_equal(map_engine_count(f->engine, MAP_COUNT_QUARANTINED), 1);
	assert_int_equal(map_engine_count(f->engine, MAP_COUNT_UNANSWERED), 1);
	/* the file goes on: another page, to which the old pin has no relation */
	assert_int_equal(write_page(other, 3, ORDER_PTE, 9), 0);
	assert_int_not_equal(f->file->page[3], old);
	assert_int_equal(load(m, 3), 2);
	/* the answer comes at last */
	mapper_answer(m);
	assert_int_equal(f->fake->page[old].state, PAGE_FREE);
	assert_int_equal(f->fake->released, 1);
	assert_false(map_view_pins(m->view, 0, MAP_UNIT_SIZE));
	assert_int_equal(load(other, 3), 9);
}

/* A new mapping of the same range is not what the late answer is about. */
static void test_late_answer(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);
	uint64_t grant;
	int old;

	assert_int_equal(write_page(m, 3, ORDER_PTE, 1), 0);
	old = f->file->page[3];
	m->silent = true;
	assert_int_equal(punch(f->map, f->file, 0, MAP_UNIT_SIZE), 0);
	grant = m->asked_grant;
	assert_int_equal(write_page(m, 3, ORDER_PTE, 9), 0);
	map_let_go(m->view, 0, MAP_UNIT_SIZE, grant);
	assert_int_equal(f->fake->page[old].state, PAGE_FREE);
	assert_true(map_view_pins(m->view, 3 * MAP_PAGE_SIZE, MAP_PAGE_SIZE));
	assert_int_equal(load(m, 3), 9);
}

/* The answer to the first of two questions says nothing of what was granted in between. */
static void test_answer_to_the_first(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);
	uint64_t grant;
	int first, second;

	m->silent = true;
	assert_int_equal(write_page(m, 3, ORDER_PTE, 1), 0);
	first = f->file->page[3];
	assert_int_equal(punch(f->map, f->file, 0, MAP_UNIT_SIZE), 0);
	grant = m->asked_grant;
	assert_int_equal(write_page(m, 3, ORDER_PTE, 2), 0);
	second = f->file->page[3];
	assert_int_equal(punch(f->map, f->file, 0, MAP_UNIT_SIZE), 0);
	map_let_go(m->view, 0, MAP_UNIT_SIZE, grant);
	assert_int_equal(f->fake->page[first].state, PAGE_FREE);
	assert_int_equal(f->fake->page[second].state, PAGE_QUARANTINED);
	mapper_answer(m);
	assert_int_equal(f->fake->page[second].state, PAGE_FREE);
}

/* A piece that was granted before unmap() came, and arrives after it. */
static void test_void_grant(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);
	struct map_request request = { 0, MAP_READ, ORDER_PTE, 0, UINT64_MAX, false };
	struct map_piece piece;

	assert_int_equal(fake_allocate(f->file, 0, MAP_PAGE_SIZE), 0);
	assert_int_equal(map_fault(m->view, &request, &piece), 0);
	assert_int_equal(punch(f->map, f->file, 0, MAP_UNIT_SIZE), 0);
	mapper_map(m, &piece);
	assert_int_equal(m->page[0], NOT_MAPPED);
	/* a newer one is good */
	assert_int_equal(mapper_fault(m, 0, MAP_READ, ORDER_PTE), 0);
	assert_int_equal(m->page[0], ZEROES);
}

static void test_death_ends_pins(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);
	int old;

	assert_int_equal(write_page(m, 3, ORDER_PMD, 1), 0);
	old = f->file->page[3];
	m->silent = true;
	assert_int_equal(change_file(f->map, f->file, MAP_CHANGE_FREE, 0, MAP_TO_END), 0);
	assert_int_equal(f->fake->page[old].state, PAGE_QUARANTINED);
	close_mapper(m);
	assert_int_equal(f->fake->page[old].state, PAGE_FREE);
	assert_int_equal(f->fake->released, UNIT_PAGES);
}

/* Two have it: the last one counts. */
static void test_last_pin(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *a = open_mapper(f, &client_ops), *b = open_mapper(f, &client_ops);
	int old;

	assert_int_equal(write_page(a, 3, ORDER_PMD, 1), 0);
	assert_int_equal(write_page(b, 3, ORDER_PMD, 1), 0);
	old = f->file->page[3];
	a->silent = b->silent = true;
	assert_int_equal(punch(f->map, f->file, 0, MAP_UNIT_SIZE), 0);
	close_mapper(a);
	assert_int_equal(f->fake->page[old].state, PAGE_QUARANTINED);
	mapper_answer(b);
	assert_int_equal(f->fake->page[old].state, PAGE_FREE);
}

static void *answer_soon(void *arg)
{
	struct fake_mapper *m = arg;

	wait_until(m->asked);
	usleep(5000);
	mapper_answer(m);
	return NULL;
}

static void *close_soon(void *arg)
{
	struct fake_mapper *m = arg;

	wait_until(m->asked);
	usleep(5000);
	map_view_close(m->view);
	m->view = NULL;
	return NULL;
}

/* It is waited for, while the file is locked: an answer and a death get through. */
static void waited_for(struct fixture *f, void *(*how)(void *))
{
	struct fake_mapper *m = open_mapper(f, &client_ops);
	pthread_t thread;
	int old;

	map_engine_set_answer_ms(f->engine, 20000);
	m->slow = true;
	assert_int_equal(write_page(m, 3, ORDER_PMD, 1), 0);
	old = f->file->page[3];
	assert_int_equal(pthread_create(&thread, NULL, how, m), 0);
	assert_int_equal(punch(f->map, f->file, 0, MAP_UNIT_SIZE), 0);
	pthread_join(thread, NULL);
	assert_int_equal(f->fake->page[old].state, PAGE_FREE);
	assert_int_equal(map_engine_count(f->engine, MAP_COUNT_QUARANTINED), 0);
}

static void test_answer_is_waited_for(void **state)
{
	waited_for(*state, answer_soon);
}

static void test_death_is_an_answer(void **state)
{
	waited_for(*state, close_soon);
}

/* A mapper that was silent once is not waited for again, until it answers. */
static void test_silence_costs_once(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	m->silent = true;
	for (unsigned unit = 0; unit < 3; unit++) {
		assert_int_equal(write_page(m, unit * UNIT_PAGES, ORDER_PTE, 1), 0);
		assert_int_equal(punch(f->map, f->file, unit * MAP_UNIT_SIZE, MAP_UNIT_SIZE), 0);
	}
	assert_int_equal(map_engine_count(f->engine, MAP_COUNT_UNANSWERED), 1);
	assert_int_equal(map_engine_count(f->engine, MAP_COUNT_QUARANTINED), 3);
}

/* A mapper that says that it will not answer is not waited for, and the others are. */
static void test_refusal(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *pin = open_mapper(f, &long_term_ops);
	struct fake_mapper *client = open_mapper(f, &client_ops);
	pthread_t thread;
	int old;

	map_engine_set_answer_ms(f->engine, 3600 * 1000);
	client->slow = true;
	assert_int_equal(write_page(pin, 3, ORDER_PMD, 1), 0);
	assert_int_equal(write_page(client, 3, ORDER_PMD, 1), 0);
	old = f->file->page[3];
	assert_int_equal(pthread_create(&thread, NULL, answer_soon, client), 0);
	assert_int_equal(punch(f->map, f->file, 0, MAP_UNIT_SIZE), 0);
	pthread_join(thread, NULL);
	assert_int_equal(pin->asked, 1);
	assert_int_equal(client->page[3], NOT_MAPPED);
	assert_int_equal(map_engine_count(f->engine, MAP_COUNT_UNANSWERED), 1);
	/* it keeps what it has, and that is nobody else's */
	assert_int_equal(f->file->page[3], -1);
	assert_int_equal(f->fake->page[old].state, PAGE_QUARANTINED);
	assert_true(mapper_store(pin, 3, 0, 2));
	/* asked once more, for something else */
	assert_int_equal(write_page(pin, UNIT_PAGES, ORDER_PMD, 1), 0);
	assert_int_equal(map_promote(f->map, MAP_UNIT_SIZE), 0);
	assert_int_equal(punch(f->map, f->file, MAP_UNIT_SIZE, MAP_UNIT_SIZE), 0);
	assert_int_equal(pin->asked, 2);
	close_mapper(pin);
	assert_int_equal(f->fake->page[old].state, PAGE_FREE);
}

/* A guest is not told of its truncation, and goes on: what it has is zeroed in place, and
 * stays what the file has there. */
static void test_guest_keeps(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *guest = open_mapper(f, &guest_ops);
	struct fake_mapper *other = open_mapper(f, &client_ops);
	int unit;

	assert_int_equal(write_page(guest, 3, ORDER_PMD, 1), 0);
	unit = f->file->page[0];
	assert_int_equal(punch(f->map, f->file, 0, MAP_UNIT_SIZE), 0);
	assert_int_equal(f->file->page[0], unit);
	assert_int_equal(load(guest, 3), 0);
	assert_true(mapper_store(guest, 3, 0, 2));
	assert_int_equal(survey(f).dirty, MAP_UNIT_SIZE);
	assert_int_equal(map_engine_count(f->engine, MAP_COUNT_KEPT), 1);
	assert_int_equal(mapper_fault(other, 3, MAP_READ, ORDER_PMD), 0);
	assert_int_equal(load(other, 3), 2);
	/* when the file itself goes, there is nothing to be the same as */
	assert_int_equal(change_file(f->map, f->file, MAP_CHANGE_FREE, 0, MAP_TO_END), 0);
	assert_int_equal(f->fake->page[unit].state, PAGE_QUARANTINED);
	mapper_drop(guest, 0, MAP_UNIT_SIZE);
	assert_int_equal(f->fake->page[unit].state, PAGE_FREE);
}

/* What a guest stores where its file was cut off is not there when it grows again. */
static void test_kept_behind_the_end(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *guest = open_mapper(f, &guest_ops);

	assert_int_equal(write_page(guest, 3, ORDER_PTE, 1), 0);
	assert_int_equal(write_page(guest, 3 * UNIT_PAGES, ORDER_PMD, 2), 0);
	assert_int_equal(truncate_to(f->map, f->file, 3 * MAP_PAGE_SIZE), 0);
	assert_true(mapper_store(guest, 3, 0, 5));
	assert_true(mapper_store(guest, 3 * UNIT_PAGES, 0, 6));
	assert_int_equal(truncate_to(f->map, f->file, FILE_UNITS * MAP_UNIT_SIZE), 0);
	assert_int_equal(load(guest, 3), 0);
	assert_int_equal(load(guest, 3 * UNIT_PAGES), 0);
}

static void test_truncate_inside_unit(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);
	int unit;

	assert_int_equal(write_page(m, UNIT_PAGES + 3, ORDER_PMD, 1), 0);
	unit = f->file->page[UNIT_PAGES];
	m->silent = true;
	/* a silent one keeps the unit that is cut: its rest can't be freed from under it */
	assert_int_equal(truncate_to(f->map, f->file, MAP_UNIT_SIZE + 4 * MAP_PAGE_SIZE), 0);
	assert_int_equal(f->file->page[UNIT_PAGES + 100], unit + 100);
	assert_int_equal(f->fake->page[unit + 100].state, PAGE_USED);
	assert_int_equal(load(m, UNIT_PAGES + 3), 1);
	mapper_answer(m);
	m->silent = false;
	assert_int_equal(truncate_to(f->map, f->file, MAP_PAGE_SIZE), 0);
	assert_int_equal(f->fake->page[unit].state, PAGE_FREE);
	assert_int_equal(mapper_fault(m, UNIT_PAGES, MAP_READ, ORDER_PTE), -ENXIO);
}

static void test_move_needs_all(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *guest = open_mapper(f, &guest_ops);
	struct fake_mapper *client = open_mapper(f, &client_ops);
	struct map_change change;

	assert_int_equal(write_page(guest, 3, ORDER_PMD, 1), 0);
	assert_int_equal(write_page(client, UNIT_PAGES, ORDER_PMD, 2), 0);
	assert_int_equal(map_change_begin(f->map, MAP_CHANGE_MOVE, 0, MAP_TO_END, &change), -EBUSY);
	/* nothing is locked */
	assert_true(mapper_store(guest, 3, 0, 4));
	assert_int_equal(
		map_change_begin(f->map, MAP_CHANGE_MOVE, MAP_UNIT_SIZE, MAP_TO_END, &change), 0);
	assert_int_equal(change.count, 0);
	assert_int_equal(client->page[UNIT_PAGES], NOT_MAPPED);
	assert_int_equal(map_change_end(&change, true), 0);
	assert_int_equal(survey(f).huge, MAP_UNIT_SIZE);
}

/* A move that is refused leaves everything as it was: who has zeroes still pins them, and is
 * asked when they become data. */
static void test_refused_move(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *reader = open_mapper(f, &client_ops);
	struct fake_mapper *pin = open_mapper(f, &long_term_ops);
	struct map_survey before, after;
	struct map_change change;

	assert_int_equal(mapper_fault(reader, 0, MAP_READ, ORDER_PMD), 0);
	assert_int_equal(reader->page[3], ZEROES);
	assert_int_equal(write_page(pin, UNIT_PAGES, ORDER_PMD, 1), 0);
	reader->silent = true;
	before = survey(f);
	assert_int_equal(map_change_begin(f->map, MAP_CHANGE_MOVE, 0, MAP_TO_END, &change), -EBUSY);
	after = survey(f);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_true(map_view_pins(reader->view, 0, MAP_UNIT_SIZE));
	assert_true(map_view_pins(pin->view, MAP_UNIT_SIZE, MAP_UNIT_SIZE));
	assert_true(mapper_store(pin, UNIT_PAGES, 0, 4));
	reader->silent = false;
	mapper_answer(reader);
	assert_int_equal(mapper_fault(reader, 0, MAP_READ, ORDER_PMD), 0);
	close_mapper(pin);
	assert_int_equal(map_change_begin(f->map, MAP_CHANGE_MOVE, 0, MAP_TO_END, &change), 0);
	assert_int_equal(map_change_end(&change, true), 0);
	assert_int_equal(survey(f).zeroes, 0);
}

static void test_aborted_change(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);
	struct map_change change;

	m->silent = true;
	assert_int_equal(write_page(m, 3, ORDER_PMD, 1), 0);
	assert_int_equal(map_change_begin(f->map, MAP_CHANGE_PUNCH, 0, MAP_UNIT_SIZE, &change), 0);
	assert_int_equal(change.count, 1);
	assert_int_equal(change.pinned[0].length, MAP_UNIT_SIZE);
	assert_false(change.pinned[0].keep);
	assert_int_equal(map_change_end(&change, false), 0);
	assert_true(map_view_pins(m->view, 0, MAP_UNIT_SIZE));
	assert_int_equal(survey(f).dirty, MAP_UNIT_SIZE);
	assert_true(mapper_store(m, 3, 0, 2));
}

/* Let go between the list and the commit: nobody has it, and it is released at once. */
static void test_let_go_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);
	struct map_change change;

	m->silent = true;
	assert_int_equal(write_page(m, 3, ORDER_PMD, 1), 0);
	assert_int_equal(map_change_begin(f->map, MAP_CHANGE_PUNCH, 0, MAP_UNIT_SIZE, &change), 0);
	mapper_answer(m);
	free_pages(f->file, &change);
	assert_int_equal(f->fake->released, 0);
	assert_int_equal(map_change_end(&change, true), 0);
	assert_int_equal(f->fake->released, UNIT_PAGES);
}

/* Kept for the guest, which lets go meanwhile: the silent client still has it. */
static void test_kept_for_another(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *guest = open_mapper(f, &guest_ops);
	struct fake_mapper *client = open_mapper(f, &client_ops);
	struct map_change change;
	int unit;

	client->silent = true;
	assert_int_equal(write_page(guest, 3, ORDER_PMD, 1), 0);
	assert_int_equal(write_page(client, 3, ORDER_PMD, 2), 0);
	unit = f->file->page[0];
	assert_int_equal(map_change_begin(f->map, MAP_CHANGE_PUNCH, 0, MAP_UNIT_SIZE, &change), 0);
	assert_true(change.pinned[0].keep);
	mapper_drop(guest, 0, MAP_UNIT_SIZE);
	free_pages(f->file, &change);
	assert_int_equal(map_change_end(&change, true), 0);
	assert_int_equal(survey(f).huge, MAP_UNIT_SIZE);
	assert_int_equal(punch(f->map, f->file, 0, MAP_UNIT_SIZE), 0);
	assert_int_equal(f->fake->page[unit].state, PAGE_QUARANTINED);
}

static void test_write_over_zeroes(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	assert_int_equal(mapper_fault(m, 3, MAP_READ, ORDER_PMD), 0);
	assert_int_equal(fake_allocate(f->file, 3 * MAP_PAGE_SIZE, MAP_PAGE_SIZE), 0);
	assert_int_equal(map_wrote(f->map, 3 * MAP_PAGE_SIZE, MAP_PAGE_SIZE), 0);
	assert_int_equal(m->page[3], NOT_MAPPED);
	assert_int_equal(survey(f).zeroes, 0);
	assert_int_equal(mapper_fault(m, 3, MAP_READ, ORDER_PTE), 0);
	assert_int_equal(m->page[3], f->file->page[3]);
}

static void test_partial_let_go(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	assert_int_equal(write_page(m, 0, ORDER_PMD, 1), 0);
	map_let_go(m->view, 0, MAP_UNIT_SIZE / 2, UINT64_MAX);
	assert_false(map_view_pins(m->view, 0, MAP_UNIT_SIZE / 2));
	assert_true(map_view_pins(m->view, MAP_UNIT_SIZE / 2, MAP_PAGE_SIZE));
	map_let_go(m->view, MAP_UNIT_SIZE / 2, MAP_UNIT_SIZE / 2, UINT64_MAX);
	assert_false(map_view_pins(m->view, 0, MAP_UNIT_SIZE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_punch),
		TEST(test_punch_inside_unit),
		TEST(test_silent_client),
		TEST(test_late_answer),
		TEST(test_answer_to_the_first),
		TEST(test_void_grant),
		TEST(test_death_ends_pins),
		TEST(test_last_pin),
		TEST(test_refusal),
		TEST(test_refused_move),
		TEST(test_answer_is_waited_for),
		TEST(test_death_is_an_answer),
		TEST(test_silence_costs_once),
		TEST(test_guest_keeps),
		TEST(test_kept_behind_the_end),
		TEST(test_truncate_inside_unit),
		TEST(test_move_needs_all),
		TEST(test_aborted_change),
		TEST(test_let_go_meanwhile),
		TEST(test_kept_for_another),
		TEST(test_write_over_zeroes),
		TEST(test_partial_let_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
