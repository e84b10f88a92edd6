/* SPDX-License-Identifier: BSD-3-Clause */
/* From the log of an operation to verdicts on all its crash states. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "tests/crash/runner.h"

/* Different recoveries of one operation that are crashed again. */
#define RECOVERIES_MAX 24

void job_name(const struct job *job, char *name, size_t size)
{
	char left[32] = "";

	if (job->left >= 0)
		snprintf(left, sizeof(left), " (%d blocks left)", job->left);
	if (job->cut)
		snprintf(left, sizeof(left), " at fence %u", job->cut);
	snprintf(name, size, "%s%s%s%s", job->first ? job->first->name : "",
		 job->cut     ? " | "
		 : job->first ? " + "
			      : "",
		 job->last->name, left);
}

void runner_violation(struct runner *runner, const char *format, ...)
{
	struct tally *tally = runner->tally;
	char name[256], what[700], message[1024];
	unsigned slot;
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	job_name(runner->job, name, sizeof(name));
	snprintf(message, sizeof(message), "%s: %s, fence %u, state %lu: %s", name, runner->mode,
		 runner->fence, runner->state_number, what);
	runner->job_violations++;
	atomic_fetch_add_explicit(&tally->violations, 1, memory_order_relaxed);
	if (runner->config.quiet)
		return;
	slot = atomic_fetch_add_explicit(&tally->messages, 1, memory_order_relaxed);
	if (slot < sizeof(tally->message) / sizeof(tally->message[0]))
		memcpy(tally->message[slot], message, sizeof(message));
	if (runner->job_violations <= 3)
		fprintf(stderr, "violation: %s\n", message);
}

/* The slot of a hash: its own, or the empty one where it belongs. */
static size_t seen_slot(const struct runner *runner, uint64_t hash)
{
	size_t slot = hash % runner->seen_room;

	while (runner->seen[slot] && runner->seen[slot] != hash)
		slot = (slot + 1) % runner->seen_room;
	return slot;
}

static void seen_grow(struct runner *runner)
{
	uint64_t *old = runner->seen;
	uint8_t *old_verdict = runner->verdict;
	size_t old_room = runner->seen_room;
	size_t i;

	runner->seen_room = old_room ? 2 * old_room : 8192;
	runner->seen = calloc(runner->seen_room, sizeof(*runner->seen));
	runner->verdict = calloc(runner->seen_room, 1);
	if (!runner->seen || !runner->verdict)
		abort();
	for (i = 0; i < old_room; i++) {
		size_t slot;

		if (!old[i])
			continue;
		slot = seen_slot(runner, old[i]);
		runner->seen[slot] = old[i];
		runner->verdict[slot] = old_verdict[i];
	}
	free(old);
	free(old_verdict);
}

/* ---- recovery, crashed -------------------------------------------------- */

static bool on_recovery_state(const inflight_choice *choice, void *arg)
{
	struct runner *runner = arg;
	size_t mark = image_mark(runner->again);
	unsigned verdict;

	inflight_apply(runner->inner, choice, runner->again);
	verdict = judge_state(&runner->judge_again);
	image_rollback(runner->again, mark);
	runner->tally->mounts_crashed++;
	runner->tally->progress++;
	if (verdict != runner->outer)
		runner_violation(runner, "crash in recovery (verdict %u, was %u): %s", verdict,
				 runner->outer, runner->judge_again.diff);
	return !(runner->config.stop_at_first && runner->job_violations);
}

/* The stores that this recovery makes, as a number. */
static uint64_t recovery_hash(const struct log *log)
{
	uint64_t hash = 0;
	size_t i;

	for (i = 0; i < log->count; i++)
		hash = hash * 31 + log->event[i].kind + log->event[i].offset * 7 +
		       log->event[i].length * 131;
	return hash ^ XXH3_64bits(log->bytes, log->bytes_count);
}

static bool recovery_is_new(struct runner *runner)
{
	uint64_t hash = recovery_hash(&runner->recovery);
	size_t i;

	if (!runner->recovery.bytes_count || runner->recovery_seen_count == RECOVERIES_MAX)
		return false;
	for (i = 0; i < runner->recovery_seen_count; i++)
		if (runner->recovery_seen[i] == hash)
			return false;
	runner->recovery_seen[runner->recovery_seen_count++] = hash;
	return true;
}

