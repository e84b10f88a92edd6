/* SPDX-License-Identifier: BSD-3-Clause */
/* Asking what may never answer: a mount whose daemon hangs. */
#ifndef DAXFUSE_TOOLS_ASK_H
#define DAXFUSE_TOOLS_ASK_H

#include <stddef.h>

enum { ASK_MAX = 16 << 10 }; /* bytes of an answer, with its NUL */

/*
 * Let fn, which fills in a text about path and returns 0 or a negative errno, run in a
 * child for at most limit_ms. What it returned, -ETIMEDOUT, or why there is no child;
 * ret_answer has ASK_MAX bytes. The child is not waited for: one that hangs in the
 * kernel can't even be killed.
 */
int ask(int (*fn)(const char *path, char *answer, size_t size), const char *path, unsigned limit_ms,
	char *ret_answer);

#endif
