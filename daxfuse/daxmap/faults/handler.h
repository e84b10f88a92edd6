/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SIGSEGV and SIGBUS: ours first, then the program's. With the preload the program's sigaction()
 * comes here; without it, a handler that the program installs later must call dxm_fault().
 */
#ifndef DAXFUSE_DAXMAP_HANDLER_H
#define DAXFUSE_DAXMAP_HANDLER_H

#include "daxfuse/base/errint.h"

/* Install the handlers, once. */
errint_t handlers_install(void);

#endif
