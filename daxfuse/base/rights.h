/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors that go along with a message of a local socket (SCM_RIGHTS, unix(7)). */
#ifndef DAXFUSE_BASE_RIGHTS_H
#define DAXFUSE_BASE_RIGHTS_H

#include <sys/socket.h>

#define RIGHTS_MAX 128u

/* The caller's, as long as the header is in use. */
union rights {
	char room[CMSG_SPACE(RIGHTS_MAX * sizeof(int))];
	struct cmsghdr align;
};

/* These are to be sent along, and stay the caller's; 0: none, 1 to RIGHTS_MAX. */
void rights_put(struct msghdr *header, union rights *room, const int *fd, unsigned count);
/* Such may be received. */
void rights_expect(struct msghdr *header, union rights *room);
/* Those that were, the caller's from now on: how many. What is beyond `most` is closed. */
unsigned rights_take(struct msghdr *header, int *ret_fd, unsigned most);

#endif
