/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading and answering messages. A header of 12 bytes, then so many bytes as it says; descriptors
 * come with the header. */
#include "message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daxfuse/base/rights.h"

enum { WIRE_HEADER = 3 * sizeof(uint32_t) };

/* 1; 0: the end; -EPROTO: the end in its middle. */
static int read_all(int socket, void *buf, size_t size)
{
	ssize_t n = size ? recv(socket, buf, size, MSG_WAITALL) : 0;

	return n == (ssize_t)size ? 1 : -EPROTO;
}

int message_read(int socket, struct message *ret_message)
{
	union rights rights;
	struct iovec iov = { ret_message, WIRE_HEADER };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	rights_expect(&header, &rights);
	memset(ret_message, 0, sizeof(*ret_message));
	do {
		n = recvmsg(socket, &header, MSG_CMSG_CLOEXEC | MSG_WAITALL);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return 0;
	ret_message->fd_count = rights_take(&header, ret_message->fd, MESSAGE_FDS);
	if (n != WIRE_HEADER || (ret_message->flags & MESSAGE_VERSION_MASK) != MESSAGE_VERSION ||
	    (ret_message->flags & MESSAGE_REPLY) ||
	    ret_message->size > sizeof(ret_message->payload))
		return -EPROTO;
	return read_all(socket, &ret_message->payload, ret_message->size);
}

void message_drop(struct message *message)
{
	for (unsigned i = 0; i < message->fd_count; i++) {
		if (message->fd[i] >= 0)
			close(message->fd[i]);
	}
	message->fd_count = 0;
}

int message_take_fd(struct message *message)
{
	if (message->fd_count != 1)
		return -1;
	message->fd_count = 0;
	return message->fd[0];
}

errint_t message_reply(int socket, struct message *message, uint32_t size)
{
	struct iovec iov[] = { { message, WIRE_HEADER }, { &message->payload, size } };
	struct msghdr header = { .msg_iov = iov, .msg_iovlen = 2 };

	message->flags = MESSAGE_VERSION | MESSAGE_REPLY;
	message->size = size;
	return sendmsg(socket, &header, MSG_NOSIGNAL) == (ssize_t)(WIRE_HEADER + size) ? 0 : -EPIPE;
}
