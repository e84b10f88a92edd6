/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs open a file, ask and close it, while it is cut, grows and is used by devices. */
#include "scene.h"

struct crowd {
	struct scene *s;
	atomic_bool stop;
};

static void *open_and_ask(void *arg)
{
	struct crowd *crowd = arg;
	unsigned seed = 1;

	while (!atomic_load(&crowd->stop)) {
		struct program p = program_open(crowd->s);

		for (unsigned i = 0; i < 20; i++)
			ask(p.view, i % 3 ? DAXVIEW_ASK_WRITE : DAXVIEW_ASK_READ,
			    (uint64_t)(rand_r(&seed) % FILE_UNITS) * UNIT, UNIT);
		program_close(crowd->s, &p);
	}
	return NULL;
}

static void *use_and_change(void *arg)
{
	struct crowd *crowd = arg;
	unsigned seed = 2;

	while (!atomic_load(&crowd->stop)) {
		uint64_t device = device_of(crowd->s, 0);

		fake_busy(device, device + (rand_r(&seed) % 2) * UNIT);
		cut(crowd->s, (uint64_t)(rand_r(&seed) % (FILE_UNITS * UNIT)));
		cut(crowd->s, FILE_UNITS * UNIT);
		vfs_fsync(crowd->s->vfs, crowd->s->ino);
		fake_busy(0, 0);
	}
	return NULL;
}

static void *grow_and_look(void *arg)
{
	struct crowd *crowd = arg;
	unsigned seed = 3;
	struct fs_attr attr;

	while (!atomic_load(&crowd->stop)) {
		write_at(crowd->s, (uint64_t)(rand_r(&seed) % (FILE_UNITS * UNIT - PAGE)), PAGE);
		assert_int_equal(vfs_getattr(crowd->s->vfs, crowd->s->ino, &attr), 0);
	}
	return NULL;
}

static void many_threads(void **state)
{
	static void *(*const run[])(void *arg) = {
		open_and_ask, open_and_ask, open_and_ask, use_and_change, grow_and_look,
	};
	struct crowd crowd = { .s = *state };
	struct program p = program_open(crowd.s);
	pthread_t thread[5];

	for (int i = 0; i < 5; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, run[i], &crowd), 0);
	usleep(1500000);
	atomic_store(&crowd.stop, true);
	for (int i = 0; i < 5; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(fake_size(p.view), size_of(crowd.s));
	program_close(crowd.s, &p);
	WAIT_FOR(has_ended(crowd.s) && busy_blocks(crowd.s) == 0 && records(crowd.s) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scene_test(many_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
