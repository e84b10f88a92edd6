/* SPDX-License-Identifier: BSD-3-Clause */
/* Which way open files are read (vfs/opens.c): the counts, their records, what the next process makes
 * of them, and that no record is left over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daxfuse/vfs/internal.h"

enum { INO = 7, OTHER = INO + (1 << 20) }; /* they share everything that is hashed */

/* As much of a vfs as these functions use. */
static struct vfs *new_process(struct vfs_open_table *table, _Atomic uint64_t *next_handle)
{
	struct vfs *v = calloc(1, sizeof(*v));

	assert_non_null(v);
	v->config.opens = table;
	v->config.next_handle = next_handle;
	assert_int_equal(opens_open(v), 0);
	return v;
}

static void end_process(struct vfs *v)
{
	opens_close(v);
	free(v);
}

struct scene {
	struct vfs_open_table *table;
	_Atomic uint64_t next_handle;
	struct vfs *v;
};

static int scene_setup(void **state)
{
	struct scene *scene = calloc(1, sizeof(*scene));

	scene->table = calloc(1, sizeof(*scene->table));
	scene->v = new_process(scene->table, &scene->next_handle);
	*state = scene;
	return 0;
}

static int scene_teardown(void **state)
{
	struct scene *scene = *state;

	for (uint32_t i = 0; i < VFS_OPENS; i++)
		assert_int_equal(scene->table->record[i].handle, 0);
	end_process(scene->v);
	free(scene->table);
	free(scene);
	return 0;
}

/* The serving process dies, and another one takes over. */
static void replace_process(struct scene *scene)
{
	end_process(scene->v);
	scene->v = new_process(scene->table, &scene->next_handle);
}

static struct open_way enter(struct scene *scene, uint64_t ino, unsigned how)
{
	struct open_way way;

	open_enter(scene->v, NULL, ino, how, &way);
	assert_int_equal(vfs_is_cached(way.handle), !way.direct);
	return way;
}

static struct vfs_opened opened_of(uint64_t ino, const struct open_way *way)
{
	return (struct vfs_opened){
		.attr = { .ino = ino },
		.handle = way->handle,
		.direct = way->direct,
		.keep_cache = way->keep_cache,
	};
}

/* An open that was to go through the cache, and does not: it is no reader of that, in any life. */
static void goes_past_the_cache_after_all(void **state)
{
	struct scene *scene = *state;
	const struct vfs_request request = { .answer = NULL };

	for (int lives = 1; lives <= 2; lives++) {
		struct open_way way = enter(scene, INO, OPEN_READS);
		struct open_way other = enter(scene, INO, OPEN_READS | OPEN_DIRECT);
		struct vfs_opened opened = opened_of(INO, &way);

		assert_false(way.direct);
		assert_int_equal(vfs_cached_readers(scene->v, INO), 1);
		vfs_open_past_cache(scene->v, &request, &opened);
		assert_true(opened.direct && opened.keep_cache && !vfs_is_cached(opened.handle));
		assert_int_equal(vfs_cached_readers(scene->v, INO), 0);
		if (lives == 2)
			replace_process(scene);
		assert_int_equal(vfs_cached_readers(scene->v, INO), 0);
		/* it would be one that executes the open again: its first handle ends */
		open_leave(scene->v, way.handle);
		assert_false(vfs_is_recorded(scene->v, opened.handle));
		open_leave(scene->v, other.handle);
	}
}

static void knows_earlier_opens(void **state)
{
	struct scene *scene = *state;
	struct open_way first = enter(scene, INO, OPEN_READS), second, third;

	assert_true(vfs_is_of_this_life(scene->v, first.handle));
	assert_false(vfs_earlier_opens(scene->v, INO));
	replace_process(scene);
	second = enter(scene, INO, OPEN_READS | OPEN_DIRECT);
	third = enter(scene, OTHER, OPEN_READS);
	assert_false(vfs_is_of_this_life(scene->v, first.handle));
	assert_true(vfs_is_of_this_life(scene->v, second.handle));
	assert_true(vfs_earlier_opens(scene->v, INO));
	assert_false(vfs_earlier_opens(scene->v, OTHER));
	open_leave(scene->v, second.handle);
	assert_true(vfs_earlier_opens(scene->v, INO));
	open_leave(scene->v, first.handle);
	open_leave(scene->v, first.handle);
	assert_false(vfs_earlier_opens(scene->v, INO));
	open_leave(scene->v, third.handle);
}

/* What found no record may be open still in a later life: so any file may be. */
static void knows_what_was_not_recorded(void **state)
{
	struct scene *scene = *state;

	assert_false(vfs_earlier_opens(scene->v, INO));
	scene->table->missed = 1;
	assert_false(vfs_earlier_opens(scene->v, INO));
	replace_process(scene);
	assert_true(vfs_earlier_opens(scene->v, INO));
}

