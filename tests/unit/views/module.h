/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A module daxview of our own, in this process: open(), ioctl() and read() are wrapped when a test is
 * linked. It does what include/daxfuse/daxview.h says, for one session and small views; programs
 * are calls of the test: ask(), which waits as a thread in a fault does, and append(). Any of its
 * calls fails when the test says so.
 */
#ifndef DAXFUSE_TESTS_UNIT_VIEWS_MODULE_H
#define DAXFUSE_TESTS_UNIT_VIEWS_MODULE_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daxfuse/daxview.h"

enum { FAKE_VIEWS = 64, FAKE_PAGES = 512 * 512, FAKE_QUESTIONS = 256, FAKE_PAGE = 4096 };

/* What a page of a view is. */
#define FAKE_UNKNOWN UINT64_C(0)
#define FAKE_HOLE UINT64_C(1)
#define FAKE_PIECE UINT64_C(2) /* and the device's offset; */
#define FAKE_WRITES UINT64_C(4)
#define FAKE_TAIL UINT64_C(8) /* only append() reaches it */

struct fake_view {
	uint64_t number, ino; /* number 0: there is none */
	int fd;               /* that it was made with */
	unsigned files;
	bool revoked;
	uint64_t size;
	uint64_t read;             /* when */
	uint64_t times, size_word; /* on the device */
	uint64_t tail;             /* its end; 0: there is none */
	bool privileged;
	unsigned synced; /* calls */
	bool stored;
	uint64_t page[FAKE_PAGES];
};

struct fake_question {
	struct daxview_question said; /* kind 0: there is none */
	bool delivered, ended;
	int error;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	_Atomic int fd; /* the session's: its count is that of questions which were not read */
	bool exists, owned, held;
	uint8_t key[16];
	uint64_t last_view, last_question;
	struct fake_view view[FAKE_VIEWS];
	struct fake_question question[FAKE_QUESTIONS];
	char *memory;            /* the device */
	uint64_t wanted;         /* by fake_write_locked() */
	uint64_t busy, busy_end; /* of the device: in use */
	unsigned fail_at, calls; /* the call of this number fails, counted from 1 */
	int fail_error;
	uint32_t older;                                /* than ours, in versions */
	void (*resized)(const struct fake_view *view); /* a view has another size from now on */
} fake = { .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER, .fd = -1 };

/* Nobody waits for an answer. */
static bool fake_is_told(uint32_t kind)
{
	return kind == DAXVIEW_POISON || kind == DAXVIEW_CLOSED;
}

/* ---- parts -------------------------------------------------------------------------------- */

static struct fake_view *fake_find_locked(uint64_t number)
{
	for (unsigned i = 0; i < FAKE_VIEWS; i++)
		if (fake.view[i].number == number && number)
			return &fake.view[i];
	return NULL;
}

static void fake_tell_reader(void)
{
	eventfd_write(fake.fd, 1);
}

static void fake_end_locked(struct fake_question *question, int error)
{
	if (!question->delivered) {
		eventfd_t one;

		eventfd_read(fake.fd, &one);
	}
	question->ended = true;
	question->error = error;
	pthread_cond_broadcast(&fake.ended);
}

static void fake_end_view_locked(struct fake_view *view)
{
	memset(view, 0, sizeof(*view));
}

static struct fake_question *fake_put_locked(uint32_t kind, const struct fake_view *view,
					     uint64_t offset, uint64_t length)
{
	struct fake_question *question = fake.question;

	while (question->said.kind)
		question++;
	*question = (struct fake_question){ .said = {
						    .question = ++fake.last_question,
						    .view = view ? view->number : 0,
						    .cookie = view ? view->ino : 0,
						    .offset = offset,
						    .length = length,
						    .kind = kind,
					    } };
	fake_tell_reader();
	return question;
}

/* Of the last but one file the daemon hears. */
static void fake_close_locked(struct fake_view *view)
{
	if (--view->files == 0)
		fake_end_view_locked(view);
	else if (view->files == 1)
		fake_put_locked(DAXVIEW_CLOSED, view, 0, 0);
}

static void fake_take_tail_locked(struct fake_view *view)
{
	view->tail = 0;
	for (unsigned i = 0; i < FAKE_PAGES; i++)
		if (view->page[i] & FAKE_TAIL)
			view->page[i] = FAKE_UNKNOWN;
}

/* ---- calls ---------------------------------------------------------------------------------- */

