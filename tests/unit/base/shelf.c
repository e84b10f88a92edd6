/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors on a shelf: replaced, removed, found by the next process, whenever one is killed. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/shelf.h"

enum { LOTS = 5 };

/* Both ends, and this process's view. */
struct here {
	int in, out;
	struct shelf shelf;
};

static void open_here(struct here *h)
{
	assert_int_equal(shelf_make(&h->in, &h->out), 0);
	shelf_open(&h->shelf, h->in, h->out);
}

static void close_here(struct here *h)
{
	shelf_close(&h->shelf);
	close(h->in);
	close(h->out);
}

/* As the next process would. */
static void reopen_here(struct here *h)
{
	shelf_close(&h->shelf);
	shelf_open(&h->shelf, h->in, h->out);
}

/* A lot of files in memory, each of which says which one it is. */
static errint_t put(struct here *h, uint32_t number, uint32_t version, unsigned count)
{
	struct shelf_lot lot = { .number = number, .note_size = sizeof(version) };
	int err;

	memcpy(lot.note, &version, sizeof(version));
	for (; lot.fd_count < count; lot.fd_count++) {
		const uint32_t text[] = { number, version, lot.fd_count };
		int fd = memfd_create("lot", MFD_CLOEXEC);

		assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
		lot.fd[lot.fd_count] = fd;
	}
	err = shelf_put(&h->shelf, &lot);
	for (unsigned i = 0; i < count; i++)
		close(lot.fd[i]);
	return err;
}

struct found {
	unsigned lots;
	uint32_t version[SHELF_LOTS]; /* 0: not there */
	unsigned fds[SHELF_LOTS];
};

static void see_lot(void *arg, const struct shelf_lot *lot)
{
	struct found *found = arg;
	uint32_t version, text[3];

	assert_int_equal(lot->note_size, sizeof(version));
	memcpy(&version, lot->note, sizeof(version));
	assert_int_equal(found->version[lot->number], 0);
	found->lots++;
	found->version[lot->number] = version;
	found->fds[lot->number] = lot->fd_count;
	for (unsigned i = 0; i < lot->fd_count; i++) {
		assert_int_equal(pread(lot->fd[i], text, sizeof(text), 0), sizeof(text));
		assert_int_equal(text[0], lot->number);
		assert_int_equal(text[1], version);
		assert_int_equal(text[2], i);
		close(lot->fd[i]);
	}
}

static struct found look(struct here *h)
{
	struct found found = { 0 };

	assert_int_equal(shelf_each(&h->shelf, see_lot, &found), 0);
	return found;
}

static unsigned open_descriptors(void)
{
	unsigned count = 0;
	CLEANUP_DIR DIR *dir = opendir("/proc/self/fd");

	while (readdir(dir))
		count++;
	return count;
}

static void test_replaced_and_removed(void **state)
{
	unsigned before = open_descriptors();
	struct here h;
	struct found found;

	open_here(&h);
	assert_int_equal(look(&h).lots, 0);
	for (uint32_t i = 0; i < LOTS; i++)
		assert_int_equal(put(&h, i, 1, i), 0);
	assert_int_equal(put(&h, 2, 2, SHELF_FDS), 0);
	shelf_remove(&h.shelf, 3);
	shelf_remove(&h.shelf, 3);
	for (unsigned turn = 0; turn < 3; turn++) {
		found = look(&h);
		assert_int_equal(found.lots, LOTS - 1);
		assert_int_equal(found.version[3], 0);
		assert_int_equal(found.version[2], 2);
		assert_int_equal(found.fds[2], SHELF_FDS);
		assert_int_equal(found.fds[4], 4);
		reopen_here(&h);
	}
	assert_int_equal(put(&h, 4, 7, 1), 0);
	assert_int_equal(look(&h).version[4], 7);
	close_here(&h);
	assert_int_equal(open_descriptors(), before);
}

static void test_too_much(void **state)
{
	struct shelf_lot lot = { .number = SHELF_LOTS };
	struct here h;

	open_here(&h);
	assert_int_equal(shelf_put(&h.shelf, &lot), -EINVAL);
	lot = (struct shelf_lot){ .fd_count = SHELF_FDS + 1 };
	assert_int_equal(shelf_put(&h.shelf, &lot), -EINVAL);
	lot = (struct shelf_lot){ .note_size = SHELF_NOTE + 1 };
	assert_int_equal(shelf_put(&h.shelf, &lot), -EINVAL);
	close_here(&h);
}

static void test_without_one(void **state)
{
	struct shelf_lot lot = { 0 };
	struct shelf s;

	shelf_open(&s, -1, -1);
	assert_int_equal(shelf_put(&s, &lot), -EOPNOTSUPP);
	assert_int_equal(shelf_each(&s, see_lot, NULL), 0);
	shelf_remove(&s, 0);
	shelf_close(&s);
}

/* The queue takes no more: what was there is there still. */
static void test_full(void **state)
{
	struct here h;
	struct found found;
	const int small = 1;
	uint32_t count = 0;
	int err = 0;

	open_here(&h);
	assert_int_equal(put(&h, 0, 1, 1), 0);
	setsockopt(h.in, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	while (!err && count < SHELF_LOTS - 1)
		err = put(&h, ++count, 1, 1);
	assert_int_equal(err, -EAGAIN);
	put(&h, 0, 2, 1);
	found = look(&h);
	assert_true(found.version[0]);
	assert_true(found.lots >= count);
	for (uint32_t i = 0; i < count; i++)
		shelf_remove(&h.shelf, i);
	assert_true(look(&h).lots <= 1);
	close_here(&h);
}

/* A child that changes lots until it is killed. */
static void change_for_ever(struct here *h, volatile uint32_t *version)
{
	for (uint32_t i = 0;; i++) {
		uint32_t number = i % LOTS;

		put(h, number, version[number] + 1, number + 1);
		version[number]++;
	}
}

static void test_killed(void **state)
{
	volatile uint32_t *version = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct here h;

	open_here(&h);
	for (uint32_t i = 0; i < LOTS; i++)
		assert_int_equal(put(&h, i, ++version[i], i + 1), 0);
	for (unsigned kill_at = 0; kill_at < 200; kill_at++) {
		pid_t child = fork();
		struct found found;

		if (child == 0)
			change_for_ever(&h, version);
		usleep(200 + kill_at * 37 % 1000);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, NULL, 0), child);
		reopen_here(&h);
		found = look(&h);
		assert_int_equal(found.lots, LOTS);
		for (uint32_t i = 0; i < LOTS; i++) {
			assert_int_equal(found.fds[i], i + 1);
			/* the one that was told, or the one after it */
			assert_true(found.version[i] == version[i] ||
				    found.version[i] == version[i] + 1);
			version[i] = found.version[i];
		}
	}
	munmap((void *)version, 4096);
	close_here(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replaced_and_removed),
		cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_without_one),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
