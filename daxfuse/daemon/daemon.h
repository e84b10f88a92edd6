/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon: serves one pool on /dev/fuse until it is unmounted. */
#ifndef DAXFUSE_DAEMON_DAEMON_H
#define DAXFUSE_DAEMON_DAEMON_H

/*
 * `daxfuse DEVICE MOUNTPOINT [-o OPTIONS]`, also as a mount helper. Returns the
 * exit status: 0 once the mount is usable (with -f: once it is unmounted), 1 for
 * wrong usage, 32 if it cannot be mounted.
 */
int daemon_main(int argc, char **argv);

#endif
