/* SPDX-License-Identifier: BSD-3-Clause */
/* Of the room: what goes through the socket of admin.h, one message each way. */
#ifndef DAXFUSE_DAEMON_ADMIN_MESSAGE_H
#define DAXFUSE_DAEMON_ADMIN_MESSAGE_H

#include <stdint.h>

#include "admin.h"

#define ADMIN_SUFFIX ".guests"

struct admin_request {
	uint32_t cmd;
	uint32_t reserved;
	char directory[4096]; /* with its NUL */
	char body[8192];      /* as long as the ioctl's struct */
};

struct admin_answer {
	int32_t err;
	uint32_t reserved;
	char body[8192]; /* likewise, if err is 0 */
};

/* Where a device's socket lies, whether or not it is there. */
errint_t admin_path(const char *device, char *ret_path, size_t size);

#endif
