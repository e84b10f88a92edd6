/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A queue has a front and an end only. So to change it, it is turned once: each message is looked
 * at (MSG_PEEK), put to the end again if it is to stay, and dropped from the front after that. So
 * no moment is without it, and one of two that are there after a death is the older, or the same.
 * To be only looked through it need not be turned (SO_PEEK_OFF).
 */
#include "shelf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/lockrank.h"
#include "daxfuse/base/rights.h"

#define MARK UINT32_MAX /* the number of a message that is no lot */

struct label {
	uint64_t
		serial; /* of a lot: grows, and stays when it is put to the end; of a mark: random */
	uint32_t number;
	uint32_t note_size;
	char note[SHELF_NOTE];
};

/* A lot while it is in our hands. */
struct message {
	struct label label;
	int fd[SHELF_FDS];
	unsigned fd_count;
};

errint_t shelf_make(int *ret_in, int *ret_out)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	*ret_in = pair[0];
	*ret_out = pair[1];
	return 0;
}

/* ---- messages ------------------------------------------------------------------------- */

static void close_all(const int *fd, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		close(fd[i]);
}

static errint_t put_message(const struct shelf *s, const struct message *m)
{
	union rights rights;
	struct iovec iov = { (void *)&m->label, sizeof(m->label) };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };

	rights_put(&header, &rights, m->fd, m->fd_count);
	return sendmsg(s->in, &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* From the front if `from` is -1; else from that byte of the queue on, and on from there. */
static void look_from(const struct shelf *s, int from)
{
	setsockopt(s->out, SOL_SOCKET, SO_PEEK_OFF, &from, sizeof(from));
}

/* The next one, which stays where it is; its descriptors are the caller's. -EAGAIN: the end */
static errint_t look_at(const struct shelf *s, struct message *m)
{
	union rights rights;
	struct iovec iov = { &m->label, sizeof(m->label) };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	rights_expect(&header, &rights);
	n = recvmsg(s->out, &header, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	m->fd_count = 0;
	if (n < 0)
		return -errno;
	m->fd_count = rights_take(&header, m->fd, SHELF_FDS);
	if (!(header.msg_flags & MSG_CTRUNC))
		return n == sizeof(m->label) ? 0 : -EPROTO;
	close_all(m->fd, m->fd_count); /* too many are open, so some are missing */
	return -EMFILE;
}

static void drop_front(const struct shelf *s)
{
	struct label label;

	recv(s->out, &label, sizeof(label), MSG_DONTWAIT);
}

/* ---- turning it -------------------------------------------------------------------------- */

/* How many there are, and the highest serial. */
static unsigned count_messages(struct shelf *s)
{
	struct label label;
	unsigned count = 0;

	look_from(s, 0);
	while (recv(s->out, &label, sizeof(label), MSG_PEEK | MSG_DONTWAIT) == sizeof(label)) {
		s->serial = MAX(s->serial, label.serial);
		count++;
	}
	look_from(s, -1);
	return count;
}

/* Where the queue is full it is dropped first: there is a moment without it. */
static errint_t move_to_end(const struct shelf *s, const struct message *m)
{
	int err = put_message(s, m);

	if (err == -EAGAIN) {
		drop_front(s);
		return put_message(s, m);
	}
	if (!err)
		drop_front(s);
	return err;
}

/* Lots of this number go, if their serial is lower. */
static errint_t turn_locked(struct shelf *s, uint32_t number, uint64_t serial)
{
	int err = 0;

	lock_assert(LOCK_SHELF);
	for (unsigned left = count_messages(s); !err && left; left--) {
		struct message m;

		err = look_at(s, &m);
		if (err)
			return err;
		if (m.label.number != number || m.label.serial >= serial)
			err = move_to_end(s, &m);
		else
			drop_front(s);
		close_all(m.fd, m.fd_count);
	}
	return err;
}

/* ---- lots ----------------------------------------------------------------------------------- */

static errint_t fill_message(struct message *m, const struct shelf_lot *lot, uint64_t serial)
{
	if (lot->number >= SHELF_LOTS || lot->fd_count > SHELF_FDS || lot->note_size > SHELF_NOTE)
		return -EINVAL;
	m->label = (struct label){
		.serial = serial,
		.number = lot->number,
		.note_size = lot->note_size,
	};
	memcpy(m->label.note, lot->note, lot->note_size);
	memcpy(m->fd, lot->fd, lot->fd_count * sizeof(int));
	m->fd_count = lot->fd_count;
	return 0;
}

/* Order: the new one is there before the old one goes. */
errint_t shelf_put(struct shelf *s, const struct shelf_lot *lot)
{
	struct message m;
	int err;

	if (s->in < 0)
		return -EOPNOTSUPP;
	lock_mutex(LOCK_SHELF, &s->lock);
	err = fill_message(&m, lot, ++s->serial);
	if (!err)
		err = put_message(s, &m);
	if (!err)
		err = turn_locked(s, lot->number, m.label.serial);
	unlock_mutex(LOCK_SHELF, &s->lock);
	return err;
}

void shelf_remove(struct shelf *s, uint32_t number)
{
	if (s->in < 0)
		return;
	lock_mutex(LOCK_SHELF, &s->lock);
	turn_locked(s, number, UINT64_MAX);
	unlock_mutex(LOCK_SHELF, &s->lock);
}

/* Each lot's newest, with its descriptors. */
struct newest {
	uint64_t serial[SHELF_LOTS];
	struct shelf_lot lot[SHELF_LOTS];
};

static void take_newest(struct newest *n, struct message *m)
{
	struct shelf_lot *lot;

	if (m->label.number >= SHELF_LOTS || m->label.note_size > SHELF_NOTE ||
	    m->label.serial <= n->serial[m->label.number]) {
		close_all(m->fd, m->fd_count);
		return;
	}
	lot = &n->lot[m->label.number];
	n->serial[m->label.number] = m->label.serial;
	close_all(lot->fd, lot->fd_count);
	*lot = (struct shelf_lot){
		.number = m->label.number,
		.note_size = m->label.note_size,
		.fd_count = m->fd_count,
	};
	memcpy(lot->note, m->label.note, m->label.note_size);
	memcpy(lot->fd, m->fd, m->fd_count * sizeof(int));
}

static errint_t look_for_newest(struct shelf *s, struct newest *n)
{
	struct message m;
	int err;

	lock_mutex(LOCK_SHELF, &s->lock);
	look_from(s, 0);
	while (!(err = look_at(s, &m)))
		take_newest(n, &m);
	look_from(s, -1);
	unlock_mutex(LOCK_SHELF, &s->lock);
	return err == -EAGAIN ? 0 : err;
}

errint_t shelf_each(struct shelf *s, void (*fn)(void *arg, const struct shelf_lot *lot), void *arg)
{
	CLEANUP_FREE struct newest *newest = calloc(1, sizeof(*newest));
	int err;

	if (s->in < 0)
		return 0;
	if (!newest)
		return -ENOMEM;
	err = look_for_newest(s, newest);
	for (unsigned i = 0; i < SHELF_LOTS; i++) {
		if (newest->serial[i])
			fn(arg, &newest->lot[i]);
	}
	return err;
}

/* ---- life ------------------------------------------------------------------------------------ */

void shelf_open(struct shelf *s, int in, int out)
{
	*s = (struct shelf){ .in = in, .out = out };
	pthread_mutex_init(&s->lock, NULL);
	if (in >= 0)
		count_messages(s);
}

void shelf_close(struct shelf *s)
{
	pthread_mutex_destroy(&s->lock);
}
