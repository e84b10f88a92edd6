/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Everything at once, for as many seconds as the argument says (2): each thread is a
 * mapper of one of two files, of one of six kinds, that faults, stores (also through
 * another's mapping, as a second thread of that one), loads and now and then dies; and it
 * truncates, punches, promotes, writes, writes back and revokes.
 * Compared with a flat reference:
 *
 *   - what a thread has stored to its own word of a page it reads again, unless the page
 *     was cut off in between (cuts are counted per page, before and after each);
 *   - an access to a page that was freed, or belongs to somebody else, aborts (fake_mapper.h).
 *
 * Now and then all stop, and the whole is looked at: mappings are what the file has
 * there, clean entries have no line that is not durable, nothing is locked or asleep.
 */
#include "daxfuse/map/internal.h"
#include "fake_mapper.h"

#include <time.h>

enum { FILES = 2, WORKERS = 10, ROUND_MS = 50, FS_WORD = 5 };
_Static_assert(WORKERS / FILES <= FS_WORD, "each worker of a file has a word of its own");

struct tested_file {
	struct fake_file *file;
	struct map_file *map;
	pthread_mutex_t size_lock; /* changes of the size, as an inode's lock */
	atomic_uint cuts_begun[FILE_PAGES], cuts_done[FILE_PAGES];
};

struct worker {
	struct tested_file *f;
	struct fake_mapper mapper;
	const struct mapper_ops *ops;
	pthread_rwlock_t life;       /* exclusive while it dies, or changes its mood */
	bool may_be_silent, tainted; /* has stale mappings, maybe, until it dies */
	unsigned word;
	uint64_t rng;
	uint64_t value[FILE_PAGES];
	unsigned cuts[FILE_PAGES]; /* as of the store; ~0: no store to be found again */
	uint64_t stores, loads, changes, deaths;
};

static struct fake *fake;
static struct tested_file files[FILES];
static struct worker workers[WORKERS];
static pthread_barrier_t stop_here;
static atomic_bool stopping, ending;

static uint64_t pick(struct worker *w, uint64_t below)
{
	return next_random(&w->rng) % below;
}

/* Few pages, so that threads meet. */
static uint64_t pick_page(struct worker *w)
{
	return pick(w, FILE_UNITS) * UNIT_PAGES + pick(w, 3) * 170 + pick(w, 2);
}

static void allow(int err)
{
	if (err < 0 && err != -ENXIO && err != -ENOSPC && err != -EBUSY)
		die(strerror(-err));
}

/* ---- memory ----------------------------------------------------------------- */

/* The number of cuts of a page, if none is under way. */
static bool cuts_of(struct tested_file *f, uint64_t page, unsigned *ret_cuts)
{
	unsigned done = atomic_load(&f->cuts_done[page]);

	*ret_cuts = done;
	return atomic_load(&f->cuts_begun[page]) == done;
}

static void open_worker(struct worker *w)
{
	mapper_open(&w->mapper, fake, w->f->map, w->ops);
	w->mapper.file = w->f->file;
	w->tainted = w->ops == &long_term_ops;
}

static void fault_many(struct worker *w, uint64_t page, enum map_access access)
{
	const struct map_request request = {
		.offset = page * MAP_PAGE_SIZE,
		.access = access == MAP_WRITE && pick(w, 2) ? MAP_EAGER : access,
		.order = pick(w, 2) ? ORDER_PMD : ORDER_PTE,
		.end = UINT64_MAX,
		.gather = pick(w, 2),
	};
	int count = mapper_fault_run(&w->mapper, &request, pick(w, 2) ? MAP_TO_END : MAP_UNIT_SIZE);

	allow(MIN(count, 0));
}

static void fault(struct worker *w, uint64_t page, enum map_access access)
{
	int err;

	w->mapper.reply_us = pick(w, 16) ? 0 : 20;
	if (!pick(w, 4)) {
		fault_many(w, page, access);
		return;
	}
	err = mapper_fault(&w->mapper, page, access, pick(w, 2) ? ORDER_PMD : ORDER_PTE);
	if (err > 0)
		err = mapper_fault(&w->mapper, page, access, ORDER_PTE);
	allow(err);
}

/* Through its own mapping, or another's. */
static bool store_through(struct worker *w, struct worker *other, uint64_t page, uint64_t value)
{
	unsigned before, after;
	bool quiet = cuts_of(w->f, page, &before);

	w->cuts[page] = ~0u;
	if (!mapper_store(&other->mapper, page, w->word, value))
		return false;
	w->stores++;
	if (quiet && cuts_of(w->f, page, &after) && before == after && !w->tainted &&
	    !other->tainted) {
		w->value[page] = value;
		w->cuts[page] = before;
	}
	return true;
}

static void store(struct worker *w)
{
	struct worker *other = &workers[(w - workers + FILES * pick(w, 3)) % WORKERS];
	uint64_t page = pick_page(w), value = next_random(&w->rng) | 1;

	if (other != w) {
		if (pthread_rwlock_tryrdlock(&other->life))
			return;
		store_through(w, other, page, value);
		pthread_rwlock_unlock(&other->life);
	} else if (!store_through(w, w, page, value)) {
		fault(w, page, MAP_WRITE);
	}
}

static void load(struct worker *w)
{
	uint64_t page = pick_page(w), value = 0;
	unsigned before, after;
	bool quiet = cuts_of(w->f, page, &before);

	if (!pick(w, 64) || !mapper_load(&w->mapper, page, w->word, &value)) {
		fault(w, page, MAP_READ);
		return;
	}
	w->loads++;
	if (quiet && w->cuts[page] == before && cuts_of(w->f, page, &after) && before == after &&
	    value != w->value[page])
		die("a store is lost");
}

/* ---- the file changes -------------------------------------------------------- */

static void cut(atomic_uint *cuts, uint64_t offset, uint64_t end)
{
	for (uint64_t page = offset / MAP_PAGE_SIZE;
	     page < FILE_PAGES && page * MAP_PAGE_SIZE < end; page++)
		atomic_fetch_add(&cuts[page], 1);
}

static void punch_some(struct worker *w)
{
	uint64_t offset = pick_page(w) * MAP_PAGE_SIZE;
	uint64_t length = pick(w, 2) ? MAP_PAGE_SIZE : MAP_UNIT_SIZE;

	cut(w->f->cuts_begun, offset, offset + length);
	allow(punch(w->f->map, w->f->file, offset, length));
	cut(w->f->cuts_done, offset, offset + length);
}

static void resize(struct worker *w)
{
	uint64_t size = pick(w, 3) ? FILE_PAGES * MAP_PAGE_SIZE : pick_page(w) * MAP_PAGE_SIZE;
	uint64_t old, first;

	pthread_mutex_lock(&w->f->size_lock);
	fake_size(w->f->file, &old);
	first = MIN(old, size);
	cut(w->f->cuts_begun, first, UINT64_MAX);
	allow(truncate_to(w->f->map, w->f->file, size));
	cut(w->f->cuts_done, first, UINT64_MAX);
	pthread_mutex_unlock(&w->f->size_lock);
}

/* A write through the filesystem, durable when it returns. */
static void write_through(struct worker *w)
{
	struct fake_file *file = w->f->file;
	uint64_t page = pick_page(w);
	int err;

	pthread_mutex_lock(&fake->lock);
	err = page * MAP_PAGE_SIZE < file->size ? allocate_page(file, page) : -ENXIO;
	if (!err) {
		atomic_store(&fake->page[file->page[page]].word[FS_WORD], next_random(&w->rng));
		atomic_store(&fake->page[file->page[page]].durable[FS_WORD],
			     atomic_load(&fake->page[file->page[page]].word[FS_WORD]));
	}
	pthread_mutex_unlock(&fake->lock);
	allow(err);
	if (!err)
		allow(map_wrote(w->f->map, page * MAP_PAGE_SIZE, MAP_PAGE_SIZE));
}

static void change(struct worker *w)
{
	w->changes++;
	switch (pick(w, 8)) {
	case 0:
		punch_some(w);
		break;
	case 1:
		resize(w);
		break;
	case 2 ... 3:
		allow(map_promote(w->f->map, pick_page(w) * MAP_PAGE_SIZE));
		break;
	case 4 ... 5:
		allow(map_writeback(w->f->map, pick_page(w) * MAP_PAGE_SIZE, MAP_TO_END));
		break;
	case 6 ... 7:
		write_through(w);
		break;
	}
}

static void die_and_return(struct worker *w)
{
	w->deaths++;
	pthread_rwlock_wrlock(&w->life);
	mapper_close(&w->mapper);
	open_worker(w);
	pthread_rwlock_unlock(&w->life);
}

/* A mapper's mood: silent for a while, then it answers what it was asked last. */
static void change_mood(struct worker *w)
{
	bool was;

	pthread_rwlock_wrlock(&w->life);
	pthread_mutex_lock(&w->mapper.lock);
	was = w->mapper.silent;
	w->mapper.silent = !was;
	pthread_mutex_unlock(&w->mapper.lock);
	w->tainted = true;
	pthread_rwlock_unlock(&w->life);
	memset(w->cuts, 0xff, sizeof(w->cuts));
	if (was && atomic_load(&w->mapper.asked))
		mapper_answer(&w->mapper);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&ending)) {
		uint64_t what = pick(w, 400);

		if (atomic_load(&stopping)) {
			pthread_barrier_wait(&stop_here);
			pthread_barrier_wait(&stop_here);
		}
		if (what < 12)
			change(w);
		else if (what == 12)
			die_and_return(w);
		else if (what == 13 && w->may_be_silent)
			change_mood(w);
		else if (what == 14)
			mapper_drop(&w->mapper, pick_page(w) * MAP_PAGE_SIZE, MAP_PAGE_SIZE);
		else if (what & 1)
			store(w);
		else
			load(w);
	}
	return NULL;
}

