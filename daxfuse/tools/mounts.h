/* SPDX-License-Identifier: BSD-3-Clause */
/* The mounts of daxfuse that this process sees. */
#ifndef DAXFUSE_TOOLS_MOUNTS_H
#define DAXFUSE_TOOLS_MOUNTS_H

#include <stddef.h>

/* Call fn for each, until it returns non-zero. */
int mounts_each(int (*fn)(const char *device, const char *mountpoint, void *arg), void *arg);

/* Where the device is mounted; -ENOENT. */
int mounts_find_device(const char *device, char *ret_mountpoint, size_t size);
/* What is mounted at exactly this place (last mount wins); -ENOENT. */
int mounts_find_mountpoint(const char *mountpoint, char *ret_device, size_t size);

#endif
