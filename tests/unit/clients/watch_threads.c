/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writers change cells and note it; a replica copies what it is told of, and in the end is
 * equal. There are so many cells that events are merged and lost, and one writer maps its
 * pages, whose stores no one notes but the engine.
 */
#include "pool.h"

enum { WRITERS = 3, CELLS = 3000, WRITES = 200000, PAGES = 16, PAGE = 4096, FIRST = 1000 };

struct shared {
	struct pool *pool;
	struct vfs_open_file watcher, mapped;
	atomic_uint cell[WRITERS * CELLS];
	unsigned copy[WRITERS * CELLS];
	atomic_uint page[PAGES]; /* what would be stored to the mapped file */
	unsigned page_copy[PAGES];
	pthread_mutex_t program; /* of what the program believes: */
	bool writable[PAGES];
	uint64_t void_to[PAGES]; /* what was granted up to this number is read-only */
	atomic_uint running;
	atomic_bool finished;
	uint64_t events;
};

struct job {
	struct shared *shared;
	unsigned me;
};

static void *write_cells(void *arg)
{
	const struct job *job = arg;
	struct shared *s = job->shared;
	uint64_t rng = job->me + 1;

	for (unsigned i = 0; i < WRITES; i++) {
		unsigned cell;

		/* bursts all over, and a few that are hot */
		rng = rng * UINT64_C(6364136223846793005) + 1;
		cell = (unsigned)(rng >> 40) % (i % 3000 < 100 ? CELLS : 20);
		cell += job->me * CELLS;
		atomic_fetch_add(&s->cell[cell], 1);
		vfs_note(s->pool->vfs, FIRST + cell, DXF_WATCH_DATA, 0, 1);
		if (i % 1000 == 0)
			usleep(500);
	}
	atomic_fetch_sub(&s->running, 1);
	return NULL;
}

/* A program: faults where it is not writable, then stores. */
static void *store_pages(void *arg)
{
	struct shared *s = arg;

	for (unsigned i = 0; i < 4000; i++) {
		unsigned page = i * 7 % PAGES;
		struct dxf_ioc_piece piece;

		pthread_mutex_lock(&s->program);
		if (!s->writable[page]) {
			pthread_mutex_unlock(&s->program);
			piece = map_page(s->pool, &s->mapped, 1, page * PAGE, DXF_ACCESS_WRITE);
			pthread_mutex_lock(&s->program);
			s->writable[page] = piece.grant > s->void_to[page];
		}
		if (s->writable[page])
			atomic_fetch_add(&s->page[page], 1);
		pthread_mutex_unlock(&s->program);
		if (i % 8 == 0)
			usleep(100);
	}
	atomic_fetch_sub(&s->running, 1);
	return NULL;
}

static void *take_questions(void *arg)
{
	struct shared *s = arg;
	struct direct_message m;

	while (!atomic_load(&s->finished)) {
		if (!was_asked(s->pool, &m)) {
			usleep(50);
			continue;
		}
		pthread_mutex_lock(&s->program);
		for (uint64_t at = m.offset; at < m.offset + m.length; at += PAGE) {
			s->writable[at / PAGE] = false;
			s->void_to[at / PAGE] = m.grant;
		}
		pthread_mutex_unlock(&s->program);
		client_protected(s->pool->session, m.cookie, m.offset, m.length, m.grant);
	}
	return NULL;
}

/* ---- the replica -------------------------------------------------------------------- */

static void copy_pages(struct shared *s, uint64_t offset, uint64_t length)
{
	for (unsigned page = 0; page < PAGES; page++) {
		if ((page + 1) * PAGE > offset && page * PAGE < offset + length)
			s->page_copy[page] = atomic_load(&s->page[page]);
	}
}

static void copy_all(struct shared *s)
{
	for (unsigned i = 0; i < WRITERS * CELLS; i++)
		s->copy[i] = atomic_load(&s->cell[i]);
	copy_pages(s, 0, PAGES * PAGE);
}

static void copy_event(struct shared *s, const struct dxf_ioc_event *event)
{
	if (event->what & DXF_WATCH_ALL)
		copy_all(s);
	else if (event->ino == s->mapped.ino)
		copy_pages(s, event->offset, event->length);
	else
		s->copy[event->ino - FIRST] = atomic_load(&s->cell[event->ino - FIRST]);
}

static void copy_round(struct shared *s)
{
	static struct dxf_ioc_watch answer;

	do {
		assert_int_equal(vfs_watch_read(s->pool->vfs, &s->watcher, &answer), 0);
		for (unsigned i = 0; i < answer.count; i++)
			copy_event(s, &answer.event[i]);
		s->events += answer.count;
	} while (answer.more);
}

static void expect_equal(const struct shared *s)
{
	for (unsigned i = 0; i < WRITERS * CELLS; i++)
		assert_int_equal(s->copy[i], atomic_load(&s->cell[i]));
	for (unsigned page = 0; page < PAGES; page++)
		assert_int_equal(s->page_copy[page], atomic_load(&s->page[page]));
}

static void replicate(struct shared *s)
{
	while (atomic_load(&s->running)) {
		copy_round(s);
		usleep(200);
	}
	copy_round(s);
}

static void test_replica(void **state)
{
	static struct shared s = { .program = PTHREAD_MUTEX_INITIALIZER };
	pthread_t writer[WRITERS], program, listener;
	struct job job[WRITERS];

	s.pool = *state;
	s.mapped = open_file(s.pool, make_file(s.pool, "mapped", PAGES * PAGE));
	s.watcher = open_file(s.pool, DXF_ROOT_INO);
	assert_int_equal(vfs_watch(s.pool->vfs, &s.watcher), 0);
	copy_all(&s);
	atomic_store(&s.running, WRITERS + 1);
	for (unsigned i = 0; i < WRITERS; i++) {
		job[i] = (struct job){ &s, i };
		pthread_create(&writer[i], NULL, write_cells, &job[i]);
	}
	pthread_create(&program, NULL, store_pages, &s);
	pthread_create(&listener, NULL, take_questions, &s);
	replicate(&s);
	expect_equal(&s);
	atomic_store(&s.finished, true);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(writer[i], NULL);
	pthread_join(program, NULL);
	pthread_join(listener, NULL);
	assert_true(s.events > 1000);
	release(s.pool, s.mapped.handle);
	release(s.pool, s.watcher.handle);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_replica, pool_setup, pool_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
