/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The crash states of small programs whose every state is known: the harness
 * must produce all of them, and no others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/crash/enumerate.h"

#define POOL (UINT64_C(4) << 20)

struct toy {
	struct image *live, *crash;
	struct inflight *inflight;
	struct log log;
	/* what a state must satisfy, and what was found */
	bool (*holds)(const struct image *image);
	unsigned states, broken;
	uint64_t seen; /* bit set by tests */
};

static const struct enumerate_limit everything = {
	.all = 4096, .pairs = 1000, .random = 50, .torn = 1000
};

static int set_up(void **state)
{
	struct toy *toy = calloc(1, sizeof(*toy));

	if (image_create(POOL, &toy->live) || image_create(POOL, &toy->crash) ||
	    inflight_create(POOL, &toy->inflight))
		return -1;
	toy->live->log = &toy->log;
	toy->inflight->durable[0] = toy->crash;
	toy->inflight->data_start = POOL / 2;
	toy->inflight->data_end = POOL;
	*state = toy;
	return 0;
}

static int tear_down(void **state)
{
	struct toy *toy = *state;

	image_destroy(toy->live);
	image_destroy(toy->crash);
	inflight_destroy(toy->inflight);
	log_free(&toy->log);
	free(toy);
	return 0;
}

static uint64_t word(const struct image *image, uint64_t offset)
{
	uint64_t value;

	memcpy(&value, image_at(image, offset), sizeof(value));
	return value;
}

static uint64_t *at(struct toy *toy, uint64_t offset)
{
	return pmem_at(&toy->live->pm, offset);
}

static bool on_state(const inflight_choice *choice, void *arg)
{
	struct toy *toy = arg;
	size_t mark = image_mark(toy->crash);

	inflight_apply(toy->inflight, choice, toy->crash);
	toy->states++;
	toy->broken += toy->holds && !toy->holds(toy->crash);
	toy->seen |= UINT64_C(1) << (word(toy->crash, 0) & 7) * 8 << (word(toy->crash, 64) & 7);
	image_rollback(toy->crash, mark);
	return true;
}

/* All states at each fence and at the end of what the toy did. */
static void run_states(struct toy *toy, const struct enumerate_limit *limit)
{
	size_t i;

	for (i = 0; i < toy->log.count; i++) {
		if (toy->log.event[i].kind == LOG_FENCE)
			enumerate_states(toy->inflight, limit, NULL, on_state, toy);
		inflight_event(toy->inflight, &toy->log, &toy->log.event[i]);
	}
	enumerate_states(toy->inflight, limit, NULL, on_state, toy);
}

/* A flag (line 1) that promises the value (line 0). */
static bool flag_means_value(const struct image *image)
{
	return !word(image, 64) || word(image, 0) == 5;
}

static void publish(struct toy *toy, bool flush, bool fence)
{
	const struct pmem *pm = &toy->live->pm;

	pmem_store64(pm, at(toy, 0), 5);
	if (flush)
		pmem_flush(pm, at(toy, 0), 8);
	if (fence)
		pmem_fence(pm);
	pmem_store64(pm, at(toy, 64), 1);
	pmem_flush(pm, at(toy, 64), 8);
	pmem_fence(pm);
}

static void test_right_order_holds(void **state)
{
	struct toy *toy = *state;

	toy->holds = flag_means_value;
	publish(toy, true, true);
	run_states(toy, &everything);
	assert_int_equal(toy->broken, 0);
	assert_int_equal(toy->states, 2 + 2 + 1);
	assert_int_equal(word(toy->crash, 0), 5);
	assert_int_equal(word(toy->crash, 64), 1);
	assert_int_equal(inflight_units(toy->inflight), 0);
}

static void test_missing_fence_is_caught(void **state)
{
	struct toy *toy = *state;

	toy->holds = flag_means_value;
	publish(toy, true, false);
	run_states(toy, &everything);
	assert_int_equal(toy->broken, 1);
}

