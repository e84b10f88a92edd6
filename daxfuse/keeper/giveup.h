/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mount that no process can serve: every request is answered with EIO, so that programs neither
 * wait for ever nor find "Transport endpoint is not connected", until the mount is gone.
 */
#ifndef DAXFUSE_KEEPER_GIVEUP_H
#define DAXFUSE_KEEPER_GIVEUP_H

#include <signal.h>

#include "places.h"

struct giveup {
	int fuse;           /* of /dev/fuse, mounted */
	int signals;        /* a signalfd of giveup_signals() */
	struct place place; /* its number may not be known yet */
	int stop;           /* a signal that asked for the end before; or 0 */
};

/* Those that ask for the end, and SIGCHLD. */
void giveup_signals(sigset_t *ret_set);
/* Answer until the mount is gone. A signal has it let go of, while requests are answered. */
void giveup_answer(const struct giveup *giveup);
/* Let go of the mount at all of its places, from another process: somebody must answer. */
void giveup_detach(const struct place *place);

#endif
