/* SPDX-License-Identifier: BSD-3-Clause */
/* The last thing that is done for a mount: see giveup.h. Nothing here allocates but one buffer. */
#include "giveup.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel.h"
#include "outside.h"

enum { REQUEST_MAX = 2 << 20 };

void giveup_signals(sigset_t *ret_set)
{
	sigemptyset(ret_set);
	sigaddset(ret_set, SIGCHLD);
	sigaddset(ret_set, SIGTERM);
	sigaddset(ret_set, SIGINT);
	sigaddset(ret_set, SIGHUP);
}

void giveup_detach(const struct place *place)
{
	if (fork() != 0)
		return;
	close_range(3, ~0U, 0);
	outside_detach_places(place->number ? place->number : places_number(place->path));
	_exit(0);
}

static bool wants_reply(const struct fuse_in_header *in)
{
	return in->opcode != FUSE_FORGET && in->opcode != FUSE_BATCH_FORGET &&
	       in->opcode != FUSE_INTERRUPT;
}

/* Of reading /dev/fuse: unmounted, or aborted. Else a request was withdrawn, or too large. */
static bool is_over(int err)
{
	return err == ENODEV || err == ECONNABORTED || err == EPERM;
}

static void look_at_signal(const struct giveup *g)
{
	struct signalfd_siginfo info;

	if (read(g->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo != SIGCHLD)
		giveup_detach(&g->place);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static void answer_eio(int fuse, const struct fuse_in_header *in)
{
	struct fuse_out_header out = { .len = sizeof(out), .error = -EIO, .unique = in->unique };
	ssize_t n = write(fuse, &out, sizeof(out));

	(void)n; /* withdrawn meanwhile */
}

void giveup_answer(const struct giveup *g)
{
	const struct fuse_out_header again = { .len = sizeof(again),
					       .error = KERNEL_NOTIFY_RESEND };
	struct fuse_in_header *in = malloc(REQUEST_MAX);
	struct pollfd fds[] = { { g->fuse, POLLIN, 0 }, { g->signals, POLLIN, 0 } };
	ssize_t n = write(g->fuse, &again, sizeof(again));

	if (g->stop)
		giveup_detach(&g->place);
	while (in && (poll(fds, 2, -1) >= 0 || errno == EINTR)) {
		if (fds[1].revents)
			look_at_signal(g);
		if (!fds[0].revents)
			continue;
		n = read(g->fuse, in, REQUEST_MAX);
		if (n < 0 && is_over(errno))
			break;
		if (n >= (ssize_t)sizeof(*in) && wants_reply(in))
			answer_eio(g->fuse, in);
	}
	free(in);
}
