/* SPDX-License-Identifier: BSD-3-Clause */
#include "daxfuse/fuse/status.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uuid/uuid.h>

static void add_text(struct json_object *to, const char *key, const char *text)
{
	json_object_object_add(to, key, json_object_new_string(text));
}

static void add_number(struct json_object *to, const char *key, uint64_t number)
{
	json_object_object_add(to, key, json_object_new_uint64(number));
}

static void add_bool(struct json_object *to, const char *key, bool value)
{
	json_object_object_add(to, key, json_object_new_boolean(value));
}

static struct json_object *add_object(struct json_object *to, const char *key)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(to, key, object);
	return object;
}

/* "cache_line" on a device whose caches survive a power failure is "byte". */
static const char *flush_policy(const char *granularity)
{
	if (!strcmp(granularity, "byte"))
		return "none (caches are flushed by the platform)";
	if (!strcmp(granularity, "cache_line"))
		return "cache lines (clwb and non-temporal stores)";
	return "cache lines (not durable: the media is the page cache)";
}

static void add_device(struct json_object *to, const struct state *s)
{
	const struct device_info *info = device_info(s->dev);
	struct json_object *device = add_object(to, "device");

	add_text(device, "path", s->device);
	add_text(device, "mode", info->mode);
	add_number(device, "size", info->size);
	add_number(device, "align", info->align);
	if (info->numa_node >= 0)
		add_number(device, "numa_node", (uint64_t)info->numa_node);
	add_text(device, "persistence", info->persistence);
	if (info->kind == DEVICE_IMAGE)
		add_text(device, "filesystem", info->filesystem);
	add_text(device, "granularity", device_granularity(s->dev));
	add_text(device, "flush", flush_policy(device_granularity(s->dev)));
}

static void add_pool(struct json_object *to, const struct state *s)
{
	const struct dxf_super *super = fs_super(s->fs);
	struct json_object *pool = add_object(to, "pool");
	char uuid[UUID_STR_LEN];

	uuid_unparse(super->uuid, uuid);
	add_text(pool, "uuid", uuid);
	add_text(pool, "label", (const char *)super->label);
	add_number(pool, "size", super->pool_size);
	add_number(pool, "replayed_records", s->report.replayed);
	add_number(pool, "completed_orphans", s->report.orphans);
	add_bool(pool, "spare_super", s->report.spare_super);
	add_number(pool, "poison_met", pmem_poison_count());
}

static void add_space(struct json_object *to, const struct state *s)
{
	struct json_object *space = add_object(to, "space");
	struct fs_space now;

	fs_get_space(s->fs, &now);
	add_number(space, "total_bytes", now.units * DXF_UNIT_SIZE);
	add_number(space, "free_bytes",
		   now.free_units * DXF_UNIT_SIZE + now.free_blocks * DXF_BLOCK_SIZE);
	add_number(space, "units", now.units);
	add_number(space, "free_units", now.free_units);
	add_number(space, "broken_units", now.broken_units);
	add_number(space, "free_blocks", now.free_blocks);
	add_number(space, "bad_blocks", now.bad_blocks);
	add_number(space, "inodes", now.inodes);
	add_number(space, "inodes_max", now.inodes_max);
}

static void add_options(struct json_object *to, const struct state *s)
{
	static const char *const dax[] = {
		[FS_DAX_INODE] = "inode", [FS_DAX_ALWAYS] = "always", [FS_DAX_NEVER] = "never",
	};
	static const char *const atime[] = {
		[FS_ATIME_RELATIVE] = "relatime", [FS_ATIME_STRICT] = "strictatime",
		[FS_ATIME_NEVER] = "noatime",
	};
	struct json_object *options = add_object(to, "options");

	add_text(options, "dax", dax[s->options->fs.dax]);
	add_text(options, "atime", atime[s->options->fs.atime]);
	add_bool(options, "read_only", s->options->fs.read_only);
	add_bool(options, "allow_other", s->options->allow_other);
}

static void add_transport(struct json_object *to, const struct state *s)
{
	struct json_object *transport = add_object(to, "transport");
	char capabilities[24];

	snprintf(capabilities, sizeof(capabilities), "0x%llx",
		 (unsigned long long)s->capabilities);
	add_text(transport, "libfuse", fuse_pkgversion());
	add_bool(transport, "io_uring", s->io_uring);
	add_bool(transport, "clone_fd", s->options->clone_fd);
	add_number(transport, "max_threads", s->options->max_threads);
	add_number(transport, "max_io_bytes", STATE_IO_MAX);
	add_text(transport, "capabilities", capabilities);
}

static void add_counters(struct json_object *to, const struct state *s)
{
	struct json_object *object = add_object(to, "counters");
	struct fs_counters counters;

	fs_get_counters(s->fs, &counters);
	add_number(object, "transactions", counters.transactions);
	add_number(object, "transaction_bytes", counters.transaction_bytes);
	add_number(object, "units_promoted", counters.units_promoted);
	add_number(object, "units_trimmed", counters.units_trimmed);
}

int status_json(const struct state *s, char *ret_json, size_t size)
{
	struct json_object *all = json_object_new_object();
	const char *text;
	int err = 0;

	add_text(all, "mountpoint", s->mountpoint);
	add_text(all, "version", DAXFUSE_VERSION);
	add_number(all, "pid", (uint64_t)getpid());
	add_device(all, s);
	add_pool(all, s);
	add_space(all, s);
	add_options(all, s);
	add_transport(all, s);
	add_counters(all, s);
	add_text(all, "durability", "synchronous");
	text = json_object_to_json_string_ext(all, JSON_C_TO_STRING_PLAIN);
	if (strlen(text) < size)
		strcpy(ret_json, text);
	else
		err = -ENOSPC;
	json_object_put(all);
	return err;
}
