/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file that one thread appends to past the filesystem, while others look at it, and others again
 * do what ends its tail. It only grows, as all who ask see, and has every byte in the end. Run under
 * TSan, it finds what is shared without a lock.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "daxfuse/base/bits.h"
#include "tail.h"

enum { UNITS = 40, LOOKERS = 2, STEPS = 1500 };

struct scene {
	struct pool *pool;
	uint64_t ino;
	pthread_mutex_t lock; /* of the holder: it has the tail, or not */
	struct fs_tail_holder calls;
	struct holder *holder;
	atomic_bool over;
	atomic_uint begun, ended;
};

static void expect(bool truth, const char *what)
{
	if (truth)
		return;
	fprintf(stderr, "unexpected: %s\n", what);
	abort();
}

static errint_t locked_give(void *arg, void *cookie, const struct fs_tail *tail)
{
	struct scene *s = arg;
	int err;

	pthread_mutex_lock(&s->lock);
	err = holder_give(s->holder, cookie, tail);
	pthread_mutex_unlock(&s->lock);
	atomic_fetch_add(&s->begun, 1);
	return err;
}

static void locked_take(void *arg, void *cookie)
{
	struct scene *s = arg;

	pthread_mutex_lock(&s->lock);
	holder_take(s->holder, cookie);
	pthread_mutex_unlock(&s->lock);
	atomic_fetch_add(&s->ended, 1);
}

static bool append(struct scene *s, uint64_t length)
{
	bool fits;

	pthread_mutex_lock(&s->lock);
	fits = s->holder->given && s->holder->size + length <= s->holder->tail.end;
	if (fits)
		holder_append(s->holder, s->holder->size, length, 'a');
	pthread_mutex_unlock(&s->lock);
	return fits;
}

static void *appender(void *arg)
{
	uint64_t rng = 5;
	struct scene *s = arg;

	for (unsigned i = 0; i < STEPS;) {
		struct fs_attr attr;
		int err;

		if (append(s, 1 + next_random(&rng) % 3000)) {
			i++;
			continue;
		}
		expect(fs_getattr(s->pool->fs, s->ino, &attr) == 0, "getattr");
		err = fs_tail_begin(s->pool->fs, s->ino, attr.size, 4000, s->holder);
		/* it has grown meanwhile, or there is no holder at the moment */
		expect(!err || err == -ERANGE || err == -ENODEV, "begin");
	}
	atomic_store(&s->over, true);
	return NULL;
}

static void *looker(void *arg)
{
	uint64_t size = 0, rng = 7;
	struct scene *s = arg;

	while (!atomic_load(&s->over)) {
		bool named = next_random(&rng) % 2;
		struct fs_attr attr;
		int err = named ? fs_lookup(s->pool->fs, ROOT, "f", &attr)
				: fs_getattr(s->pool->fs, s->ino, &attr);

		expect(err == 0, "a look");
		expect(attr.size >= size, "a file that shrinks");
		size = attr.size;
		fs_was_read(s->pool->fs, s->ino, fs_clock());
	}
	return NULL;
}

static void end_somehow(struct scene *s, unsigned how)
{
	struct fs *fs = s->pool->fs;
	struct fs_iomap map;
	char byte = 'a';

	switch (how) {
	case 0:
		expect(fs_write(fs, NULL, s->ino, &byte, 1, 0, FS_WRITE_APPEND) == 1, "write");
		break;
	case 1:
		expect(fs_pread(fs, s->ino, &byte, 1, 0) >= 0 && byte == 'a', "read");
		break;
	case 2:
		expect(fs_iomap(fs, s->ino, 0, 1, &map) == 0, "iomap");
		break;
	case 3:
		expect(fs_setxattr(fs, NULL, s->ino, "user.x", "y", 1, 0) == 0, "setxattr");
		break;
	case 4:
		fs_set_tail_holder(fs, NULL);
		fs_set_tail_holder(fs, &s->calls);
		break;
	default:
		expect(fs_tail_end(fs, s->ino) == 0, "end");
	}
}

static void *ender(void *arg)
{
	uint64_t rng = 9;
	struct scene *s = arg;

	while (!atomic_load(&s->over)) {
		unsigned ended = atomic_load(&s->ended);

		/* each tail lives a little */
		while (atomic_load(&s->begun) == ended && !atomic_load(&s->over))
			sched_yield();
		end_somehow(s, (unsigned)(next_random(&rng) % 6));
	}
	return NULL;
}

static void assert_all(struct scene *s)
{
	static char buf[1 << 16];
	uint64_t at = 0;
	ssize_t n;

	while ((n = fs_pread(s->pool->fs, s->ino, buf, sizeof(buf), at)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(buf[i], 'a');
		at += (uint64_t)n;
	}
	assert_int_equal(n, 0);
	assert_true(at >= STEPS);
}

static void test_threads(void **state)
{
	pthread_t thread[LOOKERS + 2];
	struct scene s = { .pool = pool_new(UNITS), .lock = PTHREAD_MUTEX_INITIALIZER };

	s.calls = (struct fs_tail_holder){ .arg = &s, .give = locked_give, .take = locked_take };
	s.ino = make_file(s.pool, "f");
	s.holder = holder_set(s.pool);
	fs_set_tail_holder(s.pool->fs, &s.calls);
	for (unsigned i = 0; i < LOOKERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, looker, &s), 0);
	assert_int_equal(pthread_create(&thread[LOOKERS], NULL, ender, &s), 0);
	assert_int_equal(pthread_create(&thread[LOOKERS + 1], NULL, appender, &s), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(thread); i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_all(&s);
	assert_true(atomic_load(&s.ended) > 0);
	fs_set_tail_holder(s.pool->fs, NULL);
	assert_int_equal(atomic_load(&s.begun), atomic_load(&s.ended));
	pool_free(s.pool);
	free(s.pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_threads) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
