/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A command line of ours: one table of options feeds parser, --help and the
 * list of commands that `daxfuse --help` shows.
 */
#ifndef DAXFUSE_TOOLS_COMMAND_H
#define DAXFUSE_TOOLS_COMMAND_H

#include <stdbool.h>

struct command_option {
	int code;             /* returned by command_next(); below 256: also the letter */
	const char *name;     /* long name */
	const char *argument; /* its argument's name, NULL = takes none */
	const char *help;
};

struct command {
	const char *name;                     /* as typed: "daxfuse list", "mkfs.daxfuse" */
	const char *usage;                    /* what follows the options: "DEVICE" */
	const char *summary;                  /* one line */
	const struct command_option *options; /* ends with .name == NULL */
	const char *details;                  /* more for --help, may be NULL */
	int usage_status;                     /* exit status of a wrong command line */
};

/*
 * The next option's code, its argument in optarg; -1 behind the last one, where
 * optind is the first operand. --help and --version end the program, and so
 * does a wrong option.
 */
int command_next(const struct command *command, int argc, char **argv);
/* Say what is wrong with the command line, and exit. */
__attribute__((noreturn, format(printf, 2, 3))) void command_misused(const struct command *command,
								     const char *format, ...);
/* Check the number of operands. */
void command_operands(const struct command *command, int argc, int least, int most);

/* The subcommands of `daxfuse`; each gets its own argv[0]. They return exit codes. */
int list_main(int argc, char **argv);
int probe_main(int argc, char **argv);
int status_main(int argc, char **argv);
int map_main(int argc, char **argv);
int realign_main(int argc, char **argv);
int restart_main(int argc, char **argv);
int export_main(int argc, char **argv);
int run_main(int argc, char **argv);
int umount_main(int argc, char **argv);
int label_main(int argc, char **argv);
int watch_main(int argc, char **argv);
int quota_main(int argc, char **argv);
int volume_main(int argc, char **argv);
int volumes_main(int argc, char **argv);
int dump_main(int argc, char **argv);

#endif