static void follows_while_one_is_direct(void **state)
{
	struct scene *scene = *state;
	struct open_way cached = enter(scene, INO, OPEN_READS | OPEN_FOLLOWS);
	struct open_way direct = enter(scene, INO, OPEN_READS | OPEN_DIRECT);
	struct open_way reader = enter(scene, INO, OPEN_READS | OPEN_FOLLOWS);
	struct open_way writer = enter(scene, INO, OPEN_WRITES | OPEN_FOLLOWS);
	struct open_way other = enter(scene, OTHER, OPEN_READS | OPEN_FOLLOWS);

	assert_true(!cached.direct && direct.direct && reader.direct && writer.direct &&
		    !other.direct);
	assert_int_equal(vfs_cached_readers(scene->v, INO), 1);
	replace_process(scene);
	assert_int_equal(vfs_cached_readers(scene->v, INO), 1);
	open_leave(scene->v, cached.handle);
	open_leave(scene->v, cached.handle); /* once */
	assert_int_equal(vfs_cached_readers(scene->v, INO), 0);
	open_leave(scene->v, direct.handle);
	cached = enter(scene, INO, OPEN_READS | OPEN_FOLLOWS);
	assert_true(cached.direct); /* as the reader is */
	open_leave(scene->v, cached.handle);
	open_leave(scene->v, reader.handle);
	open_leave(scene->v, writer.handle);
	open_leave(scene->v, other.handle);
	cached = enter(scene, INO, OPEN_READS | OPEN_FOLLOWS);
	assert_false(cached.direct);
	open_leave(scene->v, cached.handle);
}

static void trust_begins_with_a_release(void **state)
{
	struct scene *scene = *state;
	struct open_way first = enter(scene, INO, OPEN_READS),
			second = enter(scene, INO, OPEN_READS);

	assert_true(!first.keep_cache &&
		    !second.keep_cache); /* the first was not heard yet, perhaps */
	open_leave(scene->v, first.handle);
	first = enter(scene, INO, OPEN_READS);
	assert_true(first.keep_cache);
	open_leave(scene->v, first.handle);
	first = enter(scene, INO, OPEN_READS | OPEN_DIRECT);
	open_leave(scene->v, first.handle);
	/* it was opened before that */
	open_leave(scene->v, second.handle);
	first = enter(scene, INO, OPEN_READS);
	assert_false(first.keep_cache);
	open_was_in_vain(scene->v, first.handle);
	open_leave(scene->v, first.handle);
	first = enter(scene, INO, OPEN_READS);
	assert_false(first.keep_cache);
	replace_process(scene);
	open_leave(scene->v, first.handle);
	first = enter(scene, INO, OPEN_READS);
	assert_false(first.keep_cache);
	open_leave(scene->v, first.handle);
	first = enter(scene, OTHER, OPEN_READS);
	assert_false(first.keep_cache);
	open_leave(scene->v, first.handle);
}

static void no_writer_beside_opens_that_drop(void **state)
{
	enum {
		READS = OPEN_READS | OPEN_YIELDS,
		WRITES = READS | OPEN_WRITES,
	};
	struct scene *scene = *state;
	struct open_way dropper = enter(scene, INO, READS);
	struct open_way reader, writer, only;

	/* it may be about to drop it still */
	writer = enter(scene, INO, WRITES);
	assert_true(!dropper.direct && !dropper.keep_cache && writer.direct);
	open_leave(scene->v, writer.handle);
	/* but not once it is read by */
	vfs_open_is_used(scene->v, dropper.handle);
	writer = enter(scene, INO, WRITES | OPEN_EMPTY);
	assert_false(writer.direct);
	open_leave(scene->v, writer.handle);
	open_leave(scene->v, dropper.handle);
	reader = enter(scene, INO, READS);
	open_leave(scene->v, reader.handle);
	writer = enter(scene, INO, WRITES);
	reader = enter(scene, INO, READS);
	only = enter(scene, INO, OPEN_WRITES | OPEN_YIELDS);
	assert_true(!writer.direct && writer.keep_cache && !reader.direct && reader.keep_cache);
	assert_false(only.direct);
	open_leave(scene->v, only.handle);
	open_leave(scene->v, reader.handle);
	reader = enter(scene, INO, READS | OPEN_DROPS);
	assert_true(reader.direct && reader.keep_cache);
	open_leave(scene->v, reader.handle);
	open_leave(scene->v, writer.handle);
	reader = enter(scene, INO, READS);
	assert_false(reader.direct);
	/* of another process's opens it is not known */
	replace_process(scene);
	writer = enter(scene, INO, WRITES);
	assert_true(writer.direct);
	open_leave(scene->v, writer.handle);
	open_leave(scene->v, reader.handle);
	writer = enter(scene, INO, WRITES);
	assert_false(writer.direct);
	open_leave(scene->v, writer.handle);
}

