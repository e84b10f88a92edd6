/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The room views: what questions are answered with, and how far; what is granted before anybody asks;
 * and what is taken away in the middle of an answer.
 */
#include "scene.h"

/* A question that nobody has answered is answered by the next process. */
static void *ask_for_unit(void *arg)
{
	struct program *p = arg;

	return (void *)(intptr_t)ask(p->view, DAXVIEW_ASK_WRITE, 2 * UNIT, UNIT);
}

static void questions_wait_for_the_next(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	pthread_t thread;
	void *err;

	end_process(s, false);
	assert_int_equal(pthread_create(&thread, NULL, ask_for_unit, &p), 0);
	usleep(10000);
	open_pool(s, false);
	assert_int_equal(begin_views(s), 0);
	pthread_join(thread, &err);
	assert_null(err);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* In order: what is ahead is answered, too, but not over what stores were granted. */
static void answers_ahead(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);

	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, 0, UNIT), 0);
	WAIT_FOR(fake_page(p.view, 2 * UNIT) == (device_of(s, 2 * UNIT) | FAKE_PIECE));
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT + PAGE, PAGE), 0);
	for (uint64_t at = 0; at < FILE_UNITS * UNIT; at += PAGE)
		WAIT_FOR(fake_page(p.view, at) & FAKE_WRITES);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, 0, UNIT), 0);
	assert_true(fake_page(p.view, UNIT) & FAKE_WRITES);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* As questions in order are answered. */
static unsigned ask_in_order(const struct program *p, uint64_t units)
{
	unsigned questions = 0;

	for (uint64_t at = 0; at < units * UNIT; at += UNIT) {
		uint64_t last = atomic_load(&p->views->asked);

		if (fake_page(p->view, at) != FAKE_UNKNOWN)
			continue;
		questions++;
		assert_int_equal(ask(p->view, DAXVIEW_ASK_READ, at, UNIT), 0);
		WAIT_FOR(atomic_load(&p->views->asked) > last); /* all of the answer is there */
	}
	return questions;
}

/* A gibibyte of holes and whole units takes two questions; from its end on, one for each window. */
static void loads_are_answered_far(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	unsigned questions = 0;

	assert_int_equal(cut(s, GIB), 0);
	assert_int_equal(ask_in_order(&p, GIB / UNIT), 2);
	assert_int_equal(cut(s, UNIT), 0);
	assert_int_equal(cut(s, GIB), 0);
	for (uint64_t at = GIB; at > UNIT; at -= UNIT) {
		if (fake_page(p.view, at - UNIT) != FAKE_UNKNOWN)
			continue;
		questions++;
		assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, at - UNIT, UNIT), 0);
	}
	assert_int_equal(questions, GIB / UNIT / WINDOW_UNITS);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* The first store makes no memory but what it needs, and the next ones not much. */
static void holes_stay_holes(void **state)
{
	static const unsigned until[] = { 4, 6, 10, 18 }; /* the units that are memory */
	struct scene *s = *state;
	struct program p = program_open(s);

	assert_int_equal(cut(s, 24 * (uint64_t)UNIT), 0);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, 0, UNIT), 0);
	assert_true(fake_page(p.view, 2 * UNIT) & FAKE_WRITES);
	assert_int_equal(fake_page(p.view, FILE_UNITS * UNIT), FAKE_UNKNOWN);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, 22 * (uint64_t)UNIT, UNIT), 0);
	assert_int_equal(fake_page(p.view, 23 * (uint64_t)UNIT), FAKE_UNKNOWN);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, FILE_UNITS * UNIT, UNIT), 0);
	for (unsigned i = 0; i < sizeof(until) / sizeof(*until) - 1; i++) {
		uint64_t end = until[i] * (uint64_t)UNIT;

		assert_true(fake_page(p.view, end - UNIT) & FAKE_WRITES);
		assert_int_equal(fake_page(p.view, end), FAKE_UNKNOWN);
		assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, end, UNIT), 0);
	}
	assert_true(fake_page(p.view, until[3] * (uint64_t)UNIT - UNIT) & FAKE_WRITES);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* What was granted, and is taken away before the view has it, it does not get. */
