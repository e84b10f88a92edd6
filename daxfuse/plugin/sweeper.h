/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread that deletes volumes that were removed. */
#ifndef DAXFUSE_PLUGIN_SWEEPER_H
#define DAXFUSE_PLUGIN_SWEEPER_H

#include "daxfuse/base/errint.h"

/* Of that pool, whenever it is mounted; begins with what was left by earlier processes. */
errint_t sweeper_start(const char *pool);
void sweeper_kick(void);

#endif
