/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * CRC32C (Castagnoli), as every checksum of the pool format. Starts and ends
 * inverted, so that crc32c(crc32c(0, a, n), b, m) is the CRC of a and b joined.
 */
#ifndef DAXFUSE_BASE_CRC_H
#define DAXFUSE_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *p, size_t n);

#endif
