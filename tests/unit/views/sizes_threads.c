/* SPDX-License-Identifier: BSD-3-Clause */
/* The size of a view is its file's whatever changes that, fails or dies; and the time of reads that
 * nobody tells of. */
#include "scene.h"

static errint_t change_range(struct scene *s, int mode, uint64_t offset, uint64_t length)
{
	return vfs_fallocate(s->vfs, &no_request, s->ino, mode, offset, length);
}

static void change_the_size(struct scene *s, const struct program *p)
{
	assert_int_equal(fake_size(p->view), FILE_UNITS * UNIT);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(write_at(s, FILE_UNITS * UNIT - 5, 17), 0);
		assert_int_equal(fake_size(p->view), FILE_UNITS * UNIT + 12);
		assert_int_equal(cut(s, UNIT + 77), 0);
		assert_int_equal(fake_size(p->view), UNIT + 77);
		assert_int_equal(write_at(s, 3, 5), 0);
		assert_int_equal(cut(s, UNIT + 99), 0);
		assert_int_equal(fake_size(p->view), UNIT + 99);
		assert_int_equal(change_range(s, 0, UNIT, UNIT), 0);
		assert_int_equal(fake_size(p->view), 2 * UNIT);
		assert_int_equal(change_range(s, FALLOC_FL_KEEP_SIZE, 2 * UNIT, UNIT), 0);
		assert_int_equal(change_range(s, FALLOC_FL_COLLAPSE_RANGE, UNIT, PAGE), 0);
		assert_int_equal(fake_size(p->view), 2 * UNIT - PAGE);
		assert_int_equal(change_range(s, FALLOC_FL_INSERT_RANGE, UNIT, PAGE), 0);
		assert_int_equal(fake_size(p->view), 2 * UNIT);
		assert_int_equal(cut(s, FILE_UNITS * UNIT), 0);
		assert_int_equal(fake_size(p->view), size_of(s));
		/* the second time it is mapped */
		assert_int_equal(ask(p->view, DAXVIEW_ASK_READ, UNIT, UNIT), 0);
	}
}

/* All that changes a size sets the view's, before it is answered. */
static void sizes_are_told(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s), again;

	change_the_size(s, &p);
	assert_int_equal(vfs_open_inode(s->vfs, &no_request, s->ino, O_RDWR | O_TRUNC, false,
					&again.opened),
			 0);
	assert_int_equal(fake_size(p.view), 0);
	vfs_release(s->vfs, s->ino, again.opened.handle);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* Also where the module can't: then nothing is reached by the view any more. */
static void a_size_cannot_be_set(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);

	fake_fail(1, ENOMEM);
	assert_int_equal(cut(s, UNIT), 0);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, 0, UNIT), -EIO);
	fake_fail(0, 0);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

static struct scene *watched;
static unsigned cuts;

/* A file is cut: nobody is to see what core zeroes, or frees. */
static void look_at_cut(const struct fake_view *view)
{
	if (view->size != UNIT + PAGE + 5 || size_of(watched) == view->size)
		return;
	cuts++;
	for (uint64_t page = UNIT / PAGE; page < FILE_UNITS * UNIT / PAGE; page++)
		assert_int_equal(view->page[page], FAKE_UNKNOWN);
}

static void a_view_is_cut_first(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);

	for (uint64_t at = 0; at < FILE_UNITS * UNIT; at += UNIT)
		assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, at, UNIT), 0);
	watched = s;
	cuts = 0;
	fake.resized = look_at_cut;
	assert_int_equal(cut(s, UNIT + PAGE + 5), 0);
	fake.resized = NULL;
	assert_int_equal(cuts, 1);
	assert_int_equal(fake_size(p.view), UNIT + PAGE + 5);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

/* It dies before or after core's transaction. */
static void a_size_outlives_the_process(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);

	end_process(s, false);
	fake_find_locked(p.view)->size = 5;
	open_pool(s, false);
	assert_int_equal(begin_views(s), 0);
	assert_int_equal(fake_size(p.view), FILE_UNITS * UNIT);
	assert_int_equal(cut(s, UNIT), 0);
	fake_find_locked(p.view)->size = VIEW_BYTES;
	replace_process(s);
	assert_int_equal(fake_size(p.view), UNIT);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, UNIT, UNIT), -ENXIO);
	assert_int_equal(ask(p.view, DAXVIEW_ASK_READ, 0, UNIT), 0);
	program_close(s, &p);
	WAIT_FOR(has_ended(s));
}

static int64_t atime_of(struct scene *s)
{
	struct fs_attr attr;

	assert_int_equal(vfs_getattr(s->vfs, s->ino, &attr), 0);
	return attr.atime;
}

static void set_atime(struct scene *s, int64_t when)
{
	const struct fs_setattr set = { .valid = FS_SET_ATIME, .atime = when };
	struct fs_attr attr;

	assert_int_equal(vfs_setattr(s->vfs, &no_request, s->ino, &set, &attr), 0);
}

/* A read that went to the view moves the time as one that came to us; what somebody has set since
 * stays. */
static void reads_are_seen(void **state)
{
	struct scene *s = *state;
	struct program p = program_open(s);
	int64_t when;

	when = fs_clock();
	fake_read(p.view, (uint64_t)when);
	assert_true(atime_of(s) < when); /* no file's reads go there */
	assert_true(views_pass(s->views, &p.opened, O_RDONLY));
	assert_int_equal(atime_of(s), when);
	assert_int_equal(write_at(s, 0, 1), 0);
	fake_read(p.view, (uint64_t)(when = fs_clock()));
	set_atime(s, 1000);
	assert_int_equal(atime_of(s), 1000);
	replace_process(s);
	assert_int_equal(atime_of(s), 1000);
	end_process(s, false);
	fake_read(p.view, (uint64_t)(when = fs_clock()));
	open_pool(s, false);
	assert_int_equal(begin_views(s), 0);
	assert_int_equal(atime_of(s), when);
	assert_int_equal(write_at(s, 0, 1), 0);
	fake_read(p.view, (uint64_t)(when = fs_clock()));
	/* its view may end before we hear that it was closed */
	fake_use(p.view, false);
	WAIT_FOR(has_ended(s));
	assert_int_equal(atime_of(s), when);
	vfs_release(s->vfs, s->ino, p.opened.handle);
	views_leave(s->views, s->ino, p.opened.handle, p.how);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scene_test(sizes_are_told),      scene_test(a_size_cannot_be_set),
		scene_test(a_view_is_cut_first), scene_test(a_size_outlives_the_process),
		scene_test(reads_are_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
