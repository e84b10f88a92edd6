/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that can be mapped in whole units only, as a device-dax of 2 MiB alignment. A
 * hugetlbfs file stands for it, whose mappings can't be cut inside a unit either. Where there
 * are no huge pages, and we may not have them made, this is skipped.
 */
#define FAKE_DEVICE_FLAGS MFD_HUGETLB
#include "fake.h"

#include <fcntl.h>

#include "daxfuse/direct.h"

/* Pages that exist while they are in use. */
static void allow_pages(const char *count)
{
	int fd = open("/proc/sys/vm/nr_overcommit_hugepages", O_WRONLY);

	if (fd >= 0 && write(fd, count, strlen(count)) > 0)
		close(fd);
}

static bool available(void)
{
	int fd = memfd_create("huge", MFD_HUGETLB);
	void *memory = mmap(NULL, DEVICE_UNITS * UNIT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			    0);

	if (memory != MAP_FAILED)
		munmap(memory, DEVICE_UNITS * UNIT_BYTES);
	close(fd);
	return memory != MAP_FAILED;
}

/* Another mapping keeps the file open: pins are let go of one by one, not by closing it. */
static int setup(void **state)
{
	static void *keeper;

	fake.flags = DIRECT_UNITS;
	fake.whole_units = true;
	fake_setup(state);
	if (!keeper)
		keeper = dxm_map(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, fake.file,
				 (off_t)(FAKE_SIZE - UNIT_BYTES));
	/* its pin does not count */
	return fake_setup(state);
}

