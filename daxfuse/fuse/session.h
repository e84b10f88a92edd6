/* SPDX-License-Identifier: BSD-3-Clause */
/* The FUSE session: mounting or taking over a mount, what is agreed with the
 * kernel, the loop. */
#ifndef DAXFUSE_FUSE_SESSION_H
#define DAXFUSE_FUSE_SESSION_H

#include "state.h"

/* Whether what the keeper holds is mounted already: then session_open() takes it
 * over. Before the pool is mounted, as that must keep orphans. */
bool session_is_mounted(const struct state *s);
/* Mount, or take the mount over. -EINVAL, -EIO or what mount(2) said; why:
 * log_held_back(). */
int session_open(struct state *s);
/* Serve until unmounted or told to stop; 0 or negative errno. */
int session_serve(struct state *s);
/* Let the loop end, soon, from any thread. */
void session_stop(struct state *s);
/* Free what session_open() made; unmounts if no keeper has the mount. */
void session_close(struct state *s);

/* The capabilities that this version can be held to by an earlier one. */
uint64_t session_capabilities(void);

#endif
