/* SPDX-License-Identifier: BSD-3-Clause */
/* A pool that is mounted already: it gets one more place, or other options. */
#ifndef DAXFUSE_DAEMON_AGAIN_H
#define DAXFUSE_DAEMON_AGAIN_H

struct options;

/*
 * If the device is mounted, with the same options: put the mount at `mountpoint`, too. The exit
 * status; -1: it is not mounted, or does not answer. Paths are canonical.
 */
int again_mount(const struct options *options, const char *device, const char *mountpoint);

/*
 * As options.remount asks: read-only or writable, access times, and the flags of this mount point,
 * as far as they were said. The exit status.
 */
int again_remount(const struct options *options);

#endif
