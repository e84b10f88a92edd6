/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the daemon speaks: to stderr in the foreground and until the mount is usable, to syslog
 * afterwards. Messages of libfuse come the same way.
 */
#ifndef DAXFUSE_KEEPER_LOG_H
#define DAXFUSE_KEEPER_LOG_H

#include <stdarg.h>
#include <stdbool.h>

/* From now on to syslog. */
void log_to_syslog(void);
/* What a library says, at a level of syslog's. */
void log_library(int level, const char *format, va_list args);
/* Keep its lines back (the last one is the reason of a failure) or not. */
void log_hold_back(bool hold);
/* The last line held back, without newline; "" if there is none. */
const char *log_held_back(void);
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
