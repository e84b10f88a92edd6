/* SPDX-License-Identifier: BSD-3-Clause */
/* Exports of directories to guests: a second transport of the same vfs. */
#ifndef DAXFUSE_DAEMON_GUESTS_H
#define DAXFUSE_DAEMON_GUESTS_H

#include "state.h"

/* The vfs is open. With those of an earlier process or, for a new mount, those of the options; says
 * what is wrong with one. -errno */
errint_t guests_open(struct daemon *d);
/* Of the transport: exports of an earlier process go on. */
void guests_begin(void *daemon);
/* DXF_IOC_EXPORT; daemon: struct daemon. */
errint_t guests_export(void *daemon, uint64_t ino, const struct dxf_ioc_export *call);
/* Of a directory below the root, by its path ("": the root). -EINVAL: a path with .. in it */
errint_t guests_export_below(struct daemon *d, const char *directory,
			     const struct dxf_ioc_export *call);

#endif
