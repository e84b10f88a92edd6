/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxfuse status: what a mount says of itself. The daemon answers an ioctl with
 * one JSON object; here it is only shown, with whether it answered at all.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/daemon/admin.h"
#include "daxfuse/ioctl.h"
#include "ask.h"
#include "command.h"
#include "metrics.h"
#include "mounts.h"
#include "report.h"

static const struct command_option options[] = {
	{ 'u', "human", NULL, "print for people" },
	{ 'p', "prometheus", NULL, "print metrics for Prometheus" },
	{ 'o', "output", "FILE", "write to FILE, which is replaced when all is written" },
	{ 0 },
};

static const struct command command = {
	.name = "daxfuse status",
	.usage = "[PATH|DEVICE]",
	.summary =
		"Show the state of the mount that PATH lies on, or of a DEVICE that is served without "
		"one; without either, of all (JSON).",
	.options = options,
	.usage_status = 1,
};

/* One of many must not hold up the others; a user that asks for one alone can wait. */
enum { LIMIT_OF_ALL_MS = 2000, LIMIT_MS = 10000 };

static errint_t fetch(const char *path, char *text, size_t size)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	CLEANUP_FREE struct dxf_ioc_status *status = calloc(1, sizeof(*status));

	int err = fd < 0 || !status ? -errno : 0;

	static_assert(sizeof(status->json) <= ASK_MAX, "an answer");
	if (!err && ioctl(fd, DXF_IOC_STATUS, status) < 0)
		err = -errno;
	/* a device, or an image */
	if (err && status && admin_is_there(path))
		err = admin_call(path, DXF_IOC_STATUS, "", status);
	if (err)
		return err;
	snprintf(text, size, "%.*s", (int)sizeof(status->json), status->json);
	return 0;
}

static errint_t parse_status(const char *text, struct json_object **ret_object)
{
	struct json_object *object = json_tokener_parse(text);

	if (!object)
		return -EPROTO;
	json_object_object_add(object, "responding", json_object_new_boolean(true));
	*ret_object = object;
	return 0;
}

static errint_t read_status(const char *path, unsigned limit_ms, struct json_object **ret_object)
{
	char text[ASK_MAX];
	int err = ask(fetch, path, limit_ms, text);

	return err ? err : parse_status(text, ret_object);
}

/* What is known of a mount that gives no answer. */
static struct json_object *describe_silent(const char *device, const char *mountpoint, int err)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "mountpoint", json_object_new_string(mountpoint));
	json_object_object_add(object, "device", json_object_new_string(device));
	json_object_object_add(object, "responding", json_object_new_boolean(false));
	json_object_object_add(object, "error", json_object_new_string(strerror(-err)));
	return object;
}

static int report(const char *path, int err)
{
	bool foreign = err == -ENOTTY || err == -EINVAL || err == -ENOSYS || err == -EOPNOTSUPP;

	report_failure("daxfuse", path, err,
		       foreign ? "does not lie on a mount of daxfuse" : "does not tell its status",
		       foreign ? "findmnt -t fuse.daxfuse shows the mounts"
			       : "check that its daemon runs: findmnt -T PATH");
	return 1;
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), end_length = strlen(end);

	return length >= end_length && !strcmp(text + length - end_length, end);
}

/* Whether a number is one of bytes; of what object it is matters where there are counters of
 * the same name. */
static bool is_size(const char *of, const char *key)
{
	if (!strcmp(of, "mappings"))
		return strcmp(key, "programs") && strcmp(key, "files");
	if (!strcmp(of, "counters"))
		return ends_with(key, "bytes");
	return ends_with(key, "bytes") || ends_with(key, "size") || ends_with(key, "align") ||
	       !strcmp(key, "free") || !strcmp(key, "used");
}

static void print_value(const char *of, const char *key, struct json_object *value)
{
	char size[HUMAN_SIZE];

	if (json_object_is_type(value, json_type_int) && is_size(of, key))
		printf("%s", human_size(json_object_get_uint64(value), size, sizeof(size)));
	else if (json_object_is_type(value, json_type_boolean))
		printf("%s", json_object_get_boolean(value) ? "yes" : "no");
	else
		printf("%s", *json_object_get_string(value) ? json_object_get_string(value) : "-");
}

/* Keys are words joined by "_"; objects become indented paragraphs. */
static void print_object(const char *name, struct json_object *object, int indent)
{
	json_object_object_foreach(object, key, value) {
		char words[64];

		snprintf(words, sizeof(words), "%s", key);
		for (char *p = words; *p; p++)
			*p = *p == '_' ? ' ' : *p;
		if (json_object_is_type(value, json_type_object)) {
			printf("%*s%s:\n", indent, "", words);
			print_object(key, value, indent + 2);
			continue;
		}
		printf("%*s%-*s ", indent, "", 26 - indent, words);
		print_value(name, key, value);
		printf("\n");
	}
}

static uint64_t get(struct json_object *object, const char *key)
{
	return json_object_get_uint64(json_object_object_get(object, key));
}

#define BAR_WIDTH 50u

/* At least one character for any number but 0. */
static unsigned bar_part(uint64_t part, uint64_t whole)
{
	if (!part || !whole)
		return 0;
	return MAX(1u, (unsigned)((double)part / (double)whole * BAR_WIDTH));
}

static void draw(const char *glyph, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		printf("%s", glyph);
}

