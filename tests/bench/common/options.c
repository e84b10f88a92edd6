/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/bench/common/options.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define OPTIONS_MAX 8

static void store(const struct bench_option *option, const char *argument)
{
	char *end;

	if (option->text) {
		*option->text = argument;
		return;
	}
	*option->number = strtoull(argument, &end, 0);
	if (*end || end == argument || *option->number < option->least) {
		fprintf(stderr, "--%s: '%s' is no number of at least %" PRIu64 "\n", option->name,
			argument, option->least);
		exit(2);
	}
}

void bench_options(int argc, char **argv, const char *usage, const struct bench_option *options)
{
	struct option table[OPTIONS_MAX + 2] = { { "help", no_argument, NULL, 'h' } };
	int code, at;

	for (unsigned i = 0; i < OPTIONS_MAX && options[i].name; i++)
		table[i + 1] = (struct option){ options[i].name, required_argument, NULL, 0 };
	while ((code = getopt_long(argc, argv, "", table, &at)) == 0)
		store(&options[at - 1], optarg);
	if (code != -1 || optind < argc) {
		fputs(usage, code == 'h' ? stdout : stderr);
		exit(code == 'h' ? 0 : 2);
	}
}