static void writes_past_the_cache(void **state)
{
	struct scene *scene = *state;
	struct open_way reader = enter(scene, INO, OPEN_READS);

	assert_true(vfs_wrote_past_cache(scene->v, INO));
	open_leave(scene->v, reader.handle);
	assert_false(vfs_wrote_past_cache(scene->v, INO));
	reader = enter(scene, INO, OPEN_READS);
	assert_false(reader.keep_cache);
	open_leave(scene->v, reader.handle);
}

static void an_open_that_is_made_again(void **state)
{
	struct scene *scene = *state;
	struct vfs_answer answer = { .unique = 1 };
	const struct vfs_request request = { .answer = &answer };
	struct open_way way;

	for (int i = 0; i < 3; i++) {
		open_enter(scene->v, &answer, INO, OPEN_READS, &way);
		assert_int_equal(vfs_cached_readers(scene->v, INO), 1);
		replace_process(scene);
	}
	vfs_opening_answered(&request);
	open_enter(scene->v, &answer, INO, OPEN_READS, &way); /* it was not heard all the same */
	assert_int_equal(vfs_cached_readers(scene->v, INO), 1);
	vfs_opening_answered(&request);
	replace_process(scene);
	vfs_opening_lost(scene->v, &answer); /* it may have been */
	assert_int_equal(vfs_cached_readers(scene->v, INO), 1);
	open_leave(scene->v, way.handle);
	answer.choice = 0;
	open_enter(scene->v, &answer, INO, OPEN_READS, &way);
	vfs_opening_lost(scene->v, &answer);
	assert_int_equal(vfs_cached_readers(scene->v, INO), 0);
}

/* What finds no room goes past the cache, and keeps nobody else away from it. */
static void the_table_is_full(void **state)
{
	struct scene *scene = *state;
	uint64_t *handle = calloc(VFS_OPENS, sizeof(*handle));
	struct open_way way;

	for (uint32_t i = 0; i < VFS_OPENS; i++) {
		handle[i] = enter(scene, OTHER + i, OPEN_READS).handle;
		assert_true(vfs_is_recorded(scene->v, handle[i]));
	}
	for (int i = 0; i < 2; i++) {
		way = enter(scene, INO, OPEN_READS | OPEN_FOLLOWS);
		assert_true(way.direct && !vfs_is_recorded(scene->v, way.handle));
		open_leave(scene->v, way.handle);
	}
	way = enter(scene, INO, OPEN_WRITES | OPEN_FOLLOWS);
	assert_true(way.direct && !vfs_is_recorded(scene->v, way.handle));
	open_leave(scene->v, handle[0]);
	way = enter(scene, INO, OPEN_READS | OPEN_FOLLOWS);
	assert_true(!way.direct && vfs_is_recorded(scene->v, way.handle));
	handle[0] = way.handle;
	replace_process(scene);
	for (uint32_t i = 0; i < VFS_OPENS; i++)
		open_leave(scene->v, handle[i]);
	free(handle);
}

/* Numbers that the kernel never got from us. */
static void strange_handles(void **state)
{
	struct scene *scene = *state;

	for (unsigned shift = 0; shift < 64; shift++) {
		open_leave(scene->v, UINT64_C(1) << shift);
		open_leave(scene->v, UINT64_MAX >> shift);
		assert_false(vfs_is_recorded(scene->v, UINT64_MAX >> shift));
	}
}

enum { THREADS = 4, ROUNDS = 20000 };

static void *open_and_close(void *arg)
{
	struct scene *scene = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct open_way way;

		open_enter(scene->v, NULL, INO + i % 3,
			   OPEN_READS | (i % 5 ? OPEN_FOLLOWS : OPEN_DIRECT), &way);
		vfs_wrote_past_cache(scene->v, INO);
		open_leave(scene->v, way.handle);
	}
	return NULL;
}

static void many_threads(void **state)
{
	struct scene *scene = *state;
	pthread_t thread[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, open_and_close, scene), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(vfs_cached_readers(scene->v, INO), 0);
	assert_true(scene->table->used <= THREADS);
}

#define scene_test(test) cmocka_unit_test_setup_teardown(test, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		scene_test(follows_while_one_is_direct),
		scene_test(trust_begins_with_a_release),
		scene_test(no_writer_beside_opens_that_drop),
		scene_test(writes_past_the_cache),
		scene_test(an_open_that_is_made_again),
		scene_test(goes_past_the_cache_after_all),
		scene_test(knows_earlier_opens),
		scene_test(knows_what_was_not_recorded),
		scene_test(the_table_is_full),
		scene_test(strange_handles),
		scene_test(many_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
