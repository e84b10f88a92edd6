/* SPDX-License-Identifier: BSD-3-Clause */
/* The plugin as a server: HTTP on a Unix socket, for one pool. */
#ifndef DAXFUSE_PLUGIN_SERVER_H
#define DAXFUSE_PLUGIN_SERVER_H

#include "daxfuse/base/errint.h"

struct server;

struct server_config {
	const char *pool; /* kept */
	const char *ids;  /* kept: a folder in /run */
	int listener;     /* stays its owner's */
	/* A request that failed, and why: one line. From any thread. */
	void (*log)(const char *line);
};

/* There is one in a process. -ENOMEM, -EAGAIN and the like: no thread. */
errint_t server_start(const struct server_config *config);
/* Requests under way are answered first. */
void server_stop(void);

#endif
