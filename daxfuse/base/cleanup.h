/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Variables that clean up after themselves when they leave their scope.
 *
 *	CLEANUP_FREE char *name = NULL;
 *	CLEANUP_FD int fd = -1;
 *	...
 *	*ret_fd = TAKE_FD(fd);
 *
 * A variable must be initialised where it is declared.
 */
#ifndef DAXFUSE_BASE_CLEANUP_H
#define DAXFUSE_BASE_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_fd(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

static inline void cleanup_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

static inline void cleanup_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

#define CLEANUP(function) __attribute__((cleanup(function)))
#define CLEANUP_FREE CLEANUP(cleanup_free)
#define CLEANUP_FD CLEANUP(cleanup_fd)
#define CLEANUP_FILE CLEANUP(cleanup_file)
#define CLEANUP_DIR CLEANUP(cleanup_dir)

/* Hand a variable's value on; the variable no longer cleans it up. */
#define TAKE_POINTER(pointer)                           \
	({                                              \
		__typeof__(pointer) taken_ = (pointer); \
		(pointer) = NULL;                       \
		taken_;                                 \
	})
#define TAKE_FD(fd)                \
	({                         \
		int taken_ = (fd); \
		(fd) = -1;         \
		taken_;            \
	})

#endif
