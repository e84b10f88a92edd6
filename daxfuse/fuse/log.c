/* SPDX-License-Identifier: BSD-3-Clause */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "libfuse.h"

static struct {
	bool syslog;
	bool holding;   /* only while the daemon has a single thread */
	char held[256]; /* what libfuse said last while holding */
} state;

static void speak(int priority, const char *format, va_list args)
{
	if (state.syslog)
		vsyslog(priority, format, args);
	else
		vfprintf(stderr, format, args);
}

static void from_libfuse(enum fuse_log_level level, const char *format, va_list args)
{
	if (!state.holding) {
		speak((int)level, format, args); /* the levels are syslog's */
		return;
	}
	vsnprintf(state.held, sizeof(state.held), format, args);
	state.held[strcspn(state.held, "\n")] = '\0';
}

void log_init(void)
{
	fuse_set_log_func(from_libfuse);
}

void log_to_syslog(void)
{
	openlog("daxfuse", LOG_PID, LOG_DAEMON);
	state.syslog = true;
}

void log_hold_back(bool hold)
{
	state.holding = hold;
}

const char *log_held_back(void)
{
	return state.held;
}

void log_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	speak(LOG_ERR, format, args);
	va_end(args);
}

void log_info(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	speak(LOG_INFO, format, args);
	va_end(args);
}
