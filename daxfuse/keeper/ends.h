/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a serving process ended, in its own words. A supervisor sees it; systemd does not tell the
 * next process, so each writes into the kept memory what it can: that it makes room, that it has
 * given up, its exit status, or in a signal handler that it crashes. What says nothing was killed.
 */
#ifndef DAXFUSE_KEEPER_ENDS_H
#define DAXFUSE_KEEPER_ENDS_H

#include <stdint.h>

struct kept;

enum {
	END_UNSAID = 0,
	END_REPLACED = 1 << 8, /* by the next one, as somebody asked for that */
	END_GIVEN_UP = 2 << 8, /* answered EIO until somebody had it start again */
	END_STATUS = 3 << 8,   /* and the exit status */
	END_SIGNAL = 4 << 8,   /* and the signal */
};

/* In a new process: look at the end of the last one, if there was one, and begin a life. */
void ends_begin(struct kept *kept);
/* From now on a crash of this process is written down. Before handlers that chain to others. */
void ends_watch(struct kept *kept);

#endif
