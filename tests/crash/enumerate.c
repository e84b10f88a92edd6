/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/crash/enumerate.h"

#include <stdlib.h>
#include <string.h>

struct walk {
	const struct inflight *inflight;
	const struct enumerate_limit *limit;
	size_t units;            /* that matter */
	size_t *unit;            /* which they are */
	inflight_choice *choice; /* of all units; those that don't matter stay out */
	enumerate_fn fn;
	void *arg;
	uint64_t random;
	bool stopped;
};

/* Below, unit i is the i-th of those that matter. */
static inflight_choice full(const struct walk *walk, size_t i)
{
	unsigned depth = inflight_depth(walk->inflight, walk->unit[i]);

	return (inflight_choice)(depth < 0xff ? depth : 0xff);
}

static inflight_choice *choice(struct walk *walk, size_t i)
{
	return &walk->choice[walk->unit[i]];
}

static bool is_group(const struct walk *walk, size_t i)
{
	return walk->unit[i] < walk->inflight->groups;
}

static void set_all(struct walk *walk, bool arrived)
{
	size_t i;

	for (i = 0; i < walk->units; i++)
		*choice(walk, i) = arrived ? full(walk, i) : 0;
}

static void emit(struct walk *walk)
{
	if (!walk->stopped && !walk->fn(walk->choice, walk->arg))
		walk->stopped = true;
}

static uint64_t next_random(struct walk *walk)
{
	walk->random ^= walk->random << 13;
	walk->random ^= walk->random >> 7;
	walk->random ^= walk->random << 17;
	return walk->random;
}

/* The number of all states, or limit + 1 if there are more. */
static size_t count_states(const struct walk *walk, size_t limit)
{
	size_t count = 1;
	size_t i;

	for (i = 0; i < walk->units && count <= limit; i++)
		count *= (size_t)full(walk, i) + 1;
	return count <= limit ? count : limit + 1;
}

/* All combinations of unit[0 .. count), the others as they are. */
static void walk_product(struct walk *walk, const size_t *unit, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		*choice(walk, unit[i]) = 0;
	do {
		emit(walk);
		for (i = 0; i < count; i++) {
			if (*choice(walk, unit[i]) < full(walk, unit[i])) {
				(*choice(walk, unit[i]))++;
				break;
			}
			*choice(walk, unit[i]) = 0;
		}
	} while (i < count && !walk->stopped);
}

static void walk_everything(struct walk *walk)
{
	size_t *unit = calloc(walk->units + 1, sizeof(*unit));
	size_t i;

	if (!unit)
		abort();
	for (i = 0; i < walk->units; i++)
		unit[i] = i;
	walk_product(walk, unit, walk->units);
	free(unit);
}

/* Each unit alone at each depth, and missing from all others at each depth. */
static void walk_singles(struct walk *walk)
{
	size_t i;
	inflight_choice depth;

	for (i = 0; i < walk->units && !walk->stopped; i++) {
		set_all(walk, false);
		for (depth = 1; depth <= full(walk, i); depth++) {
			*choice(walk, i) = depth;
			emit(walk);
		}
		set_all(walk, true);
		for (depth = 0; depth < full(walk, i); depth++) {
			*choice(walk, i) = depth;
			emit(walk);
		}
	}
}

static void emit_pair(struct walk *walk, size_t a, size_t b)
{
	set_all(walk, false);
	*choice(walk, a) = full(walk, a);
	*choice(walk, b) = full(walk, b);
	emit(walk);
	set_all(walk, true);
	*choice(walk, a) = 0;
	*choice(walk, b) = 0;
	emit(walk);
}

static void walk_pairs(struct walk *walk)
{
	size_t count = walk->units * (walk->units - 1);
	size_t a, b, i;

	if (walk->units < 2)
		return;
	if (count <= walk->limit->pairs) {
		for (a = 0; a < walk->units; a++)
			for (b = a + 1; b < walk->units && !walk->stopped; b++)
				emit_pair(walk, a, b);
		return;
	}
	for (i = 0; i < walk->limit->pairs / 2 && !walk->stopped; i++) {
		a = next_random(walk) % walk->units;
		b = next_random(walk) % walk->units;
		if (a != b)
			emit_pair(walk, a, b);
	}
}

/* The first n units arrived, for each n: near to program order. */
static void walk_ordered(struct walk *walk)
{
	size_t i;

	set_all(walk, false);
	emit(walk);
	for (i = 0; i < walk->units && !walk->stopped; i++) {
		*choice(walk, i) = full(walk, i);
		emit(walk);
	}
}

