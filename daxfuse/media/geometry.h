/* SPDX-License-Identifier: BSD-3-Clause */
/* What a pool asks of the device that it lies on: sizes and alignment. */
#ifndef DAXFUSE_MEDIA_GEOMETRY_H
#define DAXFUSE_MEDIA_GEOMETRY_H

#include "daxfuse/base/errint.h"
#include "daxfuse/pmem/device.h"

/*
 * device_open_fd(), for a device that holds a pool, or shall. Also: -ENOTSUP: an alignment
 * that cannot give 2 MiB mappings; -ENOSPC, -EFBIG: smaller than any pool, or larger.
 * ret_error may be NULL. From any thread.
 */
errint_t pool_open_device(const char *path, int fd, unsigned access, struct device **ret_dev,
			  struct device_error *ret_error);

#endif
