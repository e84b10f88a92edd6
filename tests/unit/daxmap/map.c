/* SPDX-License-Identifier: BSD-3-Clause */
/* Mapping, faults, and taking mappings apart, over the fake daemon. */
#include "fake.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>

static void revoke_all(const char *memory)
{
	assert_int_equal(revoke_pieces(fake.cookie, 0, UINT64_MAX, fake.grant), 0);
	assert_string_equal(survey(memory, 1), "-");
}

static void test_fill(void **state)
{
	char *memory = map_file(FAKE_SIZE, PROT_READ | PROT_WRITE);

	assert_int_equal((uintptr_t)memory % UNIT_BYTES, 0);
	assert_string_equal(survey(memory, 4), "WWWW");
	for (uint64_t at = 0; at < FAKE_SIZE; at += UNIT_BYTES / 2)
		assert_int_equal(*(uint64_t *)(memory + at), at);
	strcpy(memory + 12345, "stored");
	assert_string_equal(fake_page(12345), "stored");
	assert_int_equal(pins(), FAKE_UNITS);
	assert_int_equal(dxm_unmap(memory, FAKE_SIZE), 0);
	assert_int_equal(touch(memory, false), SIGSEGV);
}

/* The address lines up with the file, wherever in it the mapping starts. */
static void test_alignment(void **state)
{
	const uint64_t offset = UNIT_BYTES + 3 * PAGE_BYTES;
	char *memory = dxm_map(NULL, 2 * UNIT_BYTES, PROT_READ, MAP_SHARED, fake.file,
			       (off_t)offset);
	struct dxm_range range[4];

	assert_int_equal(((uintptr_t)memory - offset) % UNIT_BYTES, 0);
	assert_int_equal(*(uint64_t *)memory, offset);
	assert_int_equal(dxm_query(memory, 2 * UNIT_BYTES, range, 4), 3);
	assert_int_equal(range[0].kind, DXM_PAGES);
	assert_int_equal(range[1].kind, DXM_HUGE);
	assert_int_equal(range[1].length, UNIT_BYTES);
	assert_int_equal(range[1].offset, 2 * UNIT_BYTES);
	assert_int_equal(range[2].kind, DXM_PAGES);
	assert_int_equal(range[2].length, 3 * PAGE_BYTES);
	assert_string_equal(dxm_reason_name(range[2].reason), "end");
	dxm_unmap(memory, 2 * UNIT_BYTES);
}

