/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to the pmem room: which process holds the lock of a file. */
#ifndef DAXFUSE_PMEM_HOLDER_H
#define DAXFUSE_PMEM_HOLDER_H

#include <stddef.h>

#include "daxfuse/base/errint.h"

/*
 * Write "NAME (pid N)" of a process that has flock()ed the file open as fd, as
 * far as /proc shows it to us. -ENOENT if none is seen.
 */
errint_t holder_find(int fd, char *ret_name, size_t size);

#endif
