/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The format's limits, held against a device. pmem opens any device; one that is too small or too
 * large for a pool is refused here, with what to do about it.
 */
#include "geometry.h"

#include <errno.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/format.h"

static errint_t check_geometry(const struct device_info *info, struct device_error *ret_error)
{
	if (info->size < DXF_POOL_MIN)
		return device_fail(ret_error, -ENOSPC,
				   "is too small (%llu bytes)\na pool needs at least %llu MiB",
				   (unsigned long long)info->size,
				   (unsigned long long)(DXF_POOL_MIN >> 20));
	if (info->size > DXF_POOL_MAX)
		return device_fail(ret_error, -EFBIG,
				   "is too large (%llu bytes)\na pool has at most %llu TiB",
				   (unsigned long long)info->size,
				   (unsigned long long)(DXF_POOL_MAX >> 40));
	return 0;
}

static void cleanup_device(struct device **dev)
{
	device_close(*dev);
}

errint_t pool_open_device(const char *path, int fd, unsigned access, struct device **ret_dev,
			  struct device_error *ret_error)
{
	CLEANUP(cleanup_device) struct device *dev = NULL;
	int err = device_open_fd(path, fd, access, &dev, ret_error);

	if (!err)
		err = check_geometry(device_info(dev), ret_error);
	if (err)
		return err;
	*ret_dev = TAKE_POINTER(dev);
	return 0;
}
