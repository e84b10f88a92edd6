/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of the daemon. One table (options.c) feeds parser and help. */
#ifndef DAXFUSE_DAEMON_OPTIONS_H
#define DAXFUSE_DAEMON_OPTIONS_H

#include <stdbool.h>

#include "daxfuse/core/fs.h"
#include "daxfuse/clients/clients.h"
#include "export_words.h"

#define OPTIONS_KERNEL_MAX 12
#define OPTIONS_EXPORTS_MAX 16

/* Who holds the mount while no process serves it. */
enum keeper {
	KEEPER_SUPERVISOR, /* our parent */
	KEEPER_SYSTEMD,    /* its fd store */
	KEEPER_NONE,       /* nobody: the mount dies with its daemon */
};

/* Whether programs map files through kernel views. */
enum views_mode {
	VIEWS_OFF,
	VIEWS_AUTO, /* if the module is there */
	VIEWS_ON,   /* or do not mount */
};

struct options {
	const char *device;     /* as given */
	const char *mountpoint; /* as given */
	bool no_mount;          /* it is KEPT_NO_MOUNT: for guests only */
	struct fs_options fs;
	bool foreground;
	bool debug; /* foreground, and libfuse prints each request */
	bool fake;  /* mount -f: do all but mount */
	bool help;
	bool version;
	bool allow_other;
	bool clone_fd; /* a descriptor of /dev/fuse for each thread */
	bool io_uring;
	enum keeper keeper;
	bool keeper_chosen; /* by the user */
	struct clients_policy direct;
	enum views_mode views;
	bool owners_set_projects;
	unsigned max_threads;
	/* of one mount point */
	bool no_suid;
	bool no_dev;
	bool no_exec;
	bool no_symfollow;
	bool no_dir_atime;
	const char *kernel[OPTIONS_KERNEL_MAX]; /* name=value, handed on; a value may be quoted */
	unsigned kernel_count;
	struct export_words export[OPTIONS_EXPORTS_MAX];
	unsigned export_count;
	bool no_fail; /* a device that is not there is no failure */
	bool remount;
	unsigned given;    /* OPTION_* that were said */
	const char *shown; /* the first word that belongs to remount only; NULL */
};

/* What options are about: of more than one, the last one counts. */
enum {
	OPTION_READ_ONLY = 1 << 0,
	OPTION_ATIME = 1 << 1,
	OPTION_SUID = 1 << 2,
	OPTION_DEV = 1 << 3,
	OPTION_EXEC = 1 << 4,
	OPTION_SYMFOLLOW = 1 << 5,
	OPTION_DIR_ATIME = 1 << 6,
	OPTION_DAX = 1 << 7,
	OPTION_DIRECT = 1 << 8,
	OPTION_ALLOW_OTHER = 1 << 9,
	OPTION_KERNEL = 1 << 10,
	OPTION_DAEMON = 1 << 11, /* how the daemon serves */
	OPTION_VIEWS = 1 << 13,
	OPTION_PROJECT = 1 << 12,
};

/* Parse; -EINVAL with one line in ret_error. Strings of argv are kept (and cut
 * at commas). */
int options_parse(int argc, char **argv, struct options *ret_options, char *ret_error,
		  size_t error_size);
void options_print_help(void);

/* Options of the filesystem, not of one place of it: a word each, the same for equal ones. */
enum option_word {
	WORD_READ_ONLY,
	WORD_ATIME,
	WORD_DAX,
	WORD_DIRECT,
	WORD_PROJECT,
	WORD_ALLOW_OTHER,
	WORD_KERNEL,
	WORD_VIEWS,
	WORD_KEEPER,
	WORD_THREADS,
	WORD_TRANSPORT,
	OPTION_WORDS,
};
struct option_words {
	char word[OPTION_WORDS][256];
};
void options_words(const struct options *options, struct option_words *ret_words);
/* Whether a word must be the same where a pool is mounted again: not if it is how the daemon
 * serves, and was not said. */
bool options_must_match(const struct options *options, enum option_word word);

#endif
