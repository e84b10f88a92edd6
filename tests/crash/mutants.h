/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Does the harness see anything? Each flush and fence call site is left out or
 * delayed in turn; the single operations must then show a violation.
 */
#ifndef CRASH_MUTANTS_H
#define CRASH_MUTANTS_H

#include <json-c/json.h>

#include "tests/crash/supervise.h"

/* Run all mutants over the jobs; adds to the summary. 0 or negative errno. */
int mutants_run(const struct job *jobs, unsigned job_count, unsigned workers,
		struct json_object *summary);

#endif
