/* SPDX-License-Identifier: BSD-3-Clause */
/* Replacing the serving process on purpose: whether this kernel and the next
 * binary can do it, and doing it. */
#ifndef DAXFUSE_DAEMON_RESTART_H
#define DAXFUSE_DAEMON_RESTART_H

#include <stdbool.h>
#include <stddef.h>

#include "daxfuse/base/errint.h"

struct options;
struct daemon;
struct kept;

/* Whether the kernel's way of sending requests again is there and safe to use;
 * else why not, one line. */
bool restart_is_safe(char *ret_reason, size_t size);

/* Whether somebody would start the next process. A supervisor may have died. */
bool restart_has_keeper(const struct daemon *d);

/* Write down what the next binary must understand. After fs_mount(). */
void restart_describe(const struct daemon *d);

/* Whether this process was started to say if it could go on where another one
 * stops; then restart_check() says so on stdout, and returns the exit status. */
bool restart_is_check(void);
int restart_check(const struct options *options);
/* Why we could not go on with what was kept (NULL: that is not understood), as the end of a
 * sentence; NULL: we can. */
const char *restart_objection(const struct options *options, const struct kept *kept);

/*
 * Ask the installed binary whether it could take over. 0, or -EOPNOTSUPP: it says
 * no, or there is no keeper; or another negative errno. Then ret_reason says why.
 */
errint_t restart_prepare(void *daemon, char *ret_reason, size_t size);
/* End this process, to be replaced. The current request should be answered. */
void restart_now(void *daemon);

#endif
