/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens while an answer is on its way. */
#include "fake.h"

#include <sys/wait.h>

#include "daxfuse/daxmap/faults/fault.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/session/connection.h"
#include "daxfuse/daxmap/session/object.h"

static char *memory;

static int take_back(uint64_t grant)
{
	return revoke_pieces(fake.cookie, 0, UINT64_MAX, grant);
}

static void revoke_all(void)
{
	assert_int_equal(take_back(fake.grant), 0);
}

static void revoke_older(void)
{
	assert_int_equal(take_back(fake.grant - 4), 0);
}

/* What was granted up to the number must not be mapped, and is asked for again. */
static void test_revoked(void **state)
{
	int asked = fake.asked;

	fake.on_answer = revoke_all;
	memory = map_file(4 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	assert_int_equal(fake.asked, asked + 2);
	assert_string_equal(survey(memory, 4), "WWWW");
	dxm_unmap(memory, 4 * UNIT_BYTES);
}

static void test_granted_later(void **state)
{
	int asked = fake.asked;

	fake.on_answer = revoke_older;
	memory = map_file(4 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	assert_int_equal(fake.asked, asked + 1);
	assert_string_equal(survey(memory, 4), "WWWW");
	dxm_unmap(memory, 4 * UNIT_BYTES);
}

static void revoke_second_unit(void)
{
	assert_int_equal(revoke_pieces(fake.cookie, UNIT_BYTES, UNIT_BYTES, fake.grant), 0);
}

/* Of the range only; what came before it in the answer is mapped. */
static void test_revoked_in_part(void **state)
{
	int asked = fake.asked;

	fake.on_answer = revoke_second_unit;
	memory = map_file(4 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	assert_int_equal(fake.asked, asked + 2);
	assert_true(fake.granted[0] < fake.granted[1] - 1);
	assert_string_equal(survey(memory, 4), "WWWW");
	dxm_unmap(memory, 4 * UNIT_BYTES);
}

static void protect_all(void)
{
	assert_int_equal(revoke_writing(fake.cookie, 0, UINT64_MAX, fake.grant), 0);
}

static void test_protected(void **state)
{
	fake.on_answer = protect_all;
	memory = map_file(2 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	assert_string_equal(survey(memory, 2), "HH");
	assert_int_equal(touch(memory, true), 0);
	assert_string_equal(survey(memory, 2), "WH");
	protect_all();
	assert_string_equal(survey(memory, 2), "HH");
	assert_int_equal(touch(memory, true), 0);
	dxm_unmap(memory, 2 * UNIT_BYTES);
}

static void store_to_hole(void)
{
	assert_int_equal(fault_resolve((uintptr_t)memory, true, true), FAULT_AGAIN);
	memory[8] = 'x';
}

/* Zeroes that were on their way must not come to lie over data that another thread has
 * allocated meanwhile. */
static void test_older_zeroes(void **state)
{
	fake.hole[0] = true;
	memory = map_file(UNIT_BYTES, PROT_READ | PROT_WRITE);
	revoke_all();
	fake.on_answer = store_to_hole;
	assert_int_equal(touch(memory, false), 0);
	assert_int_equal(memory[8], 'x');
	memory[8] = 0;
	dxm_unmap(memory, UNIT_BYTES);
}

static void unmap(void)
{
	assert_int_equal(dxm_unmap(memory, UNIT_BYTES), 0);
}

/* The pin of an answer that finds its region gone is given back. */
static void test_unmapped(void **state)
{
	char *other = dxm_map(NULL, UNIT_BYTES, PROT_READ, MAP_SHARED, fake.file, 3 * UNIT_BYTES);

	fake_handlers();
	memory = dxm_map(NULL, UNIT_BYTES, PROT_READ, MAP_SHARED, fake.file, 0);
	assert_int_equal(pins(), 2);
	revoke_all();
	fake.on_answer = unmap;
	assert_int_equal(fault_resolve((uintptr_t)memory, false, true), FAULT_AGAIN);
	assert_int_equal(fake.granted[0], 0);
	assert_int_equal(touch(memory, false), SIGSEGV);
	assert_int_equal(touch(other, false), 0);
	dxm_unmap(other, UNIT_BYTES);
}

static char *elsewhere;

static void unmap_and_map_again(void)
{
	/* a later number is seen, up to which the unit is then let go of */
	assert_int_equal(touch(elsewhere, false), 0);
	assert_int_equal(dxm_unmap(memory, UNIT_BYTES), 0);
	fake.error = -EBUSY;
	assert_ptr_equal(dxm_map(memory, UNIT_BYTES, PROT_READ, MAP_SHARED | MAP_FIXED, fake.file,
				 0),
			 memory);
	fake.error = 0;
}

/* The pin of the answer has gone, though the same part of the file is mapped there again. */
static void test_mapped_again(void **state)
{
	elsewhere = dxm_map(NULL, UNIT_BYTES, PROT_READ, MAP_SHARED, fake.file, 3 * UNIT_BYTES);
	memory = map_file(UNIT_BYTES, PROT_READ);
	revoke_all();
	fake.on_answer = unmap_and_map_again;
	assert_int_equal(fault_resolve((uintptr_t)memory, false, true), FAULT_AGAIN);
	assert_string_equal(survey(memory, 1), "H");
	assert_int_not_equal(fake.granted[0], 0);
	dxm_unmap(memory, UNIT_BYTES);
	dxm_unmap(elsewhere, UNIT_BYTES);
}

static void map_over(void)
{
	assert_ptr_equal(dxm_map(memory, UNIT_BYTES, PROT_READ, MAP_SHARED | MAP_FIXED, fake.file,
				 5 * UNIT_BYTES),
			 memory);
}

/* Another part of the file is mapped there now. */
static void test_mapped_over(void **state)
{
	memory = map_file(UNIT_BYTES, PROT_READ);
	elsewhere = map_file(PAGE_BYTES, PROT_READ);
	revoke_all();
	fake.on_answer = map_over;
	assert_int_equal(touch(memory, false), 0);
	assert_int_equal(*(uint64_t *)memory, 5 * UNIT_BYTES);
	assert_int_equal(*(uint64_t *)elsewhere, 0);
	dxm_unmap(elsewhere, PAGE_BYTES);
	dxm_unmap(memory, UNIT_BYTES);
}

static void protect_mapping(void)
{
	assert_int_equal(dxm_protect(memory, UNIT_BYTES, PROT_NONE), 0);
}

static void test_mprotected(void **state)
{
	memory = map_file(UNIT_BYTES, PROT_READ | PROT_WRITE);
	revoke_all();
	fake.on_answer = protect_mapping;
	assert_int_equal(touch(memory, true), SIGSEGV);
	dxm_unmap(memory, UNIT_BYTES);
}

/* Answers that name a lost connection are asked for again. */
static void *connect_again(void *argument)
{
	usleep(50000);
	fake.error = 0;
	return NULL;
}

static void test_lost(void **state)
{
	pthread_t thread;

	memory = map_file(UNIT_BYTES, PROT_READ);
	revoke_all();
	fake.error = -ENOTCONN;
	pthread_create(&thread, NULL, connect_again, NULL);
	assert_int_equal(touch(memory, false), 0);
	pthread_join(thread, NULL);
	dxm_unmap(memory, UNIT_BYTES);
}

/* A thread that has faulted on a mapping which is replaced meanwhile finds another one there. */
static void test_replaced(void **state)
{
	uintptr_t addr;

	memory = map_file(2 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	addr = (uintptr_t)memory;
	assert_int_equal(fault_resolve(addr - UNIT_BYTES, false, false), FAULT_AGAIN);
	assert_int_equal(fault_resolve(addr - UNIT_BYTES, false, false), FAULT_FOREIGN);
	assert_ptr_equal(dxm_map(memory, 2 * UNIT_BYTES, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 memory);
	assert_int_equal(fault_resolve(addr, false, true), FAULT_AGAIN);
	assert_int_equal(fault_resolve(addr, false, true), FAULT_FOREIGN);
	munmap(memory, 2 * UNIT_BYTES);
}

/* ---- a file that is cut while it is flushed */

static atomic_bool cutting;

static void *cut_and_grow(void *argument)
{
	while (cutting) {
		fake.size = UNIT_BYTES;
		revoke_all();
		fake.size = FAKE_SIZE;
	}
	return NULL;
}

static void set_session_flags(uint32_t flags)
{
	struct lock_guard guard = lock_take();

	region_at((uintptr_t)memory)->object->session->flags = flags;
	lock_release(guard);
}

static void test_cut_while_flushed(void **state)
{
	pthread_t thread;

	memory = map_file(4 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	set_session_flags(DIRECT_FLUSH);
	cutting = true;
	assert_int_equal(pthread_create(&thread, NULL, cut_and_grow, NULL), 0);
	for (int i = 0; i < 200; i++) {
		dxm_populate(memory, 4 * UNIT_BYTES, PROT_WRITE);
		assert_int_equal(dxm_sync(memory, 4 * UNIT_BYTES, MS_SYNC), 0);
	}
	cutting = false;
	pthread_join(thread, NULL);
	set_session_flags(0);
	dxm_unmap(memory, 4 * UNIT_BYTES);
}

/* ---- a library (an allocator) that holds its lock over forks, too */

static pthread_mutex_t allocator = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool allocating;

static void take_allocator(void)
{
	pthread_mutex_lock(&allocator);
}

static void leave_allocator(void)
{
	pthread_mutex_unlock(&allocator);
}

/* Earlier than ours: so the lock is taken after ours. */
__attribute__((constructor(101))) static void install_allocator(void)
{
	pthread_atfork(take_allocator, leave_allocator, leave_allocator);
}

static void *allocate(void *argument)
{
	while (allocating) {
		take_allocator();
		dxm_unmap(argument, PAGE_BYTES);
		leave_allocator();
	}
	return NULL;
}

/* A thread that waits for the lock has all signals blocked: no alarm(). */
static void *end_what_hangs(void *argument)
{
	sleep(60);
	_exit(99);
}

/* Its memory is none of ours: nobody waits for the other's lock. */
static void test_fork_and_allocator(void **state)
{
	pthread_t thread;
	int status;

	memory = map_file(3 * UNIT_BYTES, PROT_READ | PROT_WRITE);
	dxm_unmap(memory + UNIT_BYTES, UNIT_BYTES);
	allocating = true;
	assert_int_equal(pthread_create(&thread, NULL, end_what_hangs, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, allocate, memory + UNIT_BYTES), 0);
	for (int i = 0; i < 100; i++) {
		pid_t child = fork();

		if (!child)
			_exit(memory[8] == 0 ? 0 : 1);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
	allocating = false;
	pthread_join(thread, NULL);
	dxm_unmap(memory, 3 * UNIT_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_revoked, fake_setup),
		cmocka_unit_test_setup(test_granted_later, fake_setup),
		cmocka_unit_test_setup(test_revoked_in_part, fake_setup),
		cmocka_unit_test_setup(test_protected, fake_setup),
		cmocka_unit_test_setup(test_older_zeroes, fake_setup),
		cmocka_unit_test_setup(test_unmapped, fake_setup),
		cmocka_unit_test_setup(test_mapped_again, fake_setup),
		cmocka_unit_test_setup(test_mapped_over, fake_setup),
		cmocka_unit_test_setup(test_mprotected, fake_setup),
		cmocka_unit_test_setup(test_lost, fake_setup),
		cmocka_unit_test_setup(test_replaced, fake_setup),
		cmocka_unit_test_setup(test_cut_while_flushed, fake_setup),
		cmocka_unit_test_setup(test_fork_and_allocator, fake_setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
