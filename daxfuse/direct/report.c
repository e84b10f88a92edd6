/* SPDX-License-Identifier: BSD-3-Clause */
/* What is mapped, and how it came to that, as JSON. */
#include <json-c/json.h>

#include "internal.h"

static void add_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

static void add_survey(struct json_object *o, const struct map_survey *survey)
{
	add_number(o, "huge", survey->huge);
	add_number(o, "pages", survey->pages);
	add_number(o, "zeroes", survey->zeroes);
	add_number(o, "dirty", survey->dirty);
}

struct totals {
	struct map_survey survey;
	uint64_t files;
};

static void add_up(struct file *file, void *arg)
{
	struct totals *totals = arg;
	struct map_survey survey;

	map_file_survey(file->map, &survey);
	totals->survey.huge += survey.huge;
	totals->survey.pages += survey.pages;
	totals->survey.zeroes += survey.zeroes;
	totals->survey.dirty += survey.dirty;
	totals->files++;
}

static unsigned connected_sessions(struct direct *d)
{
	unsigned count = 0;

	pthread_mutex_lock(&d->sessions_lock);
	for (struct session *session = d->sessions; session; session = session->next)
		count += session_is_connected(session);
	pthread_mutex_unlock(&d->sessions_lock);
	return count;
}

static void report_mount(struct direct *d, struct json_object *o)
{
	static const char *const who[] = {
		[DIRECT_OWNER] = "owner", [DIRECT_NOBODY] = "off", [DIRECT_GROUP] = "group",
		[DIRECT_EVERYBODY] = "all",
	};
	struct totals totals = { { 0 }, 0 };
	struct fs_space space;

	json_object_object_add(o, "direct",
			       json_object_new_string(d->config.listener < 0 ? "off" :
						      who[d->config.policy.who]));
	json_object_object_add(o, "socket", json_object_new_string(direct_socket(d)));
	add_number(o, "programs", connected_sessions(d));
	files_for_each(d, add_up, &totals);
	add_number(o, "files", totals.files);
	add_survey(o, &totals.survey);
	fs_get_space(d->config.fs, &space);
	add_number(o, "quarantined", space.held_blocks * DXF_BLOCK_SIZE);
	add_number(o, "pin_records", pins_kept_count(&d->pins));
}

struct json_object *direct_report(struct direct *d, uint64_t ino)
{
	struct json_object *o = json_object_new_object(), *counters = json_object_new_object();
	struct file *file = ino ? file_find(d, ino) : NULL;
	struct map_survey survey = { 0 };

	if (!ino)
		report_mount(d, o);
	else if (file)
		map_file_survey(file->map, &survey);
	if (ino)
		add_survey(o, &survey);
	for (unsigned i = 0; i < MAP_COUNTERS; i++) {
		if (!map_counter_name(i))
			continue;
		add_number(counters, map_counter_name(i),
			   ino ? file ? map_file_count(file->map, i) : 0 :
				 map_engine_count(d->engine, i));
	}
	json_object_object_add(o, "counters", counters);
	if (file)
		file_put(file);
	return o;
}
