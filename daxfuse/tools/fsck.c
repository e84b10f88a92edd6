/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fsck.daxfuse: check a pool, and repair it when told to. Exit status as
 * fsck(8)'s: the sum of 1 (errors were corrected), 4 (errors are left), 8
 * (failure), 16 (usage).
 *
 * There is no mark of a clean pool to trust: a check always looks at everything.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "daxfuse/check/check.h"
#include "daxfuse/format.h"
#include "daxfuse/media/geometry.h"
#include "command.h"
#include "report.h"

#define EXIT_CORRECTED 1
#define EXIT_LEFT 4
#define EXIT_FAILED 8
#define EXIT_USAGE 16

enum { LISTED_MAX = 1000 }; /* problems in the summary; all are counted */

static const struct command_option options[] = {
	{ 'a', "preen", NULL, "repair what loses nothing, leave the rest" },
	{ 'p', "automatic", NULL, "the same as -a" },
	{ 'n', "dry-run", NULL, "repair nothing, open read-only (the default)" },
	{ 'y', "repair", NULL, "repair everything" },
	{ 'f', "force", NULL, "accepted for fsck(8): a check is always a whole one" },
	{ 'u', "human", NULL, "print for people instead of JSON" },
	{ 0 },
};

struct run {
	bool human;
	struct json_object *problems; /* array */
	const char *shown;            /* progress: which pass */
	unsigned percent;
};

static const struct command command = {
	.name = "fsck.daxfuse",
	.usage = "DEVICE",
	.summary = "Check a pool that is not mounted, and repair it.",
	.options = options,
	.details = "Exit status, the sum of: 1 errors were corrected, 4 errors are left,\n"
		   "8 failure (the pool is in use, or there is none), 16 wrong usage.",
	.usage_status = EXIT_USAGE,
};

static void clear_progress(struct run *run)
{
	if (run->shown)
		fprintf(stderr, "\r%40s\r", "");
	run->shown = NULL;
}

static void show_progress(const char *what, uint64_t done, uint64_t total, void *arg)
{
	struct run *run = arg;
	unsigned percent = total ? (unsigned)((double)done / (double)total * 100) : 100;

	if (run->shown == what && run->percent == percent)
		return;
	run->shown = what;
	run->percent = percent;
	fprintf(stderr, "\r%-20s %3u %%", what, percent);
}

static void take_finding(const struct check_finding *finding, void *arg)
{
	struct run *run = arg;
	struct json_object *object;

	clear_progress(run);
	if (run->human) {
		if (finding->ino)
			printf("inode %llu: ", (unsigned long long)finding->ino);
		printf("%s%s\n", finding->text, finding->repaired ? " (repaired)" : "");
		return;
	}
	if (json_object_array_length(run->problems) == LISTED_MAX)
		return;
	object = json_object_new_object();
	json_object_object_add(object, "problem",
			       json_object_new_string(check_problem_name(finding->problem)));
	if (finding->ino)
		json_object_object_add(object, "inode", json_object_new_uint64(finding->ino));
	json_object_object_add(object, "text", json_object_new_string(finding->text));
	json_object_object_add(object, "repaired", json_object_new_boolean(finding->repaired));
	json_object_array_add(run->problems, object);
}

static void add_count(struct json_object *object, const char *key, uint64_t count)
{
	json_object_object_add(object, key, json_object_new_uint64(count));
}

static void print_json(const char *path, const struct check_result *result, struct run *run)
{
	CLEANUP_JSON struct json_object *object = json_object_new_object();

	json_object_object_add(object, "device", json_object_new_string(path));
	json_object_object_add(object, "clean", json_object_new_boolean(result->found == 0));
	add_count(object, "found", result->found);
	add_count(object, "repaired", result->repaired);
	add_count(object, "journal_records", result->records);
	add_count(object, "inodes", result->inodes);
	add_count(object, "directories", result->directories);
	add_count(object, "orphans", result->orphans);
	add_count(object, "units", result->units);
	add_count(object, "data_units", result->data_units);
	add_count(object, "split_units", result->split_units);
	add_count(object, "inode_units", result->inode_units);
	add_count(object, "blocks", result->blocks);
	json_object_object_add(object, "problems", json_object_get(run->problems));
	report_json(object);
}

