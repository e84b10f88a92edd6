/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state machine of vhost-user. Queues run only while nothing is said that concerns them: a
 * message that changes the memory stops all of them before, one about a queue stops that one; what
 * can run afterwards is started again, where it was. So the memory's table needs no lock, and no
 * request sees it change.
 *
 * A message that is wrong ends the connection, unless the front end wants an answer to each.
 */
#include "backend.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "dialect.h"
#include "message.h"
#include "window.h"

#define FEATURE_INDIRECT (UINT64_C(1) << 28)
#define FEATURE_EVENT_IDX (UINT64_C(1) << 29)
#define FEATURE_PROTOCOL (UINT64_C(1) << 30)
#define FEATURE_VERSION_1 (UINT64_C(1) << 32)
#define FEATURES (FEATURE_INDIRECT | FEATURE_EVENT_IDX | FEATURE_PROTOCOL | FEATURE_VERSION_1)

#define PROTOCOL_MQ (UINT64_C(1) << 0)
#define PROTOCOL_REPLY_ACK (UINT64_C(1) << 3)
#define PROTOCOL_BACKEND_CHANNEL (UINT64_C(1) << 5)
#define PROTOCOL_CONFIG (UINT64_C(1) << 9)
#define PROTOCOL_BACKEND_FDS (UINT64_C(1) << 10)
#define PROTOCOL_RESET_DEVICE (UINT64_C(1) << 13)
#define PROTOCOL_MEM_SLOTS (UINT64_C(1) << 15)
#define PROTOCOL_FEATURES \
	(PROTOCOL_MQ | PROTOCOL_REPLY_ACK | PROTOCOL_CONFIG | PROTOCOL_RESET_DEVICE)

/* The file system device's configuration space. */
struct device_config {
	char tag[EXPORTS_TAG_MAX];
	uint32_t request_queues;
};

struct backend {
	const struct backend_config *config;
	struct backend_record *record;
	struct memory memory;
	struct ring ring[BACKEND_QUEUES];
};

/* With a window, what the VMM needs for it, in its dialect. */
static uint64_t protocol_features(const struct backend *b)
{
	const struct dialect *d = b->config->window ? window_dialect(b->config->window) : NULL;

	if (!d)
		return PROTOCOL_FEATURES | PROTOCOL_MEM_SLOTS;
	return PROTOCOL_FEATURES | PROTOCOL_BACKEND_CHANNEL | PROTOCOL_BACKEND_FDS | d->feature |
	       (d->memory_slots ? PROTOCOL_MEM_SLOTS : 0);
}

/* How a message is answered. */
enum answer { ANSWER_NONE, ANSWER_NUMBER, ANSWER_STATE, ANSWER_PAYLOAD };

/* ---- queues ------------------------------------------------------------------------------- */

static void stop_all(struct backend *b)
{
	for (unsigned i = 0; i < BACKEND_QUEUES; i++)
		ring_stop(&b->ring[i]);
}

static errint_t start_all(struct backend *b)
{
	int err = 0;

	for (unsigned i = 0; !err && i < BACKEND_QUEUES; i++) {
		struct ring *ring = &b->ring[i];

		if (!ring->running) {
			ring->queue.event_idx = b->record->features & FEATURE_EVENT_IDX;
			ring->queue.indirect = b->record->features & FEATURE_INDIRECT;
		}
		err = ring_start(ring, &b->memory);
	}
	return err;
}

/* Of a message about one; it does not run now. NULL: there is none. */
static struct ring *stopped_ring(struct backend *b, uint64_t index)
{
	struct ring *ring = index < BACKEND_QUEUES ? &b->ring[index] : NULL;

	if (ring)
		ring_stop(ring);
	return ring;
}

static bool is_payload(const struct message *m, size_t size)
{
	return m->size == size;
}

/* Anything else might make us wait when it is read or written. */
static errint_t check_eventfd(int fd)
{
	char path[32], kind[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, kind, sizeof(kind) - 1);
	kind[n < 0 ? 0 : n] = '\0';
	if (strcmp(kind, "anon_inode:[eventfd]") != 0)
		return -EBADF;
	return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) ? -errno : 0;
}

