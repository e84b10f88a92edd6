/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A filesystem for the mapping engine, and mappers of each kind, in memory. A page is
 * WORDS words here, whatever its size in bytes; what counts is which page it is.
 *
 * The device knows of each page whose it is, so that an access to a page that was freed,
 * or is another file's, aborts; and what of it is durable.
 */
#ifndef TESTS_UNIT_MAP_FAKE_H
#define TESTS_UNIT_MAP_FAKE_H

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/map/map.h"
#include "map_test.h"

#define FAKE __attribute__((unused)) static

enum { WORDS = 6, DEVICE_UNITS = 16, DEVICE_PAGES = DEVICE_UNITS * UNIT_PAGES };
enum { FILE_UNITS = 4, FILE_PAGES = FILE_UNITS * UNIT_PAGES };

enum page_state { PAGE_FREE, PAGE_USED, PAGE_QUARANTINED };

struct fake_file;

struct fake_page {
	_Atomic uint64_t word[WORDS];
	_Atomic uint64_t durable[WORDS];
	_Atomic unsigned state;
	unsigned holds;                    /* it is not free before they are gone */
	_Atomic(struct fake_file *) owner; /* while it is in use or quarantined */
	atomic_int index;                  /* the page of that file */
	bool bad;
};

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

struct fake {
	pthread_mutex_t lock; /* files, and which pages are free */
	struct fake_page page[DEVICE_PAGES];
	bool no_units; /* allocate pages only */
	bool full;
	pthread_mutex_t log_lock;
	char log[256];                       /* what happened, a letter each */
	void (*in_iomap)(struct fake *fake); /* called before it answers */
	unsigned released;                   /* pages */
	bool yields; /* the backend lets others run, in the middle of things */
};

FAKE void note(struct fake *fake, char what)
{
	size_t n;

	pthread_mutex_lock(&fake->log_lock);
	n = strlen(fake->log);
	if (n + 1 < sizeof(fake->log))
		fake->log[n] = what;
	pthread_mutex_unlock(&fake->log_lock);
}

FAKE void die(const char *what)
{
	fprintf(stderr, "fake: %s\n", what);
	abort();
}

/* ---- the device ----------------------------------------------------------- */

FAKE void page_fill(struct fake_page *page, uint64_t value)
{
	for (unsigned i = 0; i < WORDS; i++) {
		atomic_store(&page->word[i], value);
		atomic_store(&page->durable[i], value);
	}
}

/* Never brings an older value over a newer one, as no cache does. */
FAKE void page_flush(struct fake_page *page)
{
	for (unsigned i = 0; i < WORDS; i++) {
		uint64_t value;

		do {
			value = atomic_load(&page->word[i]);
			atomic_store(&page->durable[i], value);
		} while (atomic_load(&page->word[i]) != value);
	}
}

/* Whatever is read of a page that was freed. */
#define GARBAGE UINT64_C(0xdbdbdbdbdbdbdbdb)

FAKE void page_free(struct fake *fake, int n)
{
	bool held = fake->page[n].holds;

	atomic_store(&fake->page[n].state, held ? PAGE_QUARANTINED : PAGE_FREE);
	if (!held)
		page_fill(&fake->page[n], GARBAGE);
}

FAKE bool unit_has(struct fake *fake, unsigned unit, unsigned state)
{
	for (unsigned i = 0; i < UNIT_PAGES; i++)
		if (atomic_load(&fake->page[unit * UNIT_PAGES + i].state) != state)
			return false;
	return true;
}

/* The first page of a free unit, in use now; -1: there is none. */
FAKE int take_unit(struct fake *fake)
{
	for (unsigned unit = 0; unit < DEVICE_UNITS && !fake->no_units && !fake->full; unit++) {
		if (!unit_has(fake, unit, PAGE_FREE))
			continue;
		for (unsigned i = 0; i < UNIT_PAGES; i++) {
			page_fill(&fake->page[unit * UNIT_PAGES + i], 0);
			atomic_store(&fake->page[unit * UNIT_PAGES + i].state, PAGE_USED);
		}
		return (int)(unit * UNIT_PAGES);
	}
	return -1;
}

/* From the end, so that units stay whole at the start; never a neighbour of the last. */
FAKE int take_page(struct fake *fake)
{
	for (int n = DEVICE_PAGES - 1; n >= 0 && !fake->full; n--) {
		if (atomic_load(&fake->page[n].state) != PAGE_FREE)
			continue;
		page_fill(&fake->page[n], 0);
		atomic_store(&fake->page[n].state, PAGE_USED);
		return n;
	}
	return -1;
}

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

FAKE struct fake *fake_new(void)
{
	struct fake *fake = calloc(1, sizeof(*fake));

	pthread_mutex_init(&fake->lock, NULL);
	pthread_mutex_init(&fake->log_lock, NULL);
	for (int n = 0; n < DEVICE_PAGES; n++)
		page_fill(&fake->page[n], GARBAGE);
	return fake;
}

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