/* A fixed address that does not line up: pages. */
static void test_fixed(void **state)
{
	char *reserved = mmap(NULL, 4 * UNIT_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *wanted =
		(char *)((uintptr_t)reserved / UNIT_BYTES * UNIT_BYTES + UNIT_BYTES + PAGE_BYTES);
	struct dxm_range range;

	assert_ptr_equal(dxm_map(wanted, UNIT_BYTES, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE,
				 fake.file, 0),
			 MAP_FAILED);
	assert_int_equal(errno, EEXIST);
	assert_ptr_equal(dxm_map(wanted, UNIT_BYTES, PROT_READ, MAP_SHARED | MAP_FIXED, fake.file,
				 0),
			 wanted);
	assert_int_equal(dxm_query(wanted, UNIT_BYTES, &range, 1), 1);
	assert_int_equal(range.kind, DXM_PAGES);
	assert_int_equal(*(uint64_t *)(wanted + 5 * PAGE_BYTES), 5 * PAGE_BYTES);
	/* another one over it, and then something that is not ours */
	assert_ptr_equal(dxm_map(wanted, PAGE_BYTES, PROT_READ, MAP_SHARED | MAP_FIXED, fake.file,
				 (off_t)UNIT_BYTES),
			 wanted);
	assert_int_equal(*(uint64_t *)wanted, UNIT_BYTES);
	assert_int_equal(*(uint64_t *)(wanted + PAGE_BYTES), PAGE_BYTES);
	assert_ptr_equal(dxm_map(wanted, 2 * PAGE_BYTES, PROT_READ,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 wanted);
	assert_int_equal(*(uint64_t *)wanted, 0);
	assert_int_equal(*(uint64_t *)(wanted + 2 * PAGE_BYTES), 2 * PAGE_BYTES);
	dxm_unmap(reserved, 4 * UNIT_BYTES);
	assert_int_equal(dxm_query(wanted, UNIT_BYTES, &range, 1), 1);
	assert_int_equal(range.kind, DXM_NONE);
}

/* Zeroes until somebody stores. */
static void test_hole(void **state)
{
	char *memory;

	fake.hole[1] = true;
	memory = map_file(3 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	assert_string_equal(survey(memory, 3), "WZW");
	assert_int_equal(memory[UNIT_BYTES + 10], 0);
	memory[UNIT_BYTES + 10] = 'x';
	assert_string_equal(survey(memory, 3), "WWW");
	assert_int_equal(*fake_page(UNIT_BYTES + 10), 'x');
	*fake_page(UNIT_BYTES + 10) = 0;
	dxm_unmap(memory, 3 * UNIT_BYTES);
}

/* Zeroes were mapped as one piece, which is split now. */
static void test_hole_is_split(void **state)
{
	char *memory;

	fake.hole[0] = fake.hole[1] = true;
	fake.drop = 2 * UNIT_BYTES;
	memory = map_file(3 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	assert_string_equal(survey(memory, 3), "ZZW");
	assert_int_equal(touch(memory, true), 0);
	assert_string_equal(survey(memory, 3), "W-W");
	assert_int_equal(memory[UNIT_BYTES], 0);
	assert_string_equal(survey(memory, 3), "WZW");
	dxm_unmap(memory, 3 * UNIT_BYTES);
}

static void test_read_first(void **state)
{
	char *memory;
	int asked;

	fake.read_only = true;
	memory = map_file(2 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	assert_string_equal(survey(memory, 2), "HH");
	asked = fake.asked;
	assert_int_equal(touch(memory, true), 0);
	assert_string_equal(survey(memory, 2), "WH");
	assert_int_equal(touch(memory + 100, true), 0);
	assert_int_equal(fake.asked, asked + 1);
	dxm_unmap(memory, 2 * UNIT_BYTES);
}

static void test_protection(void **state)
{
	char *memory = map_file(3 * UNIT_BYTES, PROT_READ);

	assert_int_equal(touch(memory, true), SIGSEGV);
	assert_int_equal(touch(memory, false), 0);
	assert_int_equal(dxm_protect(memory + UNIT_BYTES, UNIT_BYTES, PROT_READ | PROT_WRITE), 0);
	assert_string_equal(survey(memory, 3), "HWH");
	assert_int_equal(touch(memory + UNIT_BYTES, true), 0);
	assert_int_equal(touch(memory + 2 * UNIT_BYTES, true), SIGSEGV);
	assert_int_equal(dxm_protect(memory, 2 * UNIT_BYTES, PROT_NONE), 0);
	assert_int_equal(touch(memory, false), SIGSEGV);
	assert_int_equal(dxm_protect(memory, 3 * UNIT_BYTES, PROT_READ), 0);
	assert_int_equal(touch(memory + UNIT_BYTES, false), 0);
	assert_int_equal(touch(memory + UNIT_BYTES, true), SIGSEGV);
	dxm_unmap(memory, 3 * UNIT_BYTES);
}

static bool is_writable(const char *page)
{
	struct dxm_range range;

	assert_int_equal(dxm_query(page, PAGE_BYTES, &range, 1), 1);
	return range.writable;
}

/* A pin was granted for writing: its pages can be stored to whenever the mapping can be. Nothing
 * that the daemon says later is mapped over them, so a store must not have to ask. */
static void test_protection_of_pinned(void **state)
{
	char *memory = map_file(3 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	char *page = memory + UNIT_BYTES / 2;

	assert_int_equal(dxm_pin(page, PAGE_BYTES), 0);
	assert_int_equal(dxm_pin(memory + UNIT_BYTES, UNIT_BYTES), 0);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(dxm_protect(memory, 3 * UNIT_BYTES, PROT_READ), 0);
		assert_false(is_writable(page));
		assert_int_equal(touch(page, true), SIGSEGV);
		/* what has been flushed is as if nobody had ever stored to it */
		if (round)
			assert_int_equal(dxm_sync(memory, 3 * UNIT_BYTES, MS_SYNC), 0);
		assert_int_equal(dxm_protect(memory, 3 * UNIT_BYTES, PROT_READ | PROT_WRITE), 0);
		assert_true(is_writable(page) && is_writable(page + PAGE_BYTES));
		assert_string_equal(survey(memory + UNIT_BYTES, 2), "WW");
		for (char *at = memory; at < memory + 3 * UNIT_BYTES; at += UNIT_BYTES / 2)
			assert_int_equal(touch(at, true), 0);
	}
	assert_int_equal(dxm_unpin(page, PAGE_BYTES), 0);
	assert_int_equal(dxm_unpin(memory + UNIT_BYTES, UNIT_BYTES), 0);
	dxm_unmap(memory, 3 * UNIT_BYTES);
}

/* It was granted for writing all the same. */
static void test_pinned_while_read_only(void **state)
{
	char *memory = map_file(UNIT_BYTES, PROT_READ);

	assert_int_equal(dxm_pin(memory + PAGE_BYTES, PAGE_BYTES), 0);
	assert_int_equal(touch(memory + PAGE_BYTES, true), SIGSEGV);
	assert_int_equal(dxm_protect(memory, UNIT_BYTES, PROT_READ | PROT_WRITE), 0);
	assert_true(is_writable(memory + PAGE_BYTES));
	assert_int_equal(touch(memory + PAGE_BYTES, true), 0);
	assert_int_equal(dxm_unpin(memory + PAGE_BYTES, PAGE_BYTES), 0);
	dxm_unmap(memory, UNIT_BYTES);
}

/* Zeroes that were mapped before are not the file's memory: others' stores would not be seen. */
static void test_pin_of_a_hole(void **state)
{
	char *memory;

	fake.hole[5] = true;
	memory = dxm_map(NULL, UNIT_BYTES, PROT_READ, MAP_SHARED, fake.file, 5 * UNIT_BYTES);
	assert_int_equal(touch(memory, false), 0);
	assert_string_equal(survey(memory, 1), "Z");
	assert_int_equal(dxm_pin(memory, UNIT_BYTES), 0);
	strcpy(fake_page(5 * UNIT_BYTES + 1000), "stored by another");
	assert_string_equal(memory + 1000, "stored by another");
	assert_int_equal(dxm_unpin(memory, UNIT_BYTES), 0);
	dxm_unmap(memory, UNIT_BYTES);
}

/* What can't be accessed is not mapped, so nothing could be kept. */
static void test_pin_of_no_access(void **state)
{
	char *memory = map_file(UNIT_BYTES, PROT_READ);

	assert_int_equal(dxm_protect(memory, UNIT_BYTES, PROT_NONE), 0);
	assert_int_equal(dxm_pin(memory, PAGE_BYTES), -1);
	assert_int_equal(errno, EACCES);
	dxm_unmap(memory, UNIT_BYTES);
}

static void test_read_only_file(void **state)
{
	char path[32], *memory;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fake.file);
	fd = open(path, O_RDONLY);
	assert_ptr_equal(dxm_map(NULL, UNIT_BYTES, PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(errno, EACCES);
	memory = dxm_map(NULL, UNIT_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	assert_string_equal(survey(memory, 1), "H");
	assert_int_equal(dxm_protect(memory, UNIT_BYTES, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
	dxm_unmap(memory, UNIT_BYTES);
	close(fd);
}

/* Behind the end: SIGBUS, until the file has grown. */
static void test_end(void **state)
{
	char *memory;

	fake.size = UNIT_BYTES + PAGE_BYTES;
	memory = map_file(2 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	assert_int_equal(touch(memory + UNIT_BYTES, true), 0);
	assert_int_equal(touch(memory + UNIT_BYTES + PAGE_BYTES, false), SIGBUS);
	assert_int_equal(touch(memory + UNIT_BYTES + PAGE_BYTES, true), SIGBUS);
	fake.size = 2 * UNIT_BYTES;
	assert_int_equal(touch(memory + UNIT_BYTES + PAGE_BYTES, true), 0);
	assert_string_equal(survey(memory, 2), "WW");
	dxm_unmap(memory, 2 * UNIT_BYTES);
}

/* A store that can't be allocated is a SIGBUS, though it came as a SIGSEGV; loads go on. */
static void test_no_space(void **state)
{
	char *memory;

	fake.hole[0] = true;
	memory = map_file(UNIT_BYTES, PROT_READ | PROT_WRITE);
	fake.error = -ENOSPC;
	assert_int_equal(touch(memory, true), SIGBUS);
	fake.error = 0;
	assert_int_equal(touch(memory, true), 0);
	dxm_unmap(memory, UNIT_BYTES);
}

/* What can't be had directly is mapped by the kernel, at once or later. */
static void test_fallback(void **state)
{
	char *memory;

	fake.error = -EOPNOTSUPP;
	assert_int_equal(pwrite(fake.file, "kernel", 6, 0), 6);
	memory = map_file(UNIT_BYTES, PROT_READ);
	assert_memory_equal(memory, "kernel", 6);
	assert_string_equal(survey(memory, 1), ".");
	dxm_unmap(memory, UNIT_BYTES);
	fake.error = 0;
	fake.read_only = true;
	memory = map_file(UNIT_BYTES, PROT_READ | PROT_WRITE);
	assert_string_equal(survey(memory, 1), "H");
	fake.error = -EUSERS;
	memory[0] = 'K';
	assert_string_equal(survey(memory, 1), ".");
	assert_memory_equal(memory, "Kernel", 6);
	dxm_unmap(memory, UNIT_BYTES);
}

/* Pins go when nothing of a unit is mapped any more. */
static void test_unmap_parts(void **state)
{
	char *memory = map_file(4 * UNIT_BYTES, PROT_READ), *other;

	other = dxm_map(NULL, UNIT_BYTES, PROT_READ, MAP_SHARED, fake.file, (off_t)UNIT_BYTES);
	assert_int_equal(pins(), 4);
	assert_int_equal(dxm_unmap(memory + UNIT_BYTES / 2, 2 * UNIT_BYTES), 0);
	assert_int_equal(pins(), 4);
	assert_int_equal(touch(memory + UNIT_BYTES / 2, false), SIGSEGV);
	assert_int_equal(touch(memory + UNIT_BYTES / 2 - 1, false), 0);
	assert_int_equal(touch(memory + 5 * UNIT_BYTES / 2, false), 0);
	assert_int_equal(dxm_unmap(other, UNIT_BYTES), 0);
	assert_int_equal(pins(), 3);
	assert_int_equal(dxm_unmap(memory, UNIT_BYTES), 0);
	assert_int_equal(pins(), 2);
	assert_int_equal(*(uint64_t *)(memory + 3 * UNIT_BYTES), 3 * UNIT_BYTES);
	dxm_unmap(memory, 4 * UNIT_BYTES);
}

/* Also of units that came in one piece, from whichever side it is taken apart. */
static void test_unmap_parts_of_a_run(void **state)
{
	const uint64_t first = FAKE_SCATTERED * UNIT_BYTES;
	char *memory = map_file(FAKE_SIZE, PROT_READ | PROT_WRITE), *run = memory + first;

	assert_int_equal(pins(), FAKE_UNITS);
	assert_int_equal(dxm_unmap(run + 8 * UNIT_BYTES, 4 * UNIT_BYTES), 0);
	assert_int_equal(pins(), FAKE_UNITS - 4);
	assert_int_equal(dxm_unmap(run, UNIT_BYTES), 0);
	assert_int_equal(dxm_unmap(run + 3 * UNIT_BYTES, 2 * UNIT_BYTES), 0);
	assert_int_equal(pins(), FAKE_UNITS - 7);
	for (unsigned unit = 0; unit < 12; unit++)
		assert_int_equal(fake.granted[FAKE_SCATTERED + unit] != 0,
				 unit && unit != 3 && unit != 4 && unit < 8);
	dxm_unmap(memory, FAKE_SIZE);
}

static void test_remap(void **state)
{
	char *memory = map_file(UNIT_BYTES, PROT_READ), *moved;
	char *wall = mmap(memory + 2 * UNIT_BYTES, PAGE_BYTES, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	moved = dxm_remap(memory, UNIT_BYTES, 2 * UNIT_BYTES, 0, NULL);
	assert_ptr_equal(moved, memory);
	assert_string_equal(survey(memory, 2), "HH");
	assert_ptr_equal(dxm_remap(memory, 2 * UNIT_BYTES, 5 * UNIT_BYTES, 0, NULL), MAP_FAILED);
	assert_int_equal(errno, ENOMEM);
	moved = dxm_remap(memory, 2 * UNIT_BYTES, 5 * UNIT_BYTES, MREMAP_MAYMOVE, NULL);
	assert_ptr_not_equal(moved, memory);
	assert_string_equal(survey(moved, 5), "HHHHH");
	assert_int_equal(touch(memory, false), SIGSEGV);
	assert_ptr_equal(dxm_remap(moved, 5 * UNIT_BYTES, UNIT_BYTES, 0, NULL), moved);
	assert_int_equal(touch(moved + UNIT_BYTES, false), SIGSEGV);
	assert_int_equal(*(uint64_t *)moved, 0);
	dxm_unmap(moved, UNIT_BYTES);
	munmap(wall, PAGE_BYTES);
}

static void test_system_calls(void **state)
{
	char *memory = map_file(UNIT_BYTES, PROT_READ | PROT_WRITE);
	int pipes[2];

	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(revoke_pieces(fake.cookie, 0, UINT64_MAX, fake.grant), 0);
	assert_int_equal(write(pipes[1], memory, 10), -1);
	assert_int_equal(errno, EFAULT);
	assert_int_equal(dxm_populate(memory, 10, PROT_READ), 0);
	assert_int_equal(write(pipes[1], memory, 10), 10);
	fake.size = 0;
	revoke_pieces(fake.cookie, 0, UINT64_MAX, fake.grant);
	assert_int_equal(dxm_populate(memory, 10, PROT_READ), -1);
	assert_int_equal(errno, EFAULT);
	dxm_unmap(memory, UNIT_BYTES);
	close(pipes[0]);
	close(pipes[1]);
}

/* The kernel limits how many mappings a process has. Nothing but speed is lost by that. */
static void test_too_many_mappings(void **state)
{
	const size_t length = (size_t)1 << 30;
	char *memory, *filler = mmap(NULL, length, PROT_NONE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t at = 0;

	for (unsigned unit = 0; unit < FAKE_UNITS; unit += 2)
		fake.hole[unit] = true;
	memory = map_file(FAKE_SIZE, PROT_READ | PROT_WRITE);
	revoke_all(memory);
	while (at < length && !mprotect(filler + at, PAGE_BYTES, PROT_READ))
		at += 2 * PAGE_BYTES;
	for (uint64_t unit = 0; unit < FAKE_UNITS; unit++)
		assert_int_equal(touch(memory + unit * UNIT_BYTES, unit % 3), 0);
	munmap(filler, length);
	assert_true(at < length);
	dxm_unmap(memory, FAKE_SIZE);
}

static void test_fork(void **state)
{
	char *memory = map_file(3 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	int status;
	pid_t child;

	strcpy(memory + UNIT_BYTES, "parent");
	child = fork();
	if (!child) {
		bool good = !strcmp(memory + UNIT_BYTES, "parent") &&
			    !strcmp(survey(memory, 3), "WWW");

		strcpy(memory + UNIT_BYTES, "child");
		_exit(good ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_string_equal(memory + UNIT_BYTES, "child");
	dxm_unmap(memory, 3 * UNIT_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_fill, fake_setup),
		cmocka_unit_test_setup(test_alignment, fake_setup),
		cmocka_unit_test_setup(test_fixed, fake_setup),
		cmocka_unit_test_setup(test_hole, fake_setup),
		cmocka_unit_test_setup(test_hole_is_split, fake_setup),
		cmocka_unit_test_setup(test_read_first, fake_setup),
		cmocka_unit_test_setup(test_protection, fake_setup),
		cmocka_unit_test_setup(test_protection_of_pinned, fake_setup),
		cmocka_unit_test_setup(test_pinned_while_read_only, fake_setup),
		cmocka_unit_test_setup(test_pin_of_a_hole, fake_setup),
		cmocka_unit_test_setup(test_pin_of_no_access, fake_setup),
		cmocka_unit_test_setup(test_read_only_file, fake_setup),
		cmocka_unit_test_setup(test_end, fake_setup),
		cmocka_unit_test_setup(test_no_space, fake_setup),
		cmocka_unit_test_setup(test_fallback, fake_setup),
		cmocka_unit_test_setup(test_unmap_parts, fake_setup),
		cmocka_unit_test_setup(test_unmap_parts_of_a_run, fake_setup),
		cmocka_unit_test_setup(test_remap, fake_setup),
		cmocka_unit_test_setup(test_system_calls, fake_setup),
		cmocka_unit_test_setup(test_too_many_mappings, fake_setup),
		cmocka_unit_test_setup(test_fork, fake_setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
