/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A filesystem for the mapping engine, on the fake device: files of FILE_PAGES pages, the backend
 * that the engine asks about them, and the changes that a filesystem makes.
 */
#ifndef TESTS_UNIT_MAP_FAKE_FILE_H
#define TESTS_UNIT_MAP_FAKE_FILE_H

#include <errno.h>
#include <sched.h>

#include "daxfuse/base/bits.h"
#include "fake_device.h"

enum { FILE_UNITS = 4, FILE_PAGES = FILE_UNITS * UNIT_PAGES };

struct fake_file {
	struct fake *fake;
	uint64_t id; /* for probes */
	uint64_t size;
	int page[FILE_PAGES]; /* of the device; -1: a hole */
	bool unwritten[FILE_PAGES];
	bool whole_units; /* a truncation frees no part of a unit */
	unsigned touched;
	unsigned asked; /* size() and iomap() */
};

/* ---- the backend ---------------------------------------------------------- */

FAKE uint64_t fake_id(void *arg)
{
	return ((struct fake_file *)arg)->id;
}

FAKE int fake_size(void *arg, uint64_t *ret_size)
{
	struct fake_file *file = arg;

	pthread_mutex_lock(&file->fake->lock);
	file->asked++;
	*ret_size = file->size;
	pthread_mutex_unlock(&file->fake->lock);
	return 0;
}

FAKE enum map_extent_kind kind_of(const struct fake_file *file, uint64_t page)
{
	if (page >= FILE_PAGES || file->page[page] < 0)
		return MAP_HOLE;
	return file->unwritten[page] ? MAP_UNWRITTEN : MAP_MAPPED;
}

FAKE int fake_iomap(void *arg, uint64_t offset, uint64_t length, struct map_extent *ret_extent)
{
	struct fake_file *file = arg;
	uint64_t first = offset / MAP_PAGE_SIZE, in = offset % MAP_PAGE_SIZE, n = 1;
	enum map_extent_kind kind;

	pthread_mutex_lock(&file->fake->lock);
	file->asked++;
	kind = kind_of(file, first);
	while (n * MAP_PAGE_SIZE - in < length && first + n < FILE_PAGES &&
	       kind_of(file, first + n) == kind &&
	       (kind == MAP_HOLE || file->page[first + n] == file->page[first] + (int)n))
		n++;
	*ret_extent = (struct map_extent){
		.kind = kind,
		.file_offset = offset,
		.length = first + n >= FILE_PAGES && kind == MAP_HOLE
				  ? length
				  : MIN(length, n * MAP_PAGE_SIZE - in),
		.device_offset =
			kind == MAP_HOLE ? 0 : (uint64_t)file->page[first] * MAP_PAGE_SIZE + in,
	};
	pthread_mutex_unlock(&file->fake->lock);
	if (file->fake->in_iomap)
		file->fake->in_iomap(file->fake);
	if (file->fake->yields)
		sched_yield();
	return 0;
}

FAKE bool all_holes(const struct fake_file *file, uint64_t first)
{
	for (unsigned i = 0; i < UNIT_PAGES; i++)
		if (file->page[first + i] >= 0)
			return false;
	return true;
}

/* Page `page` of the file is page n of the device; -1: a hole. */
FAKE void set_page(struct fake_file *file, uint64_t page, int n)
{
	file->page[page] = n;
	file->unwritten[page] = false;
	if (n >= 0) {
		atomic_store(&file->fake->page[n].owner, file);
		atomic_store(&file->fake->page[n].index, (int)page);
	}
}

FAKE int allocate_page(struct fake_file *file, uint64_t page)
{
	if (file->page[page] < 0)
		set_page(file, page, take_page(file->fake));
	else if (file->unwritten[page])
		page_fill(&file->fake->page[file->page[page]], 0);
	file->unwritten[page] = false;
	return file->page[page] < 0 ? -ENOSPC : 0;
}

