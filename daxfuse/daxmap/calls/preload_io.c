/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libdaxmap-preload: a system call whose buffer is not mapped raises no signal; it fails with
 * EFAULT, or ends early. So buffers in mappings of ours are made ready before the call. If one is
 * taken back in between, and nothing was transferred, the call is repeated.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "daxfuse/daxmap.h"
#include "next.h"
#include "daxfuse/daxmap/preload.h"

enum { TRIES = 8 };

/* fill: the call stores to the buffer. */
static bool make_ready(const void *buffer, size_t size, bool fill)
{
	int saved = errno;

	if (!dxm_preload_near(buffer, size))
		return false;
	dxm_populate((void *)buffer, size, fill ? PROT_WRITE : PROT_READ);
	errno = saved;
	return true;
}

static bool make_parts_ready(const struct iovec *part, int count, bool fill)
{
	bool any = false;

	for (int i = 0; i < count; i++)
		any |= make_ready(part[i].iov_base, part[i].iov_len, fill);
	return any;
}

static bool make_message_ready(const struct msghdr *message, bool fill)
{
	return message && make_parts_ready(message->msg_iov, (int)message->msg_iovlen, fill);
}

/* Make ready and call, again if that was taken back. */
#define WITH(made_ready, call)                                                       \
	({                                                                           \
		ssize_t done_;                                                       \
		int tries_ = 0;                                                      \
		bool ours_;                                                          \
		do {                                                                 \
			ours_ = (made_ready);                                        \
			done_ = (call);                                              \
		} while (done_ < 0 && errno == EFAULT && ours_ && ++tries_ < TRIES); \
		done_;                                                               \
	})

/* ---- read ---- */

EXPORTED ssize_t read(int fd, void *buffer, size_t size)
{
	return WITH(make_ready(buffer, size, true), NEXT(read)(fd, buffer, size));
}

EXPORTED ssize_t pread(int fd, void *buffer, size_t size, off_t offset)
{
	return WITH(make_ready(buffer, size, true), NEXT(pread)(fd, buffer, size, offset));
}

EXPORTED ssize_t readv(int fd, const struct iovec *part, int count)
{
	return WITH(make_parts_ready(part, count, true), NEXT(readv)(fd, part, count));
}

EXPORTED ssize_t preadv(int fd, const struct iovec *part, int count, off_t offset)
{
	return WITH(make_parts_ready(part, count, true), NEXT(preadv)(fd, part, count, offset));
}

EXPORTED ssize_t preadv2(int fd, const struct iovec *part, int count, off_t offset, int flags)
{
	return WITH(make_parts_ready(part, count, true),
		    NEXT(preadv2)(fd, part, count, offset, flags));
}

EXPORTED ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
	return WITH(make_ready(buffer, size, true), NEXT(recv)(fd, buffer, size, flags));
}

EXPORTED ssize_t recvfrom(int fd, void *restrict buffer, size_t size, int flags,
			  __SOCKADDR_ARG address, socklen_t *restrict length)
{
	return WITH(make_ready(buffer, size, true),
		    NEXT(recvfrom)(fd, buffer, size, flags, address, length));
}

EXPORTED ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	return WITH(make_message_ready(message, true), NEXT(recvmsg)(fd, message, flags));
}

EXPORTED size_t fread(void *restrict buffer, size_t size, size_t count, FILE *restrict file)
{
	make_ready(buffer, size * count, true);
	return NEXT(fread)(buffer, size, count, file);
}

/* ---- write ---- */

EXPORTED ssize_t write(int fd, const void *buffer, size_t size)
{
	return WITH(make_ready(buffer, size, false), NEXT(write)(fd, buffer, size));
}

EXPORTED ssize_t pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
	return WITH(make_ready(buffer, size, false), NEXT(pwrite)(fd, buffer, size, offset));
}

EXPORTED ssize_t writev(int fd, const struct iovec *part, int count)
{
	return WITH(make_parts_ready(part, count, false), NEXT(writev)(fd, part, count));
}

EXPORTED ssize_t pwritev(int fd, const struct iovec *part, int count, off_t offset)
{
	return WITH(make_parts_ready(part, count, false), NEXT(pwritev)(fd, part, count, offset));
}

