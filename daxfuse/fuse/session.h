/* SPDX-License-Identifier: BSD-3-Clause */
/* The FUSE session: mounting, what is agreed with the kernel, the loop. */
#ifndef DAXFUSE_FUSE_SESSION_H
#define DAXFUSE_FUSE_SESSION_H

#include "daxfuse/fuse/state.h"

/* Mount. -EINVAL or -EIO; why: log_held_back(). */
int session_mount(struct state *s);
/* Serve until unmounted; 0 or negative errno. */
int session_serve(struct state *s);
/* Free what session_mount() made; unmounts if that has not happened. */
void session_close(struct state *s);

#endif
