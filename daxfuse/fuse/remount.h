/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's part of a remount (DXF_IOC_REMOUNT). */
#ifndef DAXFUSE_FUSE_REMOUNT_H
#define DAXFUSE_FUSE_REMOUNT_H

#include <stdbool.h>

struct dxf_ioc_remount;
struct state;

/*
 * Read-only or writable, and how access times move. Fills in .error and .reason. True: this process
 * is to be replaced for it, by restart_now(), when the request is answered.
 */
bool remount_change(struct state *s, struct dxf_ioc_remount *change);

#endif
