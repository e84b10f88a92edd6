/* SPDX-License-Identifier: BSD-3-Clause */
/* What a mount's report says of programs. */
#include <json-c/json.h>

#include "daxfuse/base/lockrank.h"
#include "internal.h"

static unsigned connected_sessions(struct clients *c)
{
	unsigned count = 0;

	lock_mutex(LOCK_SESSIONS, &c->sessions_lock);
	for (unsigned i = 0; i < SESSION_BUCKETS; i++) {
		for (struct session *session = c->sessions[i]; session; session = session->next)
			count += session_is_connected(session);
	}
	unlock_mutex(LOCK_SESSIONS, &c->sessions_lock);
	return count;
}

static struct json_object *refused_object(struct clients *c)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "mode", json_object_new_uint64(c->refused_mode));
	json_object_object_add(o, "cached", json_object_new_uint64(c->refused_cached));
	return o;
}

struct json_object *clients_report(struct clients *c)
{
	static const char *const who[] = {
		[CLIENTS_OWNER] = "owner",
		[CLIENTS_NOBODY] = "off",
		[CLIENTS_GROUP] = "group",
		[CLIENTS_EVERYBODY] = "all",
	};
	struct json_object *o = json_object_new_object(), *mount = vfs_report(c->config.vfs, 0);

	json_object_object_add(
		o, "direct",
		json_object_new_string(c->config.listener < 0 ? "off" : who[c->config.policy.who]));
	json_object_object_add(o, "socket", json_object_new_string(clients_socket(c)));
	json_object_object_add(o, "programs", json_object_new_uint64(connected_sessions(c)));
	json_object_object_add(o, "pin_records", json_object_new_uint64(pins_kept_count(&c->pins)));
	json_object_object_add(o, "refused", refused_object(c));
	json_object_object_foreach(mount, key, value)
		json_object_object_add(o, key, json_object_get(value));
	json_object_put(mount);
	return o;
}
