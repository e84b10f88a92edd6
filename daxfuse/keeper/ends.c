/* SPDX-License-Identifier: BSD-3-Clause */
/* The last words of a process, and what the next one makes of them: see ends.h. */
#include "ends.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daxfuse/base/bits.h"
#include "kept.h"

enum { KIND = ~0xff, NUMBER = 0xff };

static struct kept *watched;

static void describe_end(uint32_t end, char *ret_reason, size_t size)
{
	int number = (int)(end & NUMBER);

	if ((end & KIND) == END_SIGNAL)
		snprintf(ret_reason, size, "crashed by signal %d (%s)", number, strsignal(number));
	else if ((end & KIND) == END_STATUS)
		snprintf(ret_reason, size, "exit status %d", number);
	else
		snprintf(ret_reason, size, "killed");
}

static void note_death(struct kept *kept)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	describe_end(kept->end, kept->last_reason, sizeof(kept->last_reason));
	kept->last_death = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	kept->deaths++;
	kept->crashed = kept->end != END_UNSAID;
	lives_died(&kept->lives, !kept->crashed);
}

void ends_begin(struct kept *kept)
{
	uint32_t kind = kept->end & KIND;

	if (kind == END_GIVEN_UP)
		kept->lives = (struct lives){ 0 };
	if (kind == END_GIVEN_UP || kind == END_REPLACED)
		kept->crashed = false;
	else if (kept->starts)
		note_death(kept);
	kept->end = END_UNSAID;
	kept->starts++;
	lives_start(&kept->lives);
}

/* The signal comes again when we return, and kills then, with a core of the place. */
static void on_crash(int number)
{
	watched->end = END_SIGNAL | (uint32_t)number;
	signal(number, SIG_DFL);
	raise(number);
}

void ends_watch(struct kept *kept)
{
	static const int crashes[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS };
	struct sigaction action = { .sa_handler = on_crash }, current;

	watched = kept;
	sigemptyset(&action.sa_mask);
	/* sanitizers have handlers of their own, which say more */
	for (size_t i = 0; i < ARRAY_SIZE(crashes); i++) {
		if (sigaction(crashes[i], NULL, &current) == 0 && current.sa_handler == SIG_DFL)
			sigaction(crashes[i], &action, NULL);
	}
}
