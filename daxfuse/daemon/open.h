/* SPDX-License-Identifier: BSD-3-Clause */
/* Of the room: opening all that the serving process consists of. */
#ifndef DAXFUSE_DAEMON_OPEN_H
#define DAXFUSE_DAEMON_OPEN_H

#include "state.h"

/* Says what is wrong, and what to do; what was opened is the caller's to close, also if it fails.
 * -errno */
errint_t open_pool(struct daemon *d);

/* A line of the log about a device, and one of advice (NULL: none). err 0: there is no error. */
void complain(const char *device, const char *what, int err, const char *advice);

#endif
