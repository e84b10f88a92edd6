/* SPDX-License-Identifier: BSD-3-Clause */
/* What a mount says of itself. */
#ifndef DAXFUSE_FUSE_STATUS_H
#define DAXFUSE_FUSE_STATUS_H

#include "daxfuse/fuse/state.h"

/* One JSON object, NUL-terminated. -ENOSPC: it does not fit. */
int status_json(const struct state *s, char *ret_json, size_t size);

#endif
