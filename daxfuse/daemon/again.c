/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * As any local filesystem, a pool that is mounted can be mounted once more, elsewhere: it is the
 * same mount then, of the same daemon, with flags of its own for each place (nosuid and the like).
 * Options that belong to the filesystem must be the same; if not, those that differ are said.
 */
#include "again.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/ioctl.h"
#include "daxfuse/pmem/device.h"
#include "daxfuse/keeper/log.h"
#include "options.h"
#include "daxfuse/keeper/places.h"

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

enum {
	EXIT_MOUNT = 32,
	WAIT_TRIES = 2000,
	ANSWER_MS = 5000,
	NOSYMFOLLOW_SHOWN = 0x2000, /* by statfs(2); linux/statfs.h */
};

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

static errint_t read_status(const char *place, struct dxf_ioc_status *status)
{
	CLEANUP_FD int fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || ioctl(fd, DXF_IOC_STATUS, status) < 0 ? -errno : 0;
}

/* The child's answer; if it is late, the child is left behind. */
static errint_t wait_for_answer(pid_t child)
{
	CLEANUP_FD int fd = pidfd_open(child, 0);
	struct pollfd ended = { .fd = fd, .events = POLLIN };
	int status;

	if (fd < 0 || poll(&ended, 1, ANSWER_MS) <= 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, WNOHANG);
		return -ETIMEDOUT;
	}
	if (waitpid(child, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

/* In a child: a mount whose daemon hangs may never answer. It must not hold descriptors that our
 * caller waits to be closed. */
static errint_t read_status_in_time(const char *place, struct dxf_ioc_status *shared)
{
	pid_t child = fork();

	if (child < 0)
		return -errno;
	if (child == 0) {
		close_range(0, ~0U, 0);
		_exit(-read_status(place, shared));
	}
	return wait_for_answer(child);
}

/* Ask the mount at a place. */
static errint_t ask_mounted(const char *place, struct json_object **ret_status)
{
	struct dxf_ioc_status *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
					     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int err;

	if (shared == MAP_FAILED)
		return -errno;
	err = read_status_in_time(place, shared);
	if (!err) {
		*ret_status = json_tokener_parse(shared->json);
		err = *ret_status ? 0 : -EPROTO;
	}
	munmap(shared, sizeof(*shared));
	return err;
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

static errint_t copy_to(const struct options *o, const char *place, const char *mountpoint)
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
	log_error("daxfuse: %s: is mounted on %s, and cannot be mounted on %s, too: %s\n",
		  m->device, m->place, mountpoint, strerror(-err));
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

/* ---- other options ------------------------------------------------------------------------ */

struct remount {
	const struct options *options;
	struct mounted m;
	bool was_read_only, read_only;
	enum fs_atime_mode atime;
};

static bool is_at(struct mounted *m, unsigned number)
{
	return places_is_trusted(number) && places_each(number, is_same, m->place) == 1 &&
	       ask_mounted(m->place, &m->status) == 0 && running_word(m, WORD_READ_ONLY);
}

/* The mount there, if it is of this device. */
static int find_mounted(struct remount *r)
{
	const struct options *o = r->options;
	CLEANUP_FREE char *device = realpath(o->device, NULL);

	r->m.device = o->device;
	r->m.place = realpath(o->mountpoint, NULL);
	if (r->m.place && is_at(&r->m, places_number(r->m.place)) && device &&
	    !strcmp(device, json_object_get_string(json_object_object_get(r->m.status, "device"))))
		return 0;
	log_error("daxfuse: %s: is not mounted on %s\n"
		  "findmnt -t fuse.daxfuse shows the mounts\n",
		  o->device, o->mountpoint);
	return EXIT_MOUNT;
}

/* An option that was said, and can't be changed, must be so. */
static int check_unchanged(const struct remount *r)
{
	static const unsigned about[OPTION_WORDS] = {
		[WORD_DAX] = OPTION_DAX,          [WORD_DIRECT] = OPTION_DIRECT,
		[WORD_PROJECT] = OPTION_PROJECT,  [WORD_ALLOW_OTHER] = OPTION_ALLOW_OTHER,
		[WORD_KERNEL] = OPTION_KERNEL,    [WORD_VIEWS] = OPTION_VIEWS,
		[WORD_KEEPER] = OPTION_DAEMON,    [WORD_THREADS] = OPTION_DAEMON,
		[WORD_TRANSPORT] = OPTION_DAEMON,
	};
	struct option_words words;

	options_words(r->options, &words);
	for (unsigned i = 0; i < OPTION_WORDS; i++) {
		if (!(r->options->given & about[i]) ||
		    !strcmp(running_word(&r->m, i), words.word[i]))
			continue;
		log_error("daxfuse: %s: is mounted with %s, which remount cannot make %s\n"
			  "unmount it, and mount it again\n",
			  r->m.place, running_word(&r->m, i), words.word[i]);
		return EXIT_MOUNT;
	}
	return 0;
}

static enum fs_atime_mode running_atime(const struct remount *r)
{
	const char *word = running_word(&r->m, WORD_ATIME);

	return !strcmp(word, "noatime")       ? FS_ATIME_NEVER
	       : !strcmp(word, "strictatime") ? FS_ATIME_STRICT
					      : FS_ATIME_RELATIVE;
}

static void set_flag(const struct options *o, unsigned about, bool on, unsigned long flag,
		     unsigned long *flags)
{
	if (o->given & about)
		*flags = on ? *flags | flag : *flags & ~flag;
}

static unsigned long flags_of(const struct statvfs *now)
{
	unsigned long flags = 0;

	flags |= now->f_flag & ST_NOSUID ? MS_NOSUID : 0;
	flags |= now->f_flag & ST_NODEV ? MS_NODEV : 0;
	flags |= now->f_flag & ST_NOEXEC ? MS_NOEXEC : 0;
	flags |= now->f_flag & ST_NODIRATIME ? MS_NODIRATIME : 0;
	flags |= now->f_flag & NOSYMFOLLOW_SHOWN ? MS_NOSYMFOLLOW : 0;
	return flags;
}

/*
 * mount(2) sets all flags of the mount point. An option that was not said stays, unless mount(8)
 * has put those that were said and those that are shown together: then a missing one was taken
 * back.
 */
static errint_t kernel_flags(const struct remount *r, unsigned long *ret_flags)
{
	static const unsigned long atime[] = {
		[FS_ATIME_RELATIVE] = MS_RELATIME,
		[FS_ATIME_STRICT] = MS_STRICTATIME,
		[FS_ATIME_NEVER] = MS_NOATIME,
	};
	const struct options *o = r->options;
	struct statvfs now;
	unsigned long flags = MS_REMOUNT | atime[r->atime];

	if (statvfs(r->m.place, &now))
		return -errno;
	if (!o->shown)
		flags |= flags_of(&now);
	set_flag(o, OPTION_SUID, o->no_suid, MS_NOSUID, &flags);
	set_flag(o, OPTION_DEV, o->no_dev, MS_NODEV, &flags);
	set_flag(o, OPTION_EXEC, o->no_exec, MS_NOEXEC, &flags);
	set_flag(o, OPTION_DIR_ATIME, o->no_dir_atime, MS_NODIRATIME, &flags);
	set_flag(o, OPTION_SYMFOLLOW, o->no_symfollow, MS_NOSYMFOLLOW, &flags);
	*ret_flags = flags;
	return 0;
}

/* It syncs, and refuses while a file is open for writing. */
static errint_t remount_kernel(const struct remount *r, unsigned long flags)
{
	return mount(r->m.device, r->m.place, NULL, flags, NULL) ? -errno : 0;
}

static bool is_done(const struct remount *r)
{
	CLEANUP(cleanup_mounted) struct mounted now = { .device = r->m.device };
	struct option_words wanted;
	struct options options = *r->options;

	options.fs.read_only = r->read_only;
	options.fs.atime = r->atime;
	options_words(&options, &wanted);
	return ask_mounted(r->m.place, &now.status) == 0 && running_word(&now, WORD_ATIME) &&
	       !strcmp(running_word(&now, WORD_READ_ONLY), wanted.word[WORD_READ_ONLY]) &&
	       !strcmp(running_word(&now, WORD_ATIME), wanted.word[WORD_ATIME]);
}

/* The question is answered by the old process, or by the new one as soon as it is there. */
static errint_t wait_for_daemon(const struct remount *r)
{
	const struct timespec pause = { .tv_nsec = 5000000 };

	for (unsigned i = 0; i < WAIT_TRIES; i++) {
		if (is_done(r))
			return 0;
		nanosleep(&pause, NULL);
	}
	return -ETIMEDOUT;
}

static errint_t remount_daemon(const struct remount *r, char *ret_reason, size_t size)
{
	static const uint32_t atime[] = {
		[FS_ATIME_RELATIVE] = DXF_ATIME_RELATIVE,
		[FS_ATIME_STRICT] = DXF_ATIME_STRICT,
		[FS_ATIME_NEVER] = DXF_ATIME_NEVER,
	};
	CLEANUP_FD int fd = open(r->m.place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dxf_ioc_remount change = {
		.what = DXF_REMOUNT_READ_ONLY | DXF_REMOUNT_ATIME,
		.read_only = r->read_only,
		.atime = atime[r->atime],
	};

	if (fd < 0 || ioctl(fd, DXF_IOC_REMOUNT, &change) < 0)
		return -errno;
	snprintf(ret_reason, size, "%.*s", (int)sizeof(change.reason), change.reason);
	return change.error ? change.error : wait_for_daemon(r);
}

/* Order: the one that forbids more comes first. */
static errint_t change_both(const struct remount *r, unsigned long flags, char *ret_reason,
			    size_t size)
{
	bool kernel_first = r->read_only && !r->was_read_only;
	int err = kernel_first ? remount_kernel(r, flags | MS_RDONLY) : 0;

	if (err)
		return err;
	err = remount_daemon(r, ret_reason, size);
	if (err && kernel_first)
		remount_kernel(r, flags);
	if (err || kernel_first)
		return err;
	return remount_kernel(r, flags | (r->read_only ? MS_RDONLY : 0));
}

static int remount(struct remount *r)
{
	const struct options *o = r->options;
	char reason[512] = "";
	unsigned long flags = 0;
	int err = kernel_flags(r, &flags);

	if (!err)
		err = change_both(r, flags, reason, sizeof(reason));
	if (!err)
		return 0;
	log_error("daxfuse: %s: cannot be remounted: %s\n", o->mountpoint, strerror(-err));
	if (*reason || err == -EBUSY || err == -EPERM)
		log_error("%s\n",
			  *reason ? reason
			  : err == -EPERM
				  ? "only root may"
				  : "see who has files open for writing: fuser -vm MOUNTPOINT");
	return EXIT_MOUNT;
}

int again_remount(const struct options *options)
{
	struct remount r = { .options = options };
	int status = find_mounted(&r);

	if (!status)
		status = check_unchanged(&r);
	if (!status && !options->fake) {
		r.was_read_only = !strcmp(running_word(&r.m, WORD_READ_ONLY), "ro");
		r.read_only = options->given & OPTION_READ_ONLY ? options->fs.read_only
								: r.was_read_only;
		r.atime = options->given & OPTION_ATIME ? options->fs.atime : running_atime(&r);
		status = remount(&r);
	}
	cleanup_mounted(&r.m);
	return status;
}
