/* SPDX-License-Identifier: BSD-3-Clause */
/* Two threads set and clear bits of one word; neither loses the other's. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daxfuse/pmem/memory.h"

#define ROUNDS 20000

struct job {
	struct pmem *pm;
	uint64_t mask;
};

static void *toggle(void *arg)
{
	struct job *job = arg;
	uint64_t *word = pmem_at(job->pm, 0);

	for (int i = 0; i < ROUNDS; i++) {
		pmem_set_bits(job->pm, word, job->mask);
		pmem_clear_bits(job->pm, word, job->mask);
	}
	pmem_set_bits(job->pm, word, job->mask);
	return NULL;
}

static void test_toggle(void **state)
{
	struct job jobs[2] = { { NULL, UINT64_C(0x5555) }, { NULL, UINT64_C(0xaaaa) } };
	pthread_t thread[2];
	struct pmem *pm;

	assert_int_equal(pmem_memory_new(2 << 20, 0, &pm), 0);
	for (int i = 0; i < 2; i++) {
		jobs[i].pm = pm;
		assert_int_equal(pthread_create(&thread[i], NULL, toggle, &jobs[i]), 0);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(*(uint64_t *)pmem_at(pm, 0), 0xffff);
	pmem_memory_free(pm);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_toggle) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
