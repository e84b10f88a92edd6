/* SPDX-License-Identifier: BSD-3-Clause */
/* Control messages are put together and taken apart in this file only; the client library, which is
 * another program, has its own. */
#include "rights.h"

#include <string.h>
#include <unistd.h>

void rights_put(struct msghdr *header, union rights *room, const int *fd, unsigned count)
{
	if (!count)
		return;
	memset(room, 0, sizeof(*room));
	room->align = (struct cmsghdr){
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
		.cmsg_len = CMSG_LEN(count * sizeof(int)),
	};
	memcpy(CMSG_DATA(&room->align), fd, count * sizeof(int));
	header->msg_control = room;
	header->msg_controllen = CMSG_SPACE(count * sizeof(int));
}

void rights_expect(struct msghdr *header, union rights *room)
{
	header->msg_control = room;
	header->msg_controllen = sizeof(*room);
}

unsigned rights_take(struct msghdr *header, int *ret_fd, unsigned most)
{
	unsigned taken = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (taken < most)
				ret_fd[taken++] = fd;
			else
				close(fd);
		}
	}
	return taken;
}