/* ---- mappers -------------------------------------------------------------- */

enum { NOT_MAPPED = -1, ZEROES = -2 };

struct fake_mapper {
	pthread_mutex_t lock;
	const struct mapper_ops *ops;
	struct map_view *view;
	struct fake *fake;
	struct fake_file *file; /* NULL: whose a page is isn't looked at */
	int page[FILE_PAGES];   /* of the device, or one of the above */
	bool writable[FILE_PAGES];
	uint64_t void_up_to[FILE_PAGES];
	uint64_t read_only_up_to[FILE_PAGES];
	uint64_t last_grant; /* that it has got */
	bool silent;         /* does not answer */
	bool slow;           /* answers when mapper_answer() is called */
	unsigned reply_us;   /* what a piece needs to arrive */
	uint64_t asked_offset, asked_length, asked_grant;
	atomic_uint asked;
	atomic_bool gone;
};

FAKE void mapper_clear(struct fake_mapper *m, uint64_t offset, uint64_t length, uint64_t grant)
{
	uint64_t end = length == MAP_TO_END
			       ? FILE_PAGES
			       : MIN((offset + length) / MAP_PAGE_SIZE, (uint64_t)FILE_PAGES);

	for (uint64_t i = offset / MAP_PAGE_SIZE; i < end; i++) {
		m->page[i] = NOT_MAPPED;
		m->writable[i] = false;
		m->void_up_to[i] = MAX(m->void_up_to[i], grant);
	}
}

FAKE int mapper_map(void *arg, const struct map_piece *piece)
{
	struct fake_mapper *m = arg;

	pthread_mutex_lock(&m->lock);
	m->last_grant = MAX(m->last_grant, piece->grant);
	mapper_clear(m, piece->drop_offset, piece->drop_length, 0);
	for (uint64_t i = 0; i < piece->length / MAP_PAGE_SIZE; i++) {
		uint64_t at = piece->file_offset / MAP_PAGE_SIZE + i;

		if (piece->grant <= m->void_up_to[at])
			continue;
		m->page[at] = piece->zero ? ZEROES
					  : (int)(piece->device_offset / MAP_PAGE_SIZE + i);
		m->writable[at] = piece->writable && piece->grant > m->read_only_up_to[at];
	}
	pthread_mutex_unlock(&m->lock);
	return 0;
}

