/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Engines and files, and the file's lock: a read-write lock in stripes. A fault takes the stripe of
 * its thread; a thread that takes extents away takes them all, ascending. While it has them, no
 * entry is locked and none can be, so it need not lock entries itself, and may free the entry map's
 * memory.
 */
#include <stdlib.h>

#include "internal.h"
#include "daxfuse/base/errint.h"

/* Retired tables (4 KiB each) and removed entries that are worth the walk through all. */
enum { RETIRED_MAX = 64, REMOVED_MAX = 512 };

enum { ANSWER_MS = 1000 };

errint_t map_engine_new(const struct map_backend *backend, void *pool,
			struct map_engine **ret_engine)
{
	struct map_engine *engine = aligned_alloc(64, sizeof(*engine));
	int err;

	if (!engine)
		return -ENOMEM;
	*engine = (struct map_engine){ .backend = backend, .pool = pool, .answer_ms = ANSWER_MS };
	err = wait_table_new(&engine->waits);
	if (err) {
		free(engine);
		return err;
	}
	*ret_engine = engine;
	return 0;
}

void map_engine_free(struct map_engine *engine)
{
	if (engine)
		wait_table_free(engine->waits);
	free(engine);
}

void map_engine_set_answer_ms(struct map_engine *engine, unsigned ms)
{
	engine->answer_ms = ms;
}

void map_engine_set_waiting(struct map_engine *engine, bool (*waiting)(void *arg, bool begins),
			    void *arg)
{
	engine->waiting = waiting;
	engine->waiting_arg = arg;
}

void map_engine_set_first_grant(struct map_engine *engine, uint64_t grant)
{
	engine->first_grant = grant;
}

void map_engine_add_hook(struct map_engine *engine, struct map_hook *hook)
{
	hook->next = engine->hooks;
	engine->hooks = hook;
}

errint_t map_file_new(struct map_engine *engine, void *file, struct map_file **ret_file)
{
	struct map_file *new = aligned_alloc(64, sizeof(*new));
	pthread_rwlockattr_t fair;

	if (!new)
		return -ENOMEM;
	*new = (struct map_file){ .engine = engine, .file = file, .refs = 1 };
	entry_map_init(&new->entries, engine->waits);
	new->entries.file = engine->backend->id ? engine->backend->id(file) : 0;
	pthread_mutex_init(&new->views_lock, NULL);
	pthread_rwlockattr_init(&fair);
	/* a stream of faults must not keep a truncation out for ever */
	pthread_rwlockattr_setkind_np(&fair, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	for (unsigned i = 0; i < STRIPES; i++)
		pthread_rwlock_init(&new->stripe[i].lock, &fair);
	pthread_rwlockattr_destroy(&fair);
	*ret_file = new;
	return 0;
}

void map_file_put(struct map_file *file)
{
	if (!file || atomic_fetch_sub(&file->refs, 1) > 1)
		return;
	entry_map_destroy(&file->entries);
	for (unsigned i = 0; i < STRIPES; i++)
		pthread_rwlock_destroy(&file->stripe[i].lock);
	pthread_mutex_destroy(&file->views_lock);
	free(file);
}

void map_file_survey(struct map_file *file, struct map_survey *ret_survey)
{
	struct map_survey survey = { 0 };
	struct entry entry;

	file_lock_shared(file);
	for (uint64_t at = 0; entry_next(&file->entries, at, UINT64_MAX, &entry);
	     at = entry_last(&entry) + 1) {
		uint64_t bytes = bytes_of_order(entry.order);

		if (entry_kind(&entry) == ENTRY_ZERO)
			survey.zeroes += bytes;
		else if (entry_kind(&entry) == ENTRY_DATA && entry.order == ORDER_PMD)
			survey.huge += bytes;
		else if (entry_kind(&entry) == ENTRY_DATA)
			survey.pages += bytes;
		if (entry.value & ENTRY_DIRTY)
			survey.dirty += bytes;
	}
	file_unlock_shared(file);
	*ret_survey = survey;
}

/* ---- the lock ------------------------------------------------------------- */

void file_lock_shared(struct map_file *file)
{
	lock_enter(LOCK_FILE, 0);
	pthread_rwlock_rdlock(&file->stripe[stripe_of_thread()].lock);
}

void file_unlock_shared(struct map_file *file)
{
	pthread_rwlock_unlock(&file->stripe[stripe_of_thread()].lock);
	lock_leave(LOCK_FILE);
}

void file_lock_exclusive(struct map_file *file)
{
	lock_enter(LOCK_FILE, 0);
	for (unsigned i = 0; i < STRIPES; i++)
		pthread_rwlock_wrlock(&file->stripe[i].lock);
}

void file_unlock_exclusive(struct map_file *file)
{
	for (unsigned i = 0; i < STRIPES; i++)
		pthread_rwlock_unlock(&file->stripe[i].lock);
	lock_leave(LOCK_FILE);
}

void file_trim(struct map_file *file)
{
	if (entry_map_retired(&file->entries) <= RETIRED_MAX)
		return;
	file_lock_exclusive(file);
	entry_map_trim(&file->entries);
	file_unlock_exclusive(file);
}

void file_entry_removed(struct map_file *file)
{
	if (++file->removed < REMOVED_MAX)
		return;
	file->removed = 0;
	entry_map_trim(&file->entries);
}
