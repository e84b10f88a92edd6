/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxfuse watch: what changes on a mount, as a stream of lines, for backup and replication
 * (docs/guide/watch.md). The daemon collects changes for an open file that is a watcher
 * (DXF_IOC_WATCH); directories can't be one, so a file without a name is made.
 *
 * A daemon that was replaced knows no watchers. Then the file becomes one again first, and "all" is
 * said after that: a reader that looks at everything now misses nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/format.h"
#include "daxfuse/ioctl.h"
#include "ask.h"
#include "command.h"
#include "report.h"

static const struct command_option options[] = {
	{ 'i', "interval", "MS", "how long to wait between two looks (50)" },
	{ '1', "once", NULL, "wait once, show what has changed meanwhile, and end" },
	{ 'n', "numbers", NULL, "inode numbers only, no paths" },
	{ 'u', "human", NULL, "print for people" },
	{ 0 },
};

static const struct command command = {
	.name = "daxfuse watch",
	.usage = "MOUNTPOINT|FILE",
	.summary = "Show what changes on a mount, one JSON object a line, until SIGTERM or SIGINT.",
	.options = options,
	.details =
		"A FILE of the mount does as well; it is not changed. Stores through direct\n"
		"mappings are seen, too. {\"what\": [\"all\"]}, which comes first, says: from now\n"
		"on nothing is missed, look at everything. It comes again when events were\n"
		"lost, and when the daemon was replaced.",
	.usage_status = 1,
};

static const struct {
	unsigned bit;
	const char *name;
} kinds[] = {
	{ DXF_WATCH_DATA, "data" },   { DXF_WATCH_SIZE, "size" }, { DXF_WATCH_ATTR, "attr" },
	{ DXF_WATCH_NAMES, "names" }, { DXF_WATCH_ALL, "all" },
};

struct watch {
	const char *place;
	int fd;
	dev_t dev;
	uint64_t generation; /* looks so far */
	unsigned interval;
	bool once, numbers, human;
};

static const uint64_t to_end = UINT64_MAX;

/* JSON is: a name may be any bytes. */
static bool is_utf8(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	while (*at) {
		unsigned more = *at < 0x80                  ? 0
				: *at >= 0xc2 && *at < 0xe0 ? 1
				: *at >= 0xe0 && *at < 0xf0 ? 2
				: *at >= 0xf0 && *at < 0xf5 ? 3
							    : 9;
		/* neither a longer form than needed, nor a surrogate, nor beyond the last one */
		bool wrong = more == 9 || (*at == 0xe0 && at[1] < 0xa0) ||
			     (*at == 0xed && at[1] > 0x9f) || (*at == 0xf0 && at[1] < 0x90) ||
			     (*at == 0xf4 && at[1] > 0x8f);

		for (at++; !wrong && more; more--)
			wrong = (*at++ & 0xc0) != 0x80;
		if (wrong)
			return false;
	}
	return true;
}

/* ---- paths -------------------------------------------------------------------------- */

/* What the kernel calls an inode of a FUSE mount (FILEID_INO64_GEN). */
struct inode_handle {
	struct file_handle head;
	uint32_t words[3];
};

static bool is_inode(const struct watch *w, const char *path, uint64_t ino)
{
	struct stat st;

	return !lstat(path, &st) && st.st_dev == w->dev && st.st_ino == ino;
}

/* Needs CAP_DAC_READ_SEARCH; of a file that nobody has used lately the kernel knows no name. */
static bool find_path(const struct watch *w, const struct dxf_ioc_event *event, char *path)
{
	union {
		struct inode_handle handle;
		char room[sizeof(struct inode_handle)];
	} name = { .handle = {
			   .head = { .handle_bytes = sizeof(name.handle.words),
				     .handle_type = 0x81 },
			   .words = { (uint32_t)(event->ino >> 32), (uint32_t)event->ino,
				      event->generation },
		   } };
	CLEANUP_FD int fd = -1;
	char link[64];
	ssize_t n;

	if (event->ino == DXF_ROOT_INO)
		memcpy(name.handle.words, (uint32_t[]){ 0, FUSE_ROOT_ID, 0 }, 12);
	fd = open_by_handle_at(w->fd, &name.handle.head, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return false;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, PATH_MAX - 1);
	path[MAX(n, 0)] = '\0';
	return n > 0 && is_inode(w, path, event->ino);
}

/* ---- lines -------------------------------------------------------------------------- */

static void print_json(const struct watch *w, const struct dxf_ioc_event *event, const char *path)
{
	CLEANUP_JSON struct json_object *o = json_object_new_object();
	struct json_object *what = json_object_new_array();

	json_object_object_add(o, "generation", json_object_new_uint64(w->generation));
	json_object_object_add(o, "what", what);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (event->what & kinds[i].bit)
			json_object_array_add(what, json_object_new_string(kinds[i].name));
	}
	if (event->ino) {
		json_object_object_add(o, "ino", json_object_new_uint64(event->ino));
		json_object_object_add(o, "inode_generation",
				       json_object_new_uint64(event->generation));
		if (path && is_utf8(path))
			json_object_object_add(o, "path", json_object_new_string(path));
	}
	if (event->ino && event->length) {
		json_object_object_add(o, "offset", json_object_new_uint64(event->offset));
		json_object_object_add(
			o, "length",
			event->length == to_end ? NULL : json_object_new_uint64(event->length));
	}
	printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void print_range(const struct dxf_ioc_event *event)
{
	char length[HUMAN_SIZE];

	if (event->length == to_end)
		printf("  from %llu", (unsigned long long)event->offset);
	else if (event->length)
		printf("  %llu + %s", (unsigned long long)event->offset,
		       human_size(event->length, length, sizeof(length)));
}