/* The crash image is in the state of choice, whose recovery is in the log. */
static void crash_recovery(struct runner *runner, unsigned verdict, const inflight_choice *choice)
{
	size_t mark = image_mark(runner->again);
	size_t i;

	runner->outer = verdict;
	runner->tally->recoveries++;
	inflight_apply(runner->inflight, choice, runner->again);
	inflight_clear(runner->inner);
	for (i = 0; i < runner->recovery.count; i++) {
		const struct log_event *event = &runner->recovery.event[i];

		if (event->kind == LOG_FENCE)
			enumerate_states(runner->inner, &runner->config.recovery_limit, NULL,
					 on_recovery_state, runner);
		inflight_event(runner->inner, &runner->recovery, event);
	}
	enumerate_states(runner->inner, &runner->config.recovery_limit, NULL, on_recovery_state,
			 runner);
	inflight_clear(runner->inner);
	image_rollback(runner->again, mark);
}

/* ---- states ------------------------------------------------------------- */

/* Judge what the crash image holds now, unless it was. */
static void judge_image(struct runner *runner, uint64_t hash, const inflight_choice *choice)
{
	size_t slot;
	unsigned verdict;
	bool explain;

	runner->tally->states++;
	runner->tally->progress++;
	runner->state_number++;
	explain = runner->config.replay == (long)runner->state_number;
	slot = seen_slot(runner, hash ? hash : 1);
	if (runner->seen[slot] && !explain) {
		verdict = runner->verdict[slot];
	} else {
		log_clear(&runner->recovery);
		verdict = judge_state(&runner->judge);
		runner->tally->judged++;
		runner->seen[slot] = hash ? hash : 1;
		runner->verdict[slot] = (uint8_t)verdict;
		if (2 * ++runner->seen_count > runner->seen_room)
			seen_grow(runner);
		if (!verdict)
			runner_violation(runner, "%s", runner->judge.diff);
		else if (choice && runner->config.crash_recovery && recovery_is_new(runner))
			crash_recovery(runner, verdict, choice);
	}
	if (verdict && !(verdict & runner->accept))
		runner_violation(runner, "verdict %u, accepted are %#x: %s", verdict,
				 runner->accept, runner->judge.diff);
	if (explain)
		fprintf(stderr, "state %lu: verdict %u, accepted are %#x: %s\n",
			runner->state_number, verdict, runner->accept, runner->judge.diff);
}

static void explain_choice(const struct runner *runner, const inflight_choice *choice)
{
	const struct inflight *inflight = runner->inflight;
	size_t i;

	for (i = 0; i < inflight->groups; i++)
		fprintf(stderr, "  data %#llx+%#llx: %x\n",
			(unsigned long long)inflight->group[i].offset,
			(unsigned long long)inflight->group[i].length, choice[i]);
	for (i = 0; i < inflight->lines; i++)
		fprintf(stderr, "  line %#llx: %u of %u, torn %u\n",
			(unsigned long long)inflight->line[i].line * LINE_SIZE,
			choice[inflight->groups + i] & 0xff, inflight->line[i].count,
			choice[inflight->groups + i] >> 8);
}

static bool on_state(const inflight_choice *choice, void *arg)
{
	struct runner *runner = arg;
	size_t mark = image_mark(runner->crash);

	inflight_apply(runner->inflight, choice, runner->crash);
	if (runner->config.replay == (long)runner->state_number + 1)
		explain_choice(runner, choice);
	judge_image(runner, runner->durable_hash ^ image_hash_delta(runner->crash, mark), choice);
	image_rollback(runner->crash, mark);
	return !(runner->config.stop_at_first && runner->job_violations);
}

/* Everything in flight has arrived; the hash of that. */
static uint64_t apply_all(struct runner *runner)
{
	size_t mark = image_mark(runner->crash);
	inflight_choice *choice = calloc(inflight_units(runner->inflight) + 1, sizeof(*choice));
	size_t i;

	if (!choice)
		abort();
	for (i = 0; i < inflight_units(runner->inflight); i++)
		choice[i] = (inflight_choice)inflight_depth(runner->inflight, i);
	inflight_apply(runner->inflight, choice, runner->crash);
	free(choice);
	return runner->durable_hash ^ image_hash_delta(runner->crash, mark);
}

