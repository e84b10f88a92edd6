/* SPDX-License-Identifier: BSD-3-Clause */
/* Names: Docker hands on what it was given, "../x" and "a/b" too, so they are checked here. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "internal.h"

enum { NAME_LENGTH_MAX = 255 };

static bool is_alphanumeric(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool volumes_name_is_valid(const char *name)
{
	size_t length = strlen(name);

	if (!is_alphanumeric(name[0]) || length > NAME_LENGTH_MAX)
		return false;
	for (size_t i = 1; i < length; i++) {
		if (!is_alphanumeric(name[i]) && !strchr("_.-", name[i]))
			return false;
	}
	return true;
}

errint_t volumes_check_name(const char *name, struct volume_error *error)
{
	if (volumes_name_is_valid(name))
		return 0;
	return volumes_fail(error, -EINVAL,
			    "%.64s: not a name for a volume: letters, digits, and after the first "
			    "one also _ . -, at most %d",
			    name, NAME_LENGTH_MAX);
}

errint_t volumes_random_name(char *ret_name, size_t size)
{
	uint64_t number[2];

	if (getrandom(number, sizeof(number), 0) != sizeof(number))
		return -EIO;
	snprintf(ret_name, size, "%016" PRIx64 "%016" PRIx64, number[0], number[1]);
	return 0;
}
