/* SPDX-License-Identifier: BSD-3-Clause */
/* What the status says of exports. */
#include <json-c/json.h>

#include "daxfuse/base/lockrank.h"
#include "export.h"
#include "window.h"

static void add_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

static struct json_object *report_window(const struct export *x)
{
	static const char *const vmms[] = {
		[EXPORTS_QEMU] = "qemu",
		[EXPORTS_CROSVM] = "crosvm",
		[EXPORTS_ALIOTH] = "alioth",
	};
	struct json_object *o = json_object_new_object();
	struct window_counts counts;

	window_counts(x->window, &counts);
	json_object_object_add(o, "vmm", json_object_new_string(vmms[x->record->vmm]));
	add_number(o, "bytes", window_size(x->window));
	json_object_object_add(o, "usable",
			       json_object_new_boolean(window_is_connected(x->window)));
	add_number(o, "units", counts.units);
	add_number(o, "files", counts.files);
	add_number(o, "mapped", counts.mapped);
	add_number(o, "removed", counts.removed);
	add_number(o, "upgraded", counts.upgraded);
	add_number(o, "refused", counts.refused);
	add_number(o, "lost", counts.lost);
	/* QEMU says no more than that */
	if (counts.refused && x->record->vmm == EXPORTS_QEMU)
		json_object_object_add(o, "advice",
				       json_object_new_string("QEMU does not map units: preload "
							      "contrib/qemu/align.c"));
	return o;
}

static struct json_object *report_export_locked(struct export *x)
{
	static const char *const caches[] = {
		[EXPORTS_CACHE_NONE] = "none",
		[EXPORTS_CACHE_AUTO] = "auto",
		[EXPORTS_CACHE_ALWAYS] = "always",
	};
	struct json_object *o = json_object_new_object();
	struct guest_counts counts;

	guest_counts(x->guest, &counts);
	json_object_object_add(o, "socket", json_object_new_string(x->record->socket));
	json_object_object_add(o, "tag", json_object_new_string(x->record->tag));
	add_number(o, "root", x->record->root);
	json_object_object_add(o, "read_only", json_object_new_boolean(x->record->read_only));
	json_object_object_add(o, "cache", json_object_new_string(caches[x->record->cache]));
	json_object_object_add(o, "connected", json_object_new_boolean(x->connection >= 0));
	json_object_object_add(o, "kept", json_object_new_boolean(x->kept));
	json_object_object_add(o, "confined", json_object_new_boolean(x->confined));
	add_number(o, "connections", x->record->connections);
	add_number(o, "requests", counts.requests);
	add_number(o, "refused", counts.refused);
	add_number(o, "bad_chains", x->record->bad_chains);
	add_number(o, "nodes", counts.nodes);
	add_number(o, "files", counts.files);
	if (x->window)
		json_object_object_add(o, "window", report_window(x));
	return o;
}

struct json_object *exports_report(struct exports *e)
{
	struct json_object *array = json_object_new_array();
	struct export *x;

	lock_mutex(LOCK_EXPORTS, &e->lock);
	LIST_FOREACH(x, &e->list, link) {
		if (x->ready)
			json_object_array_add(array, report_export_locked(x));
	}
	unlock_mutex(LOCK_EXPORTS, &e->lock);
	return array;
}
