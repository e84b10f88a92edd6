/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs store, map, unmap and protect while the daemon moves the file's units about: a store
 * must never land where a unit was before, nor be lost, and what has no pin is mapped nowhere.
 */
#include "fake.h"

/* Words of the workers, then those of the two that map by themselves. */
enum { WORKERS = 3, MORE = WORKERS, SMALL, WORDS, MOVES = 4000, STRIDE = 8192 };
#define POISON UINT64_C(0x6b6b6b6b6b6b6b6b)

static char *memory;
static _Atomic bool stop;
static bool taken[DEVICE_UNITS];

static _Atomic uint64_t *word(char *unit, unsigned worker)
{
	return (_Atomic uint64_t *)(unit + (size_t)worker * STRIDE + 64);
}

/* Each has a word of its own in each unit. */
static void *work(void *argument)
{
	unsigned worker = (unsigned)(uintptr_t)argument, seed = worker;
	uint64_t expected[FAKE_UNITS] = { 0 };

	for (uint64_t n = 1; !stop; n++) {
		unsigned unit = (unsigned)rand_r(&seed) % FAKE_UNITS;
		_Atomic uint64_t *at = word(memory + unit * UNIT_BYTES, worker);

		if (atomic_load(at) != expected[unit])
			return "a store was lost";
		if (rand_r(&seed) % 2)
			atomic_store(at, expected[unit] = n);
	}
	return NULL;
}

/* Second mappings, which come and go. */
static void *map_more(void *argument)
{
	unsigned seed = 77;

	while (!stop) {
		unsigned first = (unsigned)rand_r(&seed) % (FAKE_UNITS - 2);
		char *other = dxm_map(NULL, 3 * UNIT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
				      fake.file, (off_t)(first * UNIT_BYTES));

		if (other == MAP_FAILED)
			return "not mapped";
		atomic_store(word(other, MORE), 1);
		dxm_protect(other + UNIT_BYTES, UNIT_BYTES, PROT_READ);
		dxm_unmap(other + UNIT_BYTES / 2, UNIT_BYTES);
		atomic_load(word(other + 2 * UNIT_BYTES, MORE));
		dxm_unmap(other, 3 * UNIT_BYTES);
	}
	return NULL;
}

/* Of a page each, which have no address before the answer is there. */
static void *map_small(void *argument)
{
	uint64_t expected[FAKE_UNITS] = { 0 };
	unsigned seed = 78;

	for (uint64_t n = 1; !stop; n++) {
		unsigned unit = (unsigned)rand_r(&seed) % FAKE_UNITS;
		char *page = dxm_map(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
				     fake.file, (off_t)(unit * UNIT_BYTES + SMALL * STRIDE));
		_Atomic uint64_t *at = word(page, 0);

		if (page == MAP_FAILED)
			return "no page was mapped";
		if (atomic_load(at) != expected[unit])
			return "a store to a page was lost";
		atomic_store(at, expected[unit] = n);
		if (atomic_load(at) != n)
			return "a store to a page went elsewhere";
		dxm_unmap(page, PAGE_BYTES);
	}
	return NULL;
}

static unsigned free_place(unsigned *seed)
{
	unsigned place;

	do
		place = (unsigned)rand_r(seed) % DEVICE_UNITS;
	while (taken[place]);
	return place;
}

static void poison(unsigned place)
{
	for (unsigned worker = 0; worker < WORDS; worker++)
		atomic_store(word(fake_unit(place), worker), POISON);
}

/* What the daemon does under a file's lock: no question is answered meanwhile. */
static void move_unit(unsigned unit, unsigned *seed)
{
	unsigned from, to = free_place(seed);

	pthread_mutex_lock(&fake.lock);
	from = fake.place[unit];
	if (fake.granted[unit]) {
		assert_int_equal(
			revoke_pieces(fake.cookie, unit * UNIT_BYTES, UNIT_BYTES, fake.grant), 0);
		fake.granted[unit] = 0;
	}
	for (unsigned worker = 0; worker < WORDS; worker++) {
		assert_int_equal(atomic_load(word(fake_unit(to), worker)), POISON);
		atomic_store(word(fake_unit(to), worker),
			     atomic_load(word(fake_unit(from), worker)));
	}
	fake.place[unit] = to;
	taken[to] = true;
	taken[from] = false;
	poison(from);
	pthread_mutex_unlock(&fake.lock);
}

static void protect_unit(unsigned unit)
{
	pthread_mutex_lock(&fake.lock);
	if (fake.granted[unit])
		assert_int_equal(
			revoke_writing(fake.cookie, unit * UNIT_BYTES, UNIT_BYTES, fake.grant), 0);
	pthread_mutex_unlock(&fake.lock);
}

static void prepare(void)
{
	for (unsigned place = 0; place < DEVICE_UNITS; place++)
		poison(place);
	for (unsigned unit = 0; unit < FAKE_UNITS; unit++) {
		taken[fake.place[unit]] = true;
		for (unsigned worker = 0; worker < WORDS; worker++)
			atomic_store(word(fake_unit(fake.place[unit]), worker), 0);
	}
}

static void test_moves(void **state)
{
	pthread_t thread[WORDS];
	unsigned seed = 1;
	void *complaint;

	prepare();
	memory = map_file(FAKE_SIZE, PROT_READ | PROT_WRITE);
	fake.delay = 100;
	for (uintptr_t worker = 0; worker < WORKERS; worker++)
		assert_int_equal(pthread_create(&thread[worker], NULL, work, (void *)worker), 0);
	assert_int_equal(pthread_create(&thread[MORE], NULL, map_more, NULL), 0);
	assert_int_equal(pthread_create(&thread[SMALL], NULL, map_small, NULL), 0);
	for (int i = 0; i < MOVES; i++) {
		move_unit((unsigned)rand_r(&seed) % FAKE_UNITS, &seed);
		if (i % 3 == 0)
			protect_unit((unsigned)rand_r(&seed) % FAKE_UNITS);
		/* so that the others get to run, and have something mapped again */
		if (i % 4 == 0)
			usleep(500);
	}
	stop = true;
	for (int i = 0; i < WORDS; i++) {
		pthread_join(thread[i], &complaint);
		assert_null(complaint);
	}
	dxm_unmap(memory, FAKE_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_moves, fake_setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
