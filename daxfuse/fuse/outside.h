/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon does to its own mount from outside: as a process that has
 * nothing of it open. Not in a thread that serves. */
#ifndef DAXFUSE_FUSE_OUTSIDE_H
#define DAXFUSE_FUSE_OUTSIDE_H

#include "daxfuse/fuse/state.h"

/* As far as we may: root only. Waits until the kernel has been greeted. */
void outside_set_readahead(const struct state *s);
/* Write back what was stored through mappings, and unmount. -EBUSY. */
int outside_unmount(const struct state *s);
/* Take the mount out of the tree; those who still use it get ENOTCONN when we end. */
void outside_detach(const struct state *s);

#endif
