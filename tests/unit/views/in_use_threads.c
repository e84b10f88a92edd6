/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The room views: memory that a device uses when its file lets go of it, also over the death of the
 * process; and memory that fails.
 */
#include "scene.h"

/* A device stores to the first page of the second unit, which is mapped for stores. */
static struct program open_in_use(struct scene *s)
{
	struct program p = program_open(s);
	uint64_t device = device_of(s, UNIT);

	assert_int_equal(ask(p.view, DAXVIEW_ASK_WRITE, UNIT, UNIT), 0);
	fake_busy(device, device + PAGE);
	return p;
}

/* Memory that a device uses when its file is cut is nobody's until it has been let go of, in
 * whatever life. */
static void memory_in_use_is_held(void **state)
{
	struct scene *s = *state;
	struct program p = open_in_use(s);

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
	struct program p = open_in_use(s);
	uint64_t held;

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
	struct program p = open_in_use(s);
	uint64_t held;

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
	struct program p = open_in_use(s);

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
	struct program p = open_in_use(s);

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		scene_test(memory_in_use_is_held),
		scene_test(memory_in_use_is_held_beside_others),
		scene_test(memory_in_use_is_held_without_memory),
		scene_test(memory_in_use_is_pinned_again),
		scene_test(memory_in_use_is_asked_for_again),
		scene_test(failed_memory_is_known),
		scene_test(a_failed_page_is_one_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
