/* SPDX-License-Identifier: BSD-3-Clause */
/* What went wrong, in one line that an engine shows to its user. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "internal.h"

errint_t volumes_fail(struct volume_error *error, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return err;
}