static void a_piece_is_taken_on_its_way(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	struct mapper *m = viewed_use(s->views, s->ino, p.view);
	const struct map_request request = {
		.access = MAP_WRITE,
		.order = ORDER_PMD,
		.end = UINT64_MAX,
	};
	struct map_piece pieces[4];
	struct pending pending;
	unsigned count;

	pending_begin(m, &pending);
	assert_int_equal(map_fault_run(m->view, &request, 3 * UNIT, pieces, 4, &count), 0);
	assert_true(map_view_pins(m->view, 2 * UNIT, UNIT));
	assert_int_equal(fake_page(p.view, 0), FAKE_UNKNOWN);
	assert_int_equal(cut(s, UNIT), 0);
	assert_false(map_view_pins(m->view, UNIT, 2 * UNIT));
	assert_int_equal(pending_end(m), -EAGAIN);
	assert_int_equal(fake_page(p.view, UNIT), FAKE_UNKNOWN);
	assert_int_equal(fake_page(p.view, 2 * UNIT), FAKE_UNKNOWN);
	pending_begin(m, &pending);
	assert_int_equal(map_fault_run(m->view, &request, UNIT, pieces, 4, &count), 0);
	assert_int_equal(pending_end(m), 0);
	assert_true(fake_page(p.view, 0) & FAKE_WRITES);
	viewed_unuse(s->views, s->ino);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* A file that is open for reading only can be read from its beginning on, and asks nobody. */
static void a_reader_asks_nobody(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	struct vfs_opened opened = { .attr = { .ino = s->ino, .size = FILE_UNITS * UNIT } };
	struct fs_xflags flags;

	assert_int_equal(fake_page(p.view, 0), FAKE_UNKNOWN);
	assert_true(views_pass(s->views, &opened, O_RDONLY));
	for (uint64_t at = 0; at < FILE_UNITS * UNIT; at += UNIT)
		assert_int_equal(fake_page(p.view, at), device_of(s, at) | FAKE_PIECE);
	assert_int_equal(atomic_load(&s->views->asked), 0);
	/* chattr(1) opens it so */
	assert_int_equal(fs_get_xflags(s->fs, s->ino, &flags), 0);
	flags.flags ^= DXF_FLAG_DAX;
	assert_int_equal(vfs_set_xflags(s->vfs, &no_request, s->ino, &flags), 0);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

static atomic_bool stop_asking;

static void *ask_for_stores(void *arg)
{
	const struct program *p = arg;

	for (unsigned i = 0; !atomic_load(&stop_asking); i++) {
		int err = ask(p->view, DAXVIEW_ASK_WRITE, i % FILE_UNITS * UNIT, UNIT);

		assert_true(!err || err == -EPERM);
	}
	return NULL;
}

static void set_immutable(struct scene *s, bool immutable)
{
	struct fs_xflags flags;

	assert_int_equal(fs_get_xflags(s->fs, s->ino, &flags), 0);
	flags.flags = (flags.flags & ~DXF_FLAG_IMMUTABLE) | (immutable ? DXF_FLAG_IMMUTABLE : 0);
	assert_int_equal(vfs_set_xflags(s->vfs, &no_request, s->ino, &flags), 0);
}

/* A file that is immutable is stored to by nobody: what was granted is taken, also by an answer that
 * looked before. */
static void immutable_beside_answers(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	pthread_t thread;

	atomic_store(&stop_asking, false);
	assert_int_equal(pthread_create(&thread, NULL, ask_for_stores, &p), 0);
	for (unsigned i = 0; i < 300; i++) {
		set_immutable(s, true);
		for (unsigned look = 0; look < 5; look++) {
			for (uint64_t at = 0; at < FILE_UNITS * UNIT; at += UNIT)
				assert_false(fake_page(p.view, at) & FAKE_WRITES);
			usleep(20);
		}
		set_immutable(s, false);
		usleep(100);
	}
	atomic_store(&stop_asking, true);
	pthread_join(thread, NULL);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

static int64_t times_of(struct scene *s)
{
	struct fs_attr attr;

	assert_int_equal(vfs_getattr(s->vfs, s->ino, &attr), 0);
	return attr.mtime ^ attr.ctime;
}

/* Likewise one that may store, and as nothing was stored yet its times are as they were. While
 * somebody watches each unit is asked about. */
static void a_writer_asks_nobody(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s), watcher = program_open(s);
	const struct vfs_open_file watching = { .ino = s->ino, .handle = watcher.opened.handle };
	struct vfs_opened opened = { .attr = { .ino = s->ino, .size = FILE_UNITS * UNIT } };
	int64_t times = times_of(s);

	assert_true(views_pass(s->views, &opened, O_RDWR));
	for (uint64_t at = 0; at < FILE_UNITS * UNIT; at += UNIT)
		assert_int_equal(fake_page(p.view, at),
				 device_of(s, at) | FAKE_PIECE | FAKE_WRITES);
	assert_int_equal(atomic_load(&s->views->asked), 0);
	assert_int_equal(times_of(s), times);
	assert_int_equal(vfs_watch(s->vfs, &watching), 0);
	assert_int_equal(fake_page(p.view, 0), FAKE_UNKNOWN);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, 0, UNIT), 0);
	assert_true(fake_page(p.view, 0) & FAKE_WRITES);
	assert_false(fake_page(p.view, UNIT) & FAKE_WRITES);
	program_close(s, &watcher);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* One that only appends, and any one while somebody watches, is granted nothing before it asks. */
static void some_writers_are_not_filled(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s), watcher = program_open(s);
	const struct vfs_open_file watching = { .ino = s->ino, .handle = watcher.opened.handle };
	struct vfs_opened opened = { .attr = { .ino = s->ino, .size = FILE_UNITS * UNIT } };

	assert_true(views_pass(s->views, &opened, O_WRONLY | O_APPEND));
	assert_int_equal(vfs_watch(s->vfs, &watching), 0);
	assert_true(views_pass(s->views, &opened, O_RDWR));
	assert_int_equal(fake_page(p.view, 0), FAKE_UNKNOWN);
	program_close(s, &watcher);
	assert_true(views_pass(s->views, &opened, O_RDWR));
	assert_true(fake_page(p.view, 0) & FAKE_WRITES);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scene_test(questions_wait_for_the_next), scene_test(answers_ahead),
		scene_test(loads_are_answered_far),      scene_test(holes_stay_holes),
		scene_test(a_piece_is_taken_on_its_way), scene_test(a_reader_asks_nobody),
		scene_test(immutable_beside_answers),    scene_test(a_writer_asks_nobody),
		scene_test(some_writers_are_not_filled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
