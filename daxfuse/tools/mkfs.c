/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mkfs.daxfuse: make an empty pool. A device that is not blank is only overwritten when told to.
 * Exit status, as mkfs's: 0, 8 (failure), 16 (usage).
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <uuid/uuid.h>

#include "daxfuse/core/fs.h"
#include "daxfuse/media/geometry.h"
#include "command.h"
#include "report.h"
#include "signature.h"

#define EXIT_FAILED 8
#define EXIT_USAGE 16

enum { OPTION_DAX = 256 };

static const struct command_option options[] = {
	{ 'f', "force", NULL, "overwrite what is there" },
	{ 'L', "label", "LABEL", "up to 63 bytes" },
	{ 'U', "uuid", "UUID", "instead of a random one" },
	{ OPTION_DAX, "dax", NULL, "files bypass the page cache (the root's DAX flag)" },
	{ 'n', "dry-run", NULL, "check everything, write nothing" },
	{ 'q', "quiet", NULL, "print only failures" },
	{ 0 },
};

static const struct command command = {
	.name = "mkfs.daxfuse",
	.usage = "DEVICE",
	.summary = "Make an empty pool on a device-dax or an image file.",
	.options = options,
	.usage_status = EXIT_USAGE,
};

struct request {
	struct fs_format format;
	bool force, dry_run, quiet;
};

static void show_progress(uint64_t done, uint64_t total, void *arg)
{
	unsigned percent = total ? (unsigned)((double)done / (double)total * 100) : 100;
	unsigned *shown = arg;

	if (percent == *shown)
		return;
	*shown = percent;
	fprintf(stderr, "\r%3u %%%s", percent, percent == 100 ? "\r     \r" : "");
}

static void parse_options(int argc, char **argv, struct request *request)
{
	int code;

	while ((code = command_next(&command, argc, argv)) >= 0) {
		switch (code) {
		case 'f':
			request->force = true;
			break;
		case 'n':
			request->dry_run = true;
			break;
		case 'q':
			request->quiet = true;
			break;
		case OPTION_DAX:
			request->format.dax = true;
			break;
		case 'L':
			if (strlen(optarg) >= sizeof(request->format.label))
				command_misused(&command, "the label is longer than 63 bytes");
			strcpy(request->format.label, optarg);
			break;
		case 'U':
			if (uuid_parse(optarg, request->format.uuid))
				command_misused(&command, "%s is not a UUID", optarg);
			break;
		}
	}
	command_operands(&command, argc, 1, 1);
}

/* 0, or an exit status when the contents must stay. */
static int check_content(struct device *dev, const char *path, bool force)
{
	struct signature signature;
	char text[256];
	int err = signature_read(dev, &signature);

	if (err) {
		report_failure(command.name, path, err, "cannot be read", "");
		return EXIT_FAILED;
	}
	if (signature.kind == SIGNATURE_BLANK || force)
		return 0;
	report_failure(command.name, path, 0, signature_text(&signature, text, sizeof(text)),
		       signature_advice(&signature));
	return EXIT_FAILED;
}

static void print_result(const char *path, struct device *dev)
{
	struct signature signature;
	char size[HUMAN_SIZE];

	if (signature_read(dev, &signature) || signature.kind != SIGNATURE_POOL)
		return;
	printf("%s: pool of %s\n", path, human_size(signature.super.pool_size, size, sizeof(size)));
	printf("UUID: %s\n", signature.uuid);
	if (*signature.label)
		printf("label: %s\n", signature.label);
	if (device_info(dev)->kind == DEVICE_DAX && device_info(dev)->align < DXF_UNIT_SIZE)
		printf("mapped in pages of 4 KiB, as the device is aligned so; for 2 MiB: "
		       "ndctl create-namespace -f -e NAMESPACE -m devdax -a 2M\n");
}

static int make(struct device *dev, const char *path, struct request *request)
{
	struct device_error error;
	struct pmem *pm;
	unsigned shown = UINT32_MAX;
	int err;

	err = device_map(dev, &pm, &error);
	if (err) {
		report_device_error(command.name, path, err, &error);
		return EXIT_FAILED;
	}
	if (!request->quiet && isatty(STDERR_FILENO)) {
		request->format.progress = show_progress;
		request->format.progress_arg = &shown;
	}
	err = pmem_poison_init();
	if (!err)
		err = fs_mkfs(pm, &request->format);
	if (err) {
		report_failure(command.name, path, err, "cannot make a pool", "");
		return EXIT_FAILED;
	}
	if (!request->quiet)
		print_result(path, dev);
	device_announce(dev);
	return 0;
}

int main(int argc, char **argv)
{
	CLEANUP_DEVICE struct device *dev = NULL;
	struct request request = { .format = { .root_uid = getuid(), .root_gid = getgid() } };
	struct device_error error;
	const char *path;
	int err, status;

	parse_options(argc, argv, &request);
	path = argv[optind];
	err = pool_open_device(path, -1, DEVICE_WRITE, &dev, &error);
	if (err) {
		report_device_error(command.name, path, err, &error);
		return EXIT_FAILED;
	}
	status = check_content(dev, path, request.force);
	if (status || request.dry_run)
		return status;
	return make(dev, path, &request);
}
