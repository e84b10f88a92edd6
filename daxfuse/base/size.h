/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes in bytes as people write and read them: powers of 1024. */
#ifndef DAXFUSE_BASE_SIZE_H
#define DAXFUSE_BASE_SIZE_H

#include <stddef.h>
#include <stdint.h>

#include "errint.h"

/* "1.5 GiB"; exact in the largest unit that gives less than 1024. */
const char *human_size(uint64_t bytes, char *buf, size_t size);
#define HUMAN_SIZE 24

/* A size as people type it: 4096, 512K, 1G, 2TiB. -EINVAL, -ERANGE. */
errint_t parse_size(const char *text, uint64_t *ret_bytes);

#endif
