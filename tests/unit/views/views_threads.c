/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The room views: a file is mapped, changed and closed, with each call of the module failing once; a
 * process dies and the next one goes on, failing likewise.
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

/* Nobody brings another one that could answer. */
static void a_view_ends_with_the_process_and_its_keeper(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);

	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, 0, UNIT), 0);
	close(s->holder);
	s->holder = -1;
	end_process(s, false);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, 0, UNIT), -EIO);
	assert_int_equal(fake_page(p.view, 0), FAKE_UNKNOWN);
	open_pool(s, false);
	assert_int_equal(begin_views(s), 0);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, 0, UNIT), -EIO);
	program_close(s, &p);
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
			fake_process_ends(false);
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
	fake_process_ends(false);
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
		scene_test(a_view_ends_with_the_process_and_its_keeper),
		scene_test(an_open_without_a_view_outlives_the_process),
		scene_test(the_next_process_fails),
		scene_test(records_are_compared),
		scene_test(an_end_is_completed),
		scene_test(attributes_are_not_kept),
		scene_test(an_older_module),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