static inflight_choice random_torn(struct walk *walk, size_t unit)
{
	unsigned kinds = is_group(walk, unit) ? TORN_RANDOM + 8 : TORN_SUFFIX + 7;

	return (inflight_choice)(next_random(walk) % kinds << 8);
}

static void walk_random(struct walk *walk)
{
	size_t n, i;

	for (n = 0; n < walk->limit->random && !walk->stopped; n++) {
		unsigned bias = 1 + next_random(walk) % 7; /* of 8: how many arrive */

		for (i = 0; i < walk->units; i++) {
			inflight_choice depth = full(walk, i);

			if (next_random(walk) % 8 >= bias)
				depth = (inflight_choice)(next_random(walk) % (depth + 1u));
			if (depth && next_random(walk) % 8 == 0)
				depth |= random_torn(walk, i);
			*choice(walk, i) = depth;
		}
		emit(walk);
	}
}

static void emit_torn(struct walk *walk, size_t unit, unsigned torn)
{
	inflight_choice part = (inflight_choice)(full(walk, unit) | torn << 8);

	set_all(walk, true);
	*choice(walk, unit) = part;
	emit(walk);
	set_all(walk, false);
	*choice(walk, unit) = part;
	emit(walk);
}

/* Whether the last item of a line is one word: it cannot be torn. */
static bool is_word(const struct walk *walk, size_t unit)
{
	const struct inflight_line *line =
		&walk->inflight->line[walk->unit[unit] - walk->inflight->groups];
	uint64_t mask = line->item[line->count - 1].mask;

	return mask && (mask >> __builtin_ctzll(mask)) <= 0xff && __builtin_ctzll(mask) % 8 == 0;
}

static void walk_torn(struct walk *walk)
{
	size_t budget = walk->limit->torn;
	size_t i;

	for (i = 0; i < walk->units && !walk->stopped; i++) {
		bool group = is_group(walk, i);
		unsigned last = group ? TORN_RANDOM + 1 : TORN_SUFFIX + 6;
		unsigned torn;

		if (!group && is_word(walk, i))
			continue;
		for (torn = TORN_PREFIX; torn <= last; torn++) {
			/* Many units: some ways of each rather than all of a few. */
			if (walk->units * (last + 1) * 2 > budget &&
			    next_random(walk) % (walk->units * (last + 1) * 2) >= budget)
				continue;
			emit_torn(walk, i, torn);
		}
	}
}

/* walk->units if the line does not matter. */
static size_t unit_of_line(const struct walk *walk, uint64_t line)
{
	uint32_t slot = walk->inflight->slot[line];
	size_t i;

	for (i = 0; i < walk->units; i++)
		if (slot && walk->unit[i] == walk->inflight->groups + slot - 1)
			return i;
	return walk->units;
}

/* All combinations of the first ten units that recovery reads, others in or out. */
static void walk_reads(struct walk *walk, const struct image_reads *reads)
{
	size_t unit[10];
	size_t count = 0, states = 1;
	size_t i, j;

	for (i = 0; i < reads->count && count < 10; i++) {
		size_t at = unit_of_line(walk, reads->line[i]);

		if (at == walk->units)
			continue;
		for (j = 0; j < count && unit[j] != at; j++)
			;
		if (j < count || states * (full(walk, at) + 1u) > 2048)
			continue;
		states *= full(walk, at) + 1u;
		unit[count++] = at;
	}
	if (!count)
		return;
	set_all(walk, true);
	walk_product(walk, unit, count);
	set_all(walk, false);
	walk_product(walk, unit, count);
}

static void find_units(struct walk *walk)
{
	size_t all = inflight_units(walk->inflight);
	size_t i;

	walk->choice = calloc(all + 1, sizeof(*walk->choice));
	walk->unit = calloc(all + 1, sizeof(*walk->unit));
	if (!walk->choice || !walk->unit)
		abort();
	for (i = 0; i < all; i++)
		if (inflight_matters(walk->inflight, i))
			walk->unit[walk->units++] = i;
}

bool enumerate_states(const struct inflight *inflight, const struct enumerate_limit *limit,
		      const struct image_reads *reads, enumerate_fn fn, void *arg)
{
	struct walk walk = { .inflight = inflight,
			     .limit = limit,
			     .fn = fn,
			     .arg = arg,
			     .random = limit->seed * 2 + 1 };

	find_units(&walk);
	if (count_states(&walk, limit->all) <= limit->all) {
		walk_everything(&walk);
	} else {
		walk_ordered(&walk);
		walk_singles(&walk);
		walk_pairs(&walk);
		walk_random(&walk);
		if (reads && !walk.stopped)
			walk_reads(&walk, reads);
	}
	if (!walk.stopped)
		walk_torn(&walk);
	free(walk.choice);
	free(walk.unit);
	return !walk.stopped;
}
