/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the daemon speaks: to stderr in the foreground and until the mount is
 * usable, to syslog afterwards. What libfuse says comes the same way.
 */
#ifndef DAXFUSE_FUSE_LOG_H
#define DAXFUSE_FUSE_LOG_H

#include <stdbool.h>

void log_init(void);
/* From now on to syslog. */
void log_to_syslog(void);
/* Keep libfuse's lines back (the last one is the reason of a failure) or not. */
void log_hold_back(bool hold);
/* The last line held back, without newline; "" if there is none. */
const char *log_held_back(void);
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
