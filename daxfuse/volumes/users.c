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

/* Calls fn with the five fields of each line until it returns true, which is told. */
static errint_t search_mounts(const char *path, bool (*fn)(char *fields[5], void *arg), void *arg,
			      bool *ret_found)
{
	CLEANUP_FILE FILE *file = fopen(path, "re");
	CLEANUP_FREE char *line = NULL;
	size_t room = 0;
	char *fields[5];

	*ret_found = false;
	if (!file)
		return -errno;
	while (!*ret_found) {
		errno = 0;
		if (getline(&line, &room, file) <= 0)
			return -errno; /* 0 at the end */
		if (!split_line(line, fields))
			return -EPROTO;
		*ret_found = fn(fields, arg);
	}
	return 0;
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

static errint_t find_place(const struct volume_pool *pool, const char *name,
			   struct wanted *ret_wanted)
{
	struct place place = { .path = pool->path, .name = name, .wanted = ret_wanted };
	struct statx stx;
	bool found;
	int err;

	if (statx(pool->fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx))
		return -errno;
	place.mount = stx.stx_mnt_id;
	snprintf(ret_wanted->device, sizeof(ret_wanted->device), "%u:%u", stx.stx_dev_major,
		 stx.stx_dev_minor);
	err = search_mounts("/proc/self/mountinfo", take_root, &place, &found);
	return !err && !found ? -ENOENT : err;
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

static errint_t remember_namespace(struct seen *seen, ino_t namespace)
{
	if (seen->count == seen->room) {
		size_t room = MAX(2 * seen->room, (size_t)64);
		ino_t *more = reallocarray(seen->namespace, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		seen->namespace = more;
		seen->room = room;
	}
	seen->namespace[seen->count++] = namespace;
	return 0;
}

/* Whether an error about a process says that it has ended meanwhile. */
static bool is_gone(int err)
{
	return err == -ENOENT || err == -ESRCH ||
	       err == -EINVAL; /* EINVAL: mountinfo of a zombie */
}

/*
 * Whether it is the first process of its namespace that we meet. Which namespace it is in is not
 * told of processes that we may not trace (their mounts are): each of these counts.
 */
static errint_t look_at_namespace(struct seen *seen, const char *process, bool *ret_new)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%.20s/ns/mnt", process);
	*ret_new = false;
	if (stat(path, &st)) {
		*ret_new = errno == EACCES || errno == EPERM;
		return *ret_new ? 0 : -errno;
	}
	for (size_t i = 0; i < seen->count; i++) {
		if (seen->namespace[i] == st.st_ino)
			return 0;
	}
	*ret_new = true;
	return remember_namespace(seen, st.st_ino);
}

static errint_t look_at_process(struct seen *seen, const char *process, struct wanted *wanted,
				bool *ret_used)
{
	size_t before = seen->count;
	char path[64];
	bool new;
	int err = look_at_namespace(seen, process, &new);

	if (!err && new) {
		snprintf(path, sizeof(path), "/proc/%.20s/mountinfo", process);
		err = search_mounts(path, is_wanted, wanted, ret_used);
		if (err)
			seen->count = before; /* another process of it may tell */
	}
	return is_gone(err) ? 0 : err;
}

errint_t volumes_look_for_users(const struct volume_pool *pool, const char *name, bool *ret_used)
{
	CLEANUP_DIR DIR *proc = opendir("/proc");
	struct wanted wanted;
	struct seen seen = { 0 };
	const struct dirent *entry;
	int err = proc ? find_place(pool, name, &wanted) : -errno;

	*ret_used = false;
	while (!err && !*ret_used) {
		errno = 0;
		entry = readdir(proc);
		if (!entry) {
			err = -errno;
			break;
		}
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			err = look_at_process(&seen, entry->d_name, &wanted, ret_used);
	}
	free(seen.namespace);
	return err;
}
