/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All that is asked of the daemon, and of the kernel for it: the ioctls and the control
 * socket. Unit tests replace this file. 0 or a negative errno; the requests on a file may be
 * made in a signal handler.
 */
#ifndef DAXFUSE_DAXMAP_DAEMON_H
#define DAXFUSE_DAXMAP_DAEMON_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daxfuse/base/errint.h"
#include "daxfuse/direct.h"
#include "daxfuse/ioctl.h"

/* The path of its mount's socket. -ENOTTY: it is not on a daxfuse mount; -EACCES: that
 * does not give out its device. */
errint_t daemon_direct(int fd, char ret_path[sizeof(((struct dxf_ioc_direct *)0)->socket)]);
/* Open a file anew, read-write or read-only: its pins are those of this descriptor. */
errint_t daemon_reopen(int fd, bool writable, int *ret_fd);

/* DXF_IOC_MAP. -EIO: also that there is no daemon any more. */
errint_t daemon_map(int fd, struct dxf_ioc_map *map);
errint_t daemon_unmap(int fd, uint64_t offset, uint64_t length, uint64_t grant);
errint_t daemon_pin(int fd, uint64_t offset, uint64_t length);
errint_t daemon_unpin(int fd, uint64_t offset, uint64_t length);
errint_t daemon_promote(int fd, uint64_t offset, uint64_t length);
/* Make durable all that was stored to the file, by whomever. */
errint_t daemon_flush(int fd);

struct welcome {
	uint64_t session;
	uint32_t flags; /* DIRECT_* */
	int device;     /* its descriptor */
};
/* Connect and say HELLO. The other side must be root, the mount's owner or us, and serve the mount
 * whose files have this dev: -EPERM. The descriptors are close-on-exec and out of the program's
 * way. */
errint_t daemon_connect(const char *path, dev_t dev, uint64_t session, struct welcome *ret_welcome,
			int *ret_socket);
/* One message. -EAGAIN: none came in this time; else the connection has ended. */
errint_t daemon_receive(int socket, int timeout_ms, struct direct_message *ret_message);
errint_t daemon_send(int socket, const struct direct_message *message);

#endif