static void print_human(const char *path, const struct check_result *result, bool repair)
{
	uint64_t bytes = result->data_units * DXF_UNIT_SIZE + result->blocks * DXF_BLOCK_SIZE;
	char size[HUMAN_SIZE], of[HUMAN_SIZE];

	human_size(bytes, size, sizeof(size));
	human_size(result->units * DXF_UNIT_SIZE, of, sizeof(of));
	if (result->records)
		printf("%llu journal records %s\n", (unsigned long long)result->records,
		       repair ? "replayed" : "wait for a mount");
	printf("%s: %s, %llu files in %llu directories, %s of %s used\n", path,
	       !result->found                      ? "clean"
	       : result->found == result->repaired ? "repaired"
						   : "has errors",
	       (unsigned long long)(result->inodes - result->directories),
	       (unsigned long long)result->directories, size, of);
	if (result->found > result->repaired)
		printf("%llu of %llu problems are left%s\n",
		       (unsigned long long)(result->found - result->repaired),
		       (unsigned long long)result->found,
		       repair ? "" : "; repair them with: fsck.daxfuse -y DEVICE");
}

static int report_refusal(const char *path, int err)
{
	static const struct {
		int err;
		const char *what, *advice;
	} reasons[] = {
		{ EINVAL, "there is no pool", "see what is there with: daxfuse probe DEVICE" },
		{ EUCLEAN, "both superblocks are damaged", "restore the pool from a backup" },
		{ EOPNOTSUPP, "the pool is of a newer format", "use a newer fsck.daxfuse" },
		{ EROFS, "the pool is of a newer format", "use a newer fsck.daxfuse" },
		{ EFBIG, "the device is shorter than the pool", "restore the device's size" },
	};

	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (reasons[i].err == -err) {
			report_failure(command.name, path, 0, reasons[i].what, reasons[i].advice);
			return EXIT_FAILED;
		}
	}
	report_failure(command.name, path, err, "cannot be checked", "");
	return EXIT_FAILED;
}

static int check(struct device *dev, const char *path, struct check_options *check_options,
		 bool human)
{
	CLEANUP_JSON struct json_object *problems = json_object_new_array();
	struct run run = { .human = human, .problems = problems };
	struct check_result result;
	struct device_error error;
	struct pmem *pm;
	int err = device_map(dev, &pm, &error);

	if (err) {
		report_device_error(command.name, path, err, &error);
		return EXIT_FAILED;
	}
	check_options->found = take_finding;
	check_options->arg = &run;
	if (isatty(STDERR_FILENO))
		check_options->progress = show_progress;
	err = pmem_poison_init();
	if (!err)
		err = check_pool(pm, check_options, &result);
	clear_progress(&run);
	if (err)
		return report_refusal(path, err);
	if (human)
		print_human(path, &result, check_options->repair);
	else
		print_json(path, &result, &run);
	return (result.repaired ? EXIT_CORRECTED : 0) |
	       (result.found > result.repaired ? EXIT_LEFT : 0);
}

int main(int argc, char **argv)
{
	CLEANUP_DEVICE struct device *dev = NULL;
	struct check_options check_options = { 0 };
	struct device_error error;
	bool human = false, dry = false;
	int code, err;

	while ((code = command_next(&command, argc, argv)) >= 0) {
		human |= code == 'u';
		dry |= code == 'n';
		check_options.preen |= code == 'a' || code == 'p';
		check_options.repair |= code == 'a' || code == 'p' || code == 'y';
	}
	command_operands(&command, argc, 1, 1);
	if (dry && check_options.repair)
		command_misused(&command, "-n and a repair exclude each other");
	err = pool_open_device(argv[optind], -1, check_options.repair ? DEVICE_WRITE : DEVICE_READ,
			       &dev, &error);
	if (err) {
		report_device_error(command.name, argv[optind], err, &error);
		return EXIT_FAILED;
	}
	return check(dev, argv[optind], &check_options, human);
}
