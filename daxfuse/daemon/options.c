/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line: one table of option words feeds the parser, the help, and the list for the
 * kernel; options of the filesystem as a whole can be said again in words, to see whether a second
 * mount of the same pool asks for the same.
 *
 * The words are those of mount(8), which calls us as a helper: all of its generic options are
 * obeyed or accepted, quotes and commas within them are libmount's to judge, and of several options
 * that are about the same thing the last one counts. Where nothing
 * was said, the user, the number of CPUs, and what this kernel and systemd can do decide.
 */
#include "options.h"
#include "daxfuse/base/errint.h"

#include <errno.h>
#include <grp.h>
#include <libmount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daxfuse/fuse/transport.h"
#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "restart.h"
#include "daxfuse/keeper/kept.h"
#include "daxfuse/keeper/systemd.h"

#define THREADS_MAX 1024

enum kind {
	SET,     /* store `value` at `field` */
	NUMBER,  /* store the argument at `field` */
	DAX,     /* the argument names a mode */
	KEEPER,  /* the argument names a keeper */
	VIEWS,   /* the argument says whether */
	DIRECT,  /* the argument says who gets the device */
	PROJECT, /* the argument says who sets project ids */
	KERNEL,  /* handed on */
	EXPORT,  /* the argument is one */
	IMPLIED, /* no programs of others: what SECURED and OWNED say, unless later ones differ */
	SHOWN,   /* by the kernel, so mount(8) hands it back to remount */
	IGNORED, /* for mount(8) and systemd only, or true in any case */
};

struct option {
	const char *name; /* a final '=': an argument follows; a final '*': anything */
	enum kind kind;
	size_t field;
	int value;
	unsigned about;   /* OPTION_* */
	const char *help; /* NULL: not worth a line */
};

#define FIELD(name) offsetof(struct options, name)

/* Of IMPLIED. */
enum { OWNED, SECURED };