/* ---- all stopped --------------------------------------------------------------- */

static void check_mapper(struct worker *w)
{
	for (unsigned i = 0; i < FILE_PAGES; i++) {
		int mapped = w->mapper.page[i], has = w->f->file->page[i];
		struct entry entry;

		if (mapped >= 0 && mapped == has && !entry_next(&w->f->map->entries, i, i, &entry))
			die("a mapping has no entry");
		if (w->tainted)
			continue;
		if (mapped == ZEROES && kind_of(w->f->file, i) == MAP_MAPPED)
			die("zeroes are mapped over data");
		if (mapped >= 0 && mapped != has)
			die("a mapping is not what the file has there");
		if (mapped >= 0 && !map_view_pins(w->mapper.view, i * MAP_PAGE_SIZE, MAP_PAGE_SIZE))
			die("a mapping is not pinned");
	}
}

static void check_durable(struct tested_file *f, uint64_t i)
{
	struct fake_page *page = &fake->page[f->file->page[i]];

	for (unsigned w = 0; w < WORDS; w++)
		if (atomic_load(&page->word[w]) != atomic_load(&page->durable[w]))
			die("a clean tag over a dirty line");
}

static void check_file(struct tested_file *f)
{
	struct entry entry;

	for (uint64_t i = 0; i < FILE_PAGES; i++) {
		bool found = entry_next(&f->map->entries, i, i, &entry);

		if (found && (entry.value & ENTRY_LOCKED))
			die("an entry is still locked");
		if (found && entry_kind(&entry) == ENTRY_EMPTY)
			die("an EMPTY entry is left");
		if (found && entry_kind(&entry) == ENTRY_ZERO && kind_of(f->file, i) == MAP_MAPPED)
			die("an entry says ZERO over data");
		if (f->file->page[i] >= 0 && !(found && (entry.value & ENTRY_DIRTY)))
			check_durable(f, i);
	}
}

