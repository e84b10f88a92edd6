/* SPDX-License-Identifier: BSD-3-Clause */
/* daxfuse list: the device-dax of this machine, and what to do with each. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "daxfuse/format.h"
#include "command.h"
#include "mounts.h"
#include "report.h"
#include "signature.h"

static const struct command_option options[] = {
	{ 'u', "human", NULL, "print for people" },
	{ 0 },
};

static const struct command command = {
	.name = "daxfuse list",
	.usage = "",
	.summary = "Show device-dax devices: mode, size, alignment, NUMA node, content (JSON).",
	.options = options,
	.details = "\"next\" is the command that makes the device useful.",
	.usage_status = 1,
};

struct entry {
	const struct device_info *info;
	struct signature signature;
	bool readable;         /* the signature is known */
	char mountpoint[4096]; /* empty: not mounted */
};

/* What a person would do next with this device. */
static void next_command(const struct entry *entry, char *buf, size_t size)
{
	const struct device_info *info = entry->info;

	device_cure(info, buf, size);
	if (*buf)
		return;
	if (info->align < DXF_UNIT_SIZE)
		snprintf(buf, size, "ndctl create-namespace -f -e NAMESPACE -m devdax -a 2M");
	else if (*entry->mountpoint)
		snprintf(buf, size, "daxfuse status -u %.200s", entry->mountpoint);
	else if (!entry->readable)
		snprintf(buf, size, "daxfuse probe /dev/%s", info->name);
	else if (entry->signature.kind == SIGNATURE_POOL)
		snprintf(buf, size, "daxfuse /dev/%s MOUNTPOINT", info->name);
	else if (entry->signature.kind == SIGNATURE_BLANK)
		snprintf(buf, size, "mkfs.daxfuse /dev/%s", info->name);
	else
		snprintf(buf, size, "mkfs.daxfuse -f /dev/%s", info->name);
}

static const char *content(const struct entry *entry)
{
	if (!entry->readable)
		return "";
	switch (entry->signature.kind) {
	case SIGNATURE_BLANK:
		return "blank";
	case SIGNATURE_UNKNOWN:
		return "unknown";
	default:
		return entry->signature.type;
	}
}

static void learn(struct entry *entry)
{
	struct device_error error;

	entry->readable = signature_of(entry->info->path, &entry->signature, NULL, &error) == 0;
	if (mounts_find_device(entry->info->path, entry->mountpoint, sizeof(entry->mountpoint)))
		entry->mountpoint[0] = '\0';
}

static int add_json(const struct device_info *info, void *arg)
{
	struct json_object *list = arg, *object = json_object_new_object();
	struct entry entry = { .info = info };
	char next[512];

	learn(&entry);
	next_command(&entry, next, sizeof(next));
	json_object_object_add(object, "device", json_object_new_string(info->path));
	json_object_object_add(object, "mode", json_object_new_string(info->mode));
	json_object_object_add(object, "size", json_object_new_uint64(info->size));
	json_object_object_add(object, "align", json_object_new_uint64(info->align));
	json_object_object_add(object, "numa_node", json_object_new_int(info->numa_node));
	json_object_object_add(object, "persistence", json_object_new_string(info->persistence));
	if (entry.readable)
		json_object_object_add(object, "content", json_object_new_string(content(&entry)));
	if (*entry.signature.uuid)
		json_object_object_add(object, "uuid",
				       json_object_new_string(entry.signature.uuid));
	if (*entry.signature.label)
		json_object_object_add(object, "label",
				       json_object_new_string(entry.signature.label));
	if (*entry.mountpoint)
		json_object_object_add(object, "mountpoint",
				       json_object_new_string(entry.mountpoint));
	json_object_object_add(object, "next", json_object_new_string(next));
	json_object_array_add(list, object);
	return 0;
}

static int print_human(const struct device_info *info, void *arg)
{
	struct entry entry = { .info = info };
	char size[HUMAN_SIZE], align[HUMAN_SIZE], next[512];
	int *count = arg;

	learn(&entry);
	next_command(&entry, next, sizeof(next));
	if ((*count)++ == 0)
		printf("%-14s %-11s %10s %8s %4s  %-18s %s\n", "DEVICE", "MODE", "SIZE", "ALIGN",
		       "NODE", "PERSISTENCE", "CONTENT");
	printf("%-14s %-11s %10s %8s %4d  %-18s %s%s%s\n", info->path, info->mode,
	       human_size(info->size, size, sizeof(size)),
	       human_size(info->align, align, sizeof(align)), info->numa_node, info->persistence,
	       content(&entry), *entry.mountpoint ? " on " : "", entry.mountpoint);
	printf("    next: %s\n", next);
	return 0;
}

int list_main(int argc, char **argv)
{
	CLEANUP_JSON struct json_object *list = json_object_new_array();
	bool human = false;
	int count = 0, err;

	while (command_next(&command, argc, argv) == 'u')
		human = true;
	command_operands(&command, argc, 0, 0);
	err = human ? device_list(print_human, &count) : device_list(add_json, list);
	if (err < 0) {
		report_failure("daxfuse", "list", err, "cannot list devices",
			       "check that /sys is mounted");
		return 1;
	}
	if (!human)
		report_json(list);
	else if (!count)
		printf("no device-dax here; an image works as well: truncate -s 1G FILE\n");
	return 0;
}