FAKE int fake_allocate(void *arg, uint64_t offset, uint64_t length)
{
	struct fake_file *file = arg;
	uint64_t first = offset / MAP_PAGE_SIZE;
	int err = 0, unit = -1;

	pthread_mutex_lock(&file->fake->lock);
	note(file->fake, 'a');
	if (length == MAP_UNIT_SIZE && all_holes(file, first))
		unit = take_unit(file->fake);
	for (unsigned i = 0; unit >= 0 && i < UNIT_PAGES; i++)
		set_page(file, first + i, unit + (int)i);
	for (uint64_t i = 0; !err && i < length / MAP_PAGE_SIZE; i++)
		err = allocate_page(file, first + i);
	pthread_mutex_unlock(&file->fake->lock);
	return err;
}

FAKE int fake_promote(void *arg, uint64_t offset)
{
	struct fake_file *file = arg;
	struct fake *fake = file->fake;
	uint64_t first = offset / MAP_PAGE_SIZE;
	int unit;

	pthread_mutex_lock(&fake->lock);
	note(fake, 'p');
	for (unsigned i = 0; i < UNIT_PAGES; i++) {
		if (file->page[first + i] >= 0 && fake->page[file->page[first + i]].bad) {
			pthread_mutex_unlock(&fake->lock);
			return -EIO;
		}
	}
	unit = take_unit(fake);
	for (unsigned i = 0; unit >= 0 && i < UNIT_PAGES; i++) {
		int old = file->page[first + i];

		for (unsigned w = 0; old >= 0 && !file->unwritten[first + i] && w < WORDS; w++)
			atomic_store(&fake->page[unit + (int)i].word[w],
				     atomic_load(&fake->page[old].word[w]));
		page_flush(&fake->page[unit + (int)i]);
		set_page(file, first + i, unit + (int)i);
		if (old >= 0)
			page_free(fake, old);
	}
	pthread_mutex_unlock(&fake->lock);
	return unit < 0 ? -ENOSPC : 0;
}

/* Whole pages only, and what is left of a page at its beginning stays. */
FAKE int fake_zero(void *arg, uint64_t offset, uint64_t length)
{
	struct fake_file *file = arg;

	pthread_mutex_lock(&file->fake->lock);
	note(file->fake, 'z');
	for (uint64_t page = div_round_up(offset, MAP_PAGE_SIZE);
	     page < FILE_PAGES && page < (offset + length) / MAP_PAGE_SIZE; page++)
		if (kind_of(file, page) == MAP_MAPPED)
			page_fill(&file->fake->page[file->page[page]], 0);
	pthread_mutex_unlock(&file->fake->lock);
	return 0;
}

FAKE int fake_touch(void *arg)
{
	struct fake_file *file = arg;

	pthread_mutex_lock(&file->fake->lock);
	file->touched++;
	pthread_mutex_unlock(&file->fake->lock);
	return 0;
}

FAKE bool fake_is_bad(void *pool, uint64_t offset, uint64_t length)
{
	struct fake *fake = pool;

	for (uint64_t n = offset / MAP_PAGE_SIZE; n < (offset + length) / MAP_PAGE_SIZE; n++)
		if (fake->page[n].bad)
			return true;
	return false;
}

/* Half of it. */
FAKE bool fake_is_worth_a_unit(void *arg, uint64_t offset)
{
	struct fake_file *file = arg;
	unsigned used = 0;

	pthread_mutex_lock(&file->fake->lock);
	for (unsigned i = 0; i < UNIT_PAGES; i++)
		used += file->page[offset / MAP_PAGE_SIZE + i] >= 0;
	pthread_mutex_unlock(&file->fake->lock);
	return used >= UNIT_PAGES / 2;
}

FAKE void fake_flush(void *pool, uint64_t offset, uint64_t length)
{
	struct fake *fake = pool;

	note(fake, 'f');
	for (uint64_t n = offset / MAP_PAGE_SIZE; n * MAP_PAGE_SIZE < offset + length; n++)
		page_flush(&fake->page[n]);
	if (fake->yields)
		sched_yield();
}

