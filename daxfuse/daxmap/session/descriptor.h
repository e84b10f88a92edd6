/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Our file descriptors in a program that knows nothing of them: at high numbers, close-on-exec,
 * and listed, so that the preload can keep the program from closing them.
 */
#ifndef DAXFUSE_DAXMAP_DESCRIPTOR_H
#define DAXFUSE_DAXMAP_DESCRIPTOR_H

#include <stdbool.h>

#include "daxfuse/base/errint.h"

/* Move a descriptor up, and list it; it stays where it is if there is no number left. */
int descriptor_own(int fd);
void descriptor_close(int fd);
/*
 * Of a file of the program. To close any descriptor of a file ends the record locks (fcntl())
 * that the process has on it, also those made with others: as long as somebody has one, a new
 * descriptor stays where it is, and none may be closed.
 */
int descriptor_own_file(int fd);
bool descriptor_has_locks(int fd);
/* Replace what `fd` refers to by what `other` does, which is closed. */
errint_t descriptor_replace(int fd, int other);
/* Another number for it, as the program is about to use this one (dup2); what has this number
 * is still open, and not ours any more. -1: there is none. */
int descriptor_move(int fd);
bool descriptor_is_own(int fd);
/* The lowest one of ours that is >= fd, or -1. */
int descriptor_from(int fd);

#endif
