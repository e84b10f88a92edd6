/* SPDX-License-Identifier: BSD-3-Clause */
/* One file of four units on the fake device, and mappers that tests open as they need. */
#ifndef TESTS_UNIT_MAP_MAPPING_H
#define TESTS_UNIT_MAP_MAPPING_H

#include "fake_mapper.h"

enum { ANSWER_MS = 50 };

struct fixture {
	struct fake *fake;
	struct fake_file *file;
	struct map_engine *engine;
	struct map_file *map;
	struct fake_mapper mapper[3];
	unsigned mappers;
	struct map_hook hook;
	uint64_t hooked_offset, hooked_length;
	unsigned hooked;
};

FAKE void on_first_write(void *arg, void *file, uint64_t offset, uint64_t length)
{
	struct fixture *f = arg;

	assert_ptr_equal(file, f->file);
	note(f->fake, 'h');
	f->hooked++;
	f->hooked_offset = offset;
	f->hooked_length = length;
}

FAKE int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->fake = fake_new();
	f->file = fake_file_new(f->fake, FILE_UNITS * MAP_UNIT_SIZE);
	assert_int_equal(map_engine_new(&fake_backend, f->fake, &f->engine), 0);
	map_engine_set_answer_ms(f->engine, ANSWER_MS);
	f->hook = (struct map_hook){ on_first_write, f, NULL };
	map_engine_add_hook(f->engine, &f->hook);
	assert_int_equal(map_file_new(f->engine, f->file, &f->map), 0);
	*state = f;
	return 0;
}

FAKE int teardown(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < f->mappers; i++)
		if (f->mapper[i].view)
			mapper_close(&f->mapper[i]);
	map_file_put(f->map);
	map_engine_free(f->engine);
	/* with the last pin, all that was quarantined was released */
	for (unsigned n = 0; n < DEVICE_PAGES; n++)
		assert_int_not_equal(f->fake->page[n].state, PAGE_QUARANTINED);
	pthread_mutex_destroy(&f->fake->lock);
	free(f->file);
	free(f->fake);
	free(f);
	return 0;
}

FAKE struct fake_mapper *open_mapper(struct fixture *f, const struct mapper_ops *ops)
{
	struct fake_mapper *m = &f->mapper[f->mappers++];

	mapper_open(m, f->fake, f->map, ops);
	return m;
}

FAKE void close_mapper(struct fake_mapper *m)
{
	mapper_close(m);
	m->view = NULL;
}

FAKE struct map_survey survey(struct fixture *f)
{
	struct map_survey survey;

	map_file_survey(f->map, &survey);
	return survey;
}

FAKE void forget_log(struct fixture *f)
{
	memset(f->fake->log, 0, sizeof(f->fake->log));
}

FAKE uint64_t load(struct fake_mapper *m, uint64_t page)
{
	uint64_t value = 0;

	assert_true(mapper_load(m, page, 0, &value));
	return value;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