/* Which lines recovery reads when everything in flight has arrived. */
static void collect_reads(struct runner *runner, struct image_reads *reads)
{
	size_t mark = image_mark(runner->crash);
	struct fs_options options = { .atime = FS_ATIME_NEVER };
	struct fs_report report;
	struct fs *fs;

	apply_all(runner);
	runner->crash->reads = reads;
	if (fs_mount(&runner->crash->pm, &options, &fs, &report) == 0)
		fs_unmount(fs);
	runner->crash->reads = NULL;
	image_rollback(runner->crash, mark);
}

static void judge_states(struct runner *runner)
{
	struct image_reads reads = { 0 };
	struct enumerate_limit limit = runner->config.limit;

	limit.seed += runner->fence;
	if (inflight_units(runner->inflight) > 10)
		collect_reads(runner, &reads);
	enumerate_states(runner->inflight, &limit, &reads, on_state, runner);
	free(reads.line);
}

/* An event that may make something durable: keeps the hash of the durable image. */
static void absorb_event(struct runner *runner, const struct log_event *event)
{
	size_t mark;

	if (event->kind != LOG_FENCE) {
		inflight_event(runner->inflight, &runner->log, event);
		return;
	}
	mark = image_mark(runner->crash);
	inflight_event(runner->inflight, &runner->log, event);
	runner->durable_hash ^= image_hash_delta(runner->crash, mark);
}

void runner_absorb(struct runner *runner)
{
	size_t i;

	for (i = 0; i < runner->log.count; i++)
		absorb_event(runner, &runner->log.event[i]);
	log_clear(&runner->log);
}

/* The first `part` bytes of a store arrived; the hash then. */
static uint64_t store_ordered(struct runner *runner, const struct log_event *event, size_t part,
			      uint64_t hash)
{
	size_t mark = image_mark(runner->crash);

	if (event->kind == LOG_STORE || event->kind == LOG_NT)
		image_write(runner->crash, event->offset, runner->log.bytes + event->bytes, part);
	else
		image_zero(runner->crash, event->offset, part);
	hash ^= image_hash_delta(runner->crash, mark);
	judge_image(runner, hash, NULL);
	return hash;
}

/* Caches that flush themselves: every store is durable in program order. */
static void judge_ordered(struct runner *runner)
{
	size_t outer = image_mark(runner->crash);
	uint64_t hash = apply_all(runner);
	size_t i;

	for (i = 0; i < runner->log.count; i++) {
		const struct log_event *event = &runner->log.event[i];
		size_t half = (event->offset + event->length / 2) / 8 * 8 - event->offset;

		runner->fence += event->kind == LOG_FENCE;
		if (event->kind == LOG_MARK) {
			runner->accept = runner->accept_from(event, runner->accept);
			judge_image(runner, hash, NULL);
		}
		if (event->kind > LOG_ZERO_NT)
			continue;
		if (half && half < event->length)
			hash = store_ordered(runner, event, half, hash);
		hash = store_ordered(runner, event, event->length, hash);
	}
	image_rollback(runner->crash, outer);
}

static void judge_cached(struct runner *runner)
{
	size_t i;

	for (i = 0; i < runner->log.count; i++) {
		const struct log_event *event = &runner->log.event[i];

		if (event->kind == LOG_MARK)
			runner->accept = runner->accept_from(event, runner->accept);
		if (event->kind == LOG_FENCE || event->kind == LOG_MARK)
			judge_states(runner);
		if (runner->config.stop_at_first && runner->job_violations)
			break;
		if (event->kind == LOG_FENCE)
			runner->fence++;
		absorb_event(runner, event);
	}
}

static void start(struct runner *runner, const char *mode)
{
	runner->mode = mode;
	runner->fence = 0;
	runner->accept = ~0u;
}

void runner_judge_log(struct runner *runner)
{
	if (!runner->seen_room)
		seen_grow(runner);
	memset(runner->seen, 0, runner->seen_room * sizeof(*runner->seen));
	runner->seen_count = 0;
	runner->recovery_seen_count = 0;
	if (!runner->recovery_seen)
		runner->recovery_seen = calloc(RECOVERIES_MAX, sizeof(*runner->recovery_seen));
	start(runner, "ordered");
	if (!runner->config.cached_only)
		judge_ordered(runner);
	start(runner, "cached");
	if (!(runner->config.stop_at_first && runner->job_violations))
		judge_cached(runner);
}
