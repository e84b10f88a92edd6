/* SPDX-License-Identifier: BSD-3-Clause */
/* The state of a mount, as one JSON object (DXF_IOC_STATUS, `daxfuse status`). */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uuid/uuid.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/confine.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/keeper/places.h"
#include "restart.h"
#include "status.h"

/* Of the 8 KiB of DXF_IOC_STATUS; all else takes less than half of them. */
enum { PATH_JSON_MAX = 2000 };

static void add_string(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value));
}

static void add_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

static void add_bool(struct json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}

/* A path may be as long as all of the answer, and longer as JSON: the end of it is said. */
static void add_path(struct json_object *o, const char *key, const char *path)
{
	struct json_object *value = json_object_new_string(path);
	char *text = NULL;

	while (value && strlen(json_object_to_json_string(value)) > PATH_JSON_MAX && *path) {
		json_object_put(value);
		free(text);
		path += MIN(strlen(path), (size_t)64);
		while ((*path & 0xc0) == 0x80) /* inside a character */
			path++;
		value = asprintf(&text, "...%s", path) < 0 ? NULL : json_object_new_string(text);
	}
	free(text);
	json_object_object_add(o, key, value);
}

static void add_device(struct json_object *o, const struct daemon *d)
{
	const struct device_info *info = device_info(d->dev);
	char identity[64];

	add_path(o, "device", info->path);
	if (device_identity_fd(device_fd(d->dev), identity, sizeof(identity)) == 0)
		add_string(o, "identity", identity);
	add_string(o, "mode", info->mode);
	add_number(o, "align", info->align);
	if (info->numa_node >= 0)
		add_number(o, "numa_node", (uint64_t)info->numa_node);
	add_string(o, "persistence", info->persistence);
	add_string(o, "granularity", device_granularity(d->dev));
	add_string(o, "durability", device_durability(d->dev));
}

static void add_pool(struct json_object *o, const struct daemon *d)
{
	const struct dxf_super *super = fs_super(d->fs);
	char uuid[37];

	uuid_unparse_lower(super->uuid, uuid);
	add_string(o, "uuid", uuid);
	add_string(o, "label", (const char *)super->label);
	add_number(o, "size", super->pool_size);
}

static struct json_object *space_object(const struct daemon *d)
{
	struct json_object *o = json_object_new_object();
	struct fs_space space;

	fs_get_space(d->fs, &space);
	add_number(o, "units", space.units);
	add_number(o, "free_units", space.free_units);
	add_number(o, "split_units", space.split_units);
	add_number(o, "free_blocks_in_split_units", space.free_blocks);
	add_number(o, "bad_blocks", space.bad_blocks);
	add_number(o, "bad_ranges", fs_pmem(d->fs)->bad_count);
	add_number(o, "free",
		   space.free_units * DXF_UNIT_SIZE + space.free_blocks * DXF_BLOCK_SIZE);
	add_number(o, "inodes", space.inodes);
	add_number(o, "inodes_max", space.inodes_max);
	return o;
}

static struct json_object *counters_object(const struct daemon *d)
{
	struct json_object *o = json_object_new_object();
	struct fs_counters counters;

	fs_get_counters(d->fs, &counters);
	add_number(o, "transactions", counters.transactions);
	add_number(o, "transaction_bytes", counters.transaction_bytes);
	add_number(o, "units_promoted", counters.units_promoted);
	add_number(o, "units_trimmed", counters.units_trimmed);
	add_number(o, "poison_met", pmem_poison_count());
	add_number(o, "calls_refused", confine_refused());
	return o;
}

static void add_restart(struct json_object *o, const struct daemon *d)
{
	static const char *const keepers[] = {
		[KEEPER_SUPERVISOR] = "supervisor",
		[KEEPER_SYSTEMD] = "systemd",
		[KEEPER_NONE] = "none",
	};
	const struct kept *kept = d->kept;
	char reason[256] = "";

	add_number(o, "pid", (uint64_t)getpid());
	add_bool(o, "restartable", restart_has_keeper(d));
	add_string(o, "keeper", keepers[kept ? d->options->keeper : KEEPER_NONE]);
	add_number(o, "supervisor", kept ? kept->supervisor : 0);
	add_number(o, "starts", kept ? kept->starts : 1);
	if (kept && kept->deaths) {
		add_number(o, "deaths", kept->deaths);
		add_number(o, "last_death", (uint64_t)kept->last_death);
		add_string(o, "last_death_reason", kept->last_reason);
	}
	if (!kept && (!d->options->keeper_chosen || d->options->keeper == KEEPER_SYSTEMD) &&
	    !restart_is_safe(reason, sizeof(reason)))
		add_string(o, "not_restartable", reason);
}

