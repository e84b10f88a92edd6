/* SPDX-License-Identifier: BSD-3-Clause */
/* Counting deaths in a row: see lives.h. */
#include "lives.h"

#include <time.h>

enum { FAILURES_MAX = 8, EARLY_MAX = 100 };
static const int64_t served = INT64_C(5000000000); /* ns */

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void lives_start(struct lives *l)
{
	l->started = now_ns();
	l->serves = false;
}

void lives_died(struct lives *l, bool killed)
{
	if (now_ns() - l->started >= served || (killed && l->serves))
		l->failures = l->early = 0;
	if (!killed)
		l->failures++;
	else if (!l->serves)
		l->early++;
}

bool lives_are_hopeless(const struct lives *l)
{
	return l->failures >= FAILURES_MAX || l->early >= EARLY_MAX;
}
