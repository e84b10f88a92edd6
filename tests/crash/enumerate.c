/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/crash/enumerate.h"

#include <stdlib.h>
#include <string.h>

struct walk {
	const struct inflight *inflight;
	const struct enumerate_limit *limit;
	size_t units;
	inflight_choice *choice;
	enumerate_fn fn;
	void *arg;
	uint64_t random;
	bool stopped;
};

static inflight_choice full(const struct walk *walk, size_t unit)
{
	unsigned depth = inflight_depth(walk->inflight, unit);

	return (inflight_choice)(depth < 0xff ? depth : 0xff);
}

static void set_all(struct walk *walk, bool arrived)
{
	size_t i;

	for (i = 0; i < walk->units; i++)
		walk->choice[i] = arrived ? full(walk, i) : 0;
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
		walk->choice[unit[i]] = 0;
	do {
		emit(walk);
		for (i = 0; i < count; i++) {
			if (walk->choice[unit[i]] < full(walk, unit[i])) {
				walk->choice[unit[i]]++;
				break;
			}
			walk->choice[unit[i]] = 0;
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
			walk->choice[i] = depth;
			emit(walk);
		}
		set_all(walk, true);
		for (depth = 0; depth < full(walk, i); depth++) {
			walk->choice[i] = depth;
			emit(walk);
		}
	}
}

static void emit_pair(struct walk *walk, size_t a, size_t b)
{
	set_all(walk, false);
	walk->choice[a] = full(walk, a);
	walk->choice[b] = full(walk, b);
	emit(walk);
	set_all(walk, true);
	walk->choice[a] = 0;
	walk->choice[b] = 0;
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
		walk->choice[i] = full(walk, i);
		emit(walk);
	}
}

static inflight_choice random_torn(struct walk *walk, size_t unit)
{
	unsigned kinds = unit < walk->inflight->groups ? TORN_RANDOM + 8 : TORN_SUFFIX + 7;

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
			walk->choice[i] = depth;
		}
		emit(walk);
	}
}

static void emit_torn(struct walk *walk, size_t unit, unsigned torn)
{
	inflight_choice choice = (inflight_choice)(full(walk, unit) | torn << 8);

	set_all(walk, true);
	walk->choice[unit] = choice;
	emit(walk);
	set_all(walk, false);
	walk->choice[unit] = choice;
	emit(walk);
}

/* Whether the last item of a line is one word: it cannot be torn. */
static bool is_word(const struct walk *walk, size_t unit)
{
	const struct inflight_line *line = &walk->inflight->line[unit - walk->inflight->groups];
	uint64_t mask = line->item[line->count - 1].mask;

	return mask && (mask >> __builtin_ctzll(mask)) <= 0xff && __builtin_ctzll(mask) % 8 == 0;
}

static void walk_torn(struct walk *walk)
{
	size_t budget = walk->limit->torn;
	size_t i;

	for (i = 0; i < walk->units && !walk->stopped; i++) {
		bool group = i < walk->inflight->groups;
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

/* All combinations of the first ten units that recovery reads, others in or out. */
static void walk_reads(struct walk *walk, const struct image_reads *reads)
{
	size_t unit[10];
	size_t count = 0, states = 1;
	size_t i, j;

	for (i = 0; i < reads->count && count < 10; i++) {
		uint32_t slot = walk->inflight->slot[reads->line[i]];
		size_t at = walk->inflight->groups + slot - 1;

		if (!slot)
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

bool enumerate_states(const struct inflight *inflight, const struct enumerate_limit *limit,
		      const struct image_reads *reads, enumerate_fn fn, void *arg)
{
	struct walk walk = { .inflight = inflight,
			     .limit = limit,
			     .units = inflight_units(inflight),
			     .fn = fn,
			     .arg = arg,
			     .random = limit->seed * 2 + 1 };

	walk.choice = calloc(walk.units + 1, sizeof(*walk.choice));
	if (!walk.choice)
		abort();
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
	return !walk.stopped;
}
