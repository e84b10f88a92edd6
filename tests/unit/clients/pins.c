/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pins written down for the next process. The process that writes is stopped after each of its
 * instructions, and the table looked at as the next one would find it, had this one been killed
 * there: what programs have is in it, and no record is a mixture of two.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daxfuse/core/fs.h"
#include "daxfuse/clients/pins.h"

enum { UNIT = 2 << 20, FILES = 3, UNITS = 16, HANDLE = 7 };

/* A file's number is in all of its records: where it lies, as what it is known. */
static const uint64_t far_away = UINT64_C(1) << 40;

struct shared {
	struct pin_table table;
	uint32_t mapped[FILES]; /* units that a program has */
};

static struct shared *share(void)
{
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(shared, MAP_FAILED);
	return shared;
}

static struct pin_record record_of(unsigned file, unsigned unit, unsigned units, uint64_t grant)
{
	return (struct pin_record){
		.handle = HANDLE,
		.session = file + 1,
		.cookie = file + 1,
		.ino = file + 1,
		.file_offset = (uint64_t)unit * UNIT,
		.device_offset = (uint64_t)unit * UNIT + (file + 1) * far_away,
		.length = (uint64_t)units * UNIT,
		.grant = grant,
	};
}

static uint32_t bits(unsigned unit, unsigned units)
{
	return ((1u << units) - 1) << unit;
}

/* ---- who writes ------------------------------------------------------------------ */

struct writer {
	struct shared *shared;
	struct pins_kept kept;
	struct pin_slots slots[FILES];
};

static void add(struct writer *w, unsigned file, unsigned unit, unsigned units, uint64_t grant)
{
	const struct pin_record record = record_of(file, unit, units, grant);

	if (pins_kept_add(&w->kept, &w->slots[file], &record))
		_exit(2);
	w->shared->mapped[file] |= bits(unit, units);
}

static void let_go(struct writer *w, unsigned file, unsigned unit, unsigned units, uint64_t grant)
{
	w->shared->mapped[file] &= ~bits(unit, units);
	pins_kept_erase(&w->kept, &w->slots[file], (uint64_t)unit * UNIT, (uint64_t)units * UNIT,
			grant);
}

_Noreturn static void write_all(struct writer *w)
{
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	add(w, 0, 0, 4, 1);
	add(w, 1, 0, 8, 1);
	let_go(w, 1, 4, 4, 9); /* the end of a record */
	add(w, 0, 0, 8, 2);    /* around what is there */
	let_go(w, 1, 1, 1, 9); /* its middle */
	add(w, 2, 3, 2, 1);    /* in the slot that was freed */
	let_go(w, 0, 0, 3, 9); /* its beginning */
	let_go(w, 0, 0, 16, 9);
	add(w, 2, 8, 8, 2);
	add(w, 0, 4, 1, 3);
	let_go(w, 2, 0, 16, 9);
	add(w, 1, 0, 16, 4);
	w->shared->mapped[1] = 0;
	pins_kept_erase_all(&w->kept, &w->slots[1]);
	_exit(0);
}

/* ---- who looks ------------------------------------------------------------------- */

static void look(const struct shared *shared)
{
	uint32_t found[FILES] = { 0 };

	for (uint32_t i = 0; i < shared->table.used; i++) {
		const struct pin_record *r = &shared->table.record[i];
		uint64_t file = r->ino - 1;

		if (!r->handle)
			continue;
		assert_int_equal(r->handle, HANDLE);
		assert_in_range(file, 0, FILES - 1);
		assert_int_equal(r->session, r->ino);
		assert_int_equal(r->cookie, r->ino);
		assert_int_equal(r->device_offset - r->file_offset, r->ino * far_away);
		assert_int_equal(r->file_offset % UNIT, 0);
		assert_int_equal(r->length % UNIT, 0);
		assert_in_range(r->length, UNIT, UINT64_C(16) * UNIT);
		found[file] |= bits((unsigned)(r->file_offset / UNIT),
				    (unsigned)(r->length / UNIT));
	}
	for (unsigned file = 0; file < FILES; file++)
		assert_int_equal(shared->mapped[file] & ~found[file], 0);
}

