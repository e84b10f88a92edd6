/* SPDX-License-Identifier: BSD-3-Clause */
/* Faults that are the program's, from the moment on when the library's handlers are installed. */
#include "fake.h"

#include <semaphore.h>

int __sigaction(int sig, const struct sigaction *action, struct sigaction *ret_old);

static void *closed;
static sem_t fault_now;
static _Atomic bool armed, faulting, caught;

static void open_page(int sig, siginfo_t *info, void *context)
{
	mprotect(closed, PAGE_BYTES, PROT_READ);
	caught = true;
}

static void *fault_when_told(void *argument)
{
	sem_wait(&fault_now);
	faulting = true;
	return *(void *volatile *)closed;
}

/*
 * libc's function, as the library finds it: the kernel has changed the action, and what was there
 * before is not told yet.
 */
int __sigaction(int sig, const struct sigaction *action, struct sigaction *ret_old)
{
	struct sigaction old;
	int err = sigaction(sig, action, &old);

	if (armed && action && action->sa_sigaction != open_page) {
		armed = false;
		sem_post(&fault_now);
		while (!faulting)
			usleep(1000);
		usleep(50000);
	}
	if (!err && ret_old)
		*ret_old = old;
	return err;
}

/* A thread whose handler opens what it has faulted on. */
static void test_fault_while_installing(void **state)
{
	struct sigaction action = { .sa_sigaction = open_page, .sa_flags = SA_SIGINFO };
	pthread_t thread;
	char *memory;

	closed = mmap(NULL, PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sem_init(&fault_now, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, fault_when_told, NULL), 0);
	assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
	armed = true;
	memory = dxm_map(NULL, UNIT_BYTES, PROT_READ, MAP_SHARED, fake.file, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	pthread_join(thread, NULL);
	assert_true(caught);
	assert_false(armed);
	dxm_unmap(memory, UNIT_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_fault_while_installing, fake_setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
