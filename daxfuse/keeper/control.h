/* SPDX-License-Identifier: BSD-3-Clause */
/* The socket where programs ask for the device: its path, and who may come near it. */
#ifndef DAXFUSE_KEEPER_CONTROL_H
#define DAXFUSE_KEEPER_CONTROL_H

#include <stddef.h>

struct clients_policy;

/*
 * A listening socket (non-blocking, close-on-exec) in /run/daxfuse, or in the folder for that of
 * the user who mounts; ret_path says where ("": nowhere). -1: there is none, as nobody is to have
 * one, or no folder is fit for it; the mount works without.
 */
int control_open(const struct clients_policy *policy, char *ret_path, size_t size);
void control_remove(const char *path);

#endif