enum { VRING_INDEX = 0xff, VRING_NO_FD = 0x100 };

/* Which of a queue's descriptors: the message's, or none. */
static errint_t set_descriptor(struct backend *b, struct message *m)
{
	struct ring *ring = stopped_ring(b, m->payload.number & VRING_INDEX);
	CLEANUP_FD int fd = -1;
	int *to;

	if (!ring || !is_payload(m, sizeof(m->payload.number)))
		return -EINVAL;
	if (!(m->payload.number & VRING_NO_FD)) {
		fd = message_take_fd(m);
		if (fd < 0 || check_eventfd(fd))
			return -EBADF;
	}
	if (m->kind == MESSAGE_SET_VRING_ERR)
		return 0; /* a queue that is broken is seen by its silence */
	to = m->kind == MESSAGE_SET_VRING_KICK ? &ring->kick : &ring->call;
	if (*to >= 0)
		close(*to);
	*to = TAKE_FD(fd);
	if (m->kind == MESSAGE_SET_VRING_KICK && !(b->record->features & FEATURE_PROTOCOL))
		ring->record->enabled = true;
	return 0;
}

static errint_t set_vring_state(struct backend *b, struct message *m)
{
	struct ring *ring = stopped_ring(b, m->payload.state.index);
	uint32_t num = m->payload.state.num;

	if (!ring || !is_payload(m, sizeof(m->payload.state)))
		return -EINVAL;
	switch (m->kind) {
	case MESSAGE_SET_VRING_NUM:
		if (!is_power_of_two(num) || num > QUEUE_SIZE_MAX)
			return -EINVAL;
		ring->record->size = num;
		break;
	case MESSAGE_SET_VRING_BASE:
		if (num > UINT16_MAX)
			return -EINVAL;
		ring_set_base(ring, (uint16_t)num);
		break;
	default:
		ring->record->enabled = num;
	}
	return 0;
}

static errint_t set_vring_address(struct backend *b, struct message *m)
{
	struct ring *ring = stopped_ring(b, m->payload.address.index);

	if (!ring || !is_payload(m, sizeof(m->payload.address)))
		return -EINVAL;
	ring->record->desc = m->payload.address.desc;
	ring->record->avail = m->payload.address.avail;
	ring->record->used = m->payload.address.used;
	ring->record->placed = true;
	return 0;
}

/* It stops; where it would go on. */
static errint_t get_vring_base(struct backend *b, struct message *m)
{
	struct ring *ring = stopped_ring(b, m->payload.state.index);

	if (!ring || !is_payload(m, sizeof(m->payload.state)))
		return -EINVAL;
	m->payload.state.num = ring->record->next_avail;
	if (ring->kick >= 0)
		close(ring->kick);
	ring->kick = -1;
	atomic_store(&ring->record->broken, false);
	return 0;
}

/* ---- memory ------------------------------------------------------------------------------- */

static struct memory_wire wire_of(const struct message_region *r)
{
	return (struct memory_wire){
		.guest = r->guest,
		.size = r->size,
		.user = r->user,
		.offset = r->offset,
	};
}

static errint_t set_memory_table(struct backend *b, struct message *m)
{
	const struct message_table *table = &m->payload.table;
	int err = 0;

	stop_all(b);
	memory_clear(&b->memory);
	if (m->size < offsetof(struct message_table, region) || table->count > MESSAGE_FDS ||
	    table->count != m->fd_count ||
	    m->size < offsetof(struct message_table, region[table->count]))
		return -EINVAL;
	for (uint32_t i = 0; !err && i < table->count; i++) {
		const struct memory_wire wire = wire_of(&table->region[i]);

		err = memory_add(&b->memory, &wire, m->fd[i]);
	}
	if (err)
		memory_clear(&b->memory);
	return err;
}

