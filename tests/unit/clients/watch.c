/* SPDX-License-Identifier: BSD-3-Clause */
/* What watchers are told: nothing that changed is missing, rounds end, and programs are asked
 * before their stores are counted as seen. */
#include "pool.h"

#include "daxfuse/base/bits.h"

enum { INODES = 4, PAGES = 512, PAGE = 4096 };

static struct dxf_ioc_watch answer;

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * UINT64_C(0x2545f4914f6cdd1d) >> 16;
}

static struct vfs_open_file new_watcher(struct pool *pool)
{
	struct vfs_open_file file = open_file(pool, DXF_ROOT_INO);

	assert_int_equal(vfs_watch(pool->vfs, &file), 0);
	answer.generation = 0;
	return file;
}

static void read_events(struct pool *pool, const struct vfs_open_file *watcher)
{
	uint64_t before = answer.generation;

	assert_int_equal(vfs_watch_read(pool->vfs, watcher, &answer), 0);
	assert_true(!before || answer.generation == before + 1);
}

/* Whether an event of the last answer has all that what says, of that range. */
static bool has(uint64_t ino, unsigned what, uint64_t offset, uint64_t length)
{
	for (unsigned i = 0; i < answer.count; i++) {
		const struct dxf_ioc_event *event = &answer.event[i];

		if (event->ino == ino && (event->what & what) == what && event->offset <= offset &&
		    (event->length == UINT64_MAX ||
		     offset + length <= event->offset + event->length))
			return true;
	}
	return false;
}

static void test_who_is_one(void **state)
{
	struct pool *pool = *state;
	struct vfs_open_file watcher = open_file(pool, DXF_ROOT_INO);
	struct vfs_open_file folder = { .ino = DXF_ROOT_INO };

	assert_int_equal(vfs_watch(pool->vfs, &folder), -EBADF);
	assert_int_equal(vfs_watch_read(pool->vfs, &watcher, &answer), -ENODEV);
	assert_false(vfs_is_watched(pool->vfs));
	assert_int_equal(vfs_watch(pool->vfs, &watcher), 0);
	assert_int_equal(vfs_watch(pool->vfs, &watcher), -EBUSY);
	assert_true(vfs_is_watched(pool->vfs));
	assert_int_equal(vfs_watch_read(pool->vfs, &watcher, &answer), 0);
	assert_int_equal(answer.count, 0);
	release(pool, watcher.handle);
	assert_false(vfs_is_watched(pool->vfs));
	assert_int_equal(vfs_watch_read(pool->vfs, &watcher, &answer), -ENODEV);
}

/* ---- what the transport believes ---------------------------------------------------- */

static uint64_t forgotten[8];
static unsigned forgotten_count;

static void note_forgotten(void *arg, uint64_t ino, bool data)
{
	if (!data && forgotten_count < ARRAY_SIZE(forgotten))
		forgotten[forgotten_count++] = ino;
}

static bool was_forgotten(uint64_t ino)
{
	for (unsigned i = 0; i < forgotten_count; i++) {
		if (forgotten[i] == ino)
			return true;
	}
	return false;
}

/* A program that has changed something may not have been answered yet, and the transport believes
 * what was before, also of files that nobody maps: a reader of the event would copy that. */
static void test_attributes_are_forgotten(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f", 10), other = make_file(pool, "g", 10);
	struct vfs_open_file file = open_file(pool, ino), watcher = new_watcher(pool);
	const struct fs_setattr mode = { .valid = FS_SET_MODE, .mode = 0600 };
	struct fs_attr attr;

	pool->vfs->config.forget = note_forgotten;
	assert_int_equal(vfs_write(pool->vfs, &no_request, &file, "more", 4, 10, 0), 4);
	assert_int_equal(vfs_setattr(pool->vfs, &no_request, other, &mode, &attr), 0);
	assert_int_equal(vfs_unlink(pool->vfs, &no_request, DXF_ROOT_INO, "g"), 0);
	forgotten_count = 0;
	read_events(pool, &watcher);
	assert_true(has(ino, DXF_WATCH_DATA, 10, 4));
	assert_true(has(DXF_ROOT_INO, DXF_WATCH_NAMES, 0, 0));
	assert_true(was_forgotten(ino) && was_forgotten(other) && was_forgotten(DXF_ROOT_INO));
	pool->vfs->config.forget = ignore_forget;
	release(pool, file.handle);
	release(pool, watcher.handle);
}