/* For a process that mounts it again. */
static struct json_object *options_array(const struct daemon *d)
{
	struct json_object *array = json_object_new_array();
	struct options now = *d->options;
	struct option_words words;

	now.fs.read_only = fs_is_read_only(d->fs);
	now.fs.atime = fs_atime(d->fs);
	options_words(&now, &words);
	for (unsigned i = 0; i < OPTION_WORDS; i++)
		json_object_array_add(array, json_object_new_string(words.word[i]));
	return array;
}

/* Why not is said if they were asked for. */
static void add_views(struct json_object *o, const struct daemon *d)
{
	const char *reason = d->no_views;

	if (d->views && !transport_uses_views(d->transport))
		reason = "this kernel has no passthrough for FUSE";
	json_object_object_add(o, "views",
			       json_object_new_boolean(transport_uses_views(d->transport)));
	if (*reason)
		add_string(o, "no_views", reason);
}

static struct json_object *mount_object(const struct daemon *d)
{
	static const char *const dax[] = {
		[FS_DAX_AUTO] = "auto",
		[FS_DAX_INODE] = "inode",
		[FS_DAX_ALWAYS] = "always",
		[FS_DAX_NEVER] = "never",
	};
	static const char *const atime[] = {
		[FS_ATIME_RELATIVE] = "relatime",
		[FS_ATIME_STRICT] = "strictatime",
		[FS_ATIME_NEVER] = "noatime",
	};
	struct json_object *o = json_object_new_object();

	add_string(o, "dax", dax[vfs_dax(d->vfs)]);
	add_string(o, "atime", atime[fs_atime(d->fs)]);
	add_bool(o, "read_only", fs_is_read_only(d->fs));
	add_string(o, "transport",
		   d->options->no_mount                    ? "vhost-user"
		   : transport_uses_io_uring(d->transport) ? "io_uring"
		   : d->options->clone_fd                  ? "clone_fd"
							   : "fuse");
	add_number(o, "max_threads", d->options->max_threads);
	add_views(o, d);
	add_restart(o, d);
	add_string(o, "version", DAXFUSE_VERSION);
	add_string(o, "libfuse", transport_library());
	json_object_object_add(o, "options", options_array(d));
	return o;
}

static struct json_object *recovery_object(const struct daemon *d)
{
	struct json_object *o = json_object_new_object();

	add_number(o, "journal_records", d->report.replayed);
	add_number(o, "orphans", d->report.orphans);
	add_bool(o, "spare_superblock", d->report.spare_super);
	return o;
}

/* Frees o. */
static errint_t print(struct json_object *o, char *ret_json, size_t size)
{
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	int err = 0;

	if (strlen(text) >= size)
		err = -ENOSPC;
	else
		memcpy(ret_json, text, strlen(text) + 1);
	json_object_put(o);
	return err;
}

static void drop_keys(struct json_object *o, const char *const *keys, size_t count)
{
	for (size_t i = 0; i < count; i++)
		json_object_object_del(o, keys[i]);
}

static void drop_the_hosts(struct json_object *o)
{
	static const char *const keys[] = { "mountpoint", "device", "identity", "label",
					    "exports" };
	static const char *const of_mount[] = { "pid", "supervisor", "last_death_reason",
						"options" };

	drop_keys(o, keys, ARRAY_SIZE(keys));
	drop_keys(json_object_object_get(o, "mount"), of_mount, ARRAY_SIZE(of_mount));
}

/* Many exports do not fit: only how many there are. */
static void shorten(struct json_object *o, size_t size)
{
	struct json_object *exports = json_object_object_get(o, "exports");
	size_t length = strlen(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));

	if (exports && length >= size)
		add_number(o, "exports", json_object_array_length(exports));
}

errint_t status_json(void *daemon, bool whole, char *ret_json, size_t size)
{
	const struct daemon *d = daemon;
	CLEANUP_FREE char *place = places_find(transport_place(d->transport)->number,
					       d->mountpoint);
	struct json_object *o = json_object_new_object();

	add_path(o, "mountpoint", place ? place : d->mountpoint);
	add_device(o, d);
	add_pool(o, d);
	json_object_object_add(o, "space", space_object(d));
	json_object_object_add(o, "mount", mount_object(d));
	json_object_object_add(o, "counters", counters_object(d));
	json_object_object_add(o, "recovery", recovery_object(d));
	json_object_object_add(o, "mappings", clients_report(d->clients));
	if (d->views)
		json_object_object_add(o, "views", views_report(d->views));
	json_object_object_add(o, "exports", exports_report(d->exports));
	if (!whole)
		drop_the_hosts(o);
	shorten(o, size);
	return print(o, ret_json, size);
}
