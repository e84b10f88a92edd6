/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The room views: a file is mapped, changed and closed, with each call of the module failing once; a
 * process dies and the next one goes on, failing likewise; what devices use, and what fails.
 */
#include "scene.h"

static void a_file_is_mapped(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);

	assert_true(p.view != 0);
	assert_int_equal(records(s), 1);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, 0, UNIT), 0);
	assert_int_equal(fake_page(p.view, PAGE), device_of(s, PAGE) | FAKE_PIECE);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, 0, UNIT), 0);
	assert_int_equal(fake_page(p.view, PAGE), device_of(s, PAGE) | FAKE_PIECE | FAKE_WRITES);
	assert_int_equal(vfs_fsync(s->vfs, s->ino), 0);
	assert_int_equal(fake_page(p.view, PAGE), device_of(s, PAGE) | FAKE_PIECE | FAKE_WRITES);
	assert_int_equal(fake_synced(p.view), 1);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	assert_int_equal(cut(s, PAGE), 0);
	assert_int_equal(fake_page(p.view, UNIT), FAKE_UNKNOWN);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), -ENXIO);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_EXTEND, UNIT, UNIT), 0);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
	assert_int_equal(records(s), 0);
}

/* All that a mount does with a view. Errors are what programs get; nothing may be left. */
static void do_all(struct scene *s)
{
	struct program p = program_open(s), again = program_open(s);

	assert_int_equal(p.view, again.view);
	if (p.view) {
		ask(p.view, DAXVIEW_ASK_READ, 0, UNIT);
		ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT);
	}
	vfs_fsync(s->vfs, s->ino);
	if (p.view)
		ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT);
	assert_int_equal(cut(s, PAGE), 0);
	assert_int_equal(cut(s, FILE_UNITS * UNIT), 0);
	if (p.view)
		ask(p.view, DAXVIEW_ASK_WRITE, 2 * UNIT, UNIT);
	program_close(s, &p);
	program_close(s, &again);
}

/* An answer that fails would leave its asker waiting, which no daemon can help. */
static bool all_calls_were_made(unsigned at)
{
	bool made;

	pthread_mutex_lock(&fake.lock);
	made = fake.calls < at;
	pthread_mutex_unlock(&fake.lock);
	return made;
}

static void each_call_fails(void **state)
{
	static const int errors[] = { ENOMEM, EIO };
	struct scene *s = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
		for (unsigned at = 1;; at++) {
			bool all;

			fake_fail(at, errors[i]);
			do_all(s);
			all = all_calls_were_made(at);
			fake_fail(0, 0);
			viewed_check_all(s->views);
			WAIT_FOR(has_ended(s));
			assert_int_equal(registrations(s), 0);
			assert_int_equal(records(s), 0);
			if (all)
				break;
		}
	}
	do_all(s);
	WAIT_FOR(has_ended(s));
}

static void a_registration_fails(void **state)
{
	struct scene *s = *state;
	struct program p, later;

	s->fails = true;
	p = program_open(s);
	assert_int_equal(p.view, 0);
	assert_int_equal(fake_views(), 0);
	later = program_open(s);
	assert_int_equal(later.view, 0); /* beside one without */
	program_close(s, &p);
	program_close(s, &later);
	p = program_open(s);
	assert_true(p.view != 0);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* Full, with records of other inodes. */
static void the_table_is_full(void **state)
{
	struct scene *s = *state;
	struct view_slots saved = s->views->view_slots;
	uint32_t used = s->table->used;
	struct program p;

	s->views->view_slots.count = 0;
	s->table->used = VIEW_RECORDS;
	p = program_open(s);
	assert_int_equal(p.view, 0);
	assert_int_equal(registrations(s), 0);
	program_close(s, &p);
	s->table->used = used;
	s->views->view_slots = saved;
}

/* Its mapping is all that is left of the file that it has had open. */
static void a_view_outlives_the_process(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s), other;
	uint64_t view = p.view;

	assert_int_equal(ask(view, DAXVIEW_ASK_WRITE, 0, UNIT), 0);
	replace_process(s);
	assert_int_equal(fake_page(view, 0), FAKE_UNKNOWN);
	assert_int_equal(ask(view, DAXVIEW_ASK_WRITE, 0, UNIT), 0);
	assert_int_equal(fake_page(view, 0), device_of(s, 0) | FAKE_PIECE | FAKE_WRITES);
	other = program_open(s);
	assert_int_equal(other.view, view);
	/* of an earlier life: not counted, and so not counted down */
	program_close(s, &p);
	replace_process(s);
	assert_int_equal(atomic_load(&s->views->count), 1);
	assert_int_equal(ask(view, DAXVIEW_ASK_READ, 0, UNIT), 0);
	program_close(s, &other);
	WAIT_FOR(has_ended(s));
	assert_int_equal(records(s), 0);
}