static errint_t change_region(struct backend *b, struct message *m)
{
	const struct memory_wire wire = wire_of(&m->payload.slot.region);

	if (!is_payload(m, sizeof(m->payload.slot)))
		return -EINVAL;
	stop_all(b);
	if (m->kind == MESSAGE_REM_MEM_REG)
		return memory_remove(&b->memory, &wire);
	return m->fd_count == 1 ? memory_add(&b->memory, &wire, m->fd[0]) : -EINVAL;
}

/* ---- the device --------------------------------------------------------------------------- */

static errint_t get_config(struct backend *b, struct message *m)
{
	struct message_config *c = &m->payload.config;
	struct device_config device = { .request_queues = 1 };

	memcpy(device.tag, b->config->tag, strlen(b->config->tag));
	if (m->size < offsetof(struct message_config, bytes) || c->size > sizeof(c->bytes) ||
	    m->size != offsetof(struct message_config, bytes) + c->size ||
	    c->offset > sizeof(c->bytes) - c->size)
		return -EINVAL;
	memset(c->bytes, 0, sizeof(c->bytes));
	if (c->offset < sizeof(device))
		memcpy(c->bytes, (const char *)&device + c->offset,
		       MIN((size_t)c->size, sizeof(device) - c->offset));
	return 0;
}

static errint_t set_features(struct backend *b, struct message *m)
{
	uint64_t all = m->kind == MESSAGE_SET_FEATURES ? FEATURES : protocol_features(b);

	if (!is_payload(m, sizeof(m->payload.number)) || (m->payload.number & ~all))
		return -EINVAL;
	if (m->kind == MESSAGE_SET_FEATURES) {
		stop_all(b);
		b->record->features = m->payload.number;
	} else {
		b->record->protocol = m->payload.number;
	}
	return 0;
}

/* Where the front end takes requests of ours. It has agreed on all that they need. */
static errint_t set_channel(struct backend *b, struct message *m)
{
	struct window *w = b->config->window;
	uint64_t needs = w ? PROTOCOL_BACKEND_CHANNEL | window_dialect(w)->feature : 0;
	CLEANUP_FD int fd = message_take_fd(m);
	int kind;
	socklen_t size = sizeof(kind);

	if (!w || (b->record->protocol & needs) != needs)
		return -EINVAL;
	/* a descriptor of another kind might make us wait */
	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &kind, &size) || kind != AF_UNIX)
		return -EBADF;
	stop_all(b);
	window_connect(w, TAKE_FD(fd));
	return 0;
}

static errint_t get_windows(const struct backend *b, struct message *m)
{
	const struct window *w = b->config->window;

	if (!w || !window_dialect(w)->asks_size)
		return -EOPNOTSUPP;
	memset(&m->payload, 0, sizeof(m->payload));
	m->payload.shmem.count = 1;
	m->payload.shmem.size[0] = window_size(w);
	m->size = sizeof(m->payload.shmem);
	return 0;
}

/* As when the driver has not begun: the guest is reset, or boots. What is in its window stays there
 * until it begins: the front end, which waits for us now, could not be asked. */
static void reset_device(struct backend *b)
{
	for (unsigned i = 0; i < BACKEND_QUEUES; i++) {
		ring_stop(&b->ring[i]);
		b->ring[i].record->enabled = false;
	}
	guest_reset(b->config->rings.guest);
}

static void get_number(const struct backend *b, struct message *m)
{
	switch (m->kind) {
	case MESSAGE_GET_FEATURES:
		m->payload.number = FEATURES;
		break;
	case MESSAGE_GET_PROTOCOL_FEATURES:
		m->payload.number = protocol_features(b);
		break;
	case MESSAGE_GET_QUEUE_NUM:
		m->payload.number = BACKEND_QUEUES;
		break;
	default:
		m->payload.number = b->config->window ? MEMORY_REGIONS : MEMORY_FILES;
	}
}

/* ---- messages ----------------------------------------------------------------------------- */

