/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Open files come and go while their program is asked, answers, maps and pins, and others cut the
 * file. The thread that answers never has to wait, so every question has its answer; the bytes
 * that move to where the end of the file was stay; and in the end nothing is held.
 */
#include "pool.h"

#include <linux/falloc.h>

enum { PAGE = 4096, SIZE = 5 * PAGE + 100, MAPPERS = 3, ROUNDS = 3000, CHANGES = 400 };

struct shared {
	struct pool *pool;
	uint64_t cut, shifted; /* inodes */
	_Atomic uint64_t cookies;
	atomic_bool finished;
};

static uint64_t last_page_of(uint64_t size)
{
	return size / PAGE * PAGE;
}

/* One file after the other: maps a page of it, and is closed, now and then in the middle of a
 * question. */
static void *map_and_close(void *arg)
{
	struct shared *s = arg;
	struct dxf_ioc_map *map = calloc(1, sizeof(*map));

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t ino = i % 2 ? s->cut : s->shifted;
		const struct vfs_open_file file = open_file(s->pool, ino);

		for (unsigned k = 0; k < 3; k++) {
			*map = (struct dxf_ioc_map){
				.session = 1,
				.cookie = atomic_fetch_add(&s->cookies, 1) + 1,
				.offset = k == 1 ? 0 : last_page_of(SIZE),
				.length = UINT64_MAX,
				.end = UINT64_MAX,
				.pages = 1,
				.access = k == 2 ? DXF_ACCESS_WRITE : DXF_ACCESS_READ,
			};
			clients_map(s->pool->clients, &file, map);
		}
		release(s->pool, file.handle);
	}
	free(map);
	return NULL;
}

static int pin(struct pool *pool, const struct vfs_open_file *file, const struct dxf_ioc_pin *pin)
{
	return clients_pin(pool->clients, &no_request, file, pin);
}

static int unpin(struct pool *pool, const struct vfs_open_file *file, const struct dxf_ioc_pin *pin)
{
	return clients_unpin(pool->clients, &no_request, file, pin);
}

static void *pin_and_unpin(void *arg)
{
	struct shared *s = arg;
	const struct vfs_open_file file = open_file(s->pool, s->cut);
	const struct dxf_ioc_pin small = { 0, PAGE }, large = { 0, 3 * PAGE };

	for (unsigned i = 0; i < ROUNDS; i++) {
		int first = pin(s->pool, &file, i % 2 ? &small : &large);
		int second = pin(s->pool, &file, &small);

		if (!second)
			assert_int_equal(unpin(s->pool, &file, &small), 0);
		if (!first && i % 5)
			assert_int_equal(unpin(s->pool, &file, i % 2 ? &small : &large), 0);
	}
	release(s->pool, file.handle);
	return NULL;
}

/* As the socket's thread does. */
static void answer_one(struct shared *s, const struct direct_message *message)
{
	struct clients *c = s->pool->clients;
	struct holder *h = holder_of_session(c, s->pool->session, message->cookie);

	if (h) {
		holder_let_go(h, message->offset, message->length, message->grant);
		holder_leave(h);
	}
	client_spoke(c, s->pool->session);
}

static void *answer(void *arg)
{
	struct shared *s = arg;
	struct direct_message message;

	while (!atomic_load(&s->finished)) {
		if (was_asked(s->pool, &message))
			answer_one(s, &message);
		else
			usleep(20);
	}
	return NULL;
}

static ssize_t compare(const struct iovec *iov, int count, size_t bytes, void *arg)
{
	const char *expected = arg;

	for (int i = 0; i < count; i++) {
		assert_memory_equal(iov[i].iov_base, expected, iov[i].iov_len);
		expected += iov[i].iov_len;
	}
	return (ssize_t)bytes;
}

static void shift(struct shared *s, int mode)
{
	assert_int_equal(vfs_fallocate(s->pool->vfs, &no_request, s->shifted, mode, 0, PAGE), 0);
}

static void *change(void *arg)
{
	struct shared *s = arg;
	const struct vfs_open_file cut = { .ino = s->cut };
	char expected[SIZE];

	memset(expected, 'x', sizeof(expected));
	for (unsigned i = 0; i < CHANGES; i++) {
		struct fs_setattr set = { .valid = FS_SET_SIZE };
		struct fs_attr attr;

		assert_int_equal(vfs_setattr(s->pool->vfs, &no_request, s->cut, &set, &attr), 0);
		assert_int_equal(vfs_write(s->pool->vfs, &no_request, &cut, expected, SIZE, 0, 0),
				 SIZE);
		shift(s, FALLOC_FL_INSERT_RANGE);
		shift(s, FALLOC_FL_COLLAPSE_RANGE);
		assert_int_equal(fs_read(s->pool->fs, s->shifted, 0, SIZE, compare, expected),
				 SIZE);
	}
	return NULL;
}

