/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the test programs that run by themselves, on the host or in a guest, check. One that fails is
 * told on stderr, with the errno, and ends the process at once: it may be a child's, or one thread's
 * of several.
 */
#ifndef TESTS_SUPPORT_CHECK_H
#define TESTS_SUPPORT_CHECK_H

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                                   \
	do {                                                                               \
		if (!(condition)) {                                                        \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, \
				strerror(errno));                                          \
			_exit(1);                                                          \
		}                                                                          \
	} while (0)

/* A system call that must fail, with that error. */
#define FAILS(error, call) CHECK((call) == -1 && errno == (error))

#endif
