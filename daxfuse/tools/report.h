/* SPDX-License-Identifier: BSD-3-Clause */
/* What tools say: failures to stderr, results as JSON or for people to stdout. */
#ifndef DAXFUSE_TOOLS_REPORT_H
#define DAXFUSE_TOOLS_REPORT_H

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/size.h"
#include "daxfuse/pmem/device.h"

/* "PROGRAM: OBJECT: WHAT: errno text", and ADVICE on a line of its own. err: a
 * negative errno or 0; advice may be empty or NULL. */
void report_failure(const char *program, const char *object, int err, const char *what,
		    const char *advice);
void report_device_error(const char *program, const char *path, int err,
			 const struct device_error *error);

/* Print to stdout, with a newline. */
void report_json(struct json_object *object);

static inline void cleanup_json(struct json_object **object)
{
	json_object_put(*object);
}
#define CLEANUP_JSON CLEANUP(cleanup_json)

static inline void cleanup_device(struct device **dev)
{
	device_close(*dev);
}
#define CLEANUP_DEVICE CLEANUP(cleanup_device)

#endif