static void test_missing_flush_is_caught(void **state)
{
	struct toy *toy = *state;

	toy->holds = flag_means_value;
	publish(toy, false, true);
	run_states(toy, &everything);
	assert_true(toy->broken > 0);
	assert_int_equal(inflight_units(toy->inflight), 1);
	assert_int_equal(word(toy->crash, 0), 0);
}

static void test_store_behind_flush_is_not_covered(void **state)
{
	struct toy *toy = *state;
	const struct pmem *pm = &toy->live->pm;

	pmem_store64(pm, at(toy, 0), 1);
	pmem_flush(pm, at(toy, 0), 8);
	pmem_store64(pm, at(toy, 8), 2);
	pmem_fence(pm);
	run_states(toy, &everything);
	assert_int_equal(word(toy->crash, 0), 1);
	assert_int_equal(word(toy->crash, 8), 0);
	assert_int_equal(inflight_units(toy->inflight), 1);
}

/* Stores to one line arrive in order, to two lines in any. */
static void test_prefixes_and_products(void **state)
{
	struct toy *toy = *state;
	const struct pmem *pm = &toy->live->pm;
	unsigned a, b;

	for (a = 1; a <= 3; a++)
		pmem_store64(pm, at(toy, 0), a);
	for (b = 1; b <= 2; b++)
		pmem_store64(pm, at(toy, 64), b);
	run_states(toy, &everything);
	assert_int_equal(toy->states, 4 * 3);
	for (a = 0; a <= 3; a++)
		for (b = 0; b <= 2; b++)
			assert_true(toy->seen >> (a * 8 + b) & 1);
}

/* No state has the second store to a line without the first. */
static bool in_order(const struct image *image)
{
	return !word(image, 8) || word(image, 0);
}

static void test_one_line_keeps_order(void **state)
{
	struct toy *toy = *state;
	const struct pmem *pm = &toy->live->pm;

	toy->holds = in_order;
	pmem_store64(pm, at(toy, 0), 1);
	pmem_store64(pm, at(toy, 8), 1);
	run_states(toy, &everything);
	assert_int_equal(toy->states, 3);
	assert_int_equal(toy->broken, 0);
}

/* Both words or none: what no store of two words can promise. */
static bool both_words(const struct image *image)
{
	return !word(image, 0) == !word(image, 8);
}

static void test_words_are_torn(void **state)
{
	struct toy *toy = *state;
	const struct pmem *pm = &toy->live->pm;
	uint64_t two[2] = { 1, 1 };

	toy->holds = both_words;
	pmem_store(pm, at(toy, 0), two, sizeof(two));
	run_states(toy, &everything);
	assert_true(toy->broken > 0);
}

static void test_nt_needs_the_fence_only(void **state)
{
	struct toy *toy = *state;
	const struct pmem *pm = &toy->live->pm;
	uint64_t line[8] = { 5 };

	toy->holds = flag_means_value;
	pmem_copy_nt(pm, at(toy, 0), line, sizeof(line));
	pmem_fence(pm);
	pmem_store64(pm, at(toy, 64), 1);
	run_states(toy, &everything);
	assert_int_equal(toy->broken, 0);
	assert_int_equal(word(toy->crash, 0), 5);
}

static void test_nt_is_not_ordered(void **state)
{
	struct toy *toy = *state;
	const struct pmem *pm = &toy->live->pm;
	uint64_t line[8] = { 5 };

	toy->holds = flag_means_value;
	pmem_copy_nt(pm, at(toy, 0), line, sizeof(line));
	line[0] = 1;
	pmem_copy_nt(pm, at(toy, 64), line, sizeof(line));
	pmem_fence(pm);
	run_states(toy, &everything);
	assert_true(toy->broken > 0);
}

/* The last byte of the data says that all of it is there. */
static bool whole_data(const struct image *image)
{
	const uint8_t *data = image_at(image, POOL / 2);
	size_t i;

	for (i = 0; data[8191] && i < 8191; i++)
		if (!data[i])
			return false;
	return true;
}

static void test_data_is_torn(void **state)
{
	struct toy *toy = *state;
	static uint8_t data[8192];

	memset(data, 7, sizeof(data));
	toy->holds = whole_data;
	pmem_copy_nt(&toy->live->pm, at(toy, POOL / 2), data, sizeof(data));
	assert_int_equal(toy->log.count, 1);
	run_states(toy, &everything);
	assert_int_equal(inflight_units(toy->inflight), 1);
	assert_true(toy->broken >= 3);
}

