/* SPDX-License-Identifier: BSD-3-Clause */
/* Parsing a command line by its table. */
#include "command.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 24
#define CODE_HELP 1000
#define CODE_VERSION 1001

static const struct command_option common[] = {
	{ CODE_HELP, "help", NULL, "show this text" },
	{ CODE_VERSION, "version", NULL, "show the version" },
	{ 0 },
};

static void print_options(const struct command_option *options)
{
	for (; options->name; options++) {
		char text[64];

		snprintf(text, sizeof(text), "--%s%s%s", options->name,
			 options->argument ? " " : "", options->argument ? options->argument : "");
		if (options->code < 256)
			printf("  -%c, %-22s %s\n", options->code, text, options->help);
		else
			printf("      %-22s %s\n", text, options->help);
	}
}

static void print_help(const struct command *command)
{
	printf("usage: %s [OPTIONS]%s%s\n\n%s\n\n", command->name, *command->usage ? " " : "",
	       command->usage, command->summary);
	if (command->options)
		print_options(command->options);
	print_options(common);
	if (command->details)
		printf("\n%s\n", command->details);
}

void command_misused(const struct command *command, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", command->name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n%s --help shows what is possible\n", command->name);
	exit(command->usage_status);
}

void command_operands(const struct command *command, int argc, int least, int most)
{
	if (argc - optind < least)
		command_misused(command, "%s is missing",
				*command->usage ? command->usage : "an operand");
	if (argc - optind > most)
		command_misused(command, "too many operands");
}

static int add_options(const struct command_option *options, struct option *longs, char *shorts)
{
	int count = 0;

	for (; options && options->name; options++) {
		longs[count].name = options->name;
		longs[count].has_arg = options->argument ? required_argument : no_argument;
		longs[count].flag = NULL;
		longs[count++].val = options->code;
		if (options->code < 256) {
			size_t length = strlen(shorts);

			shorts[length] = (char)options->code;
			shorts[length + 1] = options->argument ? ':' : '\0';
			shorts[length + 2] = '\0';
		}
	}
	return count;
}

int command_next(const struct command *command, int argc, char **argv)
{
	struct option longs[OPTIONS_MAX] = { { 0 } };
	char shorts[2 * OPTIONS_MAX] = "";
	int count, code;

	count = add_options(command->options, longs, shorts);
	add_options(common, longs + count, shorts);
	opterr = 0;
	code = getopt_long(argc, argv, shorts, longs, NULL);
	switch (code) {
	case CODE_HELP:
		print_help(command);
		exit(0);
	case CODE_VERSION:
		printf("%s %s\n", command->name, DAXFUSE_VERSION);
		exit(0);
	case '?':
		command_misused(command, "option %s is not known or lacks its argument",
				argv[optind - 1]);
	default:
		return code;
	}
}