FAKE int mapper_unmap(void *arg, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct fake_mapper *m = arg;

	pthread_mutex_lock(&m->lock);
	note(m->fake, 'u');
	mapper_clear(m, offset, length, grant);
	atomic_fetch_add(&m->asked, 1);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

FAKE void mapper_let_go(struct fake_mapper *m, uint64_t offset, uint64_t length, uint64_t grant)
{
	pthread_mutex_lock(&m->lock);
	mapper_clear(m, offset, length, grant);
	pthread_mutex_unlock(&m->lock);
	map_let_go(m->view, offset, length, grant);
}

/* Of its own accord: all that it has been given there. */
FAKE void mapper_drop(struct fake_mapper *m, uint64_t offset, uint64_t length)
{
	uint64_t grant;

	pthread_mutex_lock(&m->lock);
	grant = m->last_grant;
	pthread_mutex_unlock(&m->lock);
	mapper_let_go(m, offset, length, grant);
}

/* The answer to what it was asked last. */
FAKE void mapper_answer(struct fake_mapper *m)
{
	uint64_t offset, length, grant;

	pthread_mutex_lock(&m->lock);
	offset = m->asked_offset;
	length = m->asked_length;
	grant = m->asked_grant;
	pthread_mutex_unlock(&m->lock);
	mapper_let_go(m, offset, length, grant);
}

FAKE int client_unmap(void *arg, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct fake_mapper *m = arg;
	bool later;

	pthread_mutex_lock(&m->lock);
	note(m->fake, 'u');
	m->asked_offset = offset;
	m->asked_length = length;
	m->asked_grant = grant;
	later = m->silent || m->slow;
	atomic_fetch_add(&m->asked, 1);
	pthread_mutex_unlock(&m->lock);
	if (!later)
		mapper_let_go(m, offset, length, grant);
	return -EINPROGRESS;
}

FAKE int mapper_protect(void *arg, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct fake_mapper *m = arg;

	pthread_mutex_lock(&m->lock);
	note(m->fake, 'w');
	for (uint64_t i = offset / MAP_PAGE_SIZE; i < (offset + length) / MAP_PAGE_SIZE; i++) {
		m->writable[i] = false;
		m->read_only_up_to[i] = grant;
	}
	pthread_mutex_unlock(&m->lock);
	return 0;
}

FAKE int mapper_flush(void *arg, uint64_t offset, uint64_t length)
{
	struct fake_mapper *m = arg;

	note(m->fake, 'F');
	return 0;
}

FAKE int mapper_refuse(void *arg, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct fake_mapper *m = arg;

	atomic_fetch_add(&m->asked, 1);
	return -EBUSY;
}

FAKE void mapper_gone(void *arg)
{
	struct fake_mapper *m = arg;

	atomic_store(&m->gone, true);
}

/* Three of mapper.h's table; the client in both of its sizes; a long-term pin; and who
 * only reads, and can't be told anything. */
FAKE const struct mapper_ops client_ops = {
	.smallest = ORDER_PTE,
	.read_only_first = true,
	.unmap = client_unmap,
	.gone = mapper_gone,
};
FAKE const struct mapper_ops huge_client_ops = {
	.smallest = ORDER_PMD,
	.read_only_first = true,
	.unmap = client_unmap,
	.gone = mapper_gone,
};
/* A client that can be write-protected. */
FAKE const struct mapper_ops careful_client_ops = {
	.smallest = ORDER_PTE,
	.read_only_first = true,
	.unmap = client_unmap,
	.write_protect = mapper_protect,
	.gone = mapper_gone,
};
FAKE const struct mapper_ops guest_ops = {
	.smallest = ORDER_PTE,
	.map = mapper_map,
	.gone = mapper_gone,
};
FAKE const struct mapper_ops kernel_ops = {
	.smallest = ORDER_PMD,
	.read_only_first = true,
	.map = mapper_map,
	.unmap = mapper_unmap,
	.write_protect = mapper_protect,
	.flush = mapper_flush,
	.gone = mapper_gone,
};
FAKE const struct mapper_ops long_term_ops = {
	.smallest = ORDER_PTE,
	.read_only_first = true,
	.unmap = mapper_refuse,
	.gone = mapper_gone,
};
FAKE const struct mapper_ops deaf_ops = {
	.smallest = ORDER_PTE,
	.read_only_first = true,
	.gone = mapper_gone,
};

FAKE void mapper_open(struct fake_mapper *m, struct fake *fake, struct map_file *map,
		      const struct mapper_ops *ops)
{
	memset(m, 0, sizeof(*m));
	pthread_mutex_init(&m->lock, NULL);
	m->fake = fake;
	m->ops = ops;
	for (unsigned i = 0; i < FILE_PAGES; i++)
		m->page[i] = NOT_MAPPED;
	assert_int_equal(map_view_open(map, ops, m, &m->view), 0);
}

FAKE void mapper_close(struct fake_mapper *m)
{
	map_view_close(m->view);
	wait_until(atomic_load(&m->gone));
	pthread_mutex_destroy(&m->lock);
}

/* A fault, and what the mapper does with its result. */
FAKE int mapper_fault(struct fake_mapper *m, uint64_t page, enum map_access access, unsigned order)
{
	struct map_request request = { page * MAP_PAGE_SIZE, access, order, 0, UINT64_MAX, false };
	struct map_piece piece;
	int err = map_fault(m->view, &request, &piece);

	if (m->reply_us)
		usleep(m->reply_us);
	if (!err && !m->ops->map)
		mapper_map(m, &piece);
	return err;
}

/* A run of faults, and what the mapper does with it; the pieces, or a negative errno. */
FAKE int mapper_fault_run(struct fake_mapper *m, const struct map_request *request, uint64_t length)
{
	struct map_piece pieces[16];
	unsigned count = 0;
	int err = map_fault_run(m->view, request, length, pieces, 16, &count);

	if (m->reply_us)
		usleep(m->reply_us);
	for (unsigned i = 0; i < count && !m->ops->map; i++)
		mapper_map(m, &pieces[i]);
	return err ? err : (int)count;
}

/* The page that is mapped must not have gone to somebody else. */
FAKE struct fake_page *mapped_page(struct fake_mapper *m, uint64_t page)
{
	struct fake_page *at = &m->fake->page[m->page[page]];

	if (atomic_load(&at->state) == PAGE_FREE)
		die("access to a page that was freed");
	if (m->file && (atomic_load(&at->owner) != m->file || atomic_load(&at->index) != (int)page))
		die("access to somebody else's page");
	return at;
}

/* Store through the mapping; false: it is not mapped for that. */
FAKE bool mapper_store(struct fake_mapper *m, uint64_t page, unsigned word, uint64_t value)
{
	bool done;

	pthread_mutex_lock(&m->lock);
	done = m->page[page] >= 0 && m->writable[page];
	if (done)
		atomic_store(&mapped_page(m, page)->word[word], value);
	pthread_mutex_unlock(&m->lock);
	return done;
}

FAKE bool mapper_load(struct fake_mapper *m, uint64_t page, unsigned word, uint64_t *ret_value)
{
	bool done;

	pthread_mutex_lock(&m->lock);
	done = m->page[page] != NOT_MAPPED;
	if (m->page[page] == ZEROES)
		*ret_value = 0;
	else if (done)
		*ret_value = atomic_load(&mapped_page(m, page)->word[word]);
	pthread_mutex_unlock(&m->lock);
	return done;
}

#endif
