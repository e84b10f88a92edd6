/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The keeper that `daxfuse` is itself: the parent of the serving process. It
 * holds the descriptors that must not be closed, starts the serving process,
 * starts it again when it dies, and does nothing else; no request, no lock and
 * no byte of the pool passes through it, so there is little in it that could
 * fail.
 */
#ifndef DAXFUSE_KEEPER_SUPERVISOR_H
#define DAXFUSE_KEEPER_SUPERVISOR_H

#include "kept.h"

struct supervisor {
	struct kept_config config;
	char **argv;         /* of the serving process: ours */
	void (*ready)(void); /* the mount is usable, for the first time */
};

/* Until the mount is gone. The exit status. */
int supervisor_run(const struct supervisor *supervisor);

#endif