static const struct option table[] = {
	{ "dax=", DAX, FIELD(fs.dax), 0, OPTION_DAX,
	  "auto|always|inode|never: which files programs may map directly, and which bypass the page "
	  "cache (auto: all, and those that may be mapped next; inode: those with the flag)" },
	{ "dax", SET, FIELD(fs.dax), FS_DAX_ALWAYS, OPTION_DAX, NULL },
	{ "ro", SET, FIELD(fs.read_only), true, OPTION_READ_ONLY,
	  "read-only; the pool is not written at all" },
	{ "rw", SET, FIELD(fs.read_only), false, OPTION_READ_ONLY, NULL },
	{ "remount", SET, FIELD(remount), true, 0,
	  "change what is mounted: ro, rw, access times, and the flags of the mount point" },
	{ "relatime", SET, FIELD(fs.atime), FS_ATIME_RELATIVE, OPTION_ATIME,
	  "move the access time once a day and after changes (default)" },
	{ "strictatime", SET, FIELD(fs.atime), FS_ATIME_STRICT, OPTION_ATIME,
	  "move it with every read" },
	{ "noatime", SET, FIELD(fs.atime), FS_ATIME_NEVER, OPTION_ATIME, "never move it" },
	{ "atime", SET, FIELD(fs.atime), FS_ATIME_RELATIVE, OPTION_ATIME, NULL },
	{ "nostrictatime", SET, FIELD(fs.atime), FS_ATIME_RELATIVE, OPTION_ATIME, NULL },
	{ "norelatime", IGNORED, 0, 0, 0, NULL }, /* the kernel's default all the same */
	{ "nodiratime", SET, FIELD(no_dir_atime), true, OPTION_DIR_ATIME, NULL }, /* never moves */
	{ "diratime", SET, FIELD(no_dir_atime), false, OPTION_DIR_ATIME, NULL },
	{ "allow_other", SET, FIELD(allow_other), true, OPTION_ALLOW_OTHER,
	  "other users, too (default as root)" },
	{ "io_uring", SET, FIELD(io_uring), true, OPTION_DAEMON,
	  "take requests through io_uring (libfuse 3.18; fuse's enable_uring = Y)" },
	{ "clone_fd", SET, FIELD(clone_fd), true, OPTION_DAEMON, "one /dev/fuse for each thread" },
	{ "keeper=", KEEPER, FIELD(keeper), 0, OPTION_DAEMON,
	  "supervisor|systemd|none: who lets the daemon die and be replaced under the mount "
	  "(supervisor; none with io_uring or clone_fd)" },
	{ "direct=", DIRECT, FIELD(direct), 0, OPTION_DIRECT,
	  "off|owner|group=NAME|all: who may map the device itself (libdaxmap), and with it reach "
	  "ALL data of the pool (owner: root, and the user who mounts)" },
	{ "project=", PROJECT, FIELD(owners_set_projects), 0, OPTION_PROJECT,
	  "admin|owner: who may move files from one project to another, and so past its limits "
	  "(admin: CAP_SYS_ADMIN)" },
	{ "views=", VIEWS, FIELD(views), 0, OPTION_VIEWS,
	  "auto|off|on: whether programs map files of a device-dax through kernel views, by the "
	  "module daxview (auto: if it is loaded; on: or do not mount)" },
	{ "export=", EXPORT, 0, 0, 0,
	  "SOCKET:TAG[:DIR[:ro][:cache=WHEN][:window=SIZE][:vmm=NAME]]: a directory for virtual "
	  "machines, as of daxfuse export; more than one, if it is said again" },
	{ "max_threads=", NUMBER, FIELD(max_threads), 0, OPTION_DAEMON,
	  "how many requests are served at once, 1 MiB each (default: 4 for each CPU, 8 to 48)" },
	{ "nosuid", SET, FIELD(no_suid), true, OPTION_SUID, "ignore suid and sgid bits" },
	{ "suid", SET, FIELD(no_suid), false, OPTION_SUID, NULL },
	{ "nodev", SET, FIELD(no_dev), true, OPTION_DEV, "ignore device nodes" },
	{ "dev", SET, FIELD(no_dev), false, OPTION_DEV, NULL },
	{ "noexec", SET, FIELD(no_exec), true, OPTION_EXEC, "run no programs" },
	{ "exec", SET, FIELD(no_exec), false, OPTION_EXEC, NULL },
	{ "nosymfollow", SET, FIELD(no_symfollow), true, OPTION_SYMFOLLOW, "follow no symlinks" },
	{ "symfollow", SET, FIELD(no_symfollow), false, OPTION_SYMFOLLOW, NULL },
	{ "context=", KERNEL, 0, 0, OPTION_KERNEL, NULL },
	{ "fscontext=", KERNEL, 0, 0, OPTION_KERNEL, NULL },
	{ "defcontext=", KERNEL, 0, 0, OPTION_KERNEL, NULL },
	{ "rootcontext=", KERNEL, 0, 0, OPTION_KERNEL, NULL },
	{ "user", IMPLIED, 0, SECURED, 0, NULL },
	{ "user=", IMPLIED, 0, SECURED, 0, NULL },
	{ "users", IMPLIED, 0, SECURED, 0, NULL },
	{ "owner", IMPLIED, 0, OWNED, 0, NULL },
	{ "group", IMPLIED, 0, OWNED, 0, NULL },
	{ "nofail", SET, FIELD(no_fail), true, 0, "no failure if DEVICE is not there" },
	{ "fd=", SHOWN, 0, 0, 0, NULL },
	{ "rootmode=", SHOWN, 0, 0, 0, NULL },
	{ "user_id=", SHOWN, 0, 0, 0, NULL },
	{ "group_id=", SHOWN, 0, 0, 0, NULL },
	{ "max_read=", SHOWN, 0, 0, 0, NULL },
	{ "blksize=", SHOWN, 0, 0, 0, NULL },
	{ "seclabel", SHOWN, 0, 0, 0, NULL },
	{ "sync", IGNORED, 0, 0, 0, NULL }, /* it always is */
	{ "dirsync", IGNORED, 0, 0, 0, NULL },
	{ "async", IGNORED, 0, 0, 0, NULL },
	{ "lazytime", IGNORED, 0, 0, 0, NULL }, /* times are as durable as all else */
	{ "nolazytime", IGNORED, 0, 0, 0, NULL },
	{ "mand", IGNORED, 0, 0, 0, NULL }, /* no kernel has it any more */
	{ "nomand", IGNORED, 0, 0, 0, NULL },
	{ "iversion", IGNORED, 0, 0, 0, NULL },
	{ "noiversion", IGNORED, 0, 0, 0, NULL },
	{ "silent", IGNORED, 0, 0, 0, NULL },
	{ "loud", IGNORED, 0, 0, 0, NULL },
	{ "defaults", IGNORED, 0, 0, 0, NULL },
	{ "default_permissions", IGNORED, 0, 0, 0, NULL }, /* always */
	{ "auto", IGNORED, 0, 0, 0, NULL },
	{ "noauto", IGNORED, 0, 0, 0, NULL },
	{ "_netdev", IGNORED, 0, 0, 0, NULL },
	{ "nouser", IGNORED, 0, 0, 0, NULL },
	{ "nousers", IGNORED, 0, 0, 0, NULL },
	{ "noowner", IGNORED, 0, 0, 0, NULL },
	{ "nogroup", IGNORED, 0, 0, 0, NULL },
	{ "comment=", IGNORED, 0, 0, 0, NULL },
	{ "helper=", IGNORED, 0, 0, 0, NULL },
	{ "uhelper=", IGNORED, 0, 0, 0, NULL },
	{ "x-*", IGNORED, 0, 0, 0, NULL },
	{ "X-*", IGNORED, 0, 0, 0, NULL },
};