/* Data over older stores of the same lines: the later one wins, always. */
static bool later_wins(const struct image *image)
{
	return image_at(image, POOL / 2)[0] != 1 || image_at(image, POOL / 2)[8191] != 9;
}

static void test_data_keeps_its_place_in_the_queue(void **state)
{
	struct toy *toy = *state;
	static uint8_t data[8192];

	memset(data, 9, sizeof(data));
	pmem_store64(&toy->live->pm, at(toy, POOL / 2), 1);
	pmem_copy_nt(&toy->live->pm, at(toy, POOL / 2), data, sizeof(data));
	pmem_fence(&toy->live->pm);
	run_states(toy, &everything);
	assert_true(later_wins(toy->crash));
	assert_int_equal(image_at(toy->crash, POOL / 2)[0], 9);
}

/* Too many states for all: each pair of a store missing, the rest there. */
static bool at_most_one_missing(const struct image *image)
{
	unsigned missing = 0;
	unsigned i;

	for (i = 0; i < 20; i++)
		missing += !word(image, i * 64);
	return missing != 2;
}

static void test_pairs_beyond_the_limit(void **state)
{
	struct toy *toy = *state;
	unsigned i;

	toy->holds = at_most_one_missing;
	for (i = 0; i < 20; i++)
		pmem_store64(&toy->live->pm, at(toy, i * 64), 1);
	run_states(toy, &everything);
	assert_true(toy->states < 4096);
	assert_true(toy->broken >= 190);
}

static void test_mutation_drops_and_delays(void **state)
{
	struct toy *toy = *state;
	unsigned i;

	for (i = 0; i < 2; i++) {
		size_t event;

		log_clear(&toy->log);
		log_set_mutation(MUTATION_NONE, NULL);
		publish(toy, true, true);
		for (event = 0; toy->log.event[event].kind != LOG_FLUSH; event++)
			;
		log_set_mutation(i ? MUTATION_SWAP : MUTATION_DROP, toy->log.event[event].site);
		log_clear(&toy->log);
		image_rollback(toy->live, 0);
		image_rollback(toy->crash, 0);
		inflight_clear(toy->inflight);
		toy->broken = 0;
		toy->holds = flag_means_value;
		publish(toy, true, true);
		log_set_mutation(MUTATION_NONE, NULL);
		run_states(toy, &everything);
		assert_true(toy->broken > 0);
	}
}

static void test_image_goes_back(void **state)
{
	struct toy *toy = *state;
	size_t outer, inner;

	image_write(toy->crash, 10, "one", 3);
	outer = image_mark(toy->crash);
	image_write(toy->crash, 10, "two", 3);
	assert_int_not_equal(image_hash_delta(toy->crash, outer), 0);
	inner = image_mark(toy->crash);
	image_write(toy->crash, 60, "three", 5);
	image_rollback(toy->crash, inner);
	assert_memory_equal(image_at(toy->crash, 10), "two", 3);
	assert_memory_equal(image_at(toy->crash, 60), "\0\0\0\0\0", 5);
	image_rollback(toy->crash, outer);
	assert_memory_equal(image_at(toy->crash, 10), "one", 3);
	assert_int_equal(image_hash_delta(toy->crash, outer), 0);
}

#define TOY(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TOY(test_right_order_holds),
		TOY(test_missing_fence_is_caught),
		TOY(test_missing_flush_is_caught),
		TOY(test_store_behind_flush_is_not_covered),
		TOY(test_prefixes_and_products),
		TOY(test_one_line_keeps_order),
		TOY(test_words_are_torn),
		TOY(test_nt_needs_the_fence_only),
		TOY(test_nt_is_not_ordered),
		TOY(test_data_is_torn),
		TOY(test_data_keeps_its_place_in_the_queue),
		TOY(test_pairs_beyond_the_limit),
		TOY(test_mutation_drops_and_delays),
		TOY(test_image_goes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
