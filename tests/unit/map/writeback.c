/* SPDX-License-Identifier: BSD-3-Clause */
/* Dirty tags, and write-back by each kind of mapper. */
#include "mapping.h"

static uint64_t durable(struct fixture *f, uint64_t page)
{
	return atomic_load(&f->fake->page[f->file->page[page]].durable[0]);
}

static void dirty(struct fake_mapper *m, uint64_t page, unsigned order, uint64_t value)
{
	assert_int_equal(mapper_fault(m, page, MAP_WRITE, order), 0);
	assert_true(mapper_store(m, page, 0, value));
}

/* Protected before its lines are flushed; and a store afterwards sets the tag again. */
static void test_order(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &kernel_ops);

	dirty(m, 3, ORDER_PMD, 1);
	assert_int_equal(durable(f, 3), 0);
	forget_log(f);
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	assert_string_equal(f->fake->log, "wFf");
	assert_int_equal(durable(f, 3), 1);
	assert_int_equal(survey(f).dirty, 0);
	assert_false(mapper_store(m, 3, 0, 2));
	dirty(m, 3, ORDER_PMD, 2);
	assert_int_equal(survey(f).dirty, MAP_UNIT_SIZE);
	assert_int_equal(f->hooked, 2);
	/* clean ones are left alone */
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	forget_log(f);
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	assert_string_equal(f->fake->log, "");
}

static struct fixture *flushed; /* by a mapper that knows what it has stored */

static int flush_stored(void *arg, uint64_t offset, uint64_t length)
{
	const struct fake_mapper *m = arg;

	note(m->fake, 'F');
	for (uint64_t i = offset / MAP_PAGE_SIZE;
	     i < FILE_PAGES && i < offset / MAP_PAGE_SIZE + length / MAP_PAGE_SIZE; i++)
		if (m->writable[i])
			page_flush(&m->fake->page[flushed->file->page[i]]);
	return 0;
}

static struct mapper_ops flushing_ops; /* a test may change them */

static struct fake_mapper *open_flushing(struct fixture *f)
{
	flushed = f;
	flushing_ops = kernel_ops;
	flushing_ops.flush = flush_stored;
	flushing_ops.flushes = true;
	return open_mapper(f, &flushing_ops);
}

/* It is asked once for all that it has, and goes on storing: nothing of it is locked, or flushed by
 * us. That the next store is to ask is another call. */
static void test_flushes_by_itself(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_flushing(f);

	dirty(m, 3, ORDER_PMD, 1);
	dirty(m, UNIT_PAGES + 3, ORDER_PMD, 1);
	forget_log(f);
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	assert_string_equal(f->fake->log, "F");
	assert_int_equal(durable(f, 3), 1);
	assert_true(mapper_store(m, 3, 0, 2));
	assert_int_equal(map_writeback(f->map, 0, MAP_UNIT_SIZE), 0);
	assert_int_equal(durable(f, 3), 2);
	assert_int_equal(survey(f).dirty, 2 * MAP_UNIT_SIZE);
	assert_int_equal(f->hooked, 2);
	forget_log(f);
	assert_int_equal(map_protect(f->map, 0, MAP_UNIT_SIZE), 0);
	assert_string_equal(f->fake->log, "w");
	assert_int_equal(survey(f).dirty, MAP_UNIT_SIZE);
	assert_false(mapper_store(m, 3, 0, 3));
	assert_true(mapper_store(m, UNIT_PAGES + 3, 0, 3));
	dirty(m, 3, ORDER_PMD, 3);
	assert_int_equal(f->hooked, 3);
	/* without anything that it may store to it isn't asked */
	assert_int_equal(map_protect(f->map, 0, MAP_TO_END), 0);
	forget_log(f);
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	assert_string_equal(f->fake->log, "");
}

/* Lines of another mapper are our matter, also of one that is gone; and then only what both have
 * stored to is write-protected. */
static void test_flushes_beside_others(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_flushing(f), *client = open_mapper(f, &careful_client_ops);

	dirty(m, 3, ORDER_PMD, 2);
	dirty(m, UNIT_PAGES + 3, ORDER_PMD, 2);
	dirty(client, 3, ORDER_PMD, 3);
	close_mapper(client);
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	assert_int_equal(durable(f, 3), 3);
	assert_false(mapper_store(m, 3, 0, 4));
	assert_true(mapper_store(m, UNIT_PAGES + 3, 0, 4));
	/* and not any more */
	dirty(m, 3, ORDER_PMD, 4);
	forget_log(f);
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	assert_string_equal(f->fake->log, "F");
	assert_int_equal(durable(f, 3), 4);
}