/* ---- a model: which pages of which inode are still to be told --------------------- */

struct model {
	bool owed[INODES][PAGES];
	bool attr[INODES];
};

static void note_something(struct pool *pool, struct model *m, uint64_t *rng)
{
	uint64_t i = next_random(rng) % INODES, from = next_random(rng) % PAGES;
	uint64_t n = 1 + next_random(rng) % 8, end = MIN(from + n, (uint64_t)PAGES);

	if (next_random(rng) % 8 == 0) {
		vfs_note(pool->vfs, 1000 + i, DXF_WATCH_ATTR, 0, 0);
		m->attr[i] = true;
		return;
	}
	if (next_random(rng) % 64 == 0)
		end = PAGES;
	vfs_note(pool->vfs, 1000 + i, DXF_WATCH_DATA, from * PAGE,
		 end == PAGES ? UINT64_MAX : (end - from) * PAGE);
	for (uint64_t page = from; page < end; page++)
		m->owed[i][page] = true;
}

static void settle(struct model *m)
{
	for (unsigned e = 0; e < answer.count; e++) {
		const struct dxf_ioc_event *event = &answer.event[e];

		if (event->what & DXF_WATCH_ALL) {
			memset(m, 0, sizeof(*m));
			continue;
		}
		assert_in_range(event->ino, 1000, 1000 + INODES - 1);
		if (event->what & DXF_WATCH_ATTR)
			m->attr[event->ino - 1000] = false;
		for (uint64_t page = 0; page < PAGES && event->length; page++) {
			if (page * PAGE >= event->offset &&
			    (event->length == UINT64_MAX ||
			     (page + 1) * PAGE <= event->offset + event->length))
				m->owed[event->ino - 1000][page] = false;
		}
	}
}

static bool is_settled(const struct model *m)
{
	static const struct model nothing;

	return !memcmp(m, &nothing, sizeof(nothing));
}

/* Few events between two rounds, or so many that they are merged. */
static void test_nothing_is_missing(void **state)
{
	struct pool *pool = *state;
	struct vfs_open_file watcher = new_watcher(pool);
	struct model m = { 0 };
	uint64_t rng = 4711;

	for (unsigned round = 0; round < 200; round++) {
		uint64_t notes = next_random(&rng) % (round % 4 ? 40 : 20000);

		while (notes--)
			note_something(pool, &m, &rng);
		do {
			read_events(pool, &watcher);
			settle(&m);
		} while (answer.more);
		assert_true(is_settled(&m));
	}
	release(pool, watcher.handle);
}

static void test_too_many_files(void **state)
{
	struct pool *pool = *state;
	struct vfs_open_file watcher = new_watcher(pool);

	for (uint64_t ino = 1000; ino < 11000; ino++)
		vfs_note(pool->vfs, ino, DXF_WATCH_DATA, 0, 1);
	read_events(pool, &watcher);
	assert_int_equal(answer.count, 1);
	assert_int_equal(answer.event[0].what, DXF_WATCH_ALL);
	assert_int_equal(answer.event[0].ino, 0);
	assert_int_equal(answer.more, 0);
	vfs_note(pool->vfs, 5, DXF_WATCH_DATA, 0, 1);
	read_events(pool, &watcher);
	assert_int_equal(answer.count, 1);
	assert_true(has(5, DXF_WATCH_DATA, 0, 1));
	release(pool, watcher.handle);
}

