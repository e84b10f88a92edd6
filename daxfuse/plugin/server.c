/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libmicrohttpd has a thread for each connection, and closes it after each answer: Docker's client
 * would use a connection again that a restart of ours has closed meanwhile, and repeat the request
 * without its body. All that comes is bounded: headers by the library's memory, the body by us,
 * connections by number, and an answer takes less than a second.
 */
#include "server.h"

#include <errno.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "job.h"
#include "protocol.h"
#include "sweeper.h"

#define CONTENT_TYPE "application/vnd.docker.plugins.v1.2+json"

enum {
	CONNECTIONS_MAX = 256,
	HEADERS_MAX = 32 << 10,
	IDLE_SECONDS = 10,
	LIMIT_MS = 800,
	FLOOD = 16 * PLUGIN_BODY_MAX, /* a client that sends more is not listened to */
};

/* What has come of a request. */
struct incoming {
	size_t size, room;
	char *body;
	bool too_large;
};

static struct MHD_Daemon *http;
static struct plugin plugin;
static void (*log_line)(const char *line);

static void log_failure(const char *path, const char *body)
{
	char line[700];

	snprintf(line, sizeof(line), "%.100s: %.512s", path, body);
	log_line(line);
}

/* It calls every plugin so; Docker leaves it empty, or says plugin.moby.localhost. */
static bool is_podman(struct MHD_Connection *connection)
{
	const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host");

	return host && !strcmp(host, "plugin");
}

/* Frees the answer's text, in the end. MHD_NO: the connection is closed without an answer. */
static enum MHD_Result send_answer(struct MHD_Connection *connection, struct plugin_answer answer)
{
	struct MHD_Response *response;
	enum MHD_Result result = MHD_NO;

	if (!answer.body || (answer.unsure && !is_podman(connection))) {
		free(answer.body);
		return MHD_NO;
	}
	response = MHD_create_response_from_buffer(strlen(answer.body), answer.body,
						   MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(answer.body);
		return MHD_NO;
	}
	MHD_add_response_header(response, "Content-Type", CONTENT_TYPE);
	MHD_add_response_header(response, "Connection", "close");
	result = MHD_queue_response(connection, answer.failed ? 500 : 200, response);
	MHD_destroy_response(response);
	return result;
}

static bool make_room(struct incoming *incoming, size_t size)
{
	size_t room = MAX(incoming->room, (size_t)1024);
	char *more;

	while (room < size)
		room *= 2;
	if (room == incoming->room)
		return true;
	more = realloc(incoming->body, room);
	if (!more)
		return false;
	incoming->body = more;
	incoming->room = room;
	return true;
}

/* False: it is to be cut off. */
static bool take_bytes(struct incoming *incoming, const char *data, size_t size)
{
	if (incoming->size + size > PLUGIN_BODY_MAX)
		incoming->too_large = true;
	if (!incoming->too_large) {
		if (!make_room(incoming, incoming->size + size))
			return false;
		memcpy(incoming->body + incoming->size, data, size);
	}
	incoming->size += size;
	return incoming->size <= FLOOD;
}

static bool announces_too_much(struct MHD_Connection *connection)
{
	const char *text = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
						       "Content-Length");

	return text && strtoull(text, NULL, 10) > PLUGIN_BODY_MAX;
}

static struct plugin_answer answer_request(const char *path, const char *method,
					   const struct incoming *incoming)
{
	struct plugin_request request;

	if (strcmp(method, "POST"))
		return plugin_error("requests are POST");
	if (incoming->too_large)
		return plugin_error("the request is too large");
	request = (struct plugin_request){
		.path = path,
		.body = incoming->body ? incoming->body : "",
		.size = incoming->size,
	};
	return job_run(&plugin, &request, LIMIT_MS);
}

/* Called with the headers, then with each part of the body, then with an empty part. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *path,
				  const char *method, const char *version, const char *data,
				  size_t *size, void **state)
{
	struct incoming *incoming = *state;
	struct plugin_answer answer;

	if (!incoming) {
		*state = calloc(1, sizeof(*incoming));
		if (*state && announces_too_much(connection))
			return send_answer(connection, plugin_error("the request is too large"));
		return *state ? MHD_YES : MHD_NO;
	}
	if (*size) {
		bool goes_on = take_bytes(incoming, data, *size);

		*size = 0;
		return goes_on ? MHD_YES : MHD_NO;
	}
	answer = answer_request(path, method, incoming);
	/* that there is none is what engines ask before they make one */
	if (answer.failed && answer.body && (answer.unsure || strcmp(path, "/VolumeDriver.Get")))
		log_failure(path, answer.body);
	return send_answer(connection, answer);
}

static void on_end(void *cls, struct MHD_Connection *connection, void **state,
		   enum MHD_RequestTerminationCode why)
{
	struct incoming *incoming = *state;

	if (incoming)
		free(incoming->body);
	free(incoming);
	*state = NULL;
}

/* The library would print. */
static void say_nothing(void *cls, const char *format, va_list args)
{
}

errint_t server_start(const struct server_config *config)
{
	int err;

	plugin = (struct plugin){
		.pool = config->pool,
		.ids = config->ids,
		.kick = sweeper_kick,
	};
	log_line = config->log;
	signal(SIGPIPE, SIG_IGN); /* Podman does not wait for some answers */
	err = sweeper_start(config->pool);
	if (err)
		return err;
	http = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION |
					MHD_USE_POLL | MHD_USE_ITC | MHD_USE_ERROR_LOG,
				0, NULL, NULL, on_request, NULL, MHD_OPTION_EXTERNAL_LOGGER,
				say_nothing, NULL, MHD_OPTION_LISTEN_SOCKET, config->listener,
				MHD_OPTION_NOTIFY_COMPLETED, on_end, NULL,
				MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
				MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADERS_MAX,
				MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
				MHD_OPTION_END);
	return http ? 0 : -EAGAIN;
}

void server_stop(void)
{
	if (http)
		MHD_stop_daemon(http);
	http = NULL;
}