/* It has let go of the page, but a device that was given it before stores to it. */
static int let_go_in_use(void *arg, uint64_t offset, uint64_t length, uint64_t grant)
{
	mapper_protect(arg, offset, length, grant);
	return -EBUSY;
}

static void store_by_device(struct fixture *f, uint64_t page, uint64_t value)
{
	atomic_store(&f->fake->page[f->file->page[page]].word[0], value);
}

/* Then its mapper knows nothing of it, and we flush it; also when the device has ended. */
static void test_flushes_what_is_in_use(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_flushing(f);

	flushing_ops.write_protect = let_go_in_use;
	dirty(m, 3, ORDER_PMD, 1);
	assert_int_equal(map_protect(f->map, 0, MAP_TO_END), 0);
	store_by_device(f, 3, 2);
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	assert_int_equal(durable(f, 3), 2);
	store_by_device(f, 3, 3);
	flushing_ops.write_protect = mapper_protect;
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	assert_int_equal(durable(f, 3), 3);
	assert_int_equal(survey(f).dirty, 0);
}

/* The same of a unit that was to be moved. */
static void test_flushes_what_was_kept(void **state)
{
	struct fixture *f = *state;
	struct map_change change;
	struct fake_mapper *m = open_flushing(f);

	flushing_ops.unmap = let_go_in_use;
	dirty(m, 3, ORDER_PMD, 1);
	assert_int_equal(map_change_begin(f->map, 0, MAP_PAGE_SIZE, MAP_CHANGE_PUNCH, &change), 0);
	assert_int_equal(map_change_end(&change, MAP_CHANGE_FAILED), 0);
	store_by_device(f, 3, 2);
	flushing_ops.unmap = mapper_unmap;
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	assert_int_equal(durable(f, 3), 2);
	mapper_drop(m, 0, MAP_UNIT_SIZE);
}

static int fail_to_flush(void *arg, uint64_t offset, uint64_t length)
{
	return -EIO;
}

static void test_flush_fails(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_flushing(f);

	flushing_ops.flush = fail_to_flush;
	dirty(m, 3, ORDER_PMD, 1);
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), -EIO);
	assert_int_equal(survey(f).dirty, MAP_UNIT_SIZE);
}

/* One that moves the file's times by itself leaves us nothing to do. */
static void test_keeps_times(void **state)
{
	struct fixture *f = *state;
	static struct mapper_ops ops;
	struct fake_mapper *m;

	ops = kernel_ops;
	ops.keeps_times = true;
	m = open_mapper(f, &ops);
	dirty(m, 3, ORDER_PMD, 1);
	assert_int_equal(f->file->touched, 0);
	dirty(open_mapper(f, &kernel_ops), UNIT_PAGES, ORDER_PMD, 1);
	assert_int_equal(f->file->touched, 1);
}

static void test_stays_dirty(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *guest = open_mapper(f, &guest_ops);
	struct fake_mapper *kernel = open_mapper(f, &kernel_ops);

	dirty(guest, 3, ORDER_PMD, 1);
	dirty(kernel, 3, ORDER_PMD, 2);
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	assert_int_equal(durable(f, 3), 2);
	/* the guest stores without asking: the tag stays, and the next fsync flushes */
	assert_int_equal(survey(f).dirty, MAP_UNIT_SIZE);
	assert_int_equal(map_engine_count(f->engine, MAP_COUNT_STAYS_DIRTY), 1);
	assert_true(mapper_store(guest, 3, 0, 4));
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	assert_int_equal(durable(f, 3), 4);
	/* with its mapping goes the reason */
	mapper_drop(guest, 0, MAP_UNIT_SIZE);
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	assert_int_equal(survey(f).dirty, 0);
}

/* What a dead mapper stored is still in the caches. */
static void test_dead_writer(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	dirty(m, 3, ORDER_PTE, 1);
	close_mapper(m);
	assert_int_equal(survey(f).dirty, MAP_PAGE_SIZE);
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	assert_int_equal(durable(f, 3), 1);
	assert_int_equal(survey(f).dirty, 0);
}

