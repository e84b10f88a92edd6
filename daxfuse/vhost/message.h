/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages of vhost-user on its socket: numbers, payloads, and how they are read and answered. The
 * protocol is described in QEMU's manual, integers are in host order.
 */
#ifndef DAXFUSE_VHOST_MESSAGE_H
#define DAXFUSE_VHOST_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "daxfuse/base/errint.h"
#include "memory.h"

enum message_kind {
	MESSAGE_GET_FEATURES = 1,
	MESSAGE_SET_FEATURES = 2,
	MESSAGE_SET_OWNER = 3,
	MESSAGE_RESET_OWNER = 4,
	MESSAGE_SET_MEM_TABLE = 5,
	MESSAGE_SET_VRING_NUM = 8,
	MESSAGE_SET_VRING_ADDR = 9,
	MESSAGE_SET_VRING_BASE = 10,
	MESSAGE_GET_VRING_BASE = 11,
	MESSAGE_SET_VRING_KICK = 12,
	MESSAGE_SET_VRING_CALL = 13,
	MESSAGE_SET_VRING_ERR = 14,
	MESSAGE_GET_PROTOCOL_FEATURES = 15,
	MESSAGE_SET_PROTOCOL_FEATURES = 16,
	MESSAGE_GET_QUEUE_NUM = 17,
	MESSAGE_SET_VRING_ENABLE = 18,
	MESSAGE_SET_BACKEND_CHANNEL = 21,
	MESSAGE_GET_CONFIG = 24,
	MESSAGE_SET_CONFIG = 25,
	MESSAGE_RESET_DEVICE = 34,
	MESSAGE_GET_MAX_MEM_SLOTS = 36,
	MESSAGE_ADD_MEM_REG = 37,
	MESSAGE_REM_MEM_REG = 38,
	MESSAGE_GET_SHMEM_CONFIG = 44,
};

enum {
	MESSAGE_VERSION = 1,
	MESSAGE_VERSION_MASK = 3,
	MESSAGE_REPLY = 4,
	MESSAGE_NEED_REPLY = 8,
	MESSAGE_FDS = 8, /* regions of a memory table */
	MESSAGE_CONFIG = 256,
	MESSAGE_WINDOWS = 256,
};

struct message_state {
	uint32_t index, num;
};

struct message_address {
	uint32_t index, flags;
	uint64_t desc, used, avail, log;
};

struct message_region {
	uint64_t guest, size, user, offset;
};

struct message_table {
	uint32_t count, padding;
	struct message_region region[MESSAGE_FDS];
};

struct message_slot {
	uint64_t padding;
	struct message_region region;
};

struct message_config {
	uint32_t offset, size, flags;
	uint8_t bytes[MESSAGE_CONFIG];
};

/* Windows by their number: a DAX window is the first one. */
struct message_shmem {
	uint32_t count, padding;
	uint64_t size[MESSAGE_WINDOWS];
};

struct message {
	uint32_t kind, flags, size;
	union {
		uint64_t number;
		struct message_state state;
		struct message_address address;
		struct message_table table;
		struct message_slot slot;
		struct message_config config;
		struct message_shmem shmem;
		uint8_t bytes[sizeof(uint64_t) * 48];
	} payload;
	int fd[MESSAGE_FDS];
	unsigned fd_count;
};

/* The next one, with the descriptors that came along, the caller's to close (message_drop()). 0:
 * the other side has gone; 1: there is one. -EPROTO: it is none. */
int message_read(int socket, struct message *ret_message);
/* Close the descriptors that are still its own. */
void message_drop(struct message *message);
/* The one descriptor of a message; -1: there is not just one. The caller's from now on. */
int message_take_fd(struct message *message);
/* An answer to it: size bytes of its payload. -errno */
errint_t message_reply(int socket, struct message *message, uint32_t size);

#endif
