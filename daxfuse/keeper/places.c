/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The places of a mount, from /proc/self/mountinfo (places.h). libmount takes that table apart, and
 * knows how it quotes paths.
 */
#include "places.h"

#include <errno.h>
#include <fcntl.h>
#include <libmount.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"

static void cleanup_table(struct libmnt_table **table)
{
	mnt_unref_table(*table);
}

static void cleanup_iterator(struct libmnt_iter **iterator)
{
	mnt_free_iter(*iterator);
}

unsigned places_number(const char *path)
{
	struct statx stx;

	/* nothing that is known of the root is too old for this, so it is not asked */
	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &stx) ||
	    stx.stx_dev_major)
		return 0;
	return stx.stx_dev_minor;
}

struct search {
	bool (*match)(struct libmnt_fs *fs, const void *arg);
	const void *arg;
	int (*fn)(struct libmnt_fs *fs, void *arg);
	void *fn_arg;
};

static errint_t each_match(const struct search *search)
{
	CLEANUP(cleanup_table)
	struct libmnt_table *table = mnt_new_table_from_file("/proc/self/mountinfo");
	CLEANUP(cleanup_iterator) struct libmnt_iter *iterator = mnt_new_iter(MNT_ITER_BACKWARD);
	struct libmnt_fs *fs;
	int result = 0;

	if (!table || !iterator)
		return -ENOMEM;
	while (!result && mnt_table_next_fs(table, iterator, &fs) == 0) {
		if (!strcmp(mnt_fs_get_root(fs) ? mnt_fs_get_root(fs) : "", "/") &&
		    search->match(fs, search->arg))
			result = search->fn(fs, search->fn_arg);
	}
	return result;
}

static bool has_number(struct libmnt_fs *fs, const void *arg)
{
	return mnt_fs_get_devno(fs) == makedev(0, *(const unsigned *)arg);
}

struct visit {
	int (*fn)(const char *path, void *arg);
	void *arg;
};

static errint_t visit_place(struct libmnt_fs *fs, void *arg)
{
	const struct visit *v = arg;

	return v->fn(mnt_fs_get_target(fs), v->arg);
}

errint_t places_each(unsigned number, int (*fn)(const char *path, void *arg), void *arg)
{
	struct visit v = { fn, arg };
	const struct search search = { has_number, &number, visit_place, &v };

	return number ? each_match(&search) : 0;
}

struct choice {
	const char *wanted;
	char *found;
};

static int choose_place(const char *path, void *arg)
{
	struct choice *choice = arg;
	bool wanted = !strcmp(path, choice->wanted);

	if (wanted || !choice->found) {
		free(choice->found);
		choice->found = strdup(path);
	}
	return wanted;
}

char *places_find(unsigned number, const char *wanted)
{
	struct choice choice = { wanted, NULL };

	if (places_each(number, choose_place, &choice) < 0) {
		free(choice.found);
		return NULL;
	}
	return choice.found;
}

struct list {
	char **places;
	size_t count;
};

static errint_t add_place(const char *path, void *arg)
{
	struct list *list = arg;
	char **more = reallocarray(list->places, list->count + 2, sizeof(*more));

	if (!more)
		return -ENOMEM;
	list->places = more;
	more[list->count] = strdup(path);
	if (!more[list->count])
		return -ENOMEM;
	more[++list->count] = NULL;
	return 0;
}

void places_free(char **places)
{
	for (char **place = places; place && *place; place++)
		free(*place);
	free(places);
}

char **places_all(unsigned number)
{
	struct list list = { calloc(1, sizeof(char *)), 0 };

	if (!list.places || places_each(number, add_place, &list) < 0) {
		places_free(list.places);
		return NULL;
	}
	return list.places;
}

/* With fusermount3 users may choose the type and the source of a mount, but not user_id=. */
static bool is_trusted(struct libmnt_fs *fs)
{
	const char *options = mnt_fs_get_fs_options(fs);
	char *value = NULL, word[16];
	size_t size = 0;
	unsigned long user;

	if (!options || mnt_optstr_get_option(options, "user_id", &value, &size) || !value ||
	    !size || size >= sizeof(word))
		return false;
	memcpy(word, value, size);
	word[size] = '\0';
	user = strtoul(word, NULL, 10);
	return user == 0 || user == geteuid();
}

static bool has_device(struct libmnt_fs *fs, const void *arg)
{
	const char *type = mnt_fs_get_fstype(fs), *source = mnt_fs_get_srcpath(fs);

	return type && source && !strcmp(type, "fuse.daxfuse") && !strcmp(source, arg) &&
	       is_trusted(fs);
}

static int take_number(struct libmnt_fs *fs, void *arg)
{
	*(unsigned *)arg = minor(mnt_fs_get_devno(fs));
	return 1;
}

static bool has_trusted_number(struct libmnt_fs *fs, const void *arg)
{
	const char *type = mnt_fs_get_fstype(fs);

	return has_number(fs, arg) && type && !strcmp(type, "fuse.daxfuse") && is_trusted(fs);
}

unsigned places_of_device(const char *device)
{
	unsigned number = 0;
	const struct search search = { has_device, device, take_number, &number };

	each_match(&search);
	return number;
}

bool places_is_trusted(unsigned number)
{
	unsigned found = 0;
	const struct search search = { has_trusted_number, &number, take_number, &found };

	return number && each_match(&search) == 1;
}