/* At the entry's granularity, and of the range only. */
static void test_range(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	dirty(m, 3, ORDER_PTE, 1);
	dirty(m, 4, ORDER_PTE, 2);
	dirty(m, UNIT_PAGES + 9, ORDER_PMD, 3);
	assert_int_equal(map_writeback(f->map, 4 * MAP_PAGE_SIZE, 1), 0);
	assert_int_equal(durable(f, 3), 0);
	assert_int_equal(durable(f, 4), 2);
	assert_int_equal(map_writeback(f->map, MAP_UNIT_SIZE, 1), 0);
	assert_int_equal(durable(f, UNIT_PAGES + 9), 3);
	assert_int_equal(durable(f, 3), 0);
}

/* A piece for reading is on its way to a client whose threads still have it for writing:
 * they go on storing until it arrives. */
static void read_again(struct fixture *f, struct fake_mapper *m, unsigned order)
{
	struct map_request request = { 3 * MAP_PAGE_SIZE, MAP_READ, order, 0, UINT64_MAX, false };
	struct map_piece piece;

	assert_int_equal(map_fault(m->view, &request, &piece), 0);
	assert_false(piece.writable);
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	assert_true(mapper_store(m, 3, 0, order + 100));
	assert_int_not_equal(survey(f).dirty, 0);
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	assert_int_equal(durable(f, 3), order + 100);
}

static void test_reading_does_not_end_writing(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &client_ops);

	assert_int_equal(fake_allocate(f->file, 0, MAP_UNIT_SIZE), 0);
	assert_int_equal(mapper_fault(m, 0, MAP_READ, ORDER_PMD), 0);
	mapper_drop(m, 0, MAP_UNIT_SIZE);
	/* a page, of a PMD entry; the page again, then all of it */
	dirty(m, 3, ORDER_PTE, 1);
	read_again(f, m, ORDER_PTE);
	read_again(f, m, ORDER_PMD);
}

/* A piece for writing is on its way while its page is write-protected. */
static void test_protects_what_is_under_way(void **state)
{
	struct fixture *f = *state;
	struct fake_mapper *m = open_mapper(f, &careful_client_ops);
	struct map_request request = {
		3 * MAP_PAGE_SIZE, MAP_WRITE, ORDER_PTE, 0, UINT64_MAX, false
	};
	struct map_piece piece;

	assert_int_equal(map_fault(m->view, &request, &piece), 0);
	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	assert_int_equal(survey(f).dirty, 0);
	mapper_map(m, &piece);
	assert_false(mapper_store(m, 3, 0, 1));
	dirty(m, 3, ORDER_PTE, 1);
	assert_int_equal(survey(f).dirty, MAP_PAGE_SIZE);
}

static void *write_back(void *arg)
{
	struct fixture *f = arg;

	assert_int_equal(map_writeback(f->map, 0, MAP_TO_END), 0);
	return NULL;
}

static atomic_bool mapped, go_on;

/* A mapper that stores as soon as it is given the piece, before the fault has ended. */
static int map_and_wait(void *arg, const struct map_piece *piece)
{
	int err = mapper_map(arg, piece);

	atomic_store(&mapped, true);
	while (!atomic_load(&go_on))
		usleep(100);
	return err;
}

static void *fault_in(void *arg)
{
	assert_int_equal(mapper_fault(arg, 3, MAP_WRITE, ORDER_PTE), 0);
	return NULL;
}

/* The tags of an entry that a fault has locked say nothing: write-back waits for it. */
static void test_waits_for_fault(void **state)
{
	struct fixture *f = *state;
	static struct mapper_ops ops;
	struct fake_mapper *m;
	pthread_t fault, fsync;

	ops = guest_ops;
	ops.map = map_and_wait;
	m = open_mapper(f, &ops);
	assert_int_equal(pthread_create(&fault, NULL, fault_in, m), 0);
	wait_until(atomic_load(&mapped));
	assert_true(mapper_store(m, 3, 0, 77));
	assert_int_equal(pthread_create(&fsync, NULL, write_back, f), 0);
	usleep(20000);
	atomic_store(&go_on, true);
	pthread_join(fault, NULL);
	pthread_join(fsync, NULL);
	assert_int_equal(durable(f, 3), 77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_order),
		TEST(test_flushes_by_itself),
		TEST(test_flushes_beside_others),
		TEST(test_flushes_what_is_in_use),
		TEST(test_flushes_what_was_kept),
		TEST(test_flush_fails),
		TEST(test_keeps_times),
		TEST(test_stays_dirty),
		TEST(test_dead_writer),
		TEST(test_range),
		TEST(test_reading_does_not_end_writing),
		TEST(test_protects_what_is_under_way),
		TEST(test_waits_for_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