/* -EINVAL, or another: it was not understood. */
static errint_t take_message(struct backend *b, struct message *m, enum answer *ret_answer)
{
	*ret_answer = ANSWER_NONE;
	switch (m->kind) {
	case MESSAGE_GET_FEATURES:
	case MESSAGE_GET_PROTOCOL_FEATURES:
	case MESSAGE_GET_QUEUE_NUM:
	case MESSAGE_GET_MAX_MEM_SLOTS:
		*ret_answer = ANSWER_NUMBER;
		get_number(b, m);
		return 0;
	case MESSAGE_SET_FEATURES:
	case MESSAGE_SET_PROTOCOL_FEATURES:
		return set_features(b, m);
	case MESSAGE_SET_OWNER:
	case MESSAGE_SET_CONFIG: /* nothing of it can be set */
		return 0;
	case MESSAGE_RESET_OWNER:
	case MESSAGE_RESET_DEVICE:
		reset_device(b);
		return 0;
	case MESSAGE_SET_MEM_TABLE:
		return set_memory_table(b, m);
	case MESSAGE_ADD_MEM_REG:
	case MESSAGE_REM_MEM_REG:
		return change_region(b, m);
	case MESSAGE_SET_VRING_NUM:
	case MESSAGE_SET_VRING_BASE:
	case MESSAGE_SET_VRING_ENABLE:
		return set_vring_state(b, m);
	case MESSAGE_SET_VRING_ADDR:
		return set_vring_address(b, m);
	case MESSAGE_GET_VRING_BASE:
		*ret_answer = ANSWER_STATE;
		return get_vring_base(b, m);
	case MESSAGE_SET_VRING_KICK:
	case MESSAGE_SET_VRING_CALL:
	case MESSAGE_SET_VRING_ERR:
		return set_descriptor(b, m);
	case MESSAGE_SET_BACKEND_CHANNEL:
		return set_channel(b, m);
	case MESSAGE_GET_SHMEM_CONFIG:
		*ret_answer = ANSWER_PAYLOAD;
		return get_windows(b, m);
	case MESSAGE_GET_CONFIG:
		*ret_answer = ANSWER_PAYLOAD;
		return get_config(b, m);
	}
	return -EOPNOTSUPP;
}

static errint_t answer_message(const struct backend *b, struct message *m, enum answer answer,
			       int err)
{
	static const uint32_t sizes[] = {
		[ANSWER_NUMBER] = sizeof(uint64_t),
		[ANSWER_STATE] = sizeof(struct message_state),
	};
	bool acknowledges = (b->record->protocol & PROTOCOL_REPLY_ACK) &&
			    (m->flags & MESSAGE_NEED_REPLY);
	int socket = b->config->socket;

	if (!err && answer == ANSWER_PAYLOAD)
		return message_reply(socket, m, m->size);
	if (!err && answer != ANSWER_NONE)
		return message_reply(socket, m, sizes[answer]);
	if (!acknowledges || answer != ANSWER_NONE)
		return err;
	m->payload.number = err != 0;
	return message_reply(socket, m, sizeof(m->payload.number));
}

/* ---- what is kept ------------------------------------------------------------------------- */

/* Nothing waits in the socket: what was said is written down, and its descriptors are kept. */
static void keep_connection(struct backend *b)
{
	struct backend_fds fds;

	fds.region_count = 0;
	b->record->region_count = b->memory.count;
	for (unsigned i = 0; i < b->memory.count; i++) {
		const struct memory_region *r = &b->memory.region[i];

		b->record->region[i] = (struct memory_wire){
			r->guest, r->size, r->user, r->offset, r->fd < 0,
		};
		if (r->fd >= 0)
			fds.region[fds.region_count++] = r->fd;
	}
	fds.channel = b->config->window ? window_channel(b->config->window) : -1;
	for (unsigned i = 0; i < BACKEND_QUEUES; i++) {
		fds.kick[i] = b->ring[i].kick;
		fds.call[i] = b->ring[i].call;
	}
	b->config->keep(b->config->arg, &fds);
}

