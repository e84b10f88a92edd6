/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's part of a remount (DXF_IOC_REMOUNT). */
#ifndef DAXFUSE_DAEMON_REMOUNT_H
#define DAXFUSE_DAEMON_REMOUNT_H

#include <stdbool.h>

struct dxf_ioc_remount;

/*
 * Of a struct daemon. Read-only or writable, and how access times move. Fills in .error and
 * .reason. True: this process is to be replaced for it, by restart_now(), when the request is
 * answered.
 */
bool remount_change(void *daemon, struct dxf_ioc_remount *change);

#endif