static const char *const dax_names[] = {
	[FS_DAX_AUTO] = "auto",
	[FS_DAX_ALWAYS] = "always",
	[FS_DAX_INODE] = "inode",
	[FS_DAX_NEVER] = "never",
};
static const char *const views_names[] = {
	[VIEWS_OFF] = "off",
	[VIEWS_AUTO] = "auto",
	[VIEWS_ON] = "on",
};
static const char *const keeper_names[] = {
	[KEEPER_SUPERVISOR] = "supervisor",
	[KEEPER_SYSTEMD] = "systemd",
	[KEEPER_NONE] = "none",
};

/* The argument if `word` is this option ("" for one without), or NULL. */
static const char *match(const struct option *option, const char *word)
{
	size_t length = strlen(option->name);

	switch (option->name[length - 1]) {
	case '=':
		return strncmp(word, option->name, length) ? NULL : word + length;
	case '*':
		return strncmp(word, option->name, length - 1) ? NULL : word + length - 1;
	default:
		return strcmp(word, option->name) ? NULL : "";
	}
}

static errint_t parse_dax(const char *text, enum fs_dax_mode *ret_mode)
{
	for (unsigned i = 0; i < ARRAY_SIZE(dax_names); i++) {
		if (!strcmp(text, dax_names[i])) {
			*ret_mode = i;
			return 0;
		}
	}
	return -EINVAL;
}

static errint_t parse_keeper(const char *text, enum keeper *ret_keeper)
{
	for (unsigned i = 0; i < ARRAY_SIZE(keeper_names); i++) {
		if (!strcmp(text, keeper_names[i])) {
			*ret_keeper = i;
			return 0;
		}
	}
	return -EINVAL;
}

static errint_t parse_views(const char *text, enum views_mode *ret_mode)
{
	for (unsigned i = 0; i < ARRAY_SIZE(views_names); i++) {
		if (!strcmp(text, views_names[i])) {
			*ret_mode = i;
			return 0;
		}
	}
	return -EINVAL;
}

static errint_t parse_direct(const char *text, struct clients_policy *ret_policy)
{
	static const char group[] = "group=";
	const struct group *found;

	*ret_policy = (struct clients_policy){ CLIENTS_OWNER, 0 };
	if (!strcmp(text, "owner"))
		return 0;
	if (!strcmp(text, "off")) {
		ret_policy->who = CLIENTS_NOBODY;
		return 0;
	}
	if (!strcmp(text, "all")) {
		ret_policy->who = CLIENTS_EVERYBODY;
		return 0;
	}
	if (strncmp(text, group, sizeof(group) - 1))
		return -EINVAL;
	found = getgrnam(text + sizeof(group) - 1);
	if (!found)
		return -EINVAL;
	*ret_policy = (struct clients_policy){ CLIENTS_GROUP, found->gr_gid };
	return 0;
}

static errint_t parse_project(const char *text, bool *ret_owners)
{
	if (strcmp(text, "owner") && strcmp(text, "admin"))
		return -EINVAL;
	*ret_owners = !strcmp(text, "owner");
	return 0;
}

static errint_t parse_number(const char *text, unsigned *ret_number)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (*end || end == text || number < 1 || number > THREADS_MAX)
		return -EINVAL;
	*ret_number = (unsigned)number;
	return 0;
}

static void store(struct options *options, const struct option *option)
{
	char *field = (char *)options + option->field;

	if (option->field == FIELD(fs.dax))
		*(enum fs_dax_mode *)field = (enum fs_dax_mode)option->value;
	else if (option->field == FIELD(fs.atime))
		*(enum fs_atime_mode *)field = (enum fs_atime_mode)option->value;
	else
		*(bool *)field = option->value;
}