EXPORTED ssize_t pwritev2(int fd, const struct iovec *part, int count, off_t offset, int flags)
{
	return WITH(make_parts_ready(part, count, false),
		    NEXT(pwritev2)(fd, part, count, offset, flags));
}

EXPORTED ssize_t send(int fd, const void *buffer, size_t size, int flags)
{
	return WITH(make_ready(buffer, size, false), NEXT(send)(fd, buffer, size, flags));
}

EXPORTED ssize_t sendto(int fd, const void *buffer, size_t size, int flags,
			__CONST_SOCKADDR_ARG address, socklen_t length)
{
	return WITH(make_ready(buffer, size, false),
		    NEXT(sendto)(fd, buffer, size, flags, address, length));
}

EXPORTED ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	return WITH(make_message_ready(message, false), NEXT(sendmsg)(fd, message, flags));
}

EXPORTED size_t fwrite(const void *restrict buffer, size_t size, size_t count, FILE *restrict file)
{
	make_ready(buffer, size * count, false);
	return NEXT(fwrite)(buffer, size, count, file);
}

/* ---- the names for large files: off_t is the same here ---- */

_Static_assert(sizeof(off_t) == sizeof(off64_t), "one function serves both");

EXPORTED ssize_t pread64(int fd, void *buffer, size_t size, off64_t offset)
	__attribute__((alias("pread")));
EXPORTED ssize_t preadv64(int fd, const struct iovec *part, int count, off64_t offset)
	__attribute__((alias("preadv")));
EXPORTED ssize_t preadv64v2(int fd, const struct iovec *part, int count, off64_t offset, int flags)
	__attribute__((alias("preadv2")));
EXPORTED ssize_t pwrite64(int fd, const void *buffer, size_t size, off64_t offset)
	__attribute__((alias("pwrite")));
EXPORTED ssize_t pwritev64(int fd, const struct iovec *part, int count, off64_t offset)
	__attribute__((alias("pwritev")));
EXPORTED ssize_t pwritev64v2(int fd, const struct iovec *part, int count, off64_t offset, int flags)
	__attribute__((alias("pwritev2")));

/* ---- what programs compiled with _FORTIFY_SOURCE call ---- */

ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room);
ssize_t __pread_chk(int fd, void *buffer, size_t size, off_t offset, size_t room);
ssize_t __pread64_chk(int fd, void *buffer, size_t size, off_t offset, size_t room);
ssize_t __recv_chk(int fd, void *buffer, size_t size, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *buffer, size_t size, size_t room, int flags,
		       struct sockaddr *address, socklen_t *length);
size_t __fread_chk(void *buffer, size_t room, size_t size, size_t count, FILE *file);

EXPORTED ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room)
{
	return WITH(make_ready(buffer, size, true), NEXT(__read_chk)(fd, buffer, size, room));
}

EXPORTED ssize_t __pread_chk(int fd, void *buffer, size_t size, off_t offset, size_t room)
{
	return WITH(make_ready(buffer, size, true),
		    NEXT(__pread_chk)(fd, buffer, size, offset, room));
}

EXPORTED ssize_t __pread64_chk(int fd, void *buffer, size_t size, off_t offset, size_t room)
	__attribute__((alias("__pread_chk")));

EXPORTED ssize_t __recv_chk(int fd, void *buffer, size_t size, size_t room, int flags)
{
	return WITH(make_ready(buffer, size, true),
		    NEXT(__recv_chk)(fd, buffer, size, room, flags));
}

EXPORTED ssize_t __recvfrom_chk(int fd, void *buffer, size_t size, size_t room, int flags,
				struct sockaddr *address, socklen_t *length)
{
	return WITH(make_ready(buffer, size, true),
		    NEXT(__recvfrom_chk)(fd, buffer, size, room, flags, address, length));
}

EXPORTED size_t __fread_chk(void *buffer, size_t room, size_t size, size_t count, FILE *file)
{
	make_ready(buffer, size * count, true);
	return NEXT(__fread_chk)(buffer, room, size, count, file);
}
