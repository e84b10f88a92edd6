/* SPDX-License-Identifier: BSD-3-Clause */
/* The FUSE session: mounting or taking over a mount, what is agreed with the
 * kernel, the loop. */
#ifndef DAXFUSE_FUSE_SESSION_H
#define DAXFUSE_FUSE_SESSION_H

#include "internal.h"

/* Mount, or take the mount over. -EINVAL, -EIO or what mount(2) said; why:
 * log_held_back(). */
int session_open(struct transport *t);
/* Serve until unmounted or told to stop; 0 or negative errno. */
int session_serve(struct transport *t);
/* Let the loop end, soon, from any thread. */
void session_stop(struct transport *t);
/* Unmount if no keeper has the mount. */
void session_close(struct transport *t);
/* Free what session_open() made. */
void session_free(struct transport *t);

#endif
