/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pins are restored while others fault in the same file, punch, promote and write back.
 *
 * Each thread is born again and again with a part of the file mapped, as one that has outlived
 * an engine: what it has is held, then restored, while the file may lose it at any moment.
 * It must never be free while it is mapped (an access to such a page aborts, fake_mapper.h). In the
 * end nothing is held, quarantined or locked, and no clean tag lies over a dirty line.
 */
#include "daxfuse/map/internal.h"
#include "fake_mapper.h"

enum { LIVES = 250, SURVIVORS = 4, OTHERS = 2 };

struct thread {
	pthread_t thread;
	struct fake_mapper mapper;
	uint64_t rng;
	unsigned restored;
};

static struct fake *fake;
static struct fake_file *file;
static struct map_engine *engine;
static struct map_file *map;
static atomic_bool ending;

static uint64_t pick(struct thread *t, uint64_t below)
{
	return next_random(&t->rng) % below;
}

static void allow(int err)
{
	if (err < 0 && err != -ENXIO && err != -ENOSPC && err != -EBUSY)
		die(strerror(-err));
}

/* How many pages from `first` on, up to max, lie in a row on the device. */
static unsigned pages_in_a_row(unsigned first, unsigned max)
{
	unsigned n = 0;

	while (n < max && file->page[first + n] >= 0 &&
	       file->page[first + n] == file->page[first] + (int)n)
		n++;
	return n;
}

/* Take what the file has there now as something that was mapped long ago; how many pages. */
static unsigned survive(struct thread *t, unsigned first, unsigned max)
{
	unsigned n;

	pthread_mutex_lock(&t->mapper.lock);
	pthread_mutex_lock(&fake->lock);
	n = pages_in_a_row(first, max);
	for (unsigned i = 0; i < n; i++) {
		t->mapper.page[first + i] = file->page[first + i];
		t->mapper.writable[first + i] = true;
		fake->page[file->page[first + i]].holds++;
	}
	pthread_mutex_unlock(&fake->lock);
	pthread_mutex_unlock(&t->mapper.lock);
	return n;
}

static void restore(struct thread *t)
{
	unsigned first = (unsigned)(pick(t, FILE_UNITS) * UNIT_PAGES);
	bool huge = pick(t, 2);
	unsigned n, order;
	int device;

	if (!huge)
		first += (unsigned)pick(t, 300);
	n = survive(t, first, huge ? UNIT_PAGES : 1 + (unsigned)pick(t, 150));
	if (!n)
		return;
	device = t->mapper.page[first];
	order = n == UNIT_PAGES && device % UNIT_PAGES == 0 ? ORDER_PMD : ORDER_PTE;
	if (pick(t, 2))
		sched_yield();
	allow(map_view_restore(t->mapper.view, first * MAP_PAGE_SIZE, n * MAP_PAGE_SIZE,
			       (uint64_t)device * MAP_PAGE_SIZE, order, true));
	t->restored++;
}

static void use(struct thread *t)
{
	uint64_t page = pick(t, FILE_PAGES), value;

	if (!mapper_store(&t->mapper, page, 0, t->rng) && pick(t, 2))
		allow(mapper_fault(&t->mapper, page, pick(t, 2) ? MAP_WRITE : MAP_READ,
				   pick(t, 2) ? ORDER_PMD : ORDER_PTE));
	mapper_load(&t->mapper, page, 0, &value);
}

static void *live(void *arg)
{
	struct thread *t = arg;

	for (unsigned i = 0; i < LIVES; i++) {
		mapper_open(&t->mapper, fake, map, pick(t, 2) ? &client_ops : &huge_client_ops);
		restore(t);
		for (unsigned n = (unsigned)pick(t, 60); n; n--)
			use(t);
		mapper_close(&t->mapper);
	}
	return NULL;
}

/* The rest of the world. */
static void *change(void *arg)
{
	struct thread *t = arg;

	mapper_open(&t->mapper, fake, map, &careful_client_ops);
	while (!atomic_load(&ending)) {
		uint64_t offset = pick(t, FILE_PAGES) * MAP_PAGE_SIZE;

		switch (pick(t, 16)) {
		case 0:
			allow(punch(map, file, offset, MAP_PAGE_SIZE << pick(t, 8)));
			break;
		case 1:
			allow(punch(map, file, round_down(offset, MAP_UNIT_SIZE), MAP_UNIT_SIZE));
			break;
		case 2:
			allow(map_promote(map, offset));
			break;
		case 3:
			allow(map_writeback(map, offset, MAP_UNIT_SIZE));
			break;
		default:
			use(t);
		}
	}
	mapper_close(&t->mapper);
	return NULL;
}

static void check_end(void)
{
	struct entry entry;

	for (unsigned n = 0; n < DEVICE_PAGES; n++)
		if (fake->page[n].holds || fake->page[n].state == PAGE_QUARANTINED)
			die("held for ever");
	for (uint64_t at = 0; entry_next(&map->entries, at, UINT64_MAX, &entry);
	     at = entry_last(&entry) + 1) {
		if (entry.value & ENTRY_LOCKED)
			die("an entry is still locked");
		for (uint64_t i = entry.start; i <= entry_last(&entry); i++)
			if (entry_kind(&entry) == ENTRY_DATA && kind_of(file, i) == MAP_HOLE)
				die("an entry says DATA over a hole");
	}
	for (uint64_t i = 0; i < FILE_PAGES; i++)
		if (file->page[i] >= 0 &&
		    atomic_load(&fake->page[file->page[i]].word[0]) !=
			    atomic_load(&fake->page[file->page[i]].durable[0]) &&
		    !(entry_next(&map->entries, i, i, &entry) && (entry.value & ENTRY_DIRTY)))
			die("a clean tag over a dirty line");
}

int main(void)
{
	struct thread thread[SURVIVORS + OTHERS] = { 0 };
	unsigned restored = 0;

	fake = fake_new();
	fake->yields = true;
	file = fake_file_new(fake, FILE_UNITS * MAP_UNIT_SIZE);
	if (map_engine_new(&fake_backend, fake, &engine) || map_file_new(engine, file, &map))
		die("no engine");
	map_engine_set_first_grant(engine, 1 << 20);
	for (unsigned i = 0; i < SURVIVORS + OTHERS; i++) {
		thread[i].rng = i + 1;
		if (pthread_create(&thread[i].thread, NULL, i < SURVIVORS ? live : change,
				   &thread[i]))
			die("no thread");
	}
	for (unsigned i = 0; i < SURVIVORS + OTHERS; i++) {
		if (i == SURVIVORS)
			atomic_store(&ending, true);
		pthread_join(thread[i].thread, NULL);
		restored += thread[i].restored;
	}
	check_end();
	printf("%u restored, %lu quarantined\n", restored,
	       (unsigned long)map_engine_count(engine, MAP_COUNT_QUARANTINED));
	map_file_put(map);
	map_engine_free(engine);
	free(file);
	free(fake);
	return restored ? 0 : 1;
}