static bool brings_descriptors(const struct message *m)
{
	switch (m->kind) {
	case MESSAGE_SET_MEM_TABLE:
	case MESSAGE_ADD_MEM_REG:
	case MESSAGE_REM_MEM_REG:
	case MESSAGE_SET_VRING_KICK:
	case MESSAGE_SET_VRING_CALL:
	case MESSAGE_GET_VRING_BASE:
	case MESSAGE_SET_BACKEND_CHANNEL:
		return true;
	}
	return false;
}

/* As the record says; all that it takes was checked when it was said. */
static errint_t adopt_connection(struct backend *b, const struct backend_fds *fds)
{
	unsigned count = MIN(b->record->region_count, MEMORY_REGIONS), files = 0;
	int err = 0;

	if (b->config->window)
		window_connect(b->config->window, fds->channel);
	for (unsigned i = 0; i < BACKEND_QUEUES; i++) {
		b->ring[i].kick = fds->kick[i];
		b->ring[i].call = fds->call[i];
	}
	for (unsigned i = 0; i < count; i++) {
		const struct memory_wire *wire = &b->record->region[i];
		int fd = wire->device                ? b->config->device
			 : files < fds->region_count ? fds->region[files++]
						     : -1;
		int failed = memory_add(&b->memory, wire, fd);

		err = err ? err : failed;
	}
	for (unsigned i = 0; i < fds->region_count; i++)
		close(fds->region[i]);
	return err;
}

/* Keys of requests are not those of an earlier connection. */
static void begin_record(struct backend_record *record)
{
	record->reading = false;
	record->features = record->protocol = 0;
	record->region_count = 0;
	for (unsigned i = 0; i < BACKEND_QUEUES; i++)
		record->ring[i] = (struct ring_record){ .turns = record->ring[i].turns + 1 };
}

/* ---- the connection ------------------------------------------------------------------------ */

static errint_t serve_message(struct backend *b)
{
	struct message m;
	enum answer answer;
	int err = message_read(b->config->socket, &m) > 0 ? 0 : -EPIPE;

	if (!err) {
		err = take_message(b, &m, &answer);
		if (!err && brings_descriptors(&m))
			keep_connection(b);
		if (!err)
			err = start_all(b);
		err = answer_message(b, &m, answer, err);
	}
	message_drop(&m);
	return err;
}

static bool wait_for_message(const struct backend *b)
{
	struct pollfd socket = { .fd = b->config->socket, .events = POLLIN };

	while (poll(&socket, 1, -1) < 0) {
		if (errno != EINTR)
			return false;
	}
	return true;
}

static void serve_messages(struct backend *b)
{
	int err = 0;

	while (!err && wait_for_message(b)) {
		b->config->message(b->config->arg, true);
		err = serve_message(b);
		b->config->message(b->config->arg, false);
	}
}

static errint_t open_rings(struct backend *b)
{
	int err = 0;

	for (unsigned i = 0; i < BACKEND_QUEUES; i++) {
		int failed = ring_open(&b->ring[i], &b->config->rings, i, &b->record->ring[i]);

		err = err ? err : failed;
	}
	return err;
}

static void close_rings(struct backend *b)
{
	for (unsigned i = 0; i < BACKEND_QUEUES; i++)
		ring_close(&b->ring[i]);
}

void backend_serve(const struct backend_config *config)
{
	CLEANUP_FREE struct backend *b = calloc(1, sizeof(*b));
	int err = b ? 0 : -ENOMEM;

	if (err)
		return;
	b->config = config;
	b->record = config->record;
	b->memory.device = config->device;
	if (!config->adopted)
		begin_record(b->record);
	err = open_rings(b);
	if (config->adopted) {
		int failed = adopt_connection(b, config->adopted);

		err = err ? err : failed;
	}
	if (!err)
		err = start_all(b);
	keep_connection(b);
	if (!err)
		serve_messages(b);
	close_rings(b);
	memory_clear(&b->memory);
	guest_reset(config->rings.guest);
}
