/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who uses a volume: mounts that begin in its folder, in any mount namespace of a process that we
 * see. Engines count themselves, and forget; what they say of mounts and unmounts is not asked.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "daxfuse/base/bits.h"
#include "internal.h"

/* What a mount of a volume looks like in /proc/PID/mountinfo. */
struct wanted {
	char device[32]; /* "0:41" */
	char root[2 * PATH_MAX];
};

/* "\040" and the like, in place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		if (from[0] == '\\' && strspn(from + 1, "01234567") >= 3) {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 |
				       (from[3] - '0'));
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
}

/* One line of mountinfo: "36 35 98:0 /root /mount/point ...", cut at its blanks. */
static bool split_line(char *line, char *ret_fields[5])
{
	for (unsigned i = 0; i < 5; i++) {
		ret_fields[i] = strsep(&line, " ");
		if (!ret_fields[i])
			return false;
	}
	unescape(ret_fields[3]);
	unescape(ret_fields[4]);
	return true;
}

/* Calls fn with the five fields of each line until it returns true. */
static bool search_mounts(const char *path, bool (*fn)(char *fields[5], void *arg), void *arg)
{
	CLEANUP_FILE FILE *file = fopen(path, "re");
	CLEANUP_FREE char *line = NULL;
	size_t room = 0;
	char *fields[5];
	bool found = false;

	while (file && !found && getline(&line, &room, file) > 0)
		found = split_line(line, fields) && fn(fields, arg);
	return found;
}

/* ---- the volume's place in its filesystem ------------------------------------------------- */

struct place {
	unsigned long long mount; /* number of the pool's mount */
	const char *path;         /* of the pool */
	const char *name;
	struct wanted *wanted;
};

static bool take_root(char *fields[5], void *arg)
{
	const struct place *place = arg;
	size_t length = strcmp(fields[4], "/") ? strlen(fields[4]) : 0;

	if (strtoull(fields[0], NULL, 10) != place->mount ||
	    strncmp(place->path, fields[4], length))
		return false;
	snprintf(place->wanted->root, sizeof(place->wanted->root), "%s%s/" VOLUMES_FOLDER "/%s",
		 strcmp(fields[3], "/") ? fields[3] : "", place->path + length, place->name);
	return true;
}

static bool find_place(const struct volume_pool *pool, const char *name, struct wanted *ret_wanted)
{
	struct place place = { .path = pool->path, .name = name, .wanted = ret_wanted };
	struct statx stx;

	if (statx(pool->fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx))
		return false;
	place.mount = stx.stx_mnt_id;
	snprintf(ret_wanted->device, sizeof(ret_wanted->device), "%u:%u", stx.stx_dev_major,
		 stx.stx_dev_minor);
	return search_mounts("/proc/self/mountinfo", take_root, &place);
}

/* ---- the namespaces ------------------------------------------------------------------------- */

static bool is_wanted(char *fields[5], void *arg)
{
	const struct wanted *wanted = arg;
	size_t length = strlen(wanted->root);

	return !strcmp(fields[2], wanted->device) && !strncmp(fields[3], wanted->root, length) &&
	       (fields[3][length] == '\0' || fields[3][length] == '/');
}

struct seen {
	ino_t *namespace;
	size_t count, room;
};

/* Whether it is the first process of its namespace that we meet. */
static bool is_new_namespace(struct seen *seen, const char *process)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%.20s/ns/mnt", process);
	if (stat(path, &st))
		return false;
	for (size_t i = 0; i < seen->count; i++) {
		if (seen->namespace[i] == st.st_ino)
			return false;
	}
	if (seen->count == seen->room) {
		size_t room = MAX(2 * seen->room, (size_t)64);
		ino_t *more = reallocarray(seen->namespace, room, sizeof(*more));

		if (!more)
			return true;
		seen->namespace = more;
		seen->room = room;
	}
	seen->namespace[seen->count++] = st.st_ino;
	return true;
}

bool volumes_is_in_use(const struct volume_pool *pool, const char *name)
{
	CLEANUP_DIR DIR *proc = opendir("/proc");
	struct wanted wanted;
	struct seen seen = { 0 };
	const struct dirent *entry;
	bool used = false;

	if (!proc || !find_place(pool, name, &wanted))
		return false;
	while (!used && (entry = readdir(proc))) {
		char path[64];

		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
		    !is_new_namespace(&seen, entry->d_name))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/mountinfo", entry->d_name);
		used = search_mounts(path, is_wanted, &wanted);
	}
	free(seen.namespace);
	return used;
}
