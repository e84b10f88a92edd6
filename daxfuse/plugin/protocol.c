/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each request does. Requests are repeated, come in any order, and some never come: an engine
 * may be killed between any two, and asks again when it is back. So each of them says what is to
 * hold, and is fine if it holds already. A volume is a folder within the mount: nothing has to be
 * done to mount one, and nothing is undone when an engine forgets to unmount it.
 */
#include "protocol.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/volumes/volumes.h"
#include "ids.h"

struct call {
	const struct plugin *plugin;
	struct volume_pool *pool; /* if the request needs it */
	struct json_object *in;
	const char *name; /* if the request has one */
	struct json_object *out;
	struct volume_error error;
};

static void cleanup_json(struct json_object **object)
{
	json_object_put(*object);
}
#define CLEANUP_JSON CLEANUP(cleanup_json)

static void add_string(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value));
}

/* A member that is a string without a NUL in it; else NULL. */
static const char *string_of(struct json_object *o, const char *key)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(o, key, &value) ||
	    !json_object_is_type(value, json_type_string) ||
	    strlen(json_object_get_string(value)) != (size_t)json_object_get_string_len(value))
		return NULL;
	return json_object_get_string(value);
}

static errint_t fail_call(struct call *c, int err, const char *text)
{
	snprintf(c->error.text, sizeof(c->error.text), "%s", text);
	return err;
}

/* ---- the requests ------------------------------------------------------------------------- */

static int activate(struct call *c)
{
	struct json_object *list = json_object_new_array();

	json_object_array_add(list, json_object_new_string("VolumeDriver"));
	json_object_object_add(c->out, "Implements", list);
	return 0;
}

static int capabilities(struct call *c)
{
	struct json_object *object = json_object_new_object();

	add_string(object, "Scope", "local");
	json_object_object_add(c->out, "Capabilities", object);
	return 0;
}

/* Docker says null if there are no options, Podman nothing. */
static errint_t create(struct call *c)
{
	struct json_object *options = json_object_object_get(c->in, "Opts");

	return volumes_create(c->pool, c->name, options, &c->error);
}

static errint_t remove_volume(struct call *c)
{
	int err = volumes_remove(c->pool, c->name, &c->error);

	if (err)
		return err;
	ids_forget(c->plugin->ids, c->plugin->pool, c->name);
	c->plugin->kick();
	return 0;
}

/* As the engines call what volumes_describe() says. */
static struct json_object *engines_view(const struct call *c, struct json_object *volume)
{
	static const char *const shown[] = { "size", "used", "inodes", "inodes_used", "project" };
	const char *name = json_object_get_string(json_object_object_get(volume, "name"));
	struct json_object *o = json_object_new_object(), *status = json_object_new_object();
	struct json_object *created = json_object_object_get(volume, "created");

	json_object_object_add(o, "Name", json_object_new_string(name));
	json_object_object_add(o, "Mountpoint",
			       json_object_get(json_object_object_get(volume, "mountpoint")));
	if (json_object_is_type(created, json_type_string))
		json_object_object_add(o, "CreatedAt", json_object_get(created));
	for (size_t i = 0; i < ARRAY_SIZE(shown); i++)
		json_object_object_add(status, shown[i],
				       json_object_get(json_object_object_get(volume, shown[i])));
	json_object_object_add(
		status, "mounts",
		json_object_new_int64(ids_count(c->plugin->ids, c->plugin->pool, name)));
	json_object_object_add(o, "Status", status);
	return o;
}

static errint_t get(struct call *c)
{
	CLEANUP_JSON struct json_object *volume = NULL;
	int err = volumes_describe(c->pool, c->name, &volume, &c->error);

	if (!err)
		json_object_object_add(c->out, "Volume", engines_view(c, volume));
	return err;
}

static errint_t list(struct call *c)
{
	CLEANUP_JSON struct json_object *volumes = NULL;
	struct json_object *views;
	int err = volumes_list(c->pool, &volumes, &c->error);

	if (err)
		return err;
	views = json_object_new_array();
	for (size_t i = 0; i < json_object_array_length(volumes); i++)
		json_object_array_add(views,
				      engines_view(c, json_object_array_get_idx(volumes, i)));
	json_object_object_add(c->out, "Volumes", views);
	return 0;
}

static errint_t path(struct call *c)
{
	CLEANUP_JSON struct json_object *volume = NULL;
	int err = volumes_describe(c->pool, c->name, &volume, &c->error);

	if (!err)
		json_object_object_add(
			c->out, "Mountpoint",
			json_object_get(json_object_object_get(volume, "mountpoint")));
	return err;
}

static errint_t mount(struct call *c)
{
	const char *id = string_of(c->in, "ID");
	int err = path(c);

	if (!err && (!id || ids_add(c->plugin->ids, c->plugin->pool, c->name, id) == -EINVAL))
		err = fail_call(c, -EINVAL, "ID is missing, or not one");
	return err;
}

/* Also if the pool is gone: an engine that is told of an error keeps its count for ever. */
static int unmount(struct call *c)
{
	const char *id = string_of(c->in, "ID");

	if (id)
		(void)ids_remove(c->plugin->ids, c->plugin->pool, c->name, id);
	return 0;
}

enum needs { NOTHING = 0, OBJECT = 1, NAME = 2 | OBJECT, POOL = 4 };

