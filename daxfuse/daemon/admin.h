/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where an administrator speaks to a daemon that has no mount to call ioctls on: a socket whose
 * path follows from the device. What is called there are the ioctls all the same.
 */
#ifndef DAXFUSE_DAEMON_ADMIN_H
#define DAXFUSE_DAEMON_ADMIN_H

#include <stdbool.h>
#include <stddef.h>

#include "daxfuse/base/errint.h"

/* No ioctl: the daemon ends, as with SIGTERM. */
#define ADMIN_STOP 0u

/* ---- tools -------------------------------------------------------------------------------- */

/* Whether a daemon serves this device, or did and was killed, to guests only. */
bool admin_is_there(const char *device);
/* DXF_IOC_STATUS, RESTART, EXPORT (of that directory, from the root) or ADMIN_STOP, with its
 * struct. -ENOENT: nobody serves it so; -ECONNRESET: a process ended before it answered; else as
 * the ioctl. */
errint_t admin_call(const char *device, unsigned cmd, const char *directory, void *data);
/* The same of a descriptor on a mount, if fd >= 0. */
errint_t admin_call_either(int fd, const char *device, unsigned cmd, void *data);
/* Call fn with the status of each daemon of this user's that has no mount, until it returns
 * non-zero. */
int admin_each(int (*fn)(const char *json, void *arg), void *arg);

#endif