static void test_watchers_are_apart(void **state)
{
	struct pool *pool = *state;
	struct vfs_open_file a = new_watcher(pool), b;

	vfs_note(pool->vfs, 7, DXF_WATCH_SIZE, 0, UINT64_MAX);
	b = new_watcher(pool);
	vfs_note(pool->vfs, 8, DXF_WATCH_ATTR, 0, 0);
	read_events(pool, &a);
	assert_true(has(7, DXF_WATCH_SIZE, 0, PAGE) && has(8, DXF_WATCH_ATTR, 0, 0));
	answer.generation = 0; /* of the other one */
	read_events(pool, &b);
	assert_true(has(8, DXF_WATCH_ATTR, 0, 0) && !has(7, 0, 0, 0));
	release(pool, a.handle);
	release(pool, b.handle);
}

/* ---- mappings ---------------------------------------------------------------------- */

/* The one thread of the pool's program: answers so many questions. */
struct program {
	struct pool *pool;
	unsigned count;
};

static void *answer_questions(void *arg)
{
	struct program *program = arg;
	struct direct_message m;

	while (program->count) {
		if (!was_asked(program->pool, &m)) {
			usleep(1000);
			continue;
		}
		assert_int_equal(m.kind, DIRECT_PROTECT);
		client_protected(program->pool->session, m.cookie, m.offset, m.length, m.grant);
		program->count--;
	}
	return NULL;
}

static void read_while_answering(struct pool *pool, const struct vfs_open_file *watcher,
				 unsigned count)
{
	struct program program = { pool, count };
	pthread_t thread;

	pthread_create(&thread, NULL, answer_questions, &program);
	read_events(pool, watcher);
	pthread_join(thread, NULL);
}

/* Each first store after a round is told of, and the program is asked in each round. */
static void test_stores(void **state)
{
	struct pool *pool = *state;
	struct vfs_open_file file = open_file(pool, make_file(pool, "f", 16 * PAGE));
	struct vfs_open_file watcher = new_watcher(pool);
	struct direct_message m;

	for (unsigned round = 0; round < 3; round++) {
		unsigned eager = map_page(pool, &file, 1, 0, DXF_ACCESS_EAGER).flags;
		unsigned write = map_page(pool, &file, 1, 0, DXF_ACCESS_WRITE).flags;

		assert_false(eager & DXF_PIECE_WRITABLE);
		assert_true(write & DXF_PIECE_WRITABLE);
		map_page(pool, &file, 1, 8 * PAGE, DXF_ACCESS_WRITE);
		read_while_answering(pool, &watcher, 2);
		assert_true(has(file.ino, DXF_WATCH_DATA, 0, PAGE));
		assert_true(has(file.ino, DXF_WATCH_DATA, 8 * PAGE, PAGE));
		assert_false(was_asked(pool, &m));
		read_events(pool, &watcher);
		assert_int_equal(answer.count, 0);
	}
	release(pool, file.handle);
	release(pool, watcher.handle);
}

/* Two programs store to one page: the engine tells of the first only, but both are asked. */
static void test_second_writer(void **state)
{
	struct pool *pool = *state;
	uint64_t ino = make_file(pool, "f", PAGE);
	struct vfs_open_file a = open_file(pool, ino), b = open_file(pool, ino);
	struct vfs_open_file watcher = new_watcher(pool);

	map_page(pool, &a, 1, 0, DXF_ACCESS_WRITE);
	map_page(pool, &b, 2, 0, DXF_ACCESS_WRITE);
	read_while_answering(pool, &watcher, 2);
	assert_true(has(ino, DXF_WATCH_DATA, 0, PAGE));
	map_page(pool, &b, 2, 0, DXF_ACCESS_WRITE);
	read_while_answering(pool, &watcher, 1);
	assert_true(has(ino, DXF_WATCH_DATA, 0, PAGE));
	release(pool, a.handle);
	release(pool, b.handle);
	release(pool, watcher.handle);
}

