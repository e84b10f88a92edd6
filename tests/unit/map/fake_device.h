/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device for the mapping engine, in memory: its pages, and which of them are free. A page is
 * WORDS words here, whatever its size in bytes; what counts is which page it is.
 *
 * The device knows of each page whose it is, so that an access to a page that was freed,
 * or is another file's, aborts (fake_mapper.h); and what of it is durable.
 */
#ifndef TESTS_UNIT_MAP_FAKE_DEVICE_H
#define TESTS_UNIT_MAP_FAKE_DEVICE_H

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/map/map.h"
#include "map_test.h"

#define FAKE __attribute__((unused)) static

enum { WORDS = 6, DEVICE_UNITS = 16, DEVICE_PAGES = DEVICE_UNITS * UNIT_PAGES };

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

FAKE struct fake *fake_new(void)
{
	struct fake *fake = calloc(1, sizeof(*fake));

	pthread_mutex_init(&fake->lock, NULL);
	pthread_mutex_init(&fake->log_lock, NULL);
	for (int n = 0; n < DEVICE_PAGES; n++)
		page_fill(&fake->page[n], GARBAGE);
	return fake;
}

#endif