/* As mount(8) has it: options behind these may say otherwise. */
static void imply(struct options *options, int what)
{
	options->no_suid = options->no_dev = true;
	options->given |= OPTION_SUID | OPTION_DEV;
	if (what == SECURED) {
		options->no_exec = true;
		options->given |= OPTION_EXEC;
	}
}

static errint_t apply(struct options *options, const struct option *option, const char *word,
		      const char *argument)
{
	options->given |= option->about;
	switch (option->kind) {
	case SET:
		store(options, option);
		return 0;
	case NUMBER:
		return parse_number(argument, &options->max_threads);
	case DAX:
		return parse_dax(argument, &options->fs.dax);
	case KEEPER:
		options->keeper_chosen = true;
		return parse_keeper(argument, &options->keeper);
	case VIEWS:
		return parse_views(argument, &options->views);
	case DIRECT:
		return parse_direct(argument, &options->direct);
	case PROJECT:
		return parse_project(argument, &options->owners_set_projects);
	case KERNEL:
		if (options->kernel_count == OPTIONS_KERNEL_MAX)
			return -EINVAL;
		options->kernel[options->kernel_count++] = word;
		return 0;
	case EXPORT: /* add_export() */
	case IMPLIED:
		imply(options, option->value);
		return 0;
	case SHOWN:
	case IGNORED:
		return 0;
	}
	return -EINVAL;
}

static const struct option *find_option(const char *word, const char **ret_argument)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		*ret_argument = match(&table[i], word);
		if (*ret_argument)
			return &table[i];
	}
	return NULL;
}

/* Cut up in place, as its directory stays a part of it. */
static errint_t add_export(struct options *options, char *argument, char *ret_error,
			   size_t error_size)
{
	CLEANUP_FREE char *said = strdup(argument);
	const char *wrong = "too many: daxfuse export adds more";

	if (options->export_count < OPTIONS_EXPORTS_MAX)
		wrong = export_words_parse(argument, &options->export[options->export_count]);
	if (!wrong) {
		options->export_count++;
		return 0;
	}
	snprintf(ret_error, error_size, "wrong argument: -o export=%s: %s", said ? said : "",
		 wrong);
	return -EINVAL;
}

static errint_t parse_word(struct options *options, const char *word, char *ret_error,
			   size_t error_size)
{
	const char *argument;
	const struct option *found = find_option(word, &argument);

	if (found && found->kind == EXPORT)
		return add_export(options, (char *)(uintptr_t)argument, ret_error, error_size);
	if (found && found->kind == SHOWN && !options->shown)
		options->shown = word;
	if (!found || apply(options, found, word, argument)) {
		snprintf(ret_error, error_size, "%s -o %s",
			 found ? "wrong argument:" : "unknown option:", word);
		return -EINVAL;
	}
	return 0;
}

static bool has_open_quote(const char *word)
{
	bool open = false;

	for (; *word; word++)
		open ^= *word == '"';
	return open;
}

/* Commas within quotes belong to a value. */
static int parse_words(struct options *options, char *words, char *ret_error, size_t error_size)
{
	size_t name_size, value_size;
	char *rest = words, *word, *value;
	int err = 0;

	if (has_open_quote(words)) { /* of which libmount says nothing */
		snprintf(ret_error, error_size, "a quote does not end: -o %s", words);
		return -EINVAL;
	}
	while (!err && mnt_optstr_next_option(&rest, &word, &name_size, &value, &value_size) == 0) {
		/* in place of the comma behind it */
		*(value ? value + value_size : word + name_size) = '\0';
		err = parse_word(options, word, ret_error, error_size);
	}
	return err;
}

static void set_defaults(struct options *options)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	*options = (struct options){
		.fs = { .dax = FS_DAX_AUTO, .atime = FS_ATIME_RELATIVE },
		.allow_other = geteuid() == 0,
		.views = VIEWS_AUTO,
		.max_threads = (unsigned)MIN(MAX(4 * cpus, 8L), 48L),
	};
}

/* As mount(8) calls mount.TYPE: there -f means fake, not foreground. */
static bool is_mount_helper(const char *name)
{
	const char *slash = strrchr(name, '/');

	return !strncmp(slash ? slash + 1 : name, "mount.", 6);
}