static void check_all(struct map_engine *engine)
{
	if (wait_sleepers(engine->waits))
		die("somebody sleeps");
	for (unsigned i = 0; i < FILES; i++)
		check_file(&files[i]);
	for (unsigned i = 0; i < WORKERS; i++)
		check_mapper(&workers[i]);
}

/* ---- the run -------------------------------------------------------------------- */

static void start(struct map_engine *engine, pthread_t *threads)
{
	/* the second file has none that keeps what it has, or stays silent: there entries become
	 * clean, and units are promoted */
	static const struct mapper_ops *const kinds[WORKERS] = {
		&long_term_ops, &careful_client_ops, &kernel_ops,      &careful_client_ops,
		&guest_ops,     &kernel_ops,         &huge_client_ops, &client_ops,
		&client_ops,    &careful_client_ops,
	};

	for (unsigned i = 0; i < FILES; i++) {
		files[i].file = fake_file_new(fake, FILE_UNITS * MAP_UNIT_SIZE);
		files[i].file->id = i + 1;
		pthread_mutex_init(&files[i].size_lock, NULL);
		if (map_file_new(engine, files[i].file, &files[i].map))
			die("no file");
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker *w = &workers[i];

		w->f = &files[i % FILES];
		w->word = i / FILES;
		w->ops = kinds[i];
		w->may_be_silent = i == 6 || i == 8;
		w->rng = i;
		memset(w->cuts, 0xff, sizeof(w->cuts));
		pthread_rwlock_init(&w->life, NULL);
		open_worker(w);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		if (pthread_create(&threads[i], NULL, work, &workers[i]))
			die("no thread");
}

static void finish(pthread_t *threads)
{
	uint64_t stores = 0, loads = 0, changes = 0, deaths = 0;

	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < WORKERS; i++) {
		mapper_close(&workers[i].mapper);
		stores += workers[i].stores;
		loads += workers[i].loads;
		changes += workers[i].changes;
		deaths += workers[i].deaths;
	}
	for (unsigned n = 0; n < DEVICE_PAGES; n++)
		if (fake->page[n].state == PAGE_QUARANTINED)
			die("quarantined for ever");
	printf("%lu stores, %lu loads, %lu changes, %lu deaths\n", (unsigned long)stores,
	       (unsigned long)loads, (unsigned long)changes, (unsigned long)deaths);
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 2);
	pthread_t threads[WORKERS];
	struct map_engine *engine;

	fake = fake_new();
	fake->yields = true;
	if (map_engine_new(&fake_backend, fake, &engine))
		die("no engine");
	map_engine_set_answer_ms(engine, 2);
	pthread_barrier_init(&stop_here, NULL, WORKERS + 1);
	start(engine, threads);
	while (time(NULL) < end) {
		usleep(ROUND_MS * 1000);
		atomic_store(&stopping, true);
		pthread_barrier_wait(&stop_here);
		check_all(engine);
		atomic_store(&stopping, false);
		pthread_barrier_wait(&stop_here);
	}
	atomic_store(&ending, true);
	finish(threads);
	for (unsigned i = 1; i < MAP_COUNTERS; i++)
		printf("%-18s %lu\n", map_counter_name(i),
		       (unsigned long)map_engine_count(engine, (enum map_counter)i));
	for (unsigned i = 0; i < FILES; i++) {
		map_file_put(files[i].map);
		free(files[i].file);
	}
	map_engine_free(engine);
	free(fake);
	return 0;
}
