/* SPDX-License-Identifier: BSD-3-Clause */
/* What mounts say of themselves, for Prometheus. */
#ifndef DAXFUSE_TOOLS_METRICS_H
#define DAXFUSE_TOOLS_METRICS_H

#include <json-c/json.h>
#include <stdio.h>

/*
 * Print an array of what `daxfuse status` says of each mount, in the text format of Prometheus
 * (0.0.4); with how long requests took, and what projects and volumes use, if the caller is an
 * administrator of the mount: that is asked for here.
 */
void metrics_print(FILE *out, struct json_object *mounts);

#endif
