/* SPDX-License-Identifier: BSD-3-Clause */
/* Who may control the mount, of those who call us. docs/design/security.md. */
#ifndef DAXFUSE_BASE_CALLER_H
#define DAXFUSE_BASE_CALLER_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Whether the thread that waits for our answer has CAP_SYS_ADMIN in our own user namespace; or,
 * where the daemon is a user's, is that user's, in that namespace. False whenever that can't be
 * found out.
 */
bool caller_is_administrator(pid_t pid, uid_t uid);
/*
 * The same of the process that has connected this socket (AF_UNIX). False, too, if it has ended:
 * its number may be another one's by now.
 */
bool caller_of_socket_is_administrator(int fd);

#endif