/* The kernel has it open without a view, though this process does not know by whom. */
static void an_open_without_a_view_outlives_the_process(void **state)
{
	struct scene *s = *state;
	struct program p, other;

	s->fails = true;
	p = program_open(s);
	replace_process(s);
	other = program_open(s);
	assert_int_equal(other.view, 0);
	program_close(s, &p);
	program_close(s, &other);
	other = program_open(s);
	assert_true(other.view != 0);
	program_close(s, &other);
	WAIT_FOR(has_ended(s));
}

/* Each call that the next process makes fails; it ends, and the one after it goes on. */
static void the_next_process_fails(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	bool all = false;

	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, 0, UNIT), 0);
	fake_busy(device_of(s, 0), device_of(s, 0) + PAGE);
	for (unsigned at = 1; !all; at++) {
		end_process(s, false);
		fake_fail(at, ENOMEM);
		open_pool(s, false);
		if (begin_views(s)) {
			fake_fail(0, 0);
			fake_process_ends();
			close_pool(s);
			open_pool(s, false);
			assert_int_equal(begin_views(s), 0);
		}
		all = all_calls_were_made(at);
		fake_fail(0, 0);
		assert_int_equal(registrations(s), 1);
	}
	fake_busy(0, 0);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, 0, UNIT), 0);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* What is left between two stores of one that is killed. */
static void records_are_compared(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	struct view_record *record = s->table->record;
	uint32_t backing = record[0].backing;
	struct daxview_create nobodys = { .cookie = 99 };

	record[1] = (struct view_record){ 77, 12345, 9 };                /* its view has ended */
	record[2] = (struct view_record){ 78, (uint32_t)p.view, 9 };     /* it is another inode's */
	record[3] = (struct view_record){ s->ino, (uint32_t)p.view, 9 }; /* that has one */
	record[4] = (struct view_record){ 79, (uint32_t)p.view, 0 };
	record[5] = (struct view_record){ 79, (uint32_t)p.view, UINT32_MAX };
	s->table->used = UINT32_MAX;
	s->table->busy[0] = (struct view_busy_record){ 3, 1, 5, 7 };
	s->table->busy_used = UINT32_MAX;
	end_process(s, false);
	s->table->busy[0].length = 0; /* core would not mount it */
	assert_int_equal(fake_create_locked(&nobodys), 0);
	close(nobodys.fd);
	open_pool(s, false);
	assert_int_equal(begin_views(s), 0);
	assert_int_equal(records(s), 1);
	assert_int_equal(record[0].backing, backing);
	assert_int_equal(atomic_load(&s->views->count), 1);
	assert_true(fake_find_locked(nobodys.view)->revoked);
	fake_use(nobodys.view, false);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
	assert_int_equal(records(s), 0);
}

/* The last process had revoked it, and was about to end its registration. */
static void an_end_is_completed(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	const struct daxview_revoke revoke = { .view = p.view };

	fake_use(p.view, false);
	pthread_mutex_lock(&fake.lock);
	assert_int_equal(fake_revoke_locked(&revoke), 0);
	pthread_mutex_unlock(&fake.lock);
	replace_process(s);
	assert_true(has_ended(s));
	assert_int_equal(registrations(s), 0);
	assert_int_equal(records(s), 0);
	vfs_release(s->vfs, s->ino, p.opened.handle);
	p = program_open(s);
	assert_true(p.view != 0);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, 0, UNIT), 0);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* Memory that a device uses when its file is cut is nobody's until it has been let go of, in
 * whatever life. */
