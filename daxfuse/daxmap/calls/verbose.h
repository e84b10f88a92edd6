/* SPDX-License-Identifier: BSD-3-Clause */
/* With DAXMAP_VERBOSE=1 in the environment: a line on stderr for each mapping when it ends. */
#ifndef DAXFUSE_DAXMAP_VERBOSE_H
#define DAXFUSE_DAXMAP_VERBOSE_H

#include <stddef.h>
#include <stdint.h>

/* Regions in the range are about to be unmapped. Without the lock. */
void report_regions(uintptr_t start, uintptr_t end);
/* The kernel maps a file, which may be one of a daxfuse mount. */
void report_kernel(int fd, size_t length, int err);
/* The same, as such a mapping is always the kernel's. */
void report_unsuited(int fd, size_t length);

#endif
