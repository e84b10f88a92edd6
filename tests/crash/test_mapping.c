/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Stores through a mapping of libdaxmap, and what a loss of power can leave of them: a program stores
 * a value, has it synced, then stores a flag elsewhere that promises it. Whatever becomes of the
 * mapping between the store and the sync, in none of the states may the flag be there
 * without the value. The library is the real one, over the unit tests' fake daemon, which is
 * where its flushes and those of the daemon are seen.
 */
#include "tests/unit/daxmap/fake.h"

#include "tests/crash/enumerate.h"

enum { VALUES = 3 };
/* One in another unit, one in the same page, one in a unit of its own. */
static const uint64_t value_at[VALUES] = { 8 * PAGE_BYTES + 64, 8 * PAGE_BYTES + 256,
					   UNIT_BYTES + 5 * PAGE_BYTES };
#define FLAG_AT (3 * UNIT_BYTES)
#define LENGTH (4 * UNIT_BYTES)

static char *memory;
static size_t mapped;
static uint64_t round_number;

static struct {
	struct image *crash; /* what is on the media for certain */
	struct inflight *inflight;
	unsigned states, broken, with_flag;
} power;

static const struct enumerate_limit everything = {
	.all = 4096, .pairs = 1000, .random = 50, .torn = 1000
};

/* ---- what is on its way to the media */

static void note_event(enum log_kind kind, uint64_t offset, uint64_t length, void *bytes)
{
	struct log log = { .bytes = bytes };
	const struct log_event event = {
		.kind = (uint8_t)kind, .thread = 1, .offset = offset, .length = length
	};

	inflight_event(power.inflight, &log, &event);
}

static void note_flush(uint64_t offset, uint64_t length)
{
	note_event(LOG_FLUSH, offset, length, NULL);
}

static void note_fence(void)
{
	note_event(LOG_FENCE, 0, 0, NULL);
}

static uint64_t place_of(uint64_t offset)
{
	return fake.place[offset / UNIT_BYTES] * UNIT_BYTES + offset % UNIT_BYTES;
}

static uint64_t word_at(uint64_t offset)
{
	uint64_t value;

	memcpy(&value, image_at(power.crash, place_of(offset)), sizeof(value));
	return value;
}

static bool look_at_state(const inflight_choice *choice, void *arg)
{
	size_t mark = image_mark(power.crash);
	bool flag;

	inflight_apply(power.inflight, choice, power.crash);
	flag = word_at(FLAG_AT) == round_number;
	power.states++;
	power.with_flag += flag;
	for (unsigned i = 0; flag && i < VALUES; i++) {
		if (word_at(value_at[i]) != round_number) {
			power.broken++;
			break;
		}
	}
	image_rollback(power.crash, mark);
	return true;
}

static void lose_power(void)
{
	enumerate_states(power.inflight, &everything, NULL, look_at_state, NULL);
}

/* ---- the program */

static void store_word(uint64_t offset, uint64_t value)
{
	fake_handlers();
	*(volatile uint64_t *)(memory + offset) = value;
	note_event(LOG_STORE, place_of(offset), sizeof(value), &value);
	lose_power();
}

/* An error is that of a gap in the range. */
static void sync_range(uint64_t offset, uint64_t length)
{
	fake_handlers();
	if (dxm_sync(memory + offset, length, MS_SYNC))
		assert_int_equal(errno, ENOMEM);
	lose_power();
}

static void store_values(void)
{
	round_number++;
	for (unsigned i = 0; i < VALUES; i++)
		store_word(value_at[i], round_number);
}

static void publish(void)
{
	sync_range(0, 2 * UNIT_BYTES);
	store_word(FLAG_AT, round_number);
	sync_range(FLAG_AT, PAGE_BYTES);
	assert_int_equal(word_at(FLAG_AT), round_number);
}

/* ---- what becomes of the mapping in between */

static void nothing(void)
{
}

static void is_protected(void)
{
	assert_int_equal(dxm_protect(memory, 2 * UNIT_BYTES, PROT_READ), 0);
}

static void is_closed(void)
{
	assert_int_equal(dxm_protect(memory, 2 * UNIT_BYTES, PROT_NONE), 0);
}

