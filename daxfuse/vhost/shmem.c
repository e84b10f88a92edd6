/* SPDX-License-Identifier: BSD-3-Clause */
/* The channel that the front end gave us: messages of vhost-user in the other direction. */
#include "shmem.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/rights.h"
#include "message.h"

/* SHMEM_MAP and SHMEM_UNMAP. */
struct wire_piece {
	uint8_t shmid, padding[7];
	uint64_t fd_offset, shm_offset, length, flags;
};

enum { WIRE_WRITABLE = 1, UUID_BYTES = 16 };

struct wire_request {
	uint32_t kind, flags, size;
	union {
		struct wire_piece piece;
		uint8_t uuid[UUID_BYTES];
	} payload;
} __attribute__((packed));

struct wire_answer {
	uint32_t kind, flags, size;
	uint64_t value;
} __attribute__((packed));

void shmem_open(struct shmem *s, int channel)
{
	shmem_close(s);
	*s = (struct shmem){ .channel = channel };
}

void shmem_close(struct shmem *s)
{
	if (s->channel >= 0)
		close(s->channel);
	s->channel = -1;
	s->owed = false;
}

static int64_t now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

static int milliseconds_left(const struct shmem_patience *patience)
{
	int64_t left;

	if (!patience->deadline)
		return -1;
	left = (patience->deadline - now() + 999999) / 1000000;
	return left < 0 ? 0 : (int)MIN(left, INT64_C(60000));
}

/* Until there is something to read. */
static errint_t await(const struct shmem *s, const struct shmem_patience *patience)
{
	struct pollfd fds[] = {
		{ .fd = s->channel, .events = POLLIN },
		{ .fd = patience->stop, .events = POLLIN },
	};
	int n;

	do {
		n = poll(fds, ARRAY_SIZE(fds), milliseconds_left(patience));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (fds[0].revents)
		return 0;
	return -ECANCELED;
}

/* It comes in one piece, as it was sent: what comes in part is from nobody whom we understand. */
errint_t shmem_settle(struct shmem *s, const struct shmem_patience *patience)
{
	struct wire_answer answer;
	ssize_t n;
	int err = s->channel < 0 || s->broken ? -ENOTCONN : await(s, patience);

	if (err)
		return err;
	n = recv(s->channel, &answer, sizeof(answer), MSG_DONTWAIT);
	if (n != sizeof(answer) || answer.kind != (uint32_t)s->kind ||
	    answer.size != sizeof(answer.value) || !(answer.flags & MESSAGE_REPLY)) {
		s->broken = true;
		return -ENOTCONN;
	}
	s->owed = false;
	/* of the barrier it says only that there is no such object */
	return answer.value && s->kind != SHMEM_BARRIER ? -EREMOTEIO : 0;
}

static errint_t send_request(const struct shmem *s, const struct wire_request *request, int fd)
{
	union rights rights;
	struct iovec iov = { (void *)request,
			     offsetof(struct wire_request, payload) + request->size };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	rights_put(&message, &rights, &fd, fd >= 0);
	/* there is room: nothing is asked before the last answer has come */
	return sendmsg(s->channel, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)iov.iov_len
		       ? 0
		       : -ENOTCONN;
}

errint_t shmem_ask(struct shmem *s, enum shmem_kind kind, const struct shmem_piece *piece,
		   const struct shmem_patience *patience)
{
	struct wire_request request = {
		.kind = kind,
		.flags = MESSAGE_VERSION | MESSAGE_NEED_REPLY,
		.size = kind == SHMEM_BARRIER ? UUID_BYTES : sizeof(struct wire_piece),
	};
	int err;

	if (s->channel < 0 || s->broken)
		return -ENOTCONN;
	if (kind != SHMEM_BARRIER)
		request.payload.piece = (struct wire_piece){
			.fd_offset = kind == SHMEM_MAP ? piece->file_offset : 0,
			.shm_offset = piece->window_offset,
			.length = piece->length,
			.flags = piece->writable ? WIRE_WRITABLE : 0,
		};
	err = send_request(s, &request, kind == SHMEM_MAP ? piece->fd : -1);
	if (err)
		return err;
	s->owed = true;
	s->kind = kind;
	return shmem_settle(s, patience);
}
