/* SPDX-License-Identifier: BSD-3-Clause */
/* What a mount says of itself. */
#ifndef DAXFUSE_DAEMON_STATUS_H
#define DAXFUSE_DAEMON_STATUS_H

#include "state.h"
#include "daxfuse/base/errint.h"

/* One JSON object, NUL-terminated; whole, or without what is for administrators: paths of the host,
 * numbers of its processes, the label. -ENOSPC: it does not fit. */
errint_t status_json(void *daemon, bool whole, char *ret_json, size_t size);

#endif
