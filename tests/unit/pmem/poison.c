/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SIGBUS while reading is -EIO and nothing else. The signal comes from cutting
 * the file beneath the mapping short, and, where the kernel lets us, from
 * really poisoned pages.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daxfuse/pmem/memory.h"

#define POOL_SIZE (UINT64_C(4) << 20)
#define CUT (UINT64_C(1) << 20)

/* cmocka takes SIGBUS for itself around each test, so each begins with ours. */
#define BEGIN assert_int_equal(pmem_poison_init(), 0)

static int setup(void **state)
{
	struct pmem *pm;

	if (pmem_memory_new(POOL_SIZE, 0, &pm))
		return -1;
	memset(pm->base, 0x11, CUT);
	if (ftruncate(pmem_memory_fd(pm), CUT) < 0)
		return -1;
	*state = pm;
	return 0;
}

static int teardown(void **state)
{
	pmem_memory_free(*state);
	return 0;
}

static void test_read(void **state)
{
	struct pmem *pm = *state;
	uint64_t before = pmem_poison_count();
	char buf[4096];

	BEGIN;
	assert_int_equal(pmem_read(pm, buf, pm->base + CUT - 4096, 4096), 0);
	assert_int_equal(buf[4095], 0x11);
	assert_int_equal(pmem_read(pm, buf, pm->base + CUT, 1), -EIO);
	/* Half of it is readable. */
	assert_int_equal(pmem_read(pm, buf, pm->base + CUT - 2048, 4096), -EIO);
	assert_int_equal(pmem_poison_count() - before, 2);
	/* The guard is disarmed, and the mask still lets the signal through. */
	assert_int_equal(pmem_read(pm, buf, pm->base + POOL_SIZE - 8, 8), -EIO);
	assert_int_equal(pmem_read(pm, buf, pm->base, 4096), 0);
}

static void test_load(void **state)
{
	struct pmem *pm = *state;
	uint64_t value = 42;

	BEGIN;
	assert_int_equal(pmem_load64(pm, pmem_at(pm, CUT), &value), -EIO);
	assert_int_equal(value, 42);
	assert_int_equal(pmem_load64(pm, pmem_at(pm, 8), &value), 0);
	assert_true(value == UINT64_C(0x1111111111111111));
}

static void test_probe(void **state)
{
	struct pmem *pm = *state;

	BEGIN;
	assert_int_equal(pmem_probe(pm, pm->base, CUT), 0);
	assert_int_equal(pmem_probe(pm, pm->base + CUT, 0), 0);
	assert_int_equal(pmem_probe(pm, pm->base + 1, CUT), -EIO);
	assert_int_equal(pmem_probe(pm, pm->base + CUT - 1, 1), 0);
	assert_int_equal(pmem_probe(pm, pm->base + CUT - 1, 2), -EIO);
}

static void test_write(void **state)
{
	struct pmem *pm = *state;
	char page[4096];

	BEGIN;
	memset(page, 0x33, sizeof(page));
	assert_int_equal(pmem_write_zero_nt(pm, pm->base + CUT, 4096), -EIO);
	assert_int_equal(pmem_write_zero_nt(pm, pm->base + CUT - 100, 200), -EIO);
	assert_int_equal(pmem_write_zero_nt(pm, pm->base + CUT - 4096, 4096), 0);
	assert_int_equal(pm->base[CUT - 1], 0);
	assert_int_equal(pmem_write_nt(pm, pm->base + CUT, page, 4096), -EIO);
	assert_int_equal(pmem_write_nt(pm, pm->base + CUT - 100, page, 200), -EIO);
	assert_int_equal(pmem_write_nt(pm, pm->base + CUT - 4096, page, 4096), 0);
	pmem_fence(pm);
	assert_memory_equal(pm->base + CUT - 4096, page, 4096);
	memset(pm->base, 0x11, CUT);
}

/* What some other process met is only counted. */
static void test_action_optional(void **state)
{
	uint64_t before = pmem_poison_count();
	siginfo_t info = { .si_signo = SIGBUS, .si_code = BUS_MCEERR_AO };

	BEGIN;
	info.si_addr = ((struct pmem *)*state)->base;
	assert_int_equal(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGBUS, &info), 0);
	assert_int_equal(pmem_poison_count() - before, 1);
}

static void *read_bad(void *arg)
{
	struct pmem *pm = arg;
	char buf[64];

	for (int i = 0; i < 1000; i++) {
		if (pmem_read(pm, buf, pm->base + CUT + (uint64_t)i * 64, 64) != -EIO)
			return "read of the cut part succeeded";
		if (pmem_read(pm, buf, pm->base + (uint64_t)i * 64, 64))
			return "read of the good part failed";
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t thread[4];
	void *what;

	BEGIN;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, read_bad, *state), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], &what);
		assert_null(what);
	}
}

/* Run fn in a child where nothing but our handler is installed. */
static int status_of(void (*fn)(struct pmem *pm), struct pmem *pm)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		signal(SIGBUS, SIG_DFL);
		if (!pmem_poison_init())
			fn(pm);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void check_killed(void (*fn)(struct pmem *pm), struct pmem *pm)
{
	int status = status_of(fn, pm);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
}

static void store_behind_cut(struct pmem *pm)
{
	*(volatile char *)(pm->base + CUT) = 1;
}

static void read_to_behind_cut(struct pmem *pm)
{
	pmem_read(pm, pm->base + CUT, pm->base, 8);
}

/* An access that no guard announced kills, as without our handler. */
static void test_unguarded_access_kills(void **state)
{
	check_killed(store_behind_cut, *state);
}

/* So does a SIGBUS elsewhere while a guard is armed: the source of a copy is
 * guarded, its destination is not. */
static void test_other_address_kills(void **state)
{
	check_killed(read_to_behind_cut, *state);
}

static void on_previous(int signal)
{
	_exit(7);
}

static void store_with_previous_handler(struct pmem *pm)
{
	signal(SIGBUS, on_previous);
	if (!pmem_poison_init())
		store_behind_cut(pm);
}

/* The handler that was there before gets what is not ours. */
static void test_chains_to_previous(void **state)
{
	int status = status_of(store_with_previous_handler, *state);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
}

/* A hardware error as the kernel reports it, if it lets us inject one. */
static void test_hardware_poison(void **state)
{
	struct pmem *pm;
	char buf[4096];

	BEGIN;
	assert_int_equal(pmem_memory_new(POOL_SIZE, 0, &pm), 0);
	memset(pm->base, 0x22, 3 * 4096);
	if (madvise(pm->base + 4096, 4096, MADV_HWPOISON) < 0) {
		pmem_memory_free(pm);
		skip();
	}
	assert_int_equal(pmem_read(pm, buf, pm->base + 4096 + 100, 8), -EIO);
	assert_int_equal(pmem_probe(pm, pm->base, 3 * 4096), -EIO);
	assert_int_equal(pmem_read(pm, buf, pm->base + 2 * 4096, 4096), 0);
	pmem_memory_free(pm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_load),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_action_optional),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_unguarded_access_kills),
		cmocka_unit_test(test_other_address_kills),
		cmocka_unit_test(test_chains_to_previous),
		cmocka_unit_test(test_hardware_poison),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
