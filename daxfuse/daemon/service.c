/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * systemd starts a process again and gives it what was stored, but it knows nothing of the mount.
 * So what the supervisor does elsewhere is done here by the processes themselves:
 *
 * - `daxfuse restart`, and with it systemctl reload, executes the installed program in the same
 *   process: systemd sees neither an end nor a start.
 * - The program that serves is stored, too. If another one is installed that can't take over, the
 *   old one is executed when it is started: an upgrade takes the mount from nobody.
 * - When one process after the other has died (keeper/lives.h), the next one answers every request
 *   with EIO. It stays the main process, so that systemctl restart has another one try.
 */
#include "service.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/keeper/attach.h"
#include "daxfuse/keeper/ends.h"
#include "daxfuse/keeper/giveup.h"
#include "daxfuse/keeper/log.h"
#include "daxfuse/keeper/systemd.h"
#include "restart.h"
#include "state.h"

enum { EXIT_MOUNT = 32 };

bool service_take(struct daemon *d)
{
	return d->fds.memory >= 0 || systemd_take(&d->fds);
}

/* ---- the program ---------------------------------------------------------------- */

/* From now on it is ours that understands what is kept. Without it a mount is as good. */
static void store_program(struct daemon *d)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	systemd_replace(SYSTEMD_PROGRAM, fd);
	if (d->fds.program >= 0)
		close(d->fds.program);
	d->fds.program = fd;
}

/* There is none but us then. */
static bool is_own_program(int fd)
{
	struct stat its, ours;

	return fstat(fd, &its) || stat("/proc/self/exe", &ours) ||
	       (its.st_dev == ours.st_dev && its.st_ino == ours.st_ino);
}

static void become_last_program(const struct daemon *d, const char *reason)
{
	log_error("daxfuse: %s: the installed program %s; the last one goes on\n"
		  "unmount it and mount it again to use the installed one\n",
		  d->options->device, reason);
	if (kept_export(&d->fds) == 0)
		fexecve(d->fds.program, d->argv, environ);
}

errint_t service_adopt(struct daemon *d)
{
	int err = kept_map(d->fds.memory, &d->kept);
	const char *no = restart_objection(d->options, d->kept);

	if (!no) {
		store_program(d);
		return 0;
	}
	if (!is_own_program(d->fds.program))
		become_last_program(d, no);
	return err ? err : -EOPNOTSUPP;
}

void service_replace(struct daemon *d)
{
	d->kept->end = END_REPLACED;
	if (kept_export(&d->fds) == 0)
		execv(d->kept->binary, d->argv);
	log_error("daxfuse: %s: cannot be executed: %s\n", d->kept->binary, strerror(errno));
}

/* ---- the command line ------------------------------------------------------------- */

static void keep_words(struct kept *kept, char *const *words)
{
	size_t used = 0;
	uint32_t count = 0;

	for (; words[count]; count++) {
		size_t length = strlen(words[count]) + 1;

		if (length > sizeof(kept->words) - used)
			return;
		memcpy(kept->words + used, words[count], length);
		used += length;
	}
	kept->word_count = count;
}

static char **copy_kept_words(const struct kept *kept)
{
	char **words = calloc(kept->word_count + 1, sizeof(*words));
	const char *at = kept->words;

	for (uint32_t i = 0; words && i < kept->word_count; i++) {
		words[i] = strdup(at);
		at += strlen(at) + 1;
	}
	return words;
}

char **service_words(int *ret_count)
{
	int memory = systemd_look();
	struct kept *kept;
	char **words = NULL;

	if (memory < 0 || kept_map(memory, &kept))
		return NULL;
	if (kept->word_count)
		words = copy_kept_words(kept);
	if (words)
		*ret_count = (int)kept->word_count;
	munmap(kept, sizeof(*kept));
	return words;
}

/* ---- what is kept ----------------------------------------------------------------- */

errint_t service_store(struct daemon *d)
{
	systemd_forget(); /* descriptors that a process has stored which was killed meanwhile */
	keep_words(d->kept, d->argv);
	store_program(d);
	return systemd_store(&d->fds);
}

/* Nobody has it since the mount was given up, nor holds its views. If it can't be had, the process
 * that serves says why. */
static void regain_device(struct daemon *d)
{
	d->fds.device = open(d->kept->device, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (d->fds.device >= 0)
		systemd_replace(SYSTEMD_DEVICE, d->fds.device);
	if (d->options->views != VIEWS_OFF && !d->kept->no_mount)
		d->fds.views = kept_open_views(d->fds.device);
	if (d->fds.views >= 0)
		systemd_replace(SYSTEMD_VIEWS, d->fds.views);
}

bool service_begin(struct daemon *d)
{
	ends_begin(d->kept);
	ends_watch(d->kept);
	if (lives_are_hopeless(&d->kept->lives))
		return false;
	if (d->fds.device < 0)
		regain_device(d);
	return true;
}

void service_ready(const struct daemon *d)
{
	char text[256] = "serves";

	if (d->kept) {
		d->kept->lives.serves = true;
		d->kept->served = true;
		snprintf(text, sizeof(text), "serves %.200s",
			 d->kept->no_mount ? "guests" : d->kept->mountpoint);
	}
	systemd_ready(text);
}

/* ---- the end ---------------------------------------------------------------------- */

static void say_given_up(const struct kept *kept)
{
	log_error("daxfuse: %s: no process can serve, the last one: %s; the mount %s answers EIO "
		  "from now on\n"
		  "nothing that was acknowledged is lost; see the log and the cores, then have the "
		  "service restarted, or unmount it (umount -l %s) and check the pool "
		  "(fsck.daxfuse -n %s)\n",
		  kept->device, kept->last_reason, kept->mountpoint, kept->mountpoint,
		  kept->device);
}

int service_give_up(struct daemon *d)
{
	CLEANUP_FD int fuse = attach_mounted(&d->fds), signals = -1;
	sigset_t set;

	giveup_signals(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signals = signalfd(-1, &set, SFD_CLOEXEC);
	d->kept->end = END_GIVEN_UP;
	if (d->kept->no_mount)
		log_error("daxfuse: %s: no process can serve, the last one: %s; its guests get no "
			  "answers any more\n"
			  "nothing that was acknowledged is lost; see the log and the cores, and "
			  "check the pool (fsck.daxfuse -n %s)\n",
			  d->kept->device, d->kept->last_reason, d->kept->device);
	if (fuse >= 0 && signals >= 0) {
		say_given_up(d->kept);
		systemd_replace(SYSTEMD_DEVICE, -1);
		systemd_replace(SYSTEMD_SHELF_IN, -1);
		systemd_replace(SYSTEMD_SHELF_OUT, -1);
		systemd_replace(SYSTEMD_VIEWS, -1);
		kept_give_up(&d->fds);
		systemd_ready("answers EIO: no process could serve, see the log");
		giveup_answer(&(struct giveup){
			fuse, signals, { d->kept->mountpoint, d->kept->number }, 0 });
	}
	systemd_forget();
	return EXIT_MOUNT;
}

int service_end(struct daemon *d, int status)
{
	bool mounted = attach_is_mounted(d->kept, &d->fds);

	if (status && mounted) {
		d->kept->end = END_STATUS | (uint32_t)status;
		return SERVICE_EXIT_AGAIN;
	}
	systemd_forget();
	return status;
}
