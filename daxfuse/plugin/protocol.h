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
	/* Docker takes any answer to Get but a volume for "there is none", and makes a local one of
	 * that name: data would go to another disk. One that gets no answer at all is an error
	 * there. */
	bool unsure;
	char *body; /* to be freed; NULL: out of memory */
};

struct plugin_request {
	const char *path;
	const char *body;
	size_t size;
};

/* May block as long as the pool does. */
struct plugin_answer plugin_ask(const struct plugin *plugin, const struct plugin_request *request);
/* The pool can't be asked: why. */
struct plugin_answer plugin_ask_without_pool(const struct plugin *plugin,
					     const struct plugin_request *request, const char *why);
struct plugin_answer plugin_error(const char *text);

#endif