static int fake_session_locked(struct daxview_session *wish)
{
	bool adopt = wish->flags & DAXVIEW_ADOPT;

	if (fake.owned)
		return -EBUSY;
	if (adopt && (!fake.exists || memcmp(fake.key, wish->key, sizeof(fake.key))))
		return -ENOENT;
	for (unsigned i = 0; !adopt && i < FAKE_VIEWS; i++)
		fake.view[i].revoked = true;
	wish->version = DAXVIEW_VERSION - fake.older;
	for (unsigned i = 0; adopt && i < FAKE_VIEWS; i++)
		fake_take_tail_locked(&fake.view[i]);
	memcpy(fake.key, wish->key, sizeof(fake.key));
	fake.owned = fake.exists = true;
	for (unsigned i = 0; i < FAKE_QUESTIONS; i++) {
		struct fake_question *question = &fake.question[i];

		if (question->said.kind && !question->ended) {
			question->delivered = false;
			fake_tell_reader();
		}
	}
	return 0;
}

static int fake_create_locked(struct daxview_create *create)
{
	struct fake_view *view = fake.view;

	while (view < fake.view + FAKE_VIEWS && view->number)
		view++;
	if (view == fake.view + FAKE_VIEWS)
		return -ENOMEM;
	view->fd = create->fd = memfd_create("view", MFD_CLOEXEC);
	view->revoked = false;
	view->number = create->view = ++fake.last_view;
	view->ino = create->cookie;
	view->size = create->file_size;
	view->times = create->times;
	view->privileged = false;
	view->tail = 0;
	view->files = 1; /* of the descriptor, which the registration takes over or ends */
	return 0;
}

static void fake_resize_locked(struct fake_view *view, uint64_t size)
{
	fake_take_tail_locked(view);
	view->size = size;
	for (unsigned i = 0; i < FAKE_QUESTIONS; i++) {
		struct fake_question *question = &fake.question[i];

		const struct daxview_question *said = &question->said;

		if (said->view == view->number && !question->ended && said->kind < DAXVIEW_POISON &&
		    (said->kind == DAXVIEW_ASK_EXTEND ? said->offset < size
						      : said->offset + said->length > size))
			fake_end_locked(question, 0);
	}
	if (fake.resized)
		fake.resized(view);
}

/* What some pieces say of a page. */
static uint64_t fake_page_of(const struct daxview_piece *piece, uint32_t count, uint64_t at)
{
	for (uint32_t i = 0; i < count; i++) {
		if (at < piece[i].offset || at - piece[i].offset >= piece[i].length)
			continue;
		if (piece[i].device == DAXVIEW_HOLE)
			return FAKE_HOLE;
		return (piece[i].device + at - piece[i].offset) | FAKE_PIECE |
		       (piece[i].flags & DAXVIEW_PIECE_READ ? 0 : FAKE_WRITES);
	}
	return FAKE_UNKNOWN;
}

static bool fake_pieces_fit(const struct fake_view *view, const struct daxview_tail *tail)
{
	const struct daxview_piece *piece = (const void *)(uintptr_t)tail->pieces;
	uint64_t at = (view->size + FAKE_PAGE - 1) / FAKE_PAGE * FAKE_PAGE;

	if (tail->count && piece->offset < at)
		at = view->size / FAKE_PAGE * FAKE_PAGE;
	for (uint32_t i = 0; i < tail->count; i++) {
		if (piece[i].offset != at || piece[i].flags || piece[i].device == DAXVIEW_HOLE)
			return false;
		at += piece[i].length;
	}
	return at == (tail->end + FAKE_PAGE - 1) / FAKE_PAGE * FAKE_PAGE;
}

static int fake_tail_locked(struct daxview_tail *tail)
{
	const struct daxview_piece *piece = (const void *)(uintptr_t)tail->pieces;
	struct fake_view *view = fake_find_locked(tail->view);

	if (!view)
		return -ENOENT;
	tail->file_size = view->size;
	if (tail->flags & DAXVIEW_TAIL_TAKE) {
		fake_take_tail_locked(view);
		return 0;
	}
	if (view->revoked)
		return -ESTALE;
	if (tail->end <= view->size || !fake_pieces_fit(view, tail))
		return -EINVAL;
	fake_take_tail_locked(view);
	for (uint32_t i = 0; i < tail->count; i++)
		for (uint64_t at = 0; at < piece[i].length; at += FAKE_PAGE) {
			uint64_t *page = &view->page[(piece[i].offset + at) / FAKE_PAGE];

			if (piece[i].offset + at >= view->size || !(*page & FAKE_WRITES))
				*page = (piece[i].device + at) | FAKE_PIECE | FAKE_WRITES |
					FAKE_TAIL;
		}
	view->tail = tail->end;
	view->size_word = tail->size_word;
	return 0;
}

