/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * As any local filesystem, a pool that is mounted can be mounted once more, elsewhere: it is the
 * same mount then, of the same daemon, with flags of its own for each place (nosuid and the
 * like). What belongs to the filesystem must be the same; if not, what differs is said.
 */
#include "again.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/ioctl.h"
#include "daxfuse/pmem/device.h"
#include "log.h"
#include "options.h"
#include "places.h"

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

enum { EXIT_MOUNT = 32 };

/* A mount as it says that it is. */
struct mounted {
	const char *device;
	char *place;
	struct json_object *status;
};

static void cleanup_mounted(struct mounted *m)
{
	free(m->place);
	json_object_put(m->status);
}

static const char *running_word(const struct mounted *m, enum option_word word)
{
	struct json_object *mount = json_object_object_get(m->status, "mount");
	struct json_object *options = json_object_object_get(mount, "options");

	if (!json_object_is_type(options, json_type_array) ||
	    json_object_array_length(options) != OPTION_WORDS)
		return NULL;
	return json_object_get_string(json_object_array_get_idx(options, word));
}

/* Ask the mount at a place. */
static int ask_mounted(const char *place, struct json_object **ret_status)
{
	CLEANUP_FD int fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_FREE struct dxf_ioc_status *status = calloc(1, sizeof(*status));

	if (fd < 0)
		return -errno;
	if (!status)
		return -ENOMEM;
	if (ioctl(fd, DXF_IOC_STATUS, status) < 0)
		return -errno;
	*ret_status = json_tokener_parse(status->json);
	return *ret_status ? 0 : -EPROTO;
}

/* An image may have been replaced by another one of the same name. */
static bool is_what_lies_there(const struct mounted *m)
{
	const char *said = json_object_get_string(json_object_object_get(m->status, "identity"));
	char identity[64];

	return said && device_identity(m->device, identity, sizeof(identity)) == 0 &&
	       !strcmp(said, identity);
}

/* ---- one more place --------------------------------------------------------------------- */

static int is_same(const char *place, void *arg)
{
	return !strcmp(place, arg);
}

static bool is_as_running(const struct mounted *m, const struct options *options)
{
	struct option_words words;

	options_words(options, &words);
	for (unsigned i = 0; i < OPTION_WORDS; i++) {
		const char *running = running_word(m, i);

		if (running && (!strcmp(running, words.word[i]) || !options_must_match(options, i)))
			continue;
		log_error("daxfuse: %s: is mounted on %s with other options: %s, not %s\n"
			  "say the same ones, unmount it, or see remount in daxfuse(8)\n",
			  m->device, m->place, running ? running : "those of another version",
			  words.word[i]);
		return false;
	}
	return true;
}

static int copy_to(const struct options *o, const char *place, const char *mountpoint)
{
	struct mount_attr attr = {
		.attr_clr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
			    MOUNT_ATTR_NODIRATIME | MOUNT_ATTR_NOSYMFOLLOW,
	};
	CLEANUP_FD int tree = open_tree(AT_FDCWD, place, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	attr.attr_set |= o->no_suid ? MOUNT_ATTR_NOSUID : 0;
	attr.attr_set |= o->no_dev ? MOUNT_ATTR_NODEV : 0;
	attr.attr_set |= o->no_exec ? MOUNT_ATTR_NOEXEC : 0;
	attr.attr_set |= o->no_dir_atime ? MOUNT_ATTR_NODIRATIME : 0;
	attr.attr_set |= o->no_symfollow ? MOUNT_ATTR_NOSYMFOLLOW : 0;
	if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) ||
	    move_mount(tree, "", AT_FDCWD, mountpoint, MOVE_MOUNT_F_EMPTY_PATH))
		return -errno;
	return 0;
}

static int add_place(const struct mounted *m, const struct options *options, const char *mountpoint)
{
	int err;

	if (!is_as_running(m, options))
		return EXIT_MOUNT;
	err = options->fake ? 0 : copy_to(options, m->place, mountpoint);
	if (!err)
		return 0;
	log_error("daxfuse: %s: is mounted on %s, and cannot be mounted on %s, too: %s\n", m->device,
		  m->place, mountpoint, strerror(-err));
	if (err == -EPERM)
		log_error("only root may: mount --bind %s %s\n", m->place, mountpoint);
	return EXIT_MOUNT;
}

int again_mount(const struct options *options, const char *device, const char *mountpoint)
{
	unsigned number = places_of_device(device);
	CLEANUP(cleanup_mounted) struct mounted m = { .device = device };

	m.place = number ? places_find(number, "") : NULL;
	if (!m.place || ask_mounted(m.place, &m.status) || !is_what_lies_there(&m))
		return -1;
	if (places_each(number, is_same, (void *)mountpoint) == 1) {
		log_error("daxfuse: %s: is mounted on %s already\n", device, mountpoint);
		return EXIT_MOUNT;
	}
	return add_place(&m, options, mountpoint);
}
