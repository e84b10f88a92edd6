/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * systemd as the keeper: its fd store (sd_notify(3), sd_listen_fds(3)). Spoken
 * directly, as these protocols are stable and small, and libsystemd would be
 * loaded anew at each restart, while programs wait.
 */
#ifndef DAXFUSE_KEEPER_SYSTEMD_H
#define DAXFUSE_KEEPER_SYSTEMD_H

#include <stdbool.h>

#include "kept.h"
#include "daxfuse/base/errint.h"

/* Whether there is a service manager that listens. */
bool systemd_is_there(void);
/* What was stored by the process before us; false: nothing. */
bool systemd_take(struct kept_fds *ret_fds);
/* The memory of it, which is not taken; -1: nothing was stored. */
int systemd_look(void);
/* Store all. 0, or negative errno: -ENOTCONN, nobody listens. */
errint_t systemd_store(const struct kept_fds *fds);
/* Store another descriptor in place of the one that is there; -1: none. */
enum systemd_fd {
	SYSTEMD_DEVICE,
	SYSTEMD_PROGRAM,
	SYSTEMD_SHELF_IN,
	SYSTEMD_SHELF_OUT,
	SYSTEMD_VIEWS,
};
errint_t systemd_replace(enum systemd_fd which, int fd);
/* The mount is gone: let go of all. */
void systemd_forget(void);
/* The mount answers; what systemctl status is to say. */
void systemd_ready(const char *status);

#endif