static void memory_in_use_is_held(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	uint64_t device = device_of(s, UNIT);

	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	fake_busy(device, device + PAGE);
	assert_int_equal(cut(s, PAGE), 0);
	assert_int_equal(records(s), 2);
	assert_true(busy_blocks(s) > 0);
	replace_process(s);
	assert_int_equal(records(s), 2);
	assert_true(busy_blocks(s) > 0);
	fake_busy(0, 0);
	WAIT_FOR(busy_blocks(s) == 0 && records(s) == 1);
	replace_process(s);
	assert_int_equal(busy_blocks(s), 0);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* What lies at its place in the file by then is another matter: cut, too, it goes alone. */
static void cut_once_more(struct scene *s, const struct program *p, uint64_t held)
{
	assert_int_equal(cut(s, 4 * UNIT), 0);
	assert_int_equal(ask(p->view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	assert_int_equal(cut(s, PAGE), 0);
	usleep(20000);
	assert_true(busy_blocks(s) >= held);
	assert_int_equal(cut(s, PAGE), 0);
	assert_true(busy_blocks(s) >= held);
}

static void memory_in_use_is_held_beside_others(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	uint64_t device = device_of(s, UNIT), held;

	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	fake_busy(device, device + PAGE);
	assert_int_equal(cut(s, PAGE), 0);
	held = busy_blocks(s);
	assert_true(held > 0);
	cut_once_more(s, &p, held);
	replace_process(s);
	held = busy_blocks(s);
	assert_true(held > 0);
	cut_once_more(s, &p, held);
	replace_process(s);
	assert_true(busy_blocks(s) >= held);
	fake_busy(0, 0);
	WAIT_FOR(busy_blocks(s) == 0 && records(s) == 1);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

/* So many bytes are not to be had; 0: all are. */
static _Atomic size_t missing;

void *__wrap_malloc(size_t size)
{
	return size && size == atomic_load(&missing) ? NULL : __real_malloc(size);
}

/* Nobody remembers what is in use: nothing of the file is let go of in this life, and the next
 * process, which has the record, looks after it. */
static void memory_in_use_is_held_without_memory(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	uint64_t device = device_of(s, UNIT), held;

	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	fake_busy(device, device + PAGE);
	atomic_store(&missing, sizeof(struct busy_piece));
	assert_int_equal(cut(s, PAGE), 0);
	atomic_store(&missing, 0);
	held = busy_blocks(s);
	assert_true(held > 0);
	cut_once_more(s, &p, held);
	WAIT_FOR(atomic_load(&s->views->later) == 0); /* what is listed was looked at again */
	usleep(20000);
	assert_true(busy_blocks(s) >= held);
	replace_process(s);
	assert_true(busy_blocks(s) > 0);
	fake_busy(0, 0);
	WAIT_FOR(busy_blocks(s) == 0 && records(s) == 1);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* It is cut in the next life only. */
static void memory_in_use_is_pinned_again(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	uint64_t device = device_of(s, UNIT);

	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	fake_busy(device, device + PAGE);
	replace_process(s);
	assert_int_equal(records(s), 1);
	assert_int_equal(cut(s, PAGE), 0);
	assert_true(busy_blocks(s) > 0);
	assert_int_equal(records(s), 2);
	fake_busy(0, 0);
	WAIT_FOR(busy_blocks(s) == 0 && records(s) == 1);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* What it asks for afterwards is a pin of its own, which stays when the device is done. */
static void memory_in_use_is_asked_for_again(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	uint64_t device = device_of(s, UNIT);

	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	fake_busy(device, device + PAGE);
	replace_process(s);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	fake_busy(0, 0);
	WAIT_FOR(records(s) == 1);
	assert_int_equal(vfs_fsync(s->vfs, s->ino), 0);
	assert_int_equal(fake_synced(p.view), 1);
	usleep(200000); /* all that was in use has been looked at */
	assert_int_equal(cut(s, PAGE), 0);
	assert_int_equal(fake_page(p.view, UNIT), FAKE_UNKNOWN);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

static void failed_memory_is_known(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	uint64_t bad = device_of(s, UNIT) + 3 * PAGE;

	pthread_mutex_lock(&fake.lock);
	fake_put_locked(DAXVIEW_POISON, NULL, bad, PAGE);
	pthread_mutex_unlock(&fake.lock);
	WAIT_FOR(pmem_is_bad(fs_pmem(s->fs), bad, 1));
	WAIT_FOR(atomic_load(&s->views->failed) == 1);
	replace_process(s);
	assert_true(pmem_is_bad(fs_pmem(s->fs), bad, 1));
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, UNIT + 3 * PAGE, PAGE), -EIO);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, UNIT, PAGE), 0);
	s->table->failed_count = UINT32_MAX;
	replace_process(s);
	assert_int_equal(fs_pmem(s->fs)->bad_count, 1);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* The others of its unit are reached, also by a thread that asks about all of it. */
static void a_failed_page_is_one_page(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	uint64_t device = device_of(s, UNIT);

	assert_int_equal(pmem_add_bad(fs_pmem(s->fs), device, PAGE), 0);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, UNIT, UNIT), 0);
	assert_int_equal(fake_page(p.view, UNIT), FAKE_UNKNOWN);
	WAIT_FOR(fake_page(p.view, 2 * UNIT - PAGE) == ((device + UNIT - PAGE) | FAKE_PIECE));
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, UNIT, PAGE), -EIO);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, PAGE), -EIO);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, 0, UNIT), 0);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

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