static void print_human(const struct dxf_ioc_event *event, const char *path)
{
	char words[64] = "", when[16];
	time_t now = time(NULL);
	struct tm tm;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (event->what & kinds[i].bit) {
			strcat(words, *words ? "," : "");
			strcat(words, kinds[i].name);
		}
	}
	strftime(when, sizeof(when), "%T", localtime_r(&now, &tm));
	printf("%s  %-20s", when, words);
	if (path)
		printf("  %s", path);
	else if (event->ino)
		printf("  inode %llu%s", (unsigned long long)event->ino,
		       event->generation ? "" : ", which is gone");
	if (event->ino)
		print_range(event);
	printf("\n");
}

static void print_event(const struct watch *w, const struct dxf_ioc_event *event)
{
	char path[PATH_MAX];
	bool found = event->ino && event->generation && !w->numbers && find_path(w, event, path);

	if (!w->human)
		print_json(w, event, found ? path : NULL);
	else
		print_human(event, found ? path : NULL);
}

/* ---- watching ------------------------------------------------------------------------ */

static errint_t call(int fd, unsigned long request, void *argument)
{
	int result;

	do {
		result = ioctl(fd, request, argument);
	} while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : 0;
}

static errint_t flush_lines(void)
{
	return fflush(stdout) ? -errno : 0;
}

/* From now on nothing is missed; the reader must look at all that was before. */
static errint_t begin(const struct watch *w)
{
	int err = call(w->fd, DXF_IOC_WATCH, NULL);

	if (err)
		return err;
	print_event(w, &(struct dxf_ioc_event){ .what = DXF_WATCH_ALL });
	return flush_lines();
}

/* All that had changed when it began. */
static errint_t look(struct watch *w)
{
	static struct dxf_ioc_watch answer;
	int err;

	w->generation++;
	do {
		err = call(w->fd, DXF_IOC_WATCH_READ, &answer);
		if (err == -ENODEV)
			return begin(w);
		if (err)
			return err;
		for (unsigned i = 0; i < answer.count; i++)
			print_event(w, &answer.event[i]);
		err = flush_lines();
	} while (!err && answer.more);
	return err;
}

static volatile sig_atomic_t stopping;

static void stop(int number)
{
	stopping = 1;
}

/* The first of them ends it after one more look, a second one at once. */
static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = stop, .sa_flags = SA_RESTART | SA_RESETHAND };

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
}

/* Between two looks; ends early with a signal, or when nobody reads our lines any more. */
static bool has_reader(const struct watch *w)
{
	struct pollfd out = { .fd = STDOUT_FILENO };

	return poll(&out, 1, stopping ? 0 : (int)w->interval) <= 0 || !(out.revents & POLLERR);
}

static errint_t watch(struct watch *w)
{
	bool last = false;
	int err;

	catch_signals();
	err = begin(w);
	while (!err && !last && has_reader(w)) {
		last = w->once || stopping;
		err = look(w);
	}
	return err;
}

static errint_t open_place(struct watch *w)
{
	struct stat st;

	if (stat(w->place, &st) < 0)
		return -errno;
	w->dev = st.st_dev;
	w->fd = S_ISDIR(st.st_mode) ? open(w->place, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)
				    : open_past_cache(w->place, O_RDONLY | O_NONBLOCK);
	return w->fd < 0 ? -errno : 0;
}

static const char *advice_for(int err)
{
	switch (err) {
	case -EROFS:
		return "the mount is read-only: nothing changes there";
	case -ENOSPC:
	case -EDQUOT:
		return "there is no room for a file without a name: give one of the mount instead";
	case -EPERM:
	case -EACCES:
		return "run as root of the host, or as the mount's owner";
	case -ENOTTY:
	case -EOPNOTSUPP:
		return "it is not on a mount of daxfuse";
	case -ENOTCONN:
	case -ECONNABORTED:
		return "the mount has ended";
	default:
		return "";
	}
}

static unsigned parse_interval(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value > 3600000)
		command_misused(&command, "%s is not a number of milliseconds", text);
	return (unsigned)value;
}

int watch_main(int argc, char **argv)
{
	struct watch w = { .fd = -1, .interval = 50 };
	int code, err;

	while ((code = command_next(&command, argc, argv)) >= 0) {
		if (code == 'i')
			w.interval = parse_interval(optarg);
		w.once |= code == '1';
		w.numbers |= code == 'n';
		w.human |= code == 'u';
	}
	command_operands(&command, argc, 1, 1);
	w.place = argv[optind];
	err = open_place(&w);
	if (!err)
		err = watch(&w);
	if (w.fd >= 0)
		close(w.fd);
	if (!err)
		return 0;
	report_failure("daxfuse", w.place, err, "cannot be watched", advice_for(err));
	return 1;
}
