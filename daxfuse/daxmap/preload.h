/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the preload needs of the library beside its public functions: exported under a version
 * of its own, for the preload of the same build only.
 */
#ifndef DAXFUSE_DAXMAP_PRELOAD_H
#define DAXFUSE_DAXMAP_PRELOAD_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* sigaction(), pthread_sigmask() (returns a positive errno) as the program sees them. */
int dxm_preload_sigaction(int sig, const struct sigaction *action, struct sigaction *ret_old);
int dxm_preload_sigmask(int how, const sigset_t *set, sigset_t *ret_old);

/* Whether something of ours may be mapped there; quick. */
bool dxm_preload_near(const void *addr, size_t length);

/* Our descriptors: whether one is; the lowest from fd on, or -1. */
bool dxm_preload_owns(int fd);
int dxm_preload_next_fd(int fd);
/* Free a number that the program is about to use (dup2). */
void dxm_preload_yield_fd(int fd);

#endif
