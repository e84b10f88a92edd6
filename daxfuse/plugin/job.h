/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A request with a limit of time. A pool whose daemon hangs keeps callers waiting, in the kernel,
 * where nothing gets them out; engines wait for us. So a thread of its own asks the pool, and one
 * that is late is left behind: it ends when the pool answers.
 */
#ifndef DAXFUSE_PLUGIN_JOB_H
#define DAXFUSE_PLUGIN_JOB_H

#include "protocol.h"

/* The request is copied. */
struct plugin_answer job_run(const struct plugin *plugin, const struct plugin_request *request,
			     unsigned limit_ms);

#endif