static int fake_set_locked(const struct daxview_set *set)
{
	struct fake_view *view = fake_find_locked(set->view);
	const struct daxview_piece *piece = (const void *)(uintptr_t)set->pieces;
	uint64_t end = set->offset + set->length;

	if (!view || view->revoked)
		return view ? -ESTALE : -ENOENT;
	for (uint64_t i = set->offset / FAKE_PAGE; i < FAKE_PAGES && i * FAKE_PAGE < end; i++)
		view->page[i] = fake_page_of(piece, set->count, i * FAKE_PAGE);
	for (unsigned i = 0; i < FAKE_QUESTIONS; i++) {
		struct fake_question *question = &fake.question[i];

		const struct daxview_question *said = &question->said;

		if (said->view == view->number && !question->ended &&
		    (said->kind == DAXVIEW_ASK_READ || said->kind == DAXVIEW_ASK_WRITE) &&
		    said->offset < end && set->offset < said->offset + said->length)
			fake_end_locked(question, 0);
	}
	if (set->flags & DAXVIEW_SET_SIZE)
		fake_resize_locked(view, set->file_size);
	if (set->flags & (DAXVIEW_SET_PRIVILEGED | DAXVIEW_SET_PLAIN))
		view->privileged = set->flags & DAXVIEW_SET_PRIVILEGED;
	return 0;
}

/* Its memory is durable in any case: that it was asked is counted. */
static int fake_sync_locked(const struct daxview_range *range)
{
	struct fake_view *view = fake_find_locked(range->view);

	if (!view)
		return -ENOENT;
	if (range->flags || range->bitmap || !range->length ||
	    (range->offset | range->length) % FAKE_PAGE || range->offset > INT64_MAX ||
	    range->length > INT64_MAX - range->offset)
		return -EINVAL;
	view->synced++;
	return 0;
}

static int fake_revoke_locked(const struct daxview_revoke *revoke)
{
	struct fake_view *view = fake_find_locked(revoke->view);

	if (!view)
		return -ENOENT;
	view->revoked = true;
	view->tail = 0;
	memset(view->page, 0, sizeof(view->page));
	for (unsigned i = 0; i < FAKE_QUESTIONS; i++)
		if (fake.question[i].said.view == view->number && !fake.question[i].ended &&
		    !fake_is_told(fake.question[i].said.kind))
			fake_end_locked(&fake.question[i], -EIO);
	return 0;
}

/* The session's file is closed, and nobody holds it. */
static void fake_over_locked(void)
{
	for (unsigned i = 0; i < FAKE_VIEWS; i++)
		if (fake.view[i].number)
			fake_revoke_locked(&(struct daxview_revoke){ .view = fake.view[i].number });
}

static int fake_hold_locked(const struct daxview_hold *hold)
{
	if (hold->session != fake.fd)
		return -EINVAL;
	fake.held = true;
	return 0;
}

static int fake_answer_locked(const struct daxview_answer *answer)
{
	for (unsigned i = 0; i < FAKE_QUESTIONS; i++) {
		struct fake_question *question = &fake.question[i];

		if (!question->said.kind || question->said.question != answer->question ||
		    question->ended)
			continue;
		fake_end_locked(question, -(int)answer->error);
		if (fake_is_told(question->said.kind)) /* nobody waits */
			question->said.kind = 0;
		return 0;
	}
	return -ENOENT;
}

static int fake_stat_locked(struct daxview_stat *stat)
{
	struct fake_view *found = NULL;

	if (!(stat->flags & DAXVIEW_STAT_NEXT))
		found = fake_find_locked(stat->view);
	for (unsigned i = 0; (stat->flags & DAXVIEW_STAT_NEXT) && i < FAKE_VIEWS; i++)
		if (fake.view[i].number > stat->view &&
		    (!found || fake.view[i].number < found->number))
			found = &fake.view[i];
	if (!found)
		return -ENOENT;
	stat->view = found->number;
	stat->cookie = found->ino;
	stat->files = found->files;
	stat->read = found->read;
	stat->stored = found->stored;
	return 0;
}

