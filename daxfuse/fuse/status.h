/* SPDX-License-Identifier: BSD-3-Clause */
/* What a mount says of itself. */
#ifndef DAXFUSE_FUSE_STATUS_H
#define DAXFUSE_FUSE_STATUS_H

#include "state.h"

/* One JSON object, NUL-terminated. -ENOSPC: it does not fit. */
int status_json(const struct state *s, char *ret_json, size_t size);
/* How one inode is mapped, the same way. */
int status_mapped_json(const struct state *s, uint64_t ino, char *ret_json, size_t size);

#endif
