/* SPDX-License-Identifier: BSD-3-Clause */
/* What is mapped, and how it came to that, as JSON. */
#include <json-c/json.h>
#include <sys/stat.h>

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

static void add_to_totals(struct vfs_file *file, void *arg)
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

static void report_mount(struct vfs *v, struct json_object *o)
{
	struct totals totals = { { 0 }, 0 };
	struct fs_space space;

	vfs_files_for_each(v, add_to_totals, &totals);
	add_number(o, "files", totals.files);
	add_survey(o, &totals.survey);
	fs_get_space(v->config.fs, &space);
	add_number(o, "quarantined", space.busy_blocks * DXF_BLOCK_SIZE);
}

/* One word: whether a program that opens it now may map it directly, or what is in the way. */
static const char *direct_word(struct vfs *v, uint64_t ino)
{
	struct fs_attr attr;

	if (fs_getattr(v->config.fs, ino, &attr) || !S_ISREG(attr.mode))
		return "no file";
	if (vfs_dax(v) == FS_DAX_NEVER)
		return "never";
	if (!attr.dax && vfs_dax(v) == FS_DAX_INODE)
		return fs_dax(v->config.fs) == FS_DAX_AUTO ? "kernel" : "flag";
	return vfs_cached_readers(v, ino) ? "cached" : "yes";
}

static void report_file(struct vfs *v, uint64_t ino, const struct vfs_file *file,
			struct json_object *o)
{
	struct map_survey survey = { 0 };

	json_object_object_add(o, "direct", json_object_new_string(direct_word(v, ino)));
	add_number(o, "cached_readers", vfs_cached_readers(v, ino));

	if (file)
		map_file_survey(file->map, &survey);
	add_survey(o, &survey);
}

static uint64_t counter_of(const struct vfs *v, uint64_t ino, const struct vfs_file *file,
			   unsigned i)
{
	if (!ino)
		return map_engine_count(v->engine, i);
	return file ? map_file_count(file->map, i) : 0;
}

struct json_object *vfs_report(struct vfs *v, uint64_t ino)
{
	struct json_object *o = json_object_new_object(), *counters = json_object_new_object();
	struct vfs_file *file = ino ? vfs_file_find(v, ino) : NULL;

	if (ino)
		report_file(v, ino, file, o);
	else
		report_mount(v, o);
	for (unsigned i = 0; i < MAP_COUNTERS; i++) {
		if (map_counter_name(i))
			add_number(counters, map_counter_name(i), counter_of(v, ino, file, i));
	}
	json_object_object_add(o, "counters", counters);
	if (file)
		vfs_file_put(file);
	return o;
}