static int fake_call_locked(unsigned long command, void *argument)
{
	const struct daxview_busy *busy = argument;

	/* an answer needs nothing that it might not get */
	if (fake.fail_at && command != DAXVIEW_IOC_ANSWER && ++fake.calls == fake.fail_at)
		return -fake.fail_error;
	switch (command) {
	case DAXVIEW_IOC_SESSION:
		return fake_session_locked(argument);
	case DAXVIEW_IOC_CREATE:
		return fake_create_locked(argument);
	case DAXVIEW_IOC_SET:
		return fake_set_locked(argument);
	case DAXVIEW_IOC_SYNC:
		return fake_sync_locked(argument);
	case DAXVIEW_IOC_REVOKE:
		return fake_revoke_locked(argument);
	case DAXVIEW_IOC_ANSWER:
		return fake_answer_locked(argument);
	case DAXVIEW_IOC_STAT:
		return fake_stat_locked(argument);
	case DAXVIEW_IOC_TAIL:
		return fake_tail_locked(argument);
	case DAXVIEW_IOC_HOLD:
		return fake_hold_locked(argument);
	case DAXVIEW_IOC_BUSY:
		return busy->device < fake.busy_end && fake.busy < busy->device + busy->length
			       ? -EBUSY
			       : 0;
	}
	return -ENOTTY;
}

/* ---- the kernel's functions ------------------------------------------------------------------ */

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	if (!strcmp(path, DAXVIEW_PATH)) {
		fake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
		return fake.fd;
	}
	va_start(args, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
	va_end(args);
	return __real_open64(path, flags, mode);
}

int __real_ioctl(int fd, unsigned long command, void *argument);
int __wrap_ioctl(int fd, unsigned long command, void *argument);
int __wrap_ioctl(int fd, unsigned long command, void *argument)
{
	int err;

	if (fd != fake.fd && command != DAXVIEW_IOC_HOLD)
		return __real_ioctl(fd, command, argument);
	pthread_mutex_lock(&fake.lock);
	err = fake_call_locked(command, argument);
	pthread_mutex_unlock(&fake.lock);
	errno = -err;
	return err ? -1 : 0;
}

ssize_t __real_read(int fd, void *buffer, size_t size);
ssize_t __wrap_read(int fd, void *buffer, size_t size);
ssize_t __wrap_read(int fd, void *buffer, size_t size)
{
	eventfd_t one;

	if (fd != fake.fd)
		return __real_read(fd, buffer, size);
	pthread_mutex_lock(&fake.lock);
	for (unsigned i = 0; i < FAKE_QUESTIONS; i++) {
		struct fake_question *question = &fake.question[i];

		if (!question->said.kind || question->delivered || question->ended)
			continue;
		question->delivered = true;
		eventfd_read(fake.fd, &one);
		memcpy(buffer, &question->said, sizeof(question->said));
		pthread_mutex_unlock(&fake.lock);
		return sizeof(question->said);
	}
	pthread_mutex_unlock(&fake.lock);
	errno = EAGAIN;
	return -1;
}

/* ---- programs and deaths --------------------------------------------------------------------- */

/* 0: what was asked about is known; or what the daemon said. The view may be gone meanwhile. */
static inline int ask(uint64_t number, uint32_t kind, uint64_t offset, uint64_t length)
{
	struct fake_question *question;
	struct fake_view *view;
	int err;

	pthread_mutex_lock(&fake.lock);
	view = fake_find_locked(number);
	if (!view || view->revoked) {
		pthread_mutex_unlock(&fake.lock);
		return -EIO;
	}
	question = fake_put_locked(kind, view, offset, length);
	while (!question->ended)
		pthread_cond_wait(&fake.ended, &fake.lock);
	err = question->error;
	question->said.kind = 0;
	pthread_mutex_unlock(&fake.lock);
	return err;
}

static inline char *fake_byte(const struct fake_view *view, uint64_t at)
{
	return fake.memory + view->page[at / FAKE_PAGE] / FAKE_PAGE * FAKE_PAGE + at % FAKE_PAGE;
}

/* Bytes [*at, end) of a write, as far as nobody must be asked; and what is to be asked there. */
static inline uint32_t fake_write_locked(struct fake_view *view, const char *bytes, uint64_t *at,
					 uint64_t end)
{
	uint64_t from = *at < view->size ? *at : view->size; /* zeroes up to *at */
	uint64_t limit = view->tail > view->size ? view->tail : view->size;
	uint64_t stop = end < limit ? end : limit;

	if (*at >= limit)
		return DAXVIEW_ASK_EXTEND;
	for (uint64_t page = from / FAKE_PAGE; page * FAKE_PAGE < stop; page++) {
		if (!(view->page[page] & FAKE_WRITES)) {
			fake.wanted = page * FAKE_PAGE;
			return DAXVIEW_ASK_WRITE;
		}
	}
	view->stored = true;
	for (uint64_t i = from; i < stop; i++)
		*fake_byte(view, i) = i < *at ? 0 : bytes[i - *at];
	for (uint64_t i = stop; stop > view->size && i % FAKE_PAGE; i++)
		*fake_byte(view, i) = 0;
	*at = stop;
	if (stop <= view->size)
		return 0;
	view->size = stop;
	/* another thread may be in fs_getattr() */
	atomic_store((_Atomic uint64_t *)(void *)(fake.memory + view->size_word), stop);
	return 0;
}