/* The pool's units: whole ones in use, split ones, free ones. */
static void print_bar(struct json_object *space)
{
	uint64_t units = get(space, "units"), split = get(space, "split_units");
	uint64_t unused = get(space, "free_units");
	unsigned pieces = bar_part(split, units);
	unsigned whole = bar_part(units - MIN(units, split + unused), units);
	unsigned taken = MIN(whole + pieces, BAR_WIDTH);

	printf("  ");
	draw("█", whole);
	draw("▒", pieces);
	draw("·", BAR_WIDTH - taken);
	printf("  %llu of %llu units are free\n", (unsigned long long)unused,
	       (unsigned long long)units);
	printf("  █ whole units in use  ▒ split into 4 KiB blocks  · free\n\n");
}

/* A line for each thing that has kept programs from mapping files directly, with what to do. */
static void print_refused(struct json_object *mappings)
{
	static const struct {
		const char *key, *text;
	} reasons[] = {
		{ "mode",
		  "requests for files that may not be mapped directly: mount with dax=auto, or set the "
		  "DAX flag; daxfuse map -u FILE says which" },
		{ "cached",
		  "requests for files that are read through the page cache: open them for reading and "
		  "writing, or close them elsewhere; daxfuse map -u FILE" },
	};
	struct json_object *refused = json_object_object_get(mappings, "refused");

	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		if (get(refused, reasons[i].key))
			printf("not mapped directly: %llu %s\n",
			       (unsigned long long)get(refused, reasons[i].key), reasons[i].text);
	}
}

static void print_human(struct json_object *object)
{
	struct json_object *space = json_object_object_get(object, "space");
	char size[HUMAN_SIZE], unused[HUMAN_SIZE];
	const char *device;

	if (!space) {
		print_object("", object, 0);
		return;
	}
	/* of which only an administrator is told */
	device = json_object_get_string(json_object_object_get(object, "device"));
	printf("%s: %s, %s free\n", device ? device : "pool",
	       human_size(get(object, "size"), size, sizeof(size)),
	       human_size(get(space, "free"), unused, sizeof(unused)));
	if (get(space, "units"))
		print_bar(space);
	print_object("", object, 0);
	print_refused(json_object_object_get(object, "mappings"));
}

static int add_mount(const char *device, const char *mountpoint, void *arg)
{
	struct json_object *object, *list = arg;
	int err = read_status(mountpoint, LIMIT_OF_ALL_MS, &object);

	json_object_array_add(list, err ? describe_silent(device, mountpoint, err) : object);
	return 0;
}

/* Of a daemon without a mount. */
static int add_served(const char *json, void *arg)
{
	struct json_object *object, *list = arg;

	if (!parse_status(json, &object))
		json_object_array_add(list, object);
	return 0;
}

static void print_all(struct json_object *list)
{
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		if (i)
			printf("\n");
		print_human(json_object_array_get_idx(list, i));
	}
	if (!json_object_array_length(list))
		printf("nothing is mounted\n");
}

enum form { FOR_MACHINES, FOR_PEOPLE, FOR_PROMETHEUS };

/* A reader of the file sees all of this, or all of the time before. */
static errint_t write_metrics(struct json_object *mounts, const char *path)
{
	CLEANUP_FREE char *temporary = NULL;
	FILE *file;
	int fd, err = 0;

	if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
		return -ENOMEM;
	fd = mkostemp(temporary, O_CLOEXEC);
	file = fd < 0 ? NULL : fdopen(fd, "w");
	if (!file)
		return -errno;
	metrics_print(file, mounts);
	if (fchmod(fd, 0644) || fflush(file))
		err = -errno;
	if (fclose(file) && !err)
		err = -errno;
	if (!err && rename(temporary, path))
		err = -errno;
	if (err)
		unlink(temporary);
	return err;
}

static int show_metrics(struct json_object *mounts, const char *output)
{
	int err = 0;

	if (output)
		err = write_metrics(mounts, output);
	else
		metrics_print(stdout, mounts);
	if (err)
		report_failure("daxfuse", output, err, "cannot be written", "");
	return err ? 1 : 0;
}

static int show_all(enum form form, const char *output)
{
	CLEANUP_JSON struct json_object *list = json_object_new_array();

	mounts_each(add_mount, list);
	admin_each(add_served, list);
	if (form == FOR_PROMETHEUS)
		return show_metrics(list, output);
	if (form == FOR_PEOPLE)
		print_all(list);
	else
		report_json(list);
	return 0;
}

static int show_one(const char *path, enum form form, const char *output)
{
	CLEANUP_JSON struct json_object *list = json_object_new_array();
	struct json_object *object;
	int err = read_status(path, LIMIT_MS, &object);

	if (err)
		return report(path, err);
	json_object_array_add(list, object);
	if (form == FOR_PROMETHEUS)
		return show_metrics(list, output);
	if (form == FOR_PEOPLE)
		print_human(object);
	else
		report_json(object);
	return 0;
}

int status_main(int argc, char **argv)
{
	enum form form = FOR_MACHINES;
	const char *output = NULL;
	int code;

	while ((code = command_next(&command, argc, argv)) >= 0) {
		if (code == 'o')
			output = optarg;
		else
			form = code == 'p' ? FOR_PROMETHEUS : FOR_PEOPLE;
	}
	if (output && form != FOR_PROMETHEUS)
		command_misused(&command, "--output goes with --prometheus");
	command_operands(&command, argc, 0, 1);
	return optind == argc ? show_all(form, output) : show_one(argv[optind], form, output);
}
