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