static bool is_free(const char *memory)
{
	void *got = mmap((void *)memory, PAGE_BYTES, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (got != MAP_FAILED)
		munmap(got, PAGE_BYTES);
	return got == memory;
}

static char *map_part(uint64_t offset, uint64_t length)
{
	char *memory = dxm_map(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fake.file,
			       (off_t)offset);

	fake_handlers();
	assert_ptr_not_equal(memory, MAP_FAILED);
	assert_int_equal(((uintptr_t)memory - offset) % UNIT_BYTES, 0);
	return memory;
}

/* All of it in units, wherever it begins and ends; nothing is left behind. */
static void test_whole(void **state)
{
	const uint64_t offset = UNIT_BYTES / 2, length = UNIT_BYTES + 3 * PAGE_BYTES;
	char *memory = map_part(offset, length);
	struct dxm_range range[2];

	assert_int_equal(dxm_query(memory, length, range, 2), 1);
	assert_int_equal(range[0].kind, DXM_HUGE);
	for (uint64_t at = 0; at < length; at += PAGE_BYTES)
		assert_int_equal(*(uint64_t *)(memory + at), offset + at);
	assert_int_equal(touch(memory + length - 1, true), 0);
	assert_int_equal(dxm_unmap(memory, length), 0);
	assert_int_equal(pins(), 0);
	assert_true(is_free(memory) && is_free(memory - PAGE_BYTES) && is_free(memory + length));
}

/* A unit that is cut is the kernel's. */
static void test_cut(void **state)
{
	char *memory = map_part(0, 3 * UNIT_BYTES + PAGE_BYTES);

	assert_int_equal(dxm_unmap(memory + UNIT_BYTES / 2, 2 * UNIT_BYTES), 0);
	assert_string_equal(survey(memory, 4), "...W");
	assert_int_equal(pins(), 1);
	assert_int_equal(touch(memory + UNIT_BYTES / 2 - 1, true), 0);
	assert_int_equal(touch(memory + UNIT_BYTES / 2, false), SIGSEGV);
	assert_int_equal(touch(memory + 5 * UNIT_BYTES / 2 - 1, false), SIGSEGV);
	assert_int_equal(touch(memory + 5 * UNIT_BYTES / 2, true), 0);
	assert_int_equal(dxm_unmap(memory, 4 * UNIT_BYTES), 0);
	assert_int_equal(pins(), 0);
	assert_true(is_free(memory + 3 * UNIT_BYTES));
}

static void test_protect(void **state)
{
	const uint64_t length = 2 * UNIT_BYTES + PAGE_BYTES;
	char *memory = map_part(0, length);

	assert_int_equal(dxm_protect(memory + UNIT_BYTES, length - UNIT_BYTES, PROT_READ), 0);
	assert_string_equal(survey(memory, 3), "WHH");
	assert_int_equal(touch(memory + 2 * UNIT_BYTES, true), SIGSEGV);
	assert_int_equal(dxm_protect(memory + UNIT_BYTES, PAGE_BYTES, PROT_READ | PROT_WRITE), 0);
	assert_string_equal(survey(memory, 3), "W.H");
	assert_int_equal(touch(memory + UNIT_BYTES, true), 0);
	assert_int_equal(touch(memory + UNIT_BYTES + PAGE_BYTES, true), SIGSEGV);
	assert_int_equal(dxm_unmap(memory, length), 0);
	assert_int_equal(pins(), 0);
}

static void test_mapped_over(void **state)
{
	char *memory = map_part(0, 2 * UNIT_BYTES);

	assert_ptr_equal(dxm_map(memory + PAGE_BYTES, PAGE_BYTES, PROT_READ,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 memory + PAGE_BYTES);
	assert_string_equal(survey(memory, 2), ".W");
	assert_ptr_equal(dxm_map(memory, UNIT_BYTES, PROT_READ, MAP_SHARED | MAP_FIXED, fake.file,
				 (off_t)(4 * UNIT_BYTES)),
			 memory);
	assert_string_equal(survey(memory, 2), "HW");
	assert_int_equal(*(uint64_t *)memory, 4 * UNIT_BYTES);
	dxm_unmap(memory, 2 * UNIT_BYTES);
	assert_int_equal(pins(), 0);
}

static void test_remap(void **state)
{
	char *memory = map_part(0, PAGE_BYTES), *moved;

	assert_ptr_equal(dxm_remap(memory, PAGE_BYTES, 2 * PAGE_BYTES, 0, NULL), memory);
	assert_int_equal(touch(memory + PAGE_BYTES, true), 0);
	moved = dxm_remap(memory, 2 * PAGE_BYTES, PAGE_BYTES + UNIT_BYTES, 0, NULL);
	assert_ptr_equal(moved, MAP_FAILED);
	dxm_unmap(memory, 2 * PAGE_BYTES);
	assert_int_equal(pins(), 0);
	memory = map_part(0, PAGE_BYTES);
	moved = dxm_remap(memory, PAGE_BYTES, 2 * UNIT_BYTES + PAGE_BYTES, MREMAP_MAYMOVE, NULL);
	assert_ptr_not_equal(moved, MAP_FAILED);
	assert_string_equal(survey(moved, 3), "WWW");
	assert_ptr_equal(dxm_remap(moved, 2 * UNIT_BYTES + PAGE_BYTES, UNIT_BYTES, 0, NULL), moved);
	assert_string_equal(survey(moved, 2), "W.");
	dxm_unmap(moved, UNIT_BYTES);
	assert_int_equal(pins(), 0);
}

/* The kernel has what the daemon can't give; of the units' ends nothing stays. */
static void test_fallback(void **state)
{
	char *memory;

	fake.error = -EOPNOTSUPP;
	memory = map_part(PAGE_BYTES, PAGE_BYTES);
	assert_string_equal(survey(memory, 1), ".");
	assert_int_equal(touch(memory, true), 0);
	assert_true(is_free(memory - PAGE_BYTES) && is_free(memory + PAGE_BYTES));
	dxm_unmap(memory, PAGE_BYTES);
}

static void test_holes(void **state)
{
	char *memory;

	fake.hole[1] = true;
	memory = map_part(0, 2 * UNIT_BYTES);
	assert_string_equal(survey(memory, 2), "WZ");
	fake.error = -ENOSPC;
	assert_int_equal(touch(memory + UNIT_BYTES, true), SIGBUS);
	fake.error = 0;
	assert_int_equal(touch(memory + UNIT_BYTES, true), 0);
	assert_string_equal(survey(memory, 2), "WW");
	dxm_unmap(memory, 2 * UNIT_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_whole, setup),
		cmocka_unit_test_setup(test_cut, setup),
		cmocka_unit_test_setup(test_protect, setup),
		cmocka_unit_test_setup(test_mapped_over, setup),
		cmocka_unit_test_setup(test_remap, setup),
		cmocka_unit_test_setup(test_fallback, setup),
		cmocka_unit_test_setup(test_holes, setup),
	};

	int failed;

	allow_pages("64");
	failed = available() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
	allow_pages("0");
	return failed;
}