/* It was writable before anybody watched. */
static void test_mapped_before(void **state)
{
	struct pool *pool = *state;
	struct vfs_open_file file = open_file(pool, make_file(pool, "f", PAGE));
	struct vfs_open_file watcher = open_file(pool, DXF_ROOT_INO);
	struct program program = { pool, 1 };
	pthread_t thread;

	map_page(pool, &file, 1, 0, DXF_ACCESS_EAGER);
	pthread_create(&thread, NULL, answer_questions, &program);
	assert_int_equal(vfs_watch(pool->vfs, &watcher), 0);
	pthread_join(thread, NULL);
	answer.generation = 0;
	read_events(pool, &watcher);
	assert_int_equal(answer.count, 0);
	map_page(pool, &file, 1, 0, DXF_ACCESS_WRITE);
	read_while_answering(pool, &watcher, 1);
	assert_true(has(file.ino, DXF_WATCH_DATA, 0, PAGE));
	release(pool, file.handle);
	release(pool, watcher.handle);
}

/* A program that does not answer is waited for once, and its ranges come in every round; when
 * it has answered it is asked again. */
static void test_silence(void **state)
{
	struct pool *pool = *state;
	struct vfs_open_file file = open_file(pool, make_file(pool, "f", 16 * PAGE));
	struct vfs_open_file watcher = new_watcher(pool);
	struct direct_message first, m;

	for (uint64_t page = 0; page < 16; page += 2)
		map_page(pool, &file, 1, page * PAGE, DXF_ACCESS_WRITE);
	for (unsigned round = 0; round < 3; round++) {
		read_events(pool, &watcher);
		for (uint64_t page = 0; page < 16; page += 2)
			assert_true(has(file.ino, DXF_WATCH_DATA, page * PAGE, PAGE));
	}
	assert_true(was_asked(pool, &first));
	assert_false(was_asked(pool, &m));
	client_protected(pool->session, first.cookie, first.offset, first.length, first.grant);
	read_while_answering(pool, &watcher, 8);
	assert_true(has(file.ino, DXF_WATCH_DATA, 0, PAGE));
	read_events(pool, &watcher);
	assert_int_equal(answer.count, 0);
	release(pool, file.handle);
	release(pool, watcher.handle);
}

/* Many that can't be asked: each is in each round, and each round ends. */
static void test_rounds_end(void **state)
{
	enum { FILES = DXF_WATCH_EVENTS + 50, ROUNDS = 4 };
	static struct vfs_open_file file[FILES];
	static unsigned seen[FILES];
	const struct dxf_ioc_pin pin = { 0, PAGE };
	struct pool *pool = *state;
	struct vfs_open_file watcher = new_watcher(pool);

	memset(seen, 0, sizeof(seen));
	for (unsigned i = 0; i < FILES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", i);
		file[i] = open_file(pool, make_file(pool, name, PAGE));
		assert_int_equal(clients_pin(pool->clients, &no_request, &file[i], &pin), 0);
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned reads = 0;

		do {
			read_events(pool, &watcher);
			for (unsigned i = 0; i < FILES; i++)
				seen[i] += has(file[i].ino, DXF_WATCH_DATA, 0, PAGE);
			assert_in_range(++reads, 1, 2);
		} while (answer.more);
	}
	for (unsigned i = 0; i < FILES; i++) {
		assert_int_equal(seen[i], ROUNDS);
		release(pool, file[i].handle);
	}
	release(pool, watcher.handle);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, pool_setup, pool_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_who_is_one),
		TEST(test_attributes_are_forgotten),
		TEST(test_nothing_is_missing),
		TEST(test_too_many_files),
		TEST(test_watchers_are_apart),
		TEST(test_stores),
		TEST(test_second_writer),
		TEST(test_mapped_before),
		TEST(test_silence),
		TEST(test_rounds_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
