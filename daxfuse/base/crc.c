/* SPDX-License-Identifier: BSD-3-Clause */
/* CRC32C over ISA-L, which picks the fastest code for the CPU. */
#include "crc.h"

#include <isa-l/crc.h>

/* crc32_iscsi() counts in int. */
#define CRC_STEP ((size_t)1 << 30)

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
	const unsigned char *byte = p;

	crc = ~crc;
	while (n > 0) {
		size_t step = n < CRC_STEP ? n : CRC_STEP;

		crc = crc32_iscsi((unsigned char *)byte, (int)step, crc);
		byte += step;
		n -= step;
	}
	return ~crc;
}
