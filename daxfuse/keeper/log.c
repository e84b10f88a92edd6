/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the daemon speaks, see log.h. */
#include "log.h"

#include <stdio.h>
#include <string.h>
#include <syslog.h>

static struct {
	bool syslog;
	bool holding;   /* only while the daemon has a single thread */
	char held[256]; /* libfuse's last line while holding */
} state;

static void speak(int priority, const char *format, va_list args)
{
	if (state.syslog)
		vsyslog(priority, format, args);
	else
		vfprintf(stderr, format, args);
}

void log_library(int level, const char *format, va_list args)
{
	if (!state.holding) {
		speak(level, format, args);
		return;
	}
	vsnprintf(state.held, sizeof(state.held), format, args);
	state.held[strcspn(state.held, "\n")] = '\0';
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
