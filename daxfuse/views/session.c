/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls of the module (include/daxfuse/daxview.h). */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/base/errint.h"
#include "internal.h"

enum { BUSY_TRIES = 100, BUSY_PAUSE_NS = 20000000 };

static const char *reason_of(const struct daxview_session *wish, int err)
{
	static const char *const reasons[] = {
		[DAXVIEW_REASON_DEVICE] = "this kernel maps the device in a way that is not known",
		[DAXVIEW_REASON_READONLY] = "the device is open for reading only",
		[DAXVIEW_REASON_ALIGN] = "the device's alignment is 1 GiB",
		[DAXVIEW_REASON_LAYOUT] = "the device's ranges are not where they are expected",
	};

	if (err == -EOPNOTSUPP && wish->reason < ARRAY_SIZE(reasons) && reasons[wish->reason])
		return reasons[wish->reason];
	if (err == -EPROTO)
		return "the module daxview is of an older version";
	return err == -EBUSY ? "another process has views of this device" : strerror(-err);
}

static errint_t open_module(int *ret_fd, char *ret_reason, size_t size)
{
	int fd = open(DAXVIEW_PATH, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	int err = fd < 0 ? -errno : 0;

	if (err == -ENOENT || err == -ENODEV || err == -ENXIO)
		snprintf(ret_reason, size, "the module daxview is not loaded");
	else if (err)
		snprintf(ret_reason, size, "%s: %s", DAXVIEW_PATH, strerror(-err));
	if (!err)
		*ret_fd = fd;
	return err;
}

/* A child that the last process has just forked may have its session for a moment. */
static errint_t call_session(int fd, struct daxview_session *wish)
{
	const struct timespec pause = { .tv_nsec = BUSY_PAUSE_NS };
	int err;

	for (unsigned i = 0; i < BUSY_TRIES; i++) {
		err = ioctl(fd, DAXVIEW_IOC_SESSION, wish) ? -errno : 0;
		if (err != -EBUSY)
			break;
		nanosleep(&pause, NULL);
	}
	return err;
}

/* One without views has ended with its process. */
static errint_t adopt_or_begin(int fd, const struct device *dev, struct view_table *table,
			       struct daxview_session *ret_wish)
{
	struct daxview_session wish = {
		.size = sizeof(wish),
		.flags = DAXVIEW_ADOPT,
		.device = device_fd(dev),
	};
	int err = -ENOENT;

	if (table->agreed) {
		memcpy(wish.key, table->key, sizeof(wish.key));
		err = call_session(fd, &wish);
	} else if (getrandom(table->key, sizeof(table->key), 0) != sizeof(table->key)) {
		err = -EIO;
	}
	if (err == -ENOENT) {
		wish.flags = DAXVIEW_REVOKE;
		memcpy(wish.key, table->key, sizeof(wish.key));
		err = call_session(fd, &wish);
	}
	*ret_wish = wish;
	return !err && wish.version < DAXVIEW_VERSION ? -EPROTO : err;
}

/* With no holder views end with this process. */
static errint_t hold(int session, int holder)
{
	struct daxview_hold hold = { .size = sizeof(hold), .session = session };

	return holder >= 0 && ioctl(holder, DAXVIEW_IOC_HOLD, &hold) ? -errno : 0;
}

errint_t session_begin(const struct device *dev, struct view_table *table, int holder,
		       int *ret_session, char *ret_reason, size_t size)
{
	struct daxview_session wish;
	int fd, err = open_module(&fd, ret_reason, size);

	if (err)
		return err;
	err = adopt_or_begin(fd, dev, table, &wish);
	if (!err)
		err = hold(fd, holder);
	if (err) {
		snprintf(ret_reason, size, "%s", reason_of(&wish, err));
		close(fd);
		return err;
	}
	table->agreed = true;
	*ret_session = fd;
	return 0;
}

errint_t session_create(int session, uint64_t ino, uint64_t size, uint64_t times,
			uint64_t *ret_number, int *ret_fd)
{
	struct daxview_create create = {
		.size = sizeof(create),
		.cookie = ino,
		.file_size = size,
		.times = times,
	};

	if (ioctl(session, DAXVIEW_IOC_CREATE, &create))
		return -errno;
	*ret_number = create.view;
	*ret_fd = create.fd;
	return 0;
}

static void fill_piece(struct daxview_piece *wanted, const struct map_piece *piece)
{
	*wanted = (struct daxview_piece){
		.offset = piece->file_offset,
		.length = piece->length,
		.device = piece->zero ? DAXVIEW_HOLE : piece->device_offset,
		.flags = piece->zero || piece->writable ? 0 : DAXVIEW_PIECE_READ,
	};
}

errint_t session_set(int session, uint64_t number, const struct map_piece *pieces, unsigned count)
{
	const struct map_piece *last = &pieces[count - 1];
	struct daxview_piece wanted[PENDING_PIECES];
	struct daxview_set set = {
		.size = sizeof(set),
		.view = number,
		.offset = pieces->file_offset,
		.length = last->file_offset + last->length - pieces->file_offset,
		.pieces = (uintptr_t)wanted,
		.count = count,
	};

	for (unsigned i = 0; i < count; i++)
		fill_piece(&wanted[i], &pieces[i]);
	return ioctl(session, DAXVIEW_IOC_SET, &set) ? -errno : 0;
}

errint_t session_forget(int session, uint64_t number, uint64_t offset, uint64_t length)
{
	struct daxview_set set = {
		.size = sizeof(set),
		.view = number,
		.offset = offset,
		.length = length,
	};

	return ioctl(session, DAXVIEW_IOC_SET, &set) ? -errno : 0;
}

errint_t session_sync(int session, uint64_t number, uint64_t offset, uint64_t length)
{
	struct daxview_range range = {
		.size = sizeof(range),
		.view = number,
		.offset = offset,
		.length = length,
	};

	return ioctl(session, DAXVIEW_IOC_SYNC, &range) ? -errno : 0;
}

errint_t session_set_size(int session, uint64_t number, uint64_t size)
{
	struct daxview_set set = {
		.size = sizeof(set),
		.flags = DAXVIEW_SET_SIZE,
		.view = number,
		.file_size = size,
	};

	return ioctl(session, DAXVIEW_IOC_SET, &set) ? -errno : 0;
}

errint_t session_set_privileged(int session, uint64_t number, bool privileged)
{
	struct daxview_set set = {
		.size = sizeof(set),
		.flags = privileged ? DAXVIEW_SET_PRIVILEGED : DAXVIEW_SET_PLAIN,
		.view = number,
	};

	return ioctl(session, DAXVIEW_IOC_SET, &set) ? -errno : 0;
}

errint_t session_give_tail(int session, uint64_t number, const struct fs_tail *tail)
{
	struct daxview_piece pieces[FS_TAIL_EXTENTS + 1], *next = pieces;
	struct daxview_tail wanted = {
		.size = sizeof(wanted),
		.view = number,
		.end = tail->end,
		.size_word = tail->size_word,
		.pieces = (uintptr_t)pieces,
	};

	if (tail->last_page)
		*next++ = (struct daxview_piece){
			.offset = round_down(tail->size, MAP_PAGE_SIZE),
			.length = MAP_PAGE_SIZE,
			.device = tail->last_page,
		};
	for (unsigned i = 0; i < tail->count; i++)
		*next++ = (struct daxview_piece){
			.offset = tail->extent[i].file_offset,
			.length = tail->extent[i].length,
			.device = tail->extent[i].device_offset,
		};
	wanted.count = (uint32_t)(next - pieces);
	return ioctl(session, DAXVIEW_IOC_TAIL, &wanted) ? -errno : 0;
}

errint_t session_take_tail(int session, uint64_t number)
{
	struct daxview_tail tail = {
		.size = sizeof(tail),
		.flags = DAXVIEW_TAIL_TAKE,
		.view = number,
	};

	return ioctl(session, DAXVIEW_IOC_TAIL, &tail) ? -errno : 0;
}

errint_t session_read_time(int session, uint64_t number, uint64_t *ret_when)
{
	struct daxview_stat stat = { .size = sizeof(stat), .view = number };

	if (ioctl(session, DAXVIEW_IOC_STAT, &stat))
		return -errno;
	*ret_when = stat.read;
	return 0;
}

bool session_was_stored(int session, uint64_t number)
{
	struct daxview_stat stat = { .size = sizeof(stat), .view = number };

	return ioctl(session, DAXVIEW_IOC_STAT, &stat) || stat.stored;
}

errint_t session_ino(int session, uint64_t number, uint64_t *ret_ino)
{
	struct daxview_stat stat = { .size = sizeof(stat), .view = number };

	if (ioctl(session, DAXVIEW_IOC_STAT, &stat))
		return -errno;
	*ret_ino = stat.cookie;
	return 0;
}

errint_t session_next(int session, uint64_t *number, uint64_t *ret_ino)
{
	struct daxview_stat stat = {
		.size = sizeof(stat),
		.flags = DAXVIEW_STAT_NEXT,
		.view = *number,
	};

	if (ioctl(session, DAXVIEW_IOC_STAT, &stat))
		return -errno;
	*number = stat.view;
	*ret_ino = stat.cookie;
	return 0;
}

errint_t session_files(int session, uint64_t number, uint64_t *ret_files)
{
	struct daxview_stat stat = { .size = sizeof(stat), .view = number };

	if (ioctl(session, DAXVIEW_IOC_STAT, &stat))
		return -errno;
	*ret_files = stat.files;
	return 0;
}

bool session_is_busy(int session, uint64_t device_offset, uint64_t length)
{
	struct daxview_busy busy = {
		.size = sizeof(busy),
		.device = device_offset,
		.length = length,
	};

	return ioctl(session, DAXVIEW_IOC_BUSY, &busy);
}

void session_revoke(int session, uint64_t number)
{
	struct daxview_revoke revoke = { .size = sizeof(revoke), .view = number };

	ioctl(session, DAXVIEW_IOC_REVOKE, &revoke); /* it may be gone */
}

void session_answer(int session, uint64_t question, int err)
{
	struct daxview_answer answer = {
		.size = sizeof(answer),
		.error = (uint32_t)-err,
		.question = question,
	};

	ioctl(session, DAXVIEW_IOC_ANSWER, &answer); /* its asker may have been killed */
}
