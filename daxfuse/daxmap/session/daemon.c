/* SPDX-License-Identifier: BSD-3-Clause */
/* The protocol of include/daxfuse/ioctl.h and direct.h; nothing is remembered here. */
#include "daemon.h"

#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/vfs.h>

#include "descriptor.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/daxmap/sys.h"

enum { HELLO_TIMEOUT_MS = 2000 };

static errint_t send_ioctl(int fd, unsigned long request, void *argument)
{
	return syscall(SYS_ioctl, fd, request, argument) < 0 ? -errno : 0;
}

errint_t daemon_direct(int fd, char ret_path[sizeof(((struct dxf_ioc_direct *)0)->socket)])
{
	struct dxf_ioc_direct direct = { .socket = "" };
	struct statfs fs;
	int err;

	if (fstatfs(fd, &fs))
		return -errno;
	if (fs.f_type != FUSE_SUPER_MAGIC)
		return -ENOTTY;
	err = send_ioctl(fd, DXF_IOC_DIRECT, &direct);
	if (err)
		return err;
	direct.socket[sizeof(direct.socket) - 1] = '\0';
	if (!*direct.socket)
		return -EACCES;
	memcpy(ret_path, direct.socket, sizeof(direct.socket));
	return 0;
}

errint_t daemon_reopen(int fd, bool writable, int *ret_fd)
{
	char path[32];
	int got;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	got = (int)syscall(SYS_openat, AT_FDCWD, path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (got < 0)
		return -errno;
	*ret_fd = descriptor_own_file(got);
	return 0;
}

/* Whether the mount has no daemon and will have none: while one is being replaced the kernel waits.
 * */
static bool is_dead(int fd)
{
	struct statfs fs;

	return syscall(SYS_fstatfs, fd, &fs) && (errno == ENOTCONN || errno == ECONNABORTED);
}

errint_t daemon_map(int fd, struct dxf_ioc_map *map)
{
	int err = send_ioctl(fd, DXF_IOC_MAP, map);

	return (err == -ENOTCONN || err == -ECONNABORTED) && is_dead(fd) ? -EIO : err;
}

errint_t daemon_unmap(int fd, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct dxf_ioc_unmap unmap = { .offset = offset, .length = length, .grant = grant };

	return send_ioctl(fd, DXF_IOC_UNMAP, &unmap);
}

errint_t daemon_pin(int fd, uint64_t offset, uint64_t length)
{
	struct dxf_ioc_pin pin = { .offset = offset, .length = length };

	return send_ioctl(fd, DXF_IOC_PIN, &pin);
}

errint_t daemon_unpin(int fd, uint64_t offset, uint64_t length)
{
	struct dxf_ioc_pin pin = { .offset = offset, .length = length };

	return send_ioctl(fd, DXF_IOC_UNPIN, &pin);
}

errint_t daemon_promote(int fd, uint64_t offset, uint64_t length)
{
	struct dxf_ioc_promote promote = { .offset = offset, .length = length };

	return send_ioctl(fd, DXF_IOC_PROMOTE, &promote);
}

errint_t daemon_flush(int fd)
{
	if (!syscall(SYS_fsync, fd))
		return 0;
	return errno == ENOTCONN || errno == ECONNABORTED ? -EIO : -errno;
}

/* ---- the control socket ---- */

/*
 * A user who mounts chooses paths and sources, which may look like options: what counts is the
 * third word, and the last one, of a line that is all there. No word has a blank inside.
 */
static long owner_in_line(const char *line, dev_t dev)
{
	const char *options = strrchr(line, ' ');
	unsigned dev_major, dev_minor;
	long owner;

	options = options ? strstr(options, ",user_id=") : NULL;
	if (!options || !strchr(options, '\n') ||
	    sscanf(line, "%*u %*u %u:%u", &dev_major, &dev_minor) != 2 || dev_major != major(dev) ||
	    dev_minor != minor(dev) || sscanf(options, ",user_id=%ld", &owner) != 1)
		return -1;
	return owner;
}

/* The user that has mounted it, from the mount's user_id=; -1: not seen. */
static long mount_owner(dev_t dev)
{
	FILE *table = fopen("/proc/self/mountinfo", "re");
	char *line = NULL; /* as long as two paths */
	size_t room = 0;
	long owner = -1;

	while (table && owner < 0 && getline(&line, &room, table) > 0)
		owner = owner_in_line(line, dev);
	free(line);
	if (table)
		fclose(table);
	return owner;
}

static errint_t check_peer(int sock, dev_t dev)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &size))
		return -errno;
	if (peer.uid == 0 || peer.uid == geteuid())
		return 0;
	return (long)peer.uid == mount_owner(dev) ? 0 : -EPERM;
}

