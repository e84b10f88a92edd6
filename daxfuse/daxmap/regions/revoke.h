/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon asks for: it wants pieces back, or not to be stored to. */
#ifndef DAXFUSE_DAXMAP_REVOKE_H
#define DAXFUSE_DAXMAP_REVOKE_H

#include <stdint.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/daxmap/session/connection.h"

/* The answers of every session. */
extern const struct session_ops revoke_ops;

/* Of what was granted up to that number. Errors: it is still mapped. They take the lock. */
errint_t revoke_pieces(uint64_t cookie, uint64_t offset, uint64_t length, uint64_t grant);
errint_t revoke_writing(uint64_t cookie, uint64_t offset, uint64_t length, uint64_t grant);

#endif
