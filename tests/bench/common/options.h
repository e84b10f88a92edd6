/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of a bench: long options, each a number or a text. */
#ifndef BENCH_COMMON_OPTIONS_H
#define BENCH_COMMON_OPTIONS_H

#include <stdint.h>

struct bench_option {
	const char *name;  /* NULL: behind the last one */
	const char **text; /* one of the two: where it goes */
	uint64_t *number;
	uint64_t least;
};

/* Prints usage and exits for --help, and for what is wrong. */
void bench_options(int argc, char **argv, const char *usage, const struct bench_option *options);

#endif
