/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxfuse volume: by hand what the volume plugin does for container engines. There is no state
 * beside the pool, so both may be used at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/volumes/volumes.h"
#include "command.h"
#include "report.h"

enum { OPTION_WAIT = 'w' };

static const struct command_option human_option[] = {
	{ 'u', "human", NULL, "print for people" },
	{ 0 },
};
static const struct command_option create_options[] = {
	{ 'o', "opt", "NAME=VALUE", "one of those below" },
	{ 0 },
};
static const struct command_option resize_options[] = {
	{ 'o', "opt", "NAME=VALUE", "size, inodes, overcommit" },
	{ 0 },
};
static const struct command_option remove_options[] = {
	{ OPTION_WAIT, "wait", NULL, "return when all of it is deleted; shows progress" },
	{ 0 },
};

struct request {
	const char *name;
	struct json_object *options; /* of -o */
	bool human, wait;
};

struct action {
	const char *word;
	struct command command;
	int operands;
	int (*run)(struct volume_pool *pool, const struct request *request,
		   struct volume_error *error);
};

/* ---- what there is ---------------------------------------------------------------------- */

static uint64_t get(struct json_object *object, const char *key)
{
	return json_object_get_uint64(json_object_object_get(object, key));
}

static const char *limit_word(struct json_object *volume, char *buf, size_t size)
{
	return get(volume, "size") ? human_size(get(volume, "size"), buf, size) : "-";
}

static void print_table(struct json_object *list)
{
	char used[HUMAN_SIZE], limit[HUMAN_SIZE];

	printf("%-32s %12s %12s  %-20s %s\n", "NAME", "USED", "SIZE", "CREATED", "MOUNTPOINT");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *volume = json_object_array_get_idx(list, i);

		printf("%-32s %12s %12s  %-20s %s\n",
		       json_object_get_string(json_object_object_get(volume, "name")),
		       human_size(get(volume, "used"), used, sizeof(used)),
		       limit_word(volume, limit, sizeof(limit)),
		       json_object_get_string(json_object_object_get(volume, "created")),
		       json_object_get_string(json_object_object_get(volume, "mountpoint")));
	}
}

static errint_t run_ls(struct volume_pool *pool, const struct request *request,
		       struct volume_error *error)
{
	CLEANUP_JSON struct json_object *list = NULL;
	int err = volumes_list(pool, &list, error);

	if (err)
		return err;
	if (request->human)
		print_table(list);
	else
		report_json(list);
	return 0;
}

static errint_t run_inspect(struct volume_pool *pool, const struct request *request,
			    struct volume_error *error)
{
	CLEANUP_JSON struct json_object *volume = NULL;
	CLEANUP_JSON struct json_object *list = NULL;
	int err = volumes_describe(pool, request->name, &volume, error);

	if (err)
		return err;
	if (!request->human) {
		report_json(volume);
		return 0;
	}
	list = json_object_new_array();
	json_object_array_add(list, json_object_get(volume));
	print_table(list);
	return 0;
}

/* ---- changes ------------------------------------------------------------------------------ */

/* By a process that outlives us, and does not hold what our caller waits to be closed. */
static void sweep_in_background(struct volume_pool *pool)
{
	int null;

	if (fork() != 0)
		return;
	setsid();
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; null >= 0 && fd <= 2; fd++)
		dup2(null, fd);
	_exit(volumes_sweep(pool, false, NULL) ? 1 : 0);
}

static errint_t run_create(struct volume_pool *pool, const struct request *request,
			   struct volume_error *error)
{
	CLEANUP_JSON struct json_object *volume = NULL;
	int err = volumes_create(pool, request->name, request->options, error);

	if (!err)
		err = volumes_describe(pool, request->name, &volume, error);
	if (!err)
		printf("%s\n",
		       json_object_get_string(json_object_object_get(volume, "mountpoint")));
	sweep_in_background(pool); /* what a crash may have left */
	return err;
}

static errint_t run_resize(struct volume_pool *pool, const struct request *request,
			   struct volume_error *error)
{
	return volumes_resize(pool, request->name, request->options, error);
}