static void test_killed_at_each_instruction(void **state)
{
	struct writer w = { .shared = share() };
	uint64_t steps = 0;
	int status;
	pid_t pid;

	assert_int_equal(pins_kept_open(&w.kept, &w.shared->table), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		write_all(&w);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	while (WIFSTOPPED(status)) {
		assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		look(w.shared);
		steps++;
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_true(steps > 1000);
	assert_int_equal(w.shared->mapped[0], bits(4, 1));
	pins_kept_close(&w.kept);
	munmap(w.shared, sizeof(*w.shared));
}

/* ---- without dying ---------------------------------------------------------------- */

static unsigned records(const struct pin_table *table)
{
	struct fs_busy *held;
	unsigned count;

	assert_int_equal(pin_table_busy(table, &held, &count), 0);
	free(held);
	return count;
}

/* A program that asks for the same again and again takes one record. */
static void test_pieces_that_are_granted_again(void **state)
{
	struct writer w = { .shared = share() };
	struct pin_record first = record_of(0, 0, 1, 1);

	assert_int_equal(pins_kept_open(&w.kept, &w.shared->table), 0);
	first.flags = PIN_WRITABLE;
	assert_int_equal(pins_kept_add(&w.kept, &w.slots[0], &first), 0);
	for (uint64_t grant = 2; grant < 3 * PIN_RECORDS; grant++)
		add(&w, 0, 0, 1, grant);
	assert_int_equal(records(&w.shared->table), 1);
	assert_int_equal(w.slots[0].count, 1);
	/* it may store until it has mapped what it was granted for reading */
	assert_int_equal(w.shared->table.record[w.slots[0].slot[0]].flags, PIN_WRITABLE);
	/* an answer to an older question is not about it */
	pins_kept_erase(&w.kept, &w.slots[0], 0, UNIT, 5);
	assert_int_equal(records(&w.shared->table), 1);
	pins_kept_erase_all(&w.kept, &w.slots[0]);
	assert_int_equal(records(&w.shared->table), 0);
	pins_kept_close(&w.kept);
	munmap(w.shared, sizeof(*w.shared));
}

/* A window slides over a file, either way, so that each record is cut on one side: nothing stays. */
static void test_a_window_slides(void **state)
{
	struct writer w = { .shared = share() };

	assert_int_equal(pins_kept_open(&w.kept, &w.shared->table), 0);
	for (uint64_t grant = 1; grant < 100; grant++) {
		unsigned at = (unsigned)(grant % 12), mirrored = 12 - at;

		add(&w, 0, at, 4, grant);
		let_go(&w, 0, 0, at, grant);
		add(&w, 1, mirrored, 4, grant);
		let_go(&w, 1, mirrored + 4, 16, grant);
		if (at == 11) {
			let_go(&w, 0, 0, 16, grant);
			let_go(&w, 1, 0, 16, grant);
			assert_int_equal(pins_kept_count(&w.kept), 0);
		}
		assert_in_range(pins_kept_count(&w.kept), 0, 8);
		assert_int_equal(pins_kept_count(&w.kept), w.slots[0].count + w.slots[1].count);
		assert_int_equal(pins_kept_count(&w.kept), records(&w.shared->table));
	}
	pins_kept_erase_all(&w.kept, &w.slots[0]);
	pins_kept_erase_all(&w.kept, &w.slots[1]);
	pins_kept_close(&w.kept);
	munmap(w.shared, sizeof(*w.shared));
}

/* What is written down is what is pinned, whatever comes in which order. */
static void test_any_order(void **state)
{
	struct writer w = { .shared = share() };
	uint32_t pinned = 0;

	assert_int_equal(pins_kept_open(&w.kept, &w.shared->table), 0);
	for (uint64_t grant = 1; grant < 20000; grant++) {
		unsigned unit = (unsigned)rand() % UNITS;
		unsigned units = 1 + (unsigned)rand() % (UNITS - unit);
		uint32_t found = 0;

		if (rand() % 2) {
			add(&w, 0, unit, units, grant);
			pinned |= bits(unit, units);
		} else {
			let_go(&w, 0, unit, units, grant);
			pinned &= ~bits(unit, units);
		}
		for (uint32_t i = 0; i < w.slots[0].count; i++) {
			const struct pin_record *r = &w.shared->table.record[w.slots[0].slot[i]];

			assert_int_equal(r->handle, HANDLE);
			found |= bits((unsigned)(r->file_offset / UNIT),
				      (unsigned)(r->length / UNIT));
		}
		assert_int_equal(found, pinned);
		assert_int_equal(records(&w.shared->table), w.slots[0].count);
		assert_true(w.slots[0].count <= UNITS * UNITS);
	}
	pins_kept_erase_all(&w.kept, &w.slots[0]);
	pins_kept_close(&w.kept);
	munmap(w.shared, sizeof(*w.shared));
}

/* Half of a huge page is not restored: it stays written down as a whole. */
static void test_cut_inside_a_huge_page(void **state)
{
	struct writer w = { .shared = share() };
	struct pin_record record = record_of(0, 0, 3, 1);

	record.flags = PIN_HUGE;
	assert_int_equal(pins_kept_open(&w.kept, &w.shared->table), 0);
	assert_int_equal(pins_kept_add(&w.kept, &w.slots[0], &record), 0);
	w.shared->mapped[0] = bits(0, 3);
	pins_kept_erase(&w.kept, &w.slots[0], 4096, UNIT / 2, 9);
	pins_kept_erase(&w.kept, &w.slots[0], UNIT / 2, UNIT, 9);
	look(w.shared);
	pins_kept_erase(&w.kept, &w.slots[0], UNIT / 2, UNIT + UNIT / 2, 9);
	w.shared->mapped[0] = bits(0, 1) | bits(2, 1);
	look(w.shared);
	assert_int_equal(records(&w.shared->table), 2);
	pins_kept_erase(&w.kept, &w.slots[0], 0, UINT64_MAX, 9);
	assert_int_equal(records(&w.shared->table), 0);
	pins_kept_erase_all(&w.kept, &w.slots[0]);
	pins_kept_close(&w.kept);
	munmap(w.shared, sizeof(*w.shared));
}

/* Without a free slot a record that can't be cut says too much, and nothing is lost. */
static void test_cut_in_a_full_table(void **state)
{
	struct writer w = { .shared = share() };
	struct pin_record record = record_of(0, 0, 4, 1);

	assert_int_equal(pins_kept_open(&w.kept, &w.shared->table), 0);
	assert_int_equal(pins_kept_add(&w.kept, &w.slots[0], &record), 0);
	w.shared->table.used = PIN_RECORDS;
	w.shared->mapped[0] = bits(0, 1) | bits(2, 2);
	pins_kept_erase(&w.kept, &w.slots[0], UNIT, UNIT, 9);
	look(w.shared);
	w.shared->mapped[0] = bits(0, 1);
	pins_kept_erase(&w.kept, &w.slots[0], 2 * UNIT, UINT64_MAX, 9);
	look(w.shared);
	pins_kept_erase(&w.kept, &w.slots[0], 0, UINT64_MAX, 9);
	assert_int_equal(w.slots[0].count, 0);
	pins_kept_erase_all(&w.kept, &w.slots[0]);
	pins_kept_close(&w.kept);
	munmap(w.shared, sizeof(*w.shared));
}

static void test_a_full_table(void **state)
{
	struct writer w = { .shared = share() };
	struct pin_record record = record_of(0, 0, 1, 1);
	uint32_t count = 0;

	assert_int_equal(pins_kept_open(&w.kept, &w.shared->table), 0);
	/* each of another holder, so that nobody looks through all */
	for (int err = 0; !err; count++) {
		struct pin_slots slots = { 0 };

		err = pins_kept_add(&w.kept, &slots, &record);
		free(slots.slot);
		if (err) {
			assert_int_equal(err, -EUSERS);
			break;
		}
	}
	assert_int_equal(count, PIN_RECORDS);
	assert_int_equal(records(&w.shared->table), PIN_RECORDS);
	/* one that is freed can be had again, also by the next process */
	w.shared->table.record[1234].handle = 0;
	pins_kept_close(&w.kept);
	assert_int_equal(pins_kept_open(&w.kept, &w.shared->table), 0);
	assert_int_equal(pins_kept_add(&w.kept, &w.slots[0], &record), 0);
	assert_int_equal(w.slots[0].slot[0], 1234);
	assert_int_equal(pins_kept_add(&w.kept, &w.slots[0], &record), -EUSERS);
	pins_kept_erase_all(&w.kept, &w.slots[0]);
	pins_kept_close(&w.kept);
	munmap(w.shared, sizeof(*w.shared));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed_at_each_instruction),
		cmocka_unit_test(test_pieces_that_are_granted_again),
		cmocka_unit_test(test_a_window_slides),
		cmocka_unit_test(test_any_order),
		cmocka_unit_test(test_cut_inside_a_huge_page),
		cmocka_unit_test(test_cut_in_a_full_table),
		cmocka_unit_test(test_a_full_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
