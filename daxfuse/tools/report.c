/* SPDX-License-Identifier: BSD-3-Clause */
/* How the tools print: failures with what to do about them, JSON, sizes for people. */
#include "report.h"
#include "daxfuse/base/errint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void report_failure(const char *program, const char *object, int err, const char *what,
		    const char *advice)
{
	fflush(stdout);
	fprintf(stderr, "%s: %s: %s", program, object, what);
	if (err)
		fprintf(stderr, ": %s", strerror(-err));
	fprintf(stderr, "\n");
	if (advice && *advice)
		fprintf(stderr, "%s\n", advice);
}

void report_device_error(const char *program, const char *path, int err,
			 const struct device_error *error)
{
	report_failure(program, path, err, error->what, error->advice);
}

void report_json(struct json_object *object)
{
	int flags = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
		    JSON_C_TO_STRING_NOSLASHESCAPE;

	printf("%s\n", json_object_to_json_string_ext(object, flags));
}

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
