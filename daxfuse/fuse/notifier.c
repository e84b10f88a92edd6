/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The process that gives the kernel's orders to forget (notifier.h says why it is one of its own).
 *
 * It is forked while the daemon has one thread, keeps two descriptors and closes all others: it
 * must not hold the pool's lock, nor a pipe that somebody waits to see the end of. An order is one
 * message on a socket, the answer its errno. It ends when the other end of the socket is closed,
 * also by a SIGKILL of the daemon. If it is dead itself, another one is started for the next order.
 */
#include "notifier.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/format.h"
#include "daxfuse/keeper/kernel.h"

struct notifier {
	int fuse_fd;
	int fd;
	pid_t pid;
};

struct order {
	enum { ORDER_NODE, ORDER_NAMES, ORDER_NAME } kind;
	struct fuse_notify_inval_inode_out node;
	struct fuse_notify_inval_entry_out entry;
	char name[DXF_NAME_MAX + 1];
};

static errint_t carry_out(int fuse_fd, const struct order *order)
{
	static const int codes[] = {
		[ORDER_NODE] = KERNEL_NOTIFY_INVAL_INODE,
		[ORDER_NAMES] = KERNEL_NOTIFY_INC_EPOCH,
		[ORDER_NAME] = KERNEL_NOTIFY_INVAL_ENTRY,
	};
	struct fuse_out_header header = { .len = sizeof(header), .error = codes[order->kind] };
	struct iovec iov[3] = { { &header, sizeof(header) } };
	int count = 1;

	if (order->kind == ORDER_NODE) {
		iov[count++] = (struct iovec){ (void *)&order->node, sizeof(order->node) };
	} else if (order->kind == ORDER_NAME) {
		iov[count++] = (struct iovec){ (void *)&order->entry, sizeof(order->entry) };
		iov[count++] = (struct iovec){ (void *)order->name, order->entry.namelen + 1 };
	}
	for (int i = 1; i < count; i++)
		header.len += (uint32_t)iov[i].iov_len;
	return writev(fuse_fd, iov, count) < 0 ? -errno : 0;
}

/* Ends with its parent, whose end of the socket is closed then. */
static void notify(int fuse_fd, int fd)
{
	struct order order;

	prctl(PR_SET_NAME, "daxfuse-notify");
	while (recv(fd, &order, sizeof(order), 0) == sizeof(order)) {
		int err = carry_out(fuse_fd, &order);

		if (send(fd, &err, sizeof(err), MSG_NOSIGNAL) < 0)
			break;
	}
	_exit(0);
}

/* Keep these two only: above all not the pool's lock; and a reader of the daemon's output waits
 * until nobody has the other end. */
static void close_others(int a, int b)
{
	CLEANUP_FD int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	unsigned low = (unsigned)(a < b ? a : b), high = (unsigned)(a < b ? b : a);

	for (int i = 0; nothing >= 0 && i < 3; i++)
		dup2(nothing, i);
	if (low > 3)
		close_range(3, low - 1, 0);
	if (high > low + 1)
		close_range(low + 1, high - 1, 0);
	close_range(high + 1, ~0U, 0);
}

static errint_t start(struct notifier *n)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return -errno;
	n->fd = ends[0];
	n->pid = fork();
	if (n->pid == 0) {
		close_others(n->fuse_fd, ends[1]);
		notify(n->fuse_fd, ends[1]);
	}
	close(ends[1]);
	if (n->pid < 0) {
		int err = -errno;

		close(ends[0]);
		return err;
	}
	return 0;
}

/* Close its socket, so that it ends, and reap it. */
static void stop(struct notifier *n)
{
	if (n->pid < 0)
		return;
	close(n->fd);
	while (waitpid(n->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

errint_t notifier_start(int fuse_fd, struct notifier **ret_notifier)
{
	struct notifier *n = malloc(sizeof(*n));
	int err;

	if (!n)
		return -ENOMEM;
	n->fuse_fd = fuse_fd;
	err = start(n);
	if (err)
		free(n);
	else
		*ret_notifier = n;
	return err;
}

void notifier_stop(struct notifier *notifier)
{
	if (!notifier)
		return;
	stop(notifier);
	free(notifier);
}

/* -EPIPE: it is dead. */
static int try_order(struct notifier *n, const struct order *what)
{
	int answer;

	if (send(n->fd, what, sizeof(*what), MSG_NOSIGNAL) != sizeof(*what) ||
	    recv(n->fd, &answer, sizeof(answer), 0) != sizeof(answer))
		return -EPIPE;
	return answer;
}

/* Somebody may kill it (the OOM killer?): then another one does it. */
static int order(struct notifier *notifier, const struct order *what)
{
	int err = try_order(notifier, what);

	if (err != -EPIPE)
		return err;
	stop(notifier);
	err = start(notifier);
	if (err) {
		notifier->fd = -1;
		notifier->pid = -1;
		return err;
	}
	return try_order(notifier, what);
}

int notifier_invalidate(struct notifier *notifier, uint64_t node, int64_t offset, int64_t length)
{
	return order(notifier, &(struct order){
				       .kind = ORDER_NODE,
				       .node = { .ino = node, .off = offset, .len = length },
			       });
}

int notifier_forget_names(struct notifier *notifier)
{
	return order(notifier, &(struct order){ .kind = ORDER_NAMES });
}

int notifier_forget_name(struct notifier *notifier, uint64_t parent, const char *name)
{
	struct order what = {
		.kind = ORDER_NAME,
		.entry = { .parent = parent, .namelen = (uint32_t)strlen(name) },
	};

	if (what.entry.namelen >= sizeof(what.name))
		return -ENAMETOOLONG;
	strcpy(what.name, name);
	return order(notifier, &what);
}