/* Attributes that a view changes are not kept: of a file that is only read they may be. */
static void attributes_are_not_kept(void **state)
{
	struct scene *s = *state;
	struct vfs_opened opened;
	struct program p;
	int backing;

	forgotten = 0;
	assert_false(views_may_store(s->views, s->ino));
	assert_int_equal(vfs_open_inode(s->vfs, &no_request, s->ino, O_RDONLY, false, &opened), 0);
	backing = views_enter(s->views, &opened, O_RDONLY, register_backing, s);
	assert_true(backing > 0);
	fake_use(s->backing[backing], true);
	assert_false(views_may_store(s->views, s->ino));
	assert_int_equal(forgotten, 0);
	p = program_open(s);
	assert_true(views_may_store(s->views, s->ino));
	assert_int_equal(forgotten, 1);
	program_close(s, &p);
	p = program_open(s);
	assert_int_equal(forgotten, 1);
	p.opened = opened; /* the reader's, which ends last */
	program_close(s, &p);
	assert_true(views_may_store(s->views, s->ino));
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
	assert_false(views_may_store(s->views, s->ino));
	assert_int_equal(s->ended_stored, 0);
	p = program_open(s);
	assert_int_equal(append(p.view, "stored", 0, 6), 0);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
	assert_int_equal(s->ended_stored, 1);
}

/* One that knows less than we rely on: it is said, and none is had. */
static void an_older_module(void **state)
{
	struct scene *s = *state;

	end_process(s, true);
	memset(s->table, 0, sizeof(*s->table));
	fake.older = 1;
	open_pool(s, false);
	assert_int_equal(begin_views(s), -EPROTO);
	assert_non_null(strstr(s->reason, "older"));
	assert_false(s->table->agreed);
	fake.older = 0;
	fake_process_ends();
	close_pool(s);
	open_pool(s, false);
	assert_int_equal(begin_views(s), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scene_test(a_file_is_mapped),
		scene_test(each_call_fails),
		scene_test(a_registration_fails),
		scene_test(the_table_is_full),
		scene_test(a_view_outlives_the_process),
		scene_test(an_open_without_a_view_outlives_the_process),
		scene_test(the_next_process_fails),
		scene_test(records_are_compared),
		scene_test(an_end_is_completed),
		scene_test(memory_in_use_is_held),
		scene_test(memory_in_use_is_held_beside_others),
		scene_test(memory_in_use_is_held_without_memory),
		scene_test(memory_in_use_is_pinned_again),
		scene_test(memory_in_use_is_asked_for_again),
		scene_test(failed_memory_is_known),
		scene_test(a_failed_page_is_one_page),
		scene_test(questions_wait_for_the_next),
		scene_test(answers_ahead),
		scene_test(loads_are_answered_far),
		scene_test(holes_stay_holes),
		scene_test(a_piece_is_taken_on_its_way),
		scene_test(a_reader_asks_nobody),
		scene_test(a_writer_asks_nobody),
		scene_test(some_writers_are_not_filled),
		scene_test(immutable_beside_answers),
		scene_test(attributes_are_not_kept),
		scene_test(an_older_module),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
