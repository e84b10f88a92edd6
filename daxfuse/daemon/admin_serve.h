/* SPDX-License-Identifier: BSD-3-Clause */
/* Of the room: the daemon's side of admin.h. */
#ifndef DAXFUSE_DAEMON_ADMIN_SERVE_H
#define DAXFUSE_DAEMON_ADMIN_SERVE_H

#include "admin.h"
#include "state.h"

struct admin;

/* The device is ours, and exports are open: who calls waits from now on. -errno */
errint_t admin_open(struct daemon *d, struct admin **ret_admin);
/* Answer: a thread. NULL is fine, as below. */
errint_t admin_serve(struct admin *a);
/* Nobody is answered any more, nor finds anything. Before exports_close(). */
void admin_close(struct admin *a);

#endif
