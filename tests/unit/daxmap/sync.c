/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What dxm_sync() flushes. The fake's caches give nothing to the media by themselves, so a line
 * that was stored to and not flushed is lost; after each sync the range it was for must be on
 * the media. It must not flush what was flushed before, either, nor ask the daemon without need.
 */
#include "fake.h"

#include <sys/wait.h>

#include "daxfuse/daxmap/session/object.h"
#include "daxfuse/daxmap/session/connection.h"

static char *memory;

static int setup(void **state)
{
	fake.flags = DIRECT_FLUSH;
	fake_setup(state);
	if (!fake.durable)
		fake.durable = mmap(NULL, DEVICE_UNITS * UNIT_BYTES, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memcpy(fake.durable, fake_unit(0), DEVICE_UNITS * UNIT_BYTES);
	return 0;
}

/* Whether what was stored to a range of the file would survive. */
static bool is_durable(uint64_t offset, uint64_t length)
{
	for (uint64_t at = offset; at < offset + length; at += PAGE_BYTES) {
		uint64_t place = fake.place[at / UNIT_BYTES] * UNIT_BYTES + at % UNIT_BYTES;

		if (memcmp(fake.durable + place, fake_unit(0) + place, PAGE_BYTES))
			return false;
	}
	return true;
}

static void sync_range(uint64_t offset, uint64_t length)
{
	fake_handlers();
	assert_int_equal(dxm_sync(memory + offset, length, MS_SYNC), 0);
	assert_true(is_durable(offset, length));
}

/* What the last sync did. */
static void check_work(uint64_t flushed, int synced)
{
	assert_int_equal(fake.flushed, flushed);
	assert_int_equal(fake.synced, synced);
	fake.flushed = 0;
	fake.synced = 0;
}

static void store(uint64_t offset)
{
	static uint64_t value;

	fake_handlers();
	*(uint64_t *)(memory + offset) = ++value << 32;
}

static void take_back(uint64_t offset, uint64_t length)
{
	assert_int_equal(revoke_pieces(fake.cookie, offset, length, fake.grant), 0);
}

static void test_mapped_for_writing(void **state)
{
	memory = map_file(4 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	store(0);
	store(UNIT_BYTES + 104);
	sync_range(0, 2 * UNIT_BYTES);
	check_work(2 * UNIT_BYTES, 0);
	store(3 * PAGE_BYTES);
	sync_range(3 * PAGE_BYTES, 10);
	check_work(PAGE_BYTES, 0);
	dxm_unmap(memory, 4 * UNIT_BYTES);
}

static void test_never_written(void **state)
{
	memory = map_file(4 * UNIT_BYTES, PROT_READ);
	sync_range(0, 4 * UNIT_BYTES);
	take_back(0, UNIT_BYTES);
	sync_range(0, 4 * UNIT_BYTES);
	check_work(0, 0);
	dxm_unmap(memory, 4 * UNIT_BYTES);
}

/* Stored, protected, synced: the order of programs that make checkpoints. */
static void test_protected_by_the_program(void **state)
{
	static const int after[] = { PROT_READ, PROT_NONE };

	for (unsigned i = 0; i < ARRAY_SIZE(after); i++) {
		memory = map_file(3 * UNIT_BYTES, PROT_READ | PROT_WRITE);
		for (uint64_t unit = 0; unit < 3; unit++)
			store(unit * UNIT_BYTES + 8 * PAGE_BYTES);
		assert_int_equal(dxm_protect(memory + UNIT_BYTES, 2 * UNIT_BYTES, after[i]), 0);
		sync_range(UNIT_BYTES, 2 * UNIT_BYTES);
		check_work(i ? 0 : 2 * UNIT_BYTES, i ? 1 : 0);
		sync_range(UNIT_BYTES, 2 * UNIT_BYTES);
		check_work(0, 0);
		sync_range(0, UNIT_BYTES);
		check_work(UNIT_BYTES, 0);
		dxm_unmap(memory, 3 * UNIT_BYTES);
	}
}

static void test_a_page_is_protected(void **state)
{
	memory = map_file(UNIT_BYTES, PROT_READ | PROT_WRITE);
	store(5 * PAGE_BYTES);
	assert_int_equal(dxm_protect(memory + 5 * PAGE_BYTES, PAGE_BYTES, PROT_READ), 0);
	sync_range(5 * PAGE_BYTES, PAGE_BYTES);
	check_work(PAGE_BYTES, 0);
	assert_int_equal(dxm_protect(memory + 5 * PAGE_BYTES, PAGE_BYTES, PROT_READ | PROT_WRITE),
			 0);
	store(5 * PAGE_BYTES);
	assert_int_equal(dxm_protect(memory, UNIT_BYTES, PROT_READ), 0);
	sync_range(0, UNIT_BYTES);
	check_work(UNIT_BYTES, 0);
	sync_range(0, UNIT_BYTES);
	check_work(0, 0);
	dxm_unmap(memory, UNIT_BYTES);
}

static void test_protected_by_the_daemon(void **state)
{
	memory = map_file(2 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	store(0);
	assert_int_equal(revoke_writing(fake.cookie, 0, UINT64_MAX, fake.grant), 0);
	sync_range(0, 2 * UNIT_BYTES);
	check_work(2 * UNIT_BYTES, 0);
	fake.read_only = true;
	sync_range(0, 2 * UNIT_BYTES);
	check_work(0, 0);
	store(0);
	sync_range(0, 2 * UNIT_BYTES);
	check_work(UNIT_BYTES, 0);
	dxm_unmap(memory, 2 * UNIT_BYTES);
}

/* Also when it is loaded from again, and so mapped again, read-only. */
static void test_taken_back(void **state)
{
	memory = map_file(4 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	store(0);
	store(2 * UNIT_BYTES);
	take_back(0, UINT64_MAX);
	sync_range(0, 4 * UNIT_BYTES);
	check_work(0, 1);
	sync_range(0, 4 * UNIT_BYTES);
	check_work(0, 0);

	store(0);
	take_back(0, UINT64_MAX);
	fake.read_only = true;
	assert_int_equal(touch(memory, false), 0);
	assert_string_equal(survey(memory, 2), "H-");
	sync_range(3 * UNIT_BYTES, UNIT_BYTES);
	check_work(0, 0);
	sync_range(0, PAGE_BYTES);
	check_work(0, 1);
	dxm_unmap(memory, 4 * UNIT_BYTES);
}

/* What is mapped for writing again is flushed by its lines: the daemon need not be asked. */
static void test_taken_back_and_stored_to_again(void **state)
{
	memory = map_file(2 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	store(0);
	take_back(0, UNIT_BYTES);
	store(PAGE_BYTES);
	sync_range(0, UNIT_BYTES);
	check_work(UNIT_BYTES, 0);
	dxm_unmap(memory, 2 * UNIT_BYTES);
}

/* While the daemon flushes more is taken back: that is not paid for yet. */
static void take_second_back(void)
{
	store(UNIT_BYTES);
	take_back(UNIT_BYTES, UNIT_BYTES);
}

static void test_taken_back_while_synced(void **state)
{
	memory = map_file(2 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	store(0);
	take_back(0, UNIT_BYTES);
	fake.on_sync = take_second_back;
	sync_range(0, UNIT_BYTES);
	sync_range(UNIT_BYTES, UNIT_BYTES);
	check_work(0, 2);
	sync_range(0, 2 * UNIT_BYTES);
	check_work(0, 0);
	dxm_unmap(memory, 2 * UNIT_BYTES);
}

static void test_the_daemon_fails(void **state)
{
	memory = map_file(UNIT_BYTES, PROT_READ | PROT_WRITE);
	store(0);
	take_back(0, UNIT_BYTES);
	fake.sync_error = -EIO;
	assert_int_equal(dxm_sync(memory, UNIT_BYTES, MS_SYNC), -1);
	assert_int_equal(errno, EIO);
	fake.sync_error = 0;
	sync_range(0, UNIT_BYTES);
	check_work(0, 2);
	dxm_unmap(memory, UNIT_BYTES);
}

/* A part goes; what stays is flushed by itself, and what comes back later is not forgotten. */
static void test_unmapped_in_part(void **state)
{
	memory = map_file(3 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	for (uint64_t unit = 0; unit < 3; unit++)
		store(unit * UNIT_BYTES);
	assert_int_equal(dxm_unmap(memory + UNIT_BYTES, UNIT_BYTES / 2), 0);
	sync_range(0, UNIT_BYTES);
	sync_range(3 * UNIT_BYTES / 2, 3 * UNIT_BYTES / 2);
	check_work(5 * UNIT_BYTES / 2, 0);
	assert_ptr_equal(dxm_map(memory + UNIT_BYTES, UNIT_BYTES / 2, PROT_READ,
				 MAP_SHARED | MAP_FIXED, fake.file, (off_t)UNIT_BYTES),
			 memory + UNIT_BYTES);
	sync_range(UNIT_BYTES, UNIT_BYTES / 2);
	check_work(0, 1);
	dxm_unmap(memory, 3 * UNIT_BYTES);
}

/* The range has a gap: an error, but what lies behind it is flushed, as the kernel does. */
static void test_over_a_gap(void **state)
{
	memory = map_file(3 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	store(0);
	store(2 * UNIT_BYTES);
	assert_int_equal(dxm_unmap(memory + UNIT_BYTES, UNIT_BYTES), 0);
	assert_int_equal(dxm_sync(memory, 3 * UNIT_BYTES, MS_SYNC), -1);
	assert_int_equal(errno, ENOMEM);
	assert_true(is_durable(0, UNIT_BYTES) && is_durable(2 * UNIT_BYTES, UNIT_BYTES));
	check_work(2 * UNIT_BYTES, 0);
	dxm_unmap(memory, 3 * UNIT_BYTES);
}

static void test_moved(void **state)
{
	memory = map_file(2 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	store(0);
	fake.read_only = true;
	memory = dxm_remap(memory, 2 * UNIT_BYTES, 4 * UNIT_BYTES, MREMAP_MAYMOVE, NULL);
	assert_ptr_not_equal(memory, MAP_FAILED);
	sync_range(0, 4 * UNIT_BYTES);
	check_work(0, 1);
	dxm_unmap(memory, 4 * UNIT_BYTES);
}

/* The child has mappings of its own, and answers for what was stored before it was there. */
static void test_forked(void **state)
{
	int status;
	pid_t child;

	memory = map_file(2 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	store(0);
	assert_int_equal(dxm_protect(memory, UNIT_BYTES, PROT_READ), 0);
	child = fork();
	if (!child) {
		bool good = !dxm_sync(memory, UNIT_BYTES, MS_SYNC) && is_durable(0, UNIT_BYTES);

		store(UNIT_BYTES);
		good = good && !dxm_sync(memory + UNIT_BYTES, UNIT_BYTES, MS_SYNC) &&
		       is_durable(UNIT_BYTES, UNIT_BYTES);
		_exit(good ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	sync_range(0, UNIT_BYTES);
	check_work(UNIT_BYTES, 0);
	dxm_unmap(memory, 2 * UNIT_BYTES);
}

/* ---- any order of events */

enum { ROUNDS = 4000 };

static uint64_t any(unsigned bound)
{
	return (uint64_t)rand() % bound;
}

/* From a page up to some, within the mapping. */
static void any_range(uint64_t *offset, uint64_t *length)
{
	uint64_t pages = FAKE_SIZE / PAGE_BYTES;

	*offset = any((unsigned)pages) * PAGE_BYTES;
	*length = MIN((any(4) ? any(16) + 1 : any((unsigned)pages) + 1) * PAGE_BYTES,
		      FAKE_SIZE - *offset);
	if (any(2)) {
		*offset = unit_floor(*offset);
		*length = MIN(unit_ceiling(*length), FAKE_SIZE - *offset);
	}
}

static void store_anywhere(void)
{
	uint64_t offset = any(FAKE_SIZE / 64) * 64;

	fake_handlers();
	if (!touch(memory + offset, true))
		store(offset);
}

static void change(uint64_t offset, uint64_t length)
{
	static const int prot[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE };

	switch (any(6)) {
	case 0:
		take_back(offset, length);
		break;
	case 1:
		assert_int_equal(revoke_writing(fake.cookie, offset, length, fake.grant), 0);
		break;
	case 2:
	case 3:
		assert_int_equal(dxm_protect(memory + offset, length, prot[any(3)]), 0);
		break;
	case 4:
		assert_ptr_equal(dxm_map(memory + offset, length, prot[any(3)],
					 MAP_SHARED | MAP_FIXED, fake.file, (off_t)offset),
				 memory + offset);
		break;
	default:
		fake.read_only = any(2);
	}
}

static void test_any_order(void **state)
{
	uint64_t offset, length;

	memory = map_file(FAKE_SIZE, PROT_READ | PROT_WRITE);
	for (int round = 0; round < ROUNDS; round++) {
		any_range(&offset, &length);
		for (uint64_t stores = any(4); stores; stores--)
			store_anywhere();
		if (any(3))
			change(offset, length);
		else
			sync_range(offset, length);
	}
	sync_range(0, FAKE_SIZE);
	dxm_unmap(memory, FAKE_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_mapped_for_writing, setup),
		cmocka_unit_test_setup(test_never_written, setup),
		cmocka_unit_test_setup(test_protected_by_the_program, setup),
		cmocka_unit_test_setup(test_a_page_is_protected, setup),
		cmocka_unit_test_setup(test_protected_by_the_daemon, setup),
		cmocka_unit_test_setup(test_taken_back, setup),
		cmocka_unit_test_setup(test_taken_back_and_stored_to_again, setup),
		cmocka_unit_test_setup(test_taken_back_while_synced, setup),
		cmocka_unit_test_setup(test_the_daemon_fails, setup),
		cmocka_unit_test_setup(test_unmapped_in_part, setup),
		cmocka_unit_test_setup(test_over_a_gap, setup),
		cmocka_unit_test_setup(test_moved, setup),
		cmocka_unit_test_setup(test_forked, setup),
		cmocka_unit_test_setup(test_any_order, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
