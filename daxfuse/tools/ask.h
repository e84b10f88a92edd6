/* SPDX-License-Identifier: BSD-3-Clause */
/* Asking what may never answer: a mount whose daemon hangs. */
#ifndef DAXFUSE_TOOLS_ASK_H
#define DAXFUSE_TOOLS_ASK_H

#include <stddef.h>

#include "daxfuse/base/errint.h"

enum { ASK_MAX = 16 << 10 }; /* bytes of an answer, with its NUL */

/*
 * Let fn, which fills in a text about path and returns 0 or a negative errno, run in a
 * child for at most limit_ms. What it returned, -ETIMEDOUT, or why there is no child;
 * ret_answer has ASK_MAX bytes. The child is not waited for: one that hangs in the
 * kernel can't even be killed.
 */
errint_t ask(int (*fn)(const char *path, char *answer, size_t size), const char *path,
	     unsigned limit_ms, char *ret_answer);

/* open(2), close-on-exec, of a file that is asked about and not read: one that were read through
 * the page cache could not be mapped by programs meanwhile. */
int open_past_cache(const char *path, int flags);

#endif
