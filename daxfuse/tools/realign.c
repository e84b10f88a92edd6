/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxfuse realign: files of 2 MiB or more that lie in 4 KiB blocks are gathered into
 * whole units, one transaction each, so it can be stopped or killed at any time.
 */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/format.h"
#include "daxfuse/ioctl.h"
#include "ask.h"
#include "command.h"
#include "report.h"

static const struct command_option options[] = {
	{ 'r', "rate", "SIZE", "move at most so much a second (1G)" },
	{ 'q', "quiet", NULL, "no progress on stderr" },
	{ 'u', "human", NULL, "print for people" },
	{ 0 },
};

static const struct command command = {
	.name = "daxfuse realign",
	.usage = "FILE|FOLDER",
	.summary =
		"Gather files of 2 MiB or more into whole 2 MiB units, as far as there are free ones.",
	.options = options,
	.details =
		"Files may be in use. It stays within the mount, and can be stopped at any time.",
	.usage_status = 1,
};

struct run {
	uint64_t rate; /* bytes a second */
	bool quiet, human;
	struct timespec started, shown;
	uint64_t files, moved, left, errors; /* moved and left in units */
};

static double seconds_since(const struct timespec *from)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - from->tv_sec) + (double)(now.tv_nsec - from->tv_nsec) / 1e9;
}

static void show_progress(struct run *run, const char *path)
{
	char moved[HUMAN_SIZE];

	if (run->quiet || !isatty(STDERR_FILENO) || seconds_since(&run->shown) < 0.2)
		return;
	clock_gettime(CLOCK_MONOTONIC, &run->shown);
	fprintf(stderr, "\r%llu files, %s gathered  %.60s\033[K", (unsigned long long)run->files,
		human_size(run->moved * DXF_UNIT_SIZE, moved, sizeof(moved)), path);
}

/* As long as the bytes so far should have taken. */
static void keep_rate(const struct run *run)
{
	double ahead = (double)(run->moved * DXF_UNIT_SIZE) / (double)run->rate -
		       seconds_since(&run->started);

	if (ahead > 0) {
		struct timespec pause = { (time_t)ahead,
					  (long)((ahead - (double)(time_t)ahead) * 1e9) };

		nanosleep(&pause, NULL);
	}
}

static errint_t realign_file(struct run *run, const char *path)
{
	CLEANUP_FD int fd = open_past_cache(path, O_RDONLY | O_NOATIME);
	struct dxf_ioc_realign request = { 0 };

	if (fd < 0)
		return -errno;
	run->files++;
	while (request.offset != ~UINT64_C(0)) {
		if (ioctl(fd, DXF_IOC_REALIGN, &request) < 0)
			return -errno;
		if (request.error && request.error != -ENOSPC && request.error != -EDQUOT)
			return request.error;
		run->moved += request.moved;
		run->left += request.error != 0;
		show_progress(run, path);
		keep_rate(run);
	}
	return 0;
}

static void visit(struct run *run, const FTSENT *entry)
{
	int err = 0;

	if (entry->fts_info == FTS_F && (uint64_t)entry->fts_statp->st_size >= DXF_UNIT_SIZE)
		err = realign_file(run, entry->fts_path);
	else if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR ||
		 entry->fts_info == FTS_NS)
		err = -entry->fts_errno;
	if (err && err != -ENOENT) { /* it may have gone since it was listed */
		report_failure("daxfuse", entry->fts_path, err, "cannot be realigned",
			       err == -ENOTTY ? "it is not on a mount of daxfuse"
			       : err == -EBADF || err == -EPERM || err == -EACCES ? "run as root"
										  : "");
		run->errors++;
	}
}

static errint_t walk(struct run *run, char *path)
{
	char *paths[] = { path, NULL };
	FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	FTSENT *entry;

	if (!tree)
		return -errno;
	while ((entry = fts_read(tree)))
		visit(run, entry);
	fts_close(tree);
	return 0;
}

static void print_run(const struct run *run)
{
	CLEANUP_JSON struct json_object *o = NULL;
	char moved[HUMAN_SIZE], left[HUMAN_SIZE];

	if (!run->quiet && isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
	if (run->human) {
		printf("%llu files of 2 MiB or more: %s gathered into whole units, %s left for lack of "
		       "free ones\n",
		       (unsigned long long)run->files,
		       human_size(run->moved * DXF_UNIT_SIZE, moved, sizeof(moved)),
		       human_size(run->left * DXF_UNIT_SIZE, left, sizeof(left)));
		return;
	}
	o = json_object_new_object();
	json_object_object_add(o, "files", json_object_new_uint64(run->files));
	json_object_object_add(o, "gathered", json_object_new_uint64(run->moved * DXF_UNIT_SIZE));
	json_object_object_add(o, "left", json_object_new_uint64(run->left * DXF_UNIT_SIZE));
	json_object_object_add(o, "errors", json_object_new_uint64(run->errors));
	report_json(o);
}

int realign_main(int argc, char **argv)
{
	struct run run = { .rate = UINT64_C(1) << 30 };
	int code, err;

	while ((code = command_next(&command, argc, argv)) >= 0) {
		if (code == 'r' && (parse_size(optarg, &run.rate) || !run.rate))
			command_misused(&command, "%s is not a size", optarg);
		run.quiet |= code == 'q';
		run.human |= code == 'u';
	}
	command_operands(&command, argc, 1, 1);
	clock_gettime(CLOCK_MONOTONIC, &run.started);
	err = walk(&run, argv[optind]);
	if (err) {
		report_failure("daxfuse", argv[optind], err, "cannot be walked", "");
		return 1;
	}
	print_run(&run);
	return run.errors ? 1 : 0;
}
