/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes as people write and read them. */
#include "size.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *human_size(uint64_t bytes, char *buf, size_t size)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024) {
		value /= 1024;
		unit++;
	}
	if (value == (double)(uint64_t)value)
		snprintf(buf, size, "%.0f %s", value, units[unit]);
	else
		snprintf(buf, size, "%.1f %s", value, units[unit]);
	return buf;
}

errint_t parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char suffixes[] = "KMGTPE";
	unsigned long long value;
	const char *suffix;
	unsigned shift = 0;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	suffix = *end ? strchr(suffixes, *end & ~0x20) : NULL;
	if (*end && (!suffix || (end[1] && strcmp(end + 1, "iB") && strcmp(end + 1, "B"))))
		return -EINVAL;
	if (suffix)
		shift = 10 * (unsigned)(suffix - suffixes + 1);
	if (shift && value > UINT64_MAX >> shift)
		return -ERANGE;
	*ret_bytes = (uint64_t)value << shift;
	return 0;
}
