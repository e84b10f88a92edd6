/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Docker's volume plugin protocol, as Docker 20.10 to 28 and Podman 4.3 to 5.8 speak it: a request
 * is a path and a JSON object, an answer is another one. Every error is HTTP 500 with
 * {"Err": "..."}: that is the one form that both show to their users (Podman ignores "Err" in a
 * 200).
 */
#ifndef DAXFUSE_PLUGIN_PROTOCOL_H
#define DAXFUSE_PLUGIN_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>

enum { PLUGIN_BODY_MAX = 64 << 10 };

struct plugin {
	const char *pool;   /*
 * Docker's volume plugin protocol, as Docker 20.10 to 28 and Podman 4.3 to 5.8 speak it: a request
 * is a path and a JSON object, an answer is another one. Every error is HTTP 500 with
 * {"Err": "..."}: that is the one form that both show to their users (Podman ignores "Err" in a
 * 200).
 */
	const char *ids;    /* where numbers of mounts are noted: ids.h */
	void (*kick)(void); /* there may be something to delete */
};

struct plugin_answer {
	bool failed;
	char *body; /* to be freed; NULL: out of memory */
};

/* May block as long as the pool does. */
struct plugin_answer plugin_ask(const struct plugin *plugin, const char *path, const char *body,
				size_t size);
struct plugin_answer plugin_error(const char *text);

#endif
