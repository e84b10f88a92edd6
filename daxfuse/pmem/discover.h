/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to the pmem room: what libdaxctl and libndctl know of device-dax. */
#ifndef DAXFUSE_PMEM_DISCOVER_H
#define DAXFUSE_PMEM_DISCOVER_H

#include "device.h"

/* By the name of the device ("dax0.0"), whatever mode it is in. -ENOENT. */
int discover_dax(const char *name, struct device_info *ret_info);

/*
 * Before the first use of libndctl, ours and libpmem2's, while there is one thread. Each list that
 * libndctl makes waits until udev has no events, up to five seconds. Nothing of udev's is needed
 * here, and udev may be waiting for us: its rule probes devices.
 */
void discover_without_udev(void);

#endif