static int parse_dashed(struct options *options, int argc, char **argv, int *at, bool helper,
			char *ret_error, size_t error_size)
{
	char *word = argv[*at];

	if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
		options->help = true;
	} else if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
		options->version = true;
	} else if (!strncmp(word, "-o", 2)) {
		if (!word[2] && *at + 1 == argc) {
			snprintf(ret_error, error_size, "-o needs an argument");
			return -EINVAL;
		}
		return parse_words(options, word[2] ? word + 2 : argv[++*at], ret_error,
				   error_size);
	} else if (!strcmp(word, "-r")) {
		options->fs.read_only = true;
		options->given |= OPTION_READ_ONLY;
	} else if (helper && !strcmp(word, "-t") && *at + 1 < argc) {
		++*at; /* the type, which has led here */
	} else if (!strcmp(word, "-d") || !strcmp(word, "--debug")) {
		options->debug = options->foreground = true;
	} else if (!strcmp(word, "--foreground") || (!helper && !strcmp(word, "-f"))) {
		options->foreground = true;
	} else if (helper && strspn(word, "-fnsvw") == strlen(word)) {
		options->fake |= strchr(word, 'f') != NULL;
	} else if (strcmp(word, "-n") && strcmp(word, "-s") && strcmp(word, "-v") &&
		   strcmp(word, "-w")) {
		snprintf(ret_error, error_size, "unknown option: %s", word);
		return -EINVAL;
	}
	return 0;
}

/* What is about programs of this host. */
static int check_no_mount(const struct options *options, char *ret_error, size_t error_size)
{
	static const struct {
		unsigned about;
		const char *word;
	} of_mounts[] = {
		{ OPTION_ALLOW_OTHER, "allow_other" },
		{ OPTION_DIRECT, "direct" },
		{ OPTION_VIEWS, "views" },
		{ OPTION_KERNEL, "context" },
		{ OPTION_SUID, "suid, nosuid" },
		{ OPTION_DEV, "dev, nodev" },
		{ OPTION_EXEC, "exec, noexec" },
		{ OPTION_SYMFOLLOW, "symfollow" },
		{ OPTION_DIR_ATIME, "diratime" },
	};
	const char *wrong = options->remount    ? "remount"
			    : options->io_uring ? "io_uring"
			    : options->clone_fd ? "clone_fd"
						: NULL;

	for (size_t i = 0; !wrong && i < ARRAY_SIZE(of_mounts); i++)
		wrong = options->given & of_mounts[i].about ? of_mounts[i].word : NULL;
	if (!wrong)
		return 0;
	snprintf(ret_error, error_size,
		 "-o %s needs a mount point (a folder of the name: ./" KEPT_NO_MOUNT ")", wrong);
	return -EINVAL;
}

/* Mistakes that can't be seen in a single word. */
static int check_together(const struct options *options, char *ret_error, size_t error_size)
{
	if (options->shown && !options->remount) {
		snprintf(ret_error, error_size, "only with remount: -o %s", options->shown);
		return -EINVAL;
	}
	if (options->io_uring && !transport_has_io_uring()) {
		snprintf(ret_error, error_size, "this libfuse has no io_uring (3.18 has)");
		return -EINVAL;
	}
	return options->no_mount ? check_no_mount(options, ret_error, error_size) : 0;
}

/* What does not survive its daemon; NULL: nothing. Rings and clones of /dev/fuse end with their
 * process. */
static const char *ends_with_daemon(const struct options *options)
{
	if (options->io_uring)
		return "io_uring";
	return options->clone_fd ? "clone_fd" : NULL;
}

static int choose_keeper(struct options *options, char *ret_error, size_t error_size)
{
	const char *mortal = ends_with_daemon(options);
	char reason[128];

	if (options->keeper_chosen && options->keeper != KEEPER_NONE && mortal) {
		snprintf(ret_error, error_size,
			 "-o %s does not survive its daemon: not with a keeper", mortal);
		return -EINVAL;
	}
	if (options->keeper == KEEPER_SYSTEMD) {
		if (!systemd_is_there() && !options->fake) {
			snprintf(ret_error, error_size,
				 "-o keeper=systemd is for a service of "
				 "Type=notify with FileDescriptorStoreMax=16");
			return -EINVAL;
		}
		options->foreground = true;
	}
	if (mortal || (!options->keeper_chosen && !options->no_mount &&
		       !restart_is_safe(reason, sizeof(reason))))
		options->keeper = KEEPER_NONE;
	return 0;
}

