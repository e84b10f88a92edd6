/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: a damaged pool is checked, repaired, mounted and used, in one
 * of four orders. Beside crashes, hangs and sanitizers these are failures:
 *
 * - a check that stores something;
 * - a pool that is not clean after a repair that said it repaired everything;
 * - a repaired pool that cannot be mounted, or on which any operation says that
 *   it is damaged; or that is not clean after it was used.
 *
 * With VERBOSE in the environment it shows what a repair finds.
 */
#include <stdio.h>
#include <stdlib.h>

#include "daxfuse/check/check.h"
#include "tests/fuzz/exercise.h"
#include "tests/fuzz/media.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/population.h"

enum { POOLS = 2, ORDER_USE_FIRST = 2, ORDER_LIVE = 4 };

static struct pmem pool[POOLS];
static struct anatomy *anatomy[POOLS];

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	for (unsigned i = 0; i < POOLS; i++) {
		media_new(POPULATION_SIZE, &pool[i]);
		if (population_make(&pool[i], i == 1) != 0)
			abort();
		media_keep(&pool[i]);
		media_copy(&pool[i]);
		anatomy[i] = anatomy_new(&pool[i]);
	}
	return 0;
}

static void show(const struct check_finding *finding, void *arg)
{
	if (arg)
		fprintf(stderr, "%s: inode %llu: %s\n", check_problem_name(finding->problem),
			(unsigned long long)finding->ino, finding->text);
}

/* Check without repair; found problems are shown if there may be none. */
static int look(struct pmem *pm, bool settled, bool must_be_clean, struct check_result *ret_result)
{
	struct check_options options = {
		.settled = settled,
		.found = show,
		.arg = must_be_clean ? pm : NULL,
	};
	int err;

	pm->read_only = true;
	err = check_pool(pm, &options, ret_result);
	pm->read_only = false;
	return err;
}

static void must_be_clean(struct pmem *pm, bool settled, const char *when)
{
	struct check_result result;
	int err = look(pm, settled, true, &result);

	if (!err && !result.found)
		return;
	fprintf(stderr, "not clean %s: error %d, %llu problems\n", when, err,
		(unsigned long long)result.found);
	abort();
}

/* A pool that claims to be sound must be. */
static void use_sound(struct pmem *pm)
{
	int err = exercise(pm);

	if (err) {
		fprintf(stderr, "a sound pool says %d\n", err);
		abort();
	}
	must_be_clean(pm, false, "after use");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct check_options repair = { .repair = true, .found = show, .arg = getenv("VERBOSE") };
	struct check_result result = { 0 };
	struct pmem *pm;
	unsigned which;
	int err;

	if (!size)
		return 0;
	which = data[0] >> 7;
	pm = &pool[which];
	media_copy(pm);
	mutate(anatomy[which], pm, data, size);
	if (data[0] & ORDER_LIVE)
		look(pm, false, false, &result);
	if (data[0] & ORDER_USE_FIRST)
		exercise(pm);
	err = check_pool(pm, &repair, &result);
	if (err || result.found != result.repaired || media_is_poisoned())
		return 0;
	must_be_clean(pm, false, "after repair");
	use_sound(pm);
	return 0;
}