static void page_is_protected(void)
{
	assert_int_equal(dxm_protect(memory + 8 * PAGE_BYTES, PAGE_BYTES, PROT_READ), 0);
}

static void is_protected_by_daemon(void)
{
	assert_int_equal(revoke_writing(fake.cookie, 0, UINT64_MAX, fake.grant), 0);
}

static void is_taken_back(void)
{
	assert_int_equal(revoke_pieces(fake.cookie, 0, UINT64_MAX, fake.grant), 0);
}

static void is_taken_back_in_part(void)
{
	assert_int_equal(revoke_pieces(fake.cookie, UNIT_BYTES, UNIT_BYTES, fake.grant), 0);
}

static void is_taken_back_and_read(void)
{
	is_taken_back();
	fake.read_only = true;
	assert_int_equal(touch(memory, false), 0);
	assert_int_equal(touch(memory + UNIT_BYTES, false), 0);
}

static void is_taken_back_and_stored_to(void)
{
	is_taken_back();
	store_word(value_at[0] + 8, 1);
}

static void is_protected_and_taken_back(void)
{
	is_protected();
	is_taken_back();
	assert_int_equal(dxm_protect(memory, 2 * UNIT_BYTES, PROT_READ | PROT_WRITE), 0);
}

static void is_mapped_again(void)
{
	assert_int_equal(dxm_unmap(memory, 2 * UNIT_BYTES), 0);
	assert_ptr_equal(dxm_map(memory, 2 * UNIT_BYTES, PROT_READ, MAP_SHARED | MAP_FIXED,
				 fake.file, 0),
			 memory);
}

static void is_unmapped_in_part(void)
{
	assert_int_equal(dxm_unmap(memory + 12 * PAGE_BYTES, 20 * PAGE_BYTES), 0);
}

static void has_moved(void)
{
	mapped = LENGTH + 2 * UNIT_BYTES;
	memory = dxm_remap(memory, LENGTH, mapped, MREMAP_MAYMOVE, NULL);
	assert_ptr_not_equal(memory, MAP_FAILED);
}

static void is_taken_back_and_protected(void)
{
	is_taken_back();
	fake.read_only = true;
	is_protected();
}

static void (*const between[])(void) = {
	nothing,
	is_protected,
	is_closed,
	page_is_protected,
	is_protected_by_daemon,
	is_taken_back,
	is_taken_back_in_part,
	is_taken_back_and_read,
	is_taken_back_and_stored_to,
	is_protected_and_taken_back,
	is_mapped_again,
	is_unmapped_in_part,
	has_moved,
	is_taken_back_and_protected,
};

static void test_a_flag_means_a_value(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(between); i++) {
		fake_setup(NULL);
		mapped = LENGTH;
		memory = map_file(mapped, PROT_READ | PROT_WRITE);
		store_values();
		between[i]();
		publish();
		if (power.broken)
			fail_msg("%u of %u states are broken after way %u", power.broken,
				 power.states, i);
		dxm_unmap(memory, mapped);
	}
	assert_true(power.states > 10 * ARRAY_SIZE(between));
	assert_true(power.with_flag >= ARRAY_SIZE(between));
}

/* The test itself would see it. */
static void test_a_missing_sync_is_seen(void **state)
{
	fake_setup(NULL);
	memory = map_file(LENGTH, PROT_READ | PROT_WRITE);
	store_values();
	sync_range(0, PAGE_BYTES);
	store_word(FLAG_AT, round_number);
	assert_true(power.broken > 0);
	power.broken = 0;
	dxm_unmap(memory, LENGTH);
}

static int set_up(void **state)
{
	fake.flags = DIRECT_FLUSH;
	fake_setup(state);
	if (image_create(DEVICE_UNITS * UNIT_BYTES, &power.crash) ||
	    inflight_create(DEVICE_UNITS * UNIT_BYTES, &power.inflight))
		return -1;
	power.inflight->durable[0] = power.crash;
	fake.on_flush = note_flush;
	fake.on_fence = note_fence;
	return 0;
}

static int tear_down(void **state)
{
	image_destroy(power.crash);
	inflight_destroy(power.inflight);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_flag_means_a_value),
		cmocka_unit_test(test_a_missing_sync_is_seen),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