int options_parse(int argc, char **argv, struct options *ret_options, char *ret_error,
		  size_t error_size)
{
	bool helper = is_mount_helper(argv[0]), operands_only = false;
	struct options options;

	set_defaults(&options);
	for (int i = 1; i < argc; i++) {
		if (!operands_only && !strcmp(argv[i], "--")) {
			operands_only = true;
		} else if (!operands_only && argv[i][0] == '-') {
			int err = parse_dashed(&options, argc, argv, &i, helper, ret_error,
					       error_size);
			if (err)
				return err;
		} else if (!options.device) {
			options.device = argv[i];
		} else if (!options.mountpoint) {
			options.mountpoint = argv[i];
		} else {
			snprintf(ret_error, error_size, "too many arguments: %s", argv[i]);
			return -EINVAL;
		}
	}
	options.no_mount = options.mountpoint && !strcmp(options.mountpoint, KEPT_NO_MOUNT);
	if (check_together(&options, ret_error, error_size) ||
	    choose_keeper(&options, ret_error, error_size))
		return -EINVAL;
	if (!options.help && !options.version &&
	    (!options.mountpoint || !*options.device || !*options.mountpoint)) {
		snprintf(ret_error, error_size, "DEVICE and MOUNTPOINT are needed");
		return -EINVAL;
	}
	*ret_options = options;
	return 0;
}

void options_print_help(void)
{
	printf("usage: daxfuse DEVICE MOUNTPOINT [-f] [-d] [-r] [-o OPTION[,OPTION...]]\n"
	       "Mount the pool on DEVICE (a device-dax or an image file). With \"none\" for\n"
	       "MOUNTPOINT it is served to virtual machines only (-o export=, daxfuse export).\n\n"
	       "  -f, --foreground     stay in the foreground, log to stderr\n"
	       "  -d, --debug          the same, and print each request\n"
	       "  -r                   as -o ro\n"
	       "  -h, --help           show this\n"
	       "  -V, --version        show the version\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (table[i].help)
			printf("  -o %-18s%s\n", table[i].name, table[i].help);
	}
	printf("\nAll other options that mount(8) has for every filesystem are taken, too.\n");
}

/* ---- in words ---------------------------------------------------------------------- */

static void direct_word(const struct clients_policy *policy, char *ret_word, size_t size)
{
	static const char *const names[] = {
		[CLIENTS_OWNER] = "owner",
		[CLIENTS_NOBODY] = "off",
		[CLIENTS_EVERYBODY] = "all",
	};

	if (policy->who == CLIENTS_GROUP)
		snprintf(ret_word, size, "direct=group=%u", (unsigned)policy->group);
	else
		snprintf(ret_word, size, "direct=%s", names[policy->who]);
}

static void kernel_word(const struct options *options, char *ret_word, size_t size)
{
	size_t at = (size_t)snprintf(ret_word, size, options->kernel_count ? "" : "nocontext");

	for (unsigned i = 0; i < options->kernel_count && at < size; i++)
		at += (size_t)snprintf(ret_word + at, size - at, "%s%s", i ? "," : "",
				       options->kernel[i]);
}

void options_words(const struct options *options, struct option_words *ret_words)
{
	static const char *const atime[] = {
		[FS_ATIME_RELATIVE] = "relatime",
		[FS_ATIME_STRICT] = "strictatime",
		[FS_ATIME_NEVER] = "noatime",
	};
	char(*word)[sizeof(ret_words->word[0])] = ret_words->word;
	const size_t size = sizeof(*word);

	strcpy(word[WORD_READ_ONLY], options->fs.read_only ? "ro" : "rw");
	strcpy(word[WORD_ATIME], atime[options->fs.atime]);
	snprintf(word[WORD_DAX], size, "dax=%s", dax_names[options->fs.dax]);
	direct_word(&options->direct, word[WORD_DIRECT], size);
	strcpy(word[WORD_PROJECT],
	       options->owners_set_projects ? "project=owner" : "project=admin");
	snprintf(word[WORD_VIEWS], size, "views=%s", views_names[options->views]);
	strcpy(word[WORD_ALLOW_OTHER], options->allow_other ? "allow_other" : "noallow_other");
	kernel_word(options, word[WORD_KERNEL], size);
	snprintf(word[WORD_KEEPER], size, "keeper=%s", keeper_names[options->keeper]);
	snprintf(word[WORD_THREADS], size, "max_threads=%u", options->max_threads);
	strcpy(word[WORD_TRANSPORT], options->io_uring   ? "io_uring"
				     : options->clone_fd ? "clone_fd"
							 : "fuse");
}

bool options_must_match(const struct options *options, enum option_word word)
{
	return word < WORD_KEEPER || options->given & OPTION_DAEMON;
}
