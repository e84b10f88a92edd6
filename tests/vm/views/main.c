/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel module daxview, by its ioctls alone: views of /dev/dax0.0, and a daemon for them that
 * is a thread, or a child.
 *
 *     views SCENARIO [SECONDS]    exits with 0, or says which check has failed
 *
 * Scenarios stand in a file for each topic, which ends in a table of them; views.h is what they
 * have in common, and view.c and daemon.c stand behind it.
 */
#include <stdlib.h>
#include <time.h>

#include "views.h"

int seconds = 5;
unsigned int seed = 1;
void *volatile nowhere = (void *)8;

double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

unsigned long any(unsigned long below)
{
	seed = seed * 1103515245 + 12345;
	return (((unsigned long)seed >> 8) * 2654435761u) % below;
}

static const struct scenario *const topics[] = {
	fault_scenarios,    question_scenarios, read_write_scenarios,
	flush_scenarios,    page_scenarios,     lifetime_scenarios,
	argument_scenarios, tail_scenarios,     stress_scenarios,
};

static const struct scenario *find_scenario(const char *name)
{
	for (unsigned int i = 0; i < sizeof(topics) / sizeof(*topics); i++)
		for (const struct scenario *s = topics[i]; s->name; s++)
			if (!strcmp(name, s->name))
				return s;
	return NULL;
}

int main(int argc, char **argv)
{
	const struct scenario *scenario = argc > 1 ? find_scenario(argv[1]) : NULL;

	if (!scenario)
		return 2;
	if (argc > 2)
		seconds = atoi(argv[2]);
	open_device();
	catch_bus();
	scenario->run();
	return 0;
}