FAKE void fake_release(void *pool, uint64_t offset, uint64_t length)
{
	struct fake *fake = pool;

	pthread_mutex_lock(&fake->lock);
	for (uint64_t n = offset / MAP_PAGE_SIZE; n < (offset + length) / MAP_PAGE_SIZE; n++) {
		if (!fake->page[n].holds)
			die("released what was not held");
		if (!--fake->page[n].holds && atomic_load(&fake->page[n].state) == PAGE_QUARANTINED)
			page_free(fake, (int)n);
		fake->released++;
	}
	pthread_mutex_unlock(&fake->lock);
}

FAKE const struct map_backend fake_backend = {
	.id = fake_id,
	.size = fake_size,
	.iomap = fake_iomap,
	.allocate = fake_allocate,
	.promote = fake_promote,
	.zero = fake_zero,
	.touch = fake_touch,
	.is_bad = fake_is_bad,
	.is_worth_a_unit = fake_is_worth_a_unit,
	.flush = fake_flush,
	.release = fake_release,
};

FAKE struct fake_file *fake_file_new(struct fake *fake, uint64_t size)
{
	struct fake_file *file = calloc(1, sizeof(*file));

	file->fake = fake;
	file->size = size;
	for (unsigned i = 0; i < FILE_PAGES; i++)
		file->page[i] = -1;
	return file;
}

/* ---- changes, as a filesystem makes them ----------------------------------- */

FAKE const struct map_pinned *find_pinned(const struct map_change *change, uint64_t offset)
{
	for (unsigned i = 0; i < change->count; i++)
		if (offset >= change->pinned[i].file_offset &&
		    offset < change->pinned[i].file_offset + change->pinned[i].length)
			return &change->pinned[i];
	return NULL;
}

/* The transaction: whole pages of the change leave the file. */
FAKE void free_pages(struct fake_file *file, const struct map_change *change)
{
	uint64_t page = div_round_up(change->offset, MAP_PAGE_SIZE);

	if (file->whole_units && change->kind == MAP_CHANGE_TRUNCATE)
		page = round_up(page, UNIT_PAGES);
	for (; page < FILE_PAGES && (page + 1) * MAP_PAGE_SIZE <= change->end; page++) {
		const struct map_pinned *pinned = find_pinned(change, page * MAP_PAGE_SIZE);

		if (file->page[page] < 0)
			continue;
		if (pinned && pinned->device_offset + page * MAP_PAGE_SIZE - pinned->file_offset !=
				      (uint64_t)file->page[page] * MAP_PAGE_SIZE)
			die("pinned piece lies elsewhere");
		if (pinned && pinned->keep) {
			page_fill(&file->fake->page[file->page[page]], 0);
			continue;
		}
		file->fake->page[file->page[page]].holds += pinned != NULL;
		page_free(file->fake, file->page[page]);
		set_page(file, page, -1);
	}
}

FAKE int change_file(struct map_file *map, struct fake_file *file, enum map_change_kind kind,
		     uint64_t offset, uint64_t length)
{
	struct map_change change;
	int err = map_change_begin(map, kind, offset, length, &change);

	if (err)
		return err;
	pthread_mutex_lock(&file->fake->lock);
	free_pages(file, &change);
	if (kind == MAP_CHANGE_TRUNCATE)
		file->size = offset;
	pthread_mutex_unlock(&file->fake->lock);
	return map_change_end(&change, MAP_CHANGE_MADE);
}

FAKE int punch(struct map_file *map, struct fake_file *file, uint64_t offset, uint64_t length)
{
	return change_file(map, file, MAP_CHANGE_PUNCH, offset, length);
}

FAKE int truncate_to(struct map_file *map, struct fake_file *file, uint64_t size)
{
	uint64_t old;
	int err;

	fake_size(file, &old);
	if (size <= old)
		return change_file(map, file, MAP_CHANGE_TRUNCATE, size, MAP_TO_END);
	err = map_grow(map, old);
	pthread_mutex_lock(&file->fake->lock);
	if (!err)
		file->size = size;
	pthread_mutex_unlock(&file->fake->lock);
	return err;
}

#endif