/* A program, of no privilege, writes to a view: 0, or what the daemon said. */
static inline int append(uint64_t number, const char *bytes, uint64_t offset, uint64_t length)
{
	uint64_t at = offset;
	int err = 0;

	while (!err && at < offset + length) {
		struct fake_view *view;
		uint64_t wanted;
		uint32_t kind = 0;

		pthread_mutex_lock(&fake.lock);
		view = fake_find_locked(number);
		if (!view || view->revoked)
			err = -EIO;
		else if (view->privileged)
			kind = DAXVIEW_ASK_STRIP;
		else
			kind = fake_write_locked(view, bytes + (at - offset), &at, offset + length);
		wanted = kind == DAXVIEW_ASK_WRITE ? fake.wanted : at;
		pthread_mutex_unlock(&fake.lock);
		if (kind)
			err = ask(number, kind, wanted,
				  kind == DAXVIEW_ASK_WRITE ? FAKE_PAGE : offset + length - at);
	}
	return err;
}

/* What is registered by this descriptor; its files are one less if that fails. */
static inline uint64_t fake_register(int fd, bool fails)
{
	uint64_t number = 0;

	pthread_mutex_lock(&fake.lock);
	for (unsigned i = 0; i < FAKE_VIEWS; i++) {
		struct fake_view *view = &fake.view[i];

		if (!view->number || view->fd != fd)
			continue;
		number = view->number;
		view->fd = -1;
		if (fails)
			fake_close_locked(view);
	}
	pthread_mutex_unlock(&fake.lock);
	return number;
}

/* A file has it open, or not any more: as the kernel does at open and release. */
static inline void fake_use(uint64_t number, bool use)
{
	struct fake_view *view;

	pthread_mutex_lock(&fake.lock);
	view = fake_find_locked(number);
	if (view && use)
		view->files++;
	else if (view)
		fake_close_locked(view);
	pthread_mutex_unlock(&fake.lock);
}

static inline uint64_t fake_page(uint64_t number, uint64_t offset)
{
	uint64_t page;

	pthread_mutex_lock(&fake.lock);
	page = fake_find_locked(number) ? fake_find_locked(number)->page[offset / FAKE_PAGE] : 0;
	pthread_mutex_unlock(&fake.lock);
	return page;
}

static inline unsigned fake_synced(uint64_t number)
{
	unsigned synced;

	pthread_mutex_lock(&fake.lock);
	synced = fake_find_locked(number) ? fake_find_locked(number)->synced : 0;
	pthread_mutex_unlock(&fake.lock);
	return synced;
}

static inline uint64_t fake_size(uint64_t number)
{
	uint64_t size;

	pthread_mutex_lock(&fake.lock);
	size = fake_find_locked(number) ? fake_find_locked(number)->size : 0;
	pthread_mutex_unlock(&fake.lock);
	return size;
}

/* Somebody reads it. */
static inline void fake_read(uint64_t number, uint64_t when)
{
	pthread_mutex_lock(&fake.lock);
	fake_find_locked(number)->read = when;
	pthread_mutex_unlock(&fake.lock);
}

static inline void fake_busy(uint64_t from, uint64_t end)
{
	pthread_mutex_lock(&fake.lock);
	fake.busy = from;
	fake.busy_end = end;
	pthread_mutex_unlock(&fake.lock);
}

/* Its descriptor is closed, and perhaps that which holds the session. */
static inline void fake_process_ends(bool and_holder)
{
	pthread_mutex_lock(&fake.lock);
	if (and_holder)
		fake.held = false;
	if (!fake.held)
		fake_over_locked();
	fake.owned = false;
	fake.fd = -1;
	fake.exists = fake.held;
	pthread_mutex_unlock(&fake.lock);
}

static inline unsigned fake_views(void)
{
	unsigned count = 0;

	pthread_mutex_lock(&fake.lock);
	for (unsigned i = 0; i < FAKE_VIEWS; i++)
		count += fake.view[i].number != 0;
	pthread_mutex_unlock(&fake.lock);
	return count;
}

static inline void fake_fail(unsigned at, int error)
{
	pthread_mutex_lock(&fake.lock);
	fake.fail_at = at;
	fake.fail_error = error;
	fake.calls = 0;
	pthread_mutex_unlock(&fake.lock);
}

#endif