static void test_holders(void **state)
{
	struct shared s = { .pool = *state };
	pthread_t answers, others[MAPPERS + 2];
	struct fs_space space;

	s.cut = make_file(s.pool, "cut", SIZE);
	s.shifted = make_file(s.pool, "shifted", SIZE);
	pthread_create(&answers, NULL, answer, &s);
	for (unsigned i = 0; i < MAPPERS; i++)
		pthread_create(&others[i], NULL, map_and_close, &s);
	pthread_create(&others[MAPPERS], NULL, pin_and_unpin, &s);
	pthread_create(&others[MAPPERS + 1], NULL, change, &s);
	for (unsigned i = 0; i < MAPPERS + 2; i++)
		pthread_join(others[i], NULL);
	atomic_store(&s.finished, true);
	pthread_join(answers, NULL);
	assert_int_equal(atomic_load(&s.pool->clients->holder_count), 0);
	fs_get_space(s.pool->fs, &space);
	assert_int_equal(space.busy_blocks, 0);
}

static void *release_handle(void *arg)
{
	struct shared *s = arg;

	release(s->pool, s->cut);
	atomic_store(&s->finished, true);
	return NULL;
}

/* A thread that closes waits for the socket's thread, and not the other way round. */
static void test_a_holder_that_is_busy_is_not_closed(void **state)
{
	struct pool *pool = *state;
	const struct vfs_open_file file = open_file(pool, make_file(pool, "f", SIZE));
	struct shared s = { .pool = pool };
	struct holder *h;
	pthread_t closes;

	map_page(pool, &file, 5, 0, DXF_ACCESS_WRITE);
	h = holder_of_session(pool->clients, pool->session, 5);
	assert_non_null(h);
	s.cut = file.handle;
	assert_int_equal(pthread_create(&closes, NULL, release_handle, &s), 0);
	while (atomic_load(&pool->clients->holder_count))
		usleep(100);
	assert_null(holder_of_session(pool->clients, pool->session, 5));
	usleep(20000);
	assert_false(atomic_load(&s.finished));
	holder_let_go(h, 0, UINT64_MAX, UINT64_MAX);
	holder_leave(h);
	pthread_join(closes, NULL);
	assert_true(atomic_load(&s.finished));
}

/* ---- one open file, many threads ------------------------------------------------------- */

enum { UNPINNERS = 4, PINS = 64 };

struct unpinning {
	struct pool *pool;
	struct vfs_open_file file;
};

static const struct dxf_ioc_pin one_page = { 0, PAGE };

static void *unpin_some(void *arg)
{
	struct unpinning *u = arg;

	for (unsigned i = 0; i < PINS / UNPINNERS; i++)
		assert_int_equal(unpin(u->pool, &u->file, &one_page), 0);
	return NULL;
}

/* Each ends another pin. */
static void test_each_unpins_one(void **state)
{
	struct unpinning u = { .pool = *state };
	pthread_t thread[UNPINNERS];

	u.file = open_file(u.pool, make_file(u.pool, "pinned", PAGE));
	for (unsigned i = 0; i < PINS; i++)
		assert_int_equal(pin(u.pool, &u.file, &one_page), 0);
	for (unsigned i = 0; i < UNPINNERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, unpin_some, &u), 0);
	for (unsigned i = 0; i < UNPINNERS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(unpin(u.pool, &u.file, &one_page), -EINVAL);
	vfs_release(u.pool->vfs, u.file.ino, u.file.handle);
}

/* Calls that are executed twice, as their process died before it could answer them. */
static void test_executed_twice(void **state)
{
	struct pool *pool = *state;
	struct vfs_open_file file = open_file(pool, make_file(pool, "pinned", PAGE));
	const struct dxf_ioc_pin too_long = { 0, 2 * PAGE };
	struct vfs_answer slot = { .unique = 2 };
	const struct vfs_request request = { .answer = &slot };

	assert_int_equal(pin(pool, &file, &one_page), 0);
	assert_int_equal(clients_pin(pool->clients, &request, &file, &one_page), 0);
	assert_int_equal(clients_pin(pool->clients, &request, &file, &one_page), 0);
	slot.choice = 0;
	assert_int_equal(clients_unpin(pool->clients, &request, &file, &one_page), 0);
	assert_int_equal(clients_unpin(pool->clients, &request, &file, &one_page), 0);
	assert_int_equal(unpin(pool, &file, &one_page), 0);
	assert_int_equal(unpin(pool, &file, &one_page), -EINVAL);
	/* what fails the second time leaves nothing of the first */
	slot.choice = 0;
	assert_int_equal(clients_pin(pool->clients, &request, &file, &one_page), 0);
	assert_int_equal(clients_pin(pool->clients, &request, &file, &too_long), -ENXIO);
	assert_int_equal(unpin(pool, &file, &one_page), -EINVAL);
	vfs_release(pool->vfs, file.ino, file.handle);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_holder_that_is_busy_is_not_closed,
						pool_setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_holders, pool_setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_each_unpins_one, pool_setup, pool_teardown),
		cmocka_unit_test_setup_teardown(test_executed_twice, pool_setup, pool_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
