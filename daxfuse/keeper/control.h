/* SPDX-License-Identifier: BSD-3-Clause */
/* The socket where programs ask for the device: its path, and who may come near it. */
#ifndef DAXFUSE_KEEPER_CONTROL_H
#define DAXFUSE_KEEPER_CONTROL_H

#include <stddef.h>

#include "daxfuse/base/errint.h"

struct clients_policy;

/*
 * A listening socket (non-blocking, close-on-exec) in /run/daxfuse, or in the folder for that of
 * the user who mounts; ret_path says where ("": nowhere). -1: there is none, as nobody is to have
 * one, or no folder is fit for it; the mount works without.
 */
int control_open(const struct clients_policy *policy, char *ret_path, size_t size);
void control_remove(const char *path);

/* Where such sockets of this user lie. -ENAMETOOLONG */
errint_t control_folder(char *ret_path, size_t size);
/* And make it, if it is not there. -EPERM: there is one that others can write to. */
errint_t control_make_folder(char *ret_path, size_t size);
/* A listening socket (close-on-exec) at this path in that folder, of this user alone, in place of
 * one of that name at the same instant. -errno */
errint_t control_listen(const char *path, int *ret_fd);

#endif
