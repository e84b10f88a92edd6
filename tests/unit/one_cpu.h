/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DAXFUSE_TESTS_UNIT_ONE_CPU_H
#define DAXFUSE_TESTS_UNIT_ONE_CPU_H

#include <sched.h>

#include <cmocka.h>

/* Which arena, chunk and journal is used depends on the CPU: stay on this one. */
static inline void stay_on_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	assert_int_equal(sched_setaffinity(0, sizeof(set), &set), 0);
}

#endif