static const struct kind {
	const char *path;
	int (*run)(struct call *c);
	unsigned needs;
} kinds[] = {
	{ "/Plugin.Activate", activate, NOTHING },
	{ "/VolumeDriver.Capabilities", capabilities, NOTHING },
	{ "/VolumeDriver.List", list, POOL },
	{ "/VolumeDriver.Get", get, NAME | POOL },
	{ "/VolumeDriver.Path", path, NAME | POOL },
	{ "/VolumeDriver.Create", create, NAME | POOL },
	{ "/VolumeDriver.Remove", remove_volume, NAME | POOL },
	{ "/VolumeDriver.Mount", mount, NAME | POOL },
	{ "/VolumeDriver.Unmount", unmount, NAME },
};

static const struct kind *find_kind(const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!strcmp(text, kinds[i].path))
			return &kinds[i];
	}
	return NULL;
}

/* ---- from bytes to bytes -------------------------------------------------------------------- */

/* One object, and blanks around it. NULL: it is none. */
static struct json_object *parse_body(const char *body, size_t size)
{
	struct json_tokener *tokener = json_tokener_new_ex(8);
	struct json_object *object = NULL;
	bool whole = false;

	while (size && body[size - 1] && strchr(" \t\r\n", body[size - 1]))
		size--;
	if (tokener && size) {
		json_tokener_set_flags(tokener, JSON_TOKENER_VALIDATE_UTF8);
		object = json_tokener_parse_ex(tokener, body, (int)size);
		whole = json_tokener_get_error(tokener) == json_tokener_success &&
			json_tokener_get_parse_end(tokener) == size &&
			json_object_is_type(object, json_type_object);
	}
	if (tokener)
		json_tokener_free(tokener);
	if (whole)
		return object;
	json_object_put(object);
	return NULL;
}

/* Docker's second try at a request comes without its body: it must not be taken for one. */
static errint_t prepare(struct call *c, const struct kind *kind,
			const struct plugin_request *request)
{
	if (kind->needs & OBJECT) {
		c->in = parse_body(request->body, request->size);
		if (!c->in)
			return fail_call(c, -EBADMSG, "the request is no JSON object");
	}
	if ((kind->needs & NAME) == NAME) {
		c->name = string_of(c->in, "Name");
		if (!c->name || !volumes_name_is_valid(c->name))
			return fail_call(
				c, -EINVAL,
				"Name is missing, or not one for a volume: letters, digits, "
				"and after the first one also _ . -");
	}
	return 0;
}

static struct plugin_answer print_answer(struct json_object *object)
{
	const char *text = json_object_to_json_string_ext(
		object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

	return (struct plugin_answer){ .body = text ? strdup(text) : NULL };
}

struct plugin_answer plugin_error(const char *text)
{
	CLEANUP_JSON struct json_object *object = json_object_new_object();
	struct plugin_answer answer;

	add_string(object, "Err", text);
	answer = print_answer(object);
	answer.failed = true;
	return answer;
}

/* Whether there is such a volume, or none, is not known. */
static struct plugin_answer say_unsure(const struct kind *kind, const char *text)
{
	struct plugin_answer answer = plugin_error(text);

	answer.unsure = kind->run == get;
	return answer;
}

/* A volume that an engine has mounted since the machine was started is there: the engine goes on,
 * and is told why not when it mounts it. */
static struct plugin_answer answer_without_pool(const struct call *c, const struct kind *kind,
						const char *why)
{
	CLEANUP_JSON struct json_object *out = NULL;
	struct json_object *volume, *status;

	if (kind->run != get || !ids_is_known(c->plugin->ids, c->plugin->pool, c->name))
		return say_unsure(kind, why);
	out = json_object_new_object();
	volume = json_object_new_object();
	status = json_object_new_object();
	add_string(volume, "Name", c->name);
	add_string(status, "error", why);
	json_object_object_add(volume, "Status", status);
	json_object_object_add(out, "Volume", volume);
	add_string(out, "Err", "");
	return print_answer(out);
}

/* Frees what the call has. */
static struct plugin_answer end_call(struct call *c, const struct kind *kind, int err)
{
	struct plugin_answer answer;

	if (err == -ENXIO)
		answer = answer_without_pool(c, kind, c->error.text);
	else if (err && err != -ENOENT && err != -EINVAL)
		answer = say_unsure(kind, c->error.text);
	else if (err)
		answer = plugin_error(c->error.text);
	else
		answer = print_answer(c->out);
	volumes_pool_close(c->pool);
	json_object_put(c->in);
	json_object_put(c->out);
	return answer;
}

struct plugin_answer plugin_ask(const struct plugin *plugin, const struct plugin_request *request)
{
	const struct kind *kind = find_kind(request->path);
	struct call call = { .plugin = plugin };
	int err;

	if (!kind)
		return plugin_error("this request is not known");
	call.out = json_object_new_object();
	err = prepare(&call, kind, request);
	if (!err && kind->needs & POOL)
		err = volumes_pool_open(plugin->pool, &call.pool, &call.error);
	if (!err)
		err = kind->run(&call);
	if (!err)
		add_string(call.out, "Err", "");
	return end_call(&call, kind, err);
}

struct plugin_answer plugin_ask_without_pool(const struct plugin *plugin,
					     const struct plugin_request *request, const char *why)
{
	const struct kind *kind = find_kind(request->path);
	struct call call = { .plugin = plugin };
	int err;

	if (!kind)
		return plugin_error(why);
	err = prepare(&call, kind, request);
	if (!err)
		err = fail_call(&call, -ENXIO, why);
	return end_call(&call, kind, err);
}
