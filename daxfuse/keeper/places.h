/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a mount lies in the tree: it may have many places, and lose the one that it was made
 * at. /proc/self/mountinfo tells; nobody is asked, so it never waits for a daemon.
 */
#ifndef DAXFUSE_KEEPER_PLACES_H
#define DAXFUSE_KEEPER_PLACES_H

#include <stdbool.h>

#include "daxfuse/base/errint.h"

/* A mount: where it was put, from where it may have been taken and others be left; its number. */
struct place {
	const char *path;
	unsigned number;
};

/* The number of the mount at `path`, which is a part of its device number; 0: there is none. */
unsigned places_number(const char *path);
/*
 * Call fn for each place of the mount with this number at which all of it is seen, the last one
 * first, until it returns non-zero. Returns that, or 0; negative errno.
 */
errint_t places_each(unsigned number, int (*fn)(const char *path, void *arg), void *arg);
/* One of them, to be freed: `wanted` if it is one. NULL: there is none. */
char *places_find(unsigned number, const char *wanted);
/* All of them, the last one first, to be freed by places_free(); NULL: no memory. Ends with
 * NULL. */
char **places_all(unsigned number);
void places_free(char **places);
/* The number of a mount of daxfuse whose source is `device`, and that is trusted; 0: there is
 * none. */
unsigned places_of_device(const char *device);
/* Whether a mount of daxfuse was made by root or by our own user. Others may serve what they like,
 * and call it what they like: they must not be asked. */
bool places_is_trusted(unsigned number);

#endif