static void show_deleted(uint64_t deleted)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%llu files deleted\033[K", (unsigned long long)deleted);
}

static int run_rm(struct volume_pool *pool, const struct request *request,
		  struct volume_error *error)
{
	int err = volumes_remove(pool, request->name, error);

	if (err)
		return err;
	if (!request->wait) {
		sweep_in_background(pool);
		return 0;
	}
	err = volumes_sweep(pool, true, show_deleted);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
	if (err)
		snprintf(error->text, sizeof(error->text),
			 "%s: is removed, but not all of it could be deleted: %s", request->name,
			 strerror(-err));
	return err;
}

/* ---- the command line ---------------------------------------------------------------------- */

static const struct action actions[] = {
	{ "ls",
	  { "daxfuse volume ls", "POOL", "The volumes of a mounted pool (JSON).", human_option,
	    NULL, 1 },
	  1,
	  run_ls },
	{ "create",
	  { "daxfuse volume create", "POOL NAME",
	    "Make a volume: the folder POOL/volumes/NAME, with limits of its own.", create_options,
	    NULL, 1 },
	  2,
	  run_create },
	{ "rm",
	  { "daxfuse volume rm", "POOL NAME",
	    "Remove a volume and all that is in it. It is gone at once, and deleted in the background.",
	    remove_options, NULL, 1 },
	  2,
	  run_rm },
	{ "resize",
	  { "daxfuse volume resize", "POOL NAME", "Change a volume's limits.", resize_options, NULL,
	    1 },
	  2,
	  run_resize },
	{ "inspect",
	  { "daxfuse volume inspect", "POOL NAME", "What is known of a volume (JSON).",
	    human_option, NULL, 1 },
	  2,
	  run_inspect },
};

static const struct command volume_command = {
	.name = "daxfuse volume",
	.usage = "ls|create|rm|resize|inspect ...",
	.summary = "Volumes of a mounted pool: folders POOL/volumes/NAME with a size of their own.",
	.details = "daxfuse volume create -o size=10G -o uid=1000 /mnt/pm db\n"
		   "daxfuse volume create --help and so on tell more.",
	.usage_status = 1,
};

static void add_option(const struct command *command, struct json_object *options, const char *word)
{
	const char *equals = strchr(word, '=');
	CLEANUP_FREE char *name = equals ? strndup(word, (size_t)(equals - word)) : NULL;

	if (!name)
		command_misused(command, "%s is not NAME=VALUE", word);
	json_object_object_add(options, name, json_object_new_string(equals + 1));
}

/* The options of volumes, as they stand in the table of the room. */
static const char *describe_options(void)
{
	static char text[1024];
	const char *name, *help;
	size_t at = 0;

	for (unsigned i = 0; (help = volumes_option_help(i, &name)); i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s  -o %-12s %s",
				       i ? "\n" : "", name, help);
	return text;
}

static int run_action(const struct action *action, int argc, char **argv)
{
	CLEANUP_JSON struct json_object *options = json_object_new_object();
	struct request request = { .options = options };
	struct command command = action->command;
	struct volume_pool *pool = NULL;
	struct volume_error error;
	int code, err;

	if (command.options == create_options)
		command.details = describe_options();
	while ((code = command_next(&command, argc, argv)) >= 0) {
		if (code == 'o')
			add_option(&command, options, optarg);
		request.human |= code == 'u';
		request.wait |= code == OPTION_WAIT;
	}
	command_operands(&command, argc, action->operands, action->operands);
	request.name = action->operands > 1 ? argv[optind + 1] : NULL;
	err = volumes_pool_open(argv[optind], &pool, &error);
	if (!err)
		err = action->run(pool, &request, &error);
	if (err)
		fprintf(stderr, "daxfuse: %s\n", error.text);
	volumes_pool_close(pool);
	return err ? 1 : 0;
}

int volume_main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(actions); i++) {
		if (!strcmp(argv[1], actions[i].word))
			return run_action(&actions[i], argc - 1, argv + 1);
	}
	command_next(&volume_command, argc, argv);
	if (argc > 1)
		command_misused(&volume_command, "%s is none of these", argv[1]);
	command_misused(&volume_command, "which of these?");
}