/* The files, and with them all pieces, may be another server's, which has only named this socket.
 * A daemon of before DIRECT_MOUNT does not say what it serves. */
static bool serves_mount(int sock, dev_t dev, const struct direct_message *welcome)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	long owner;

	if (welcome->flags & DIRECT_MOUNT)
		return welcome->cookie == ((uint64_t)major(dev) << 32 | minor(dev));
	owner = mount_owner(dev);
	if (owner == 0 || owner == (long)geteuid())
		return true;
	return !getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &size) && owner == (long)peer.uid;
}

static errint_t connect_to(const char *path, int *ret_socket)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), err;

	if (sock < 0)
		return -errno;
	memcpy(address.sun_path, path, strnlen(path, sizeof(address.sun_path)));
	sock = descriptor_own(sock);
	if (!connect(sock, (struct sockaddr *)&address, sizeof(address))) {
		*ret_socket = sock;
		return 0;
	}
	err = -errno;
	descriptor_close(sock);
	return err;
}

/* A message, and the descriptor that came with it, or -1. */
static errint_t receive_message(int sock, int timeout_ms, struct direct_message *ret_message,
				int *ret_fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = { ret_message, sizeof(*ret_message) };
	struct msghdr message = { .msg_iov = &part,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	struct pollfd ready = { .fd = sock, .events = POLLIN };
	struct cmsghdr *header;
	ssize_t got;
	int n = poll(&ready, 1, timeout_ms);

	if (n <= 0)
		return n < 0 ? -errno : -EAGAIN;
	/* not libc's: that is the preload's */
	got = syscall(SYS_recvmsg, sock, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (got < 0)
		return -errno;
	*ret_fd = -1;
	header = got ? CMSG_FIRSTHDR(&message) : NULL;
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(header), sizeof(int));
	if (got == (ssize_t)sizeof(*ret_message) && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return 0;
	sys_close(*ret_fd);
	return got ? -EPROTO : -ECONNRESET;
}

errint_t daemon_send(int sock, const struct direct_message *message)
{
	struct iovec part = { (void *)message, sizeof(*message) };
	struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };

	return syscall(SYS_sendmsg, sock, &header, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

errint_t daemon_receive(int sock, int timeout_ms, struct direct_message *ret_message)
{
	int fd, err = receive_message(sock, timeout_ms, ret_message, &fd);

	if (!err)
		sys_close(fd);
	return err;
}

static errint_t say_hello(int sock, dev_t dev, uint64_t session, struct welcome *ret_welcome)
{
	struct direct_message message = { .kind = DIRECT_HELLO,
					  .version = DIRECT_VERSION,
					  .session = session };
	int fd, err = daemon_send(sock, &message);

	if (!err)
		err = receive_message(sock, HELLO_TIMEOUT_MS, &message, &fd);
	if (err)
		return err == -EAGAIN ? -ETIMEDOUT : err;
	if (message.kind != DIRECT_WELCOME || message.version != DIRECT_VERSION || fd < 0) {
		sys_close(fd);
		if (message.kind == DIRECT_REFUSED && message.error > 0)
			return -message.error;
		return -EPROTO;
	}
	if (!serves_mount(sock, dev, &message)) {
		sys_close(fd);
		return -EPERM;
	}
	*ret_welcome = (struct welcome){ .session = message.session,
					 .flags = message.flags,
					 .device = descriptor_own(fd) };
	return 0;
}

errint_t daemon_connect(const char *path, dev_t dev, uint64_t session, struct welcome *ret_welcome,
			int *ret_socket)
{
	int sock = -1, err = connect_to(path, &sock);

	if (err)
		return err;
	err = check_peer(sock, dev);
	if (!err)
		err = say_hello(sock, dev, session, ret_welcome);
	if (err)
		descriptor_close(sock);
	else
		*ret_socket = sock;
	return err;
}
