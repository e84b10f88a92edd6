/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pins are not counted in the entry that they are on, but kept with the view that holds them: a
 * mapper that dies, or answers while somebody waits for just that with the file locked, must be
 * able to give them up without any lock of the file, and without touching an entry map that may be
 * changing.
 *
 * A unit's word is a pin of the whole unit, or the address of 512 pins, one a page. A
 * pin is its grant and two bits.
 *
 * A pin for writing stays one when the same is granted for reading: until the mapper has
 * got that piece, and mapped it over the other, its threads go on storing.
 */
#include "pin.h"

#include <errno.h>
#include <stdlib.h>

#include "daxfuse/base/bits.h"
#include "entry.h"
#include "daxfuse/base/errint.h"

/* Bit 0 tells a pin from an address, and from no pin. */
enum { PIN = 1, PIN_WRITABLE = 2, PIN_SHIFT = 2 };

static uint64_t pin_of(bool writable, uint64_t grant)
{
	return grant << PIN_SHIFT | (writable ? PIN_WRITABLE : 0) | PIN;
}

static bool matches(uint64_t pin, uint64_t grant)
{
	return (pin & PIN) && pin >> PIN_SHIFT <= grant;
}

static uint64_t *pages_of(uint64_t word)
{
	return word & PIN ? NULL : (uint64_t *)(uintptr_t)word;
}

static errint_t add_page(_Atomic uint64_t *word, uint64_t start, uint64_t pin)
{
	uint64_t old = atomic_load(word), *pages = pages_of(old);

	if (old & PIN) {
		/* the unit stays mapped around the page */
		atomic_store(word, pin | (old & PIN_WRITABLE));
		return 0;
	}
	if (!pages) {
		pages = calloc(UNIT_PAGES, sizeof(*pages));
		if (!pages)
			return -ENOMEM;
		atomic_store(word, (uintptr_t)pages);
	}
	pages[start % UNIT_PAGES] = pin | (pages[start % UNIT_PAGES] & PIN_WRITABLE);
	return 0;
}

/* Whether a unit's word is a pin for writing, or the address of one. */
static uint64_t any_writable(uint64_t word)
{
	uint64_t *pages = pages_of(word), bits = pages ? 0 : word;

	for (unsigned i = 0; pages && i < UNIT_PAGES; i++)
		bits |= pages[i];
	return bits & PIN_WRITABLE;
}

errint_t pins_add(struct pins *pins, uint64_t start, unsigned order, bool writable, uint64_t grant)
{
	_Atomic uint64_t *word = tree_make(&pins->units, start >> ORDER_PMD);

	if (!word)
		return -ENOMEM;
	if (order == ORDER_PTE)
		return add_page(word, start, pin_of(writable, grant));
	writable |= any_writable(atomic_load(word)) != 0;
	free(pages_of(atomic_load(word)));
	atomic_store(word, pin_of(writable, grant));
	return 0;
}

/* The part of a unit that lies in a range of pages. */
struct part {
	unsigned first, last;
	bool whole;
};

static struct part part_of(uint64_t unit, uint64_t from, uint64_t last)
{
	uint64_t start = unit << ORDER_PMD, end = start + UNIT_PAGES - 1;
	struct part part = { (unsigned)(MAX(from, start) - start),
			     (unsigned)(MIN(last, end) - start), false };

	part.whole = part.first == 0 && part.last == UNIT_PAGES - 1;
	return part;
}

static bool any(struct pins *pins, uint64_t from, uint64_t last, uint64_t grant, uint64_t bits)
{
	_Atomic uint64_t *word;

	for (uint64_t unit = from >> ORDER_PMD;
	     (word = tree_next(&pins->units, &unit, last >> ORDER_PMD)); unit++) {
		struct part part = part_of(unit, from, last);
		uint64_t pin = atomic_load(word), *pages = pages_of(pin);

		for (unsigned i = part.first; pages && i <= part.last; i++)
			if (matches(pages[i], grant) && (pages[i] & bits) == bits)
				return true;
		if (!pages && matches(pin, grant) && (pin & bits) == bits)
			return true;
	}
	return false;
}

bool pins_any(struct pins *pins, uint64_t from, uint64_t last, uint64_t grant)
{
	return any(pins, from, last, grant, 0);
}

bool pins_any_writable(struct pins *pins, uint64_t from, uint64_t last)
{
	return any(pins, from, last, UINT64_MAX, PIN_WRITABLE);
}

/* A pin of a whole unit as pins of its pages, to drop some; NULL: no memory, it stays. */
static uint64_t *split(_Atomic uint64_t *word)
{
	uint64_t pin = atomic_load(word), *pages = calloc(UNIT_PAGES, sizeof(*pages));

	for (unsigned i = 0; pages && i < UNIT_PAGES; i++)
		pages[i] = pin;
	if (pages)
		atomic_store(word, (uintptr_t)pages);
	return pages;
}

static void drop_pages(_Atomic uint64_t *word, uint64_t *pages, struct part part, uint64_t grant)
{
	bool left = false;

	for (unsigned i = part.first; i <= part.last; i++)
		if (matches(pages[i], grant))
			pages[i] = 0;
	for (unsigned i = 0; i < UNIT_PAGES && !left; i++)
		left = pages[i];
	if (!left) {
		atomic_store(word, 0);
		free(pages);
	}
}

void pins_drop(struct pins *pins, uint64_t from, uint64_t last, uint64_t grant)
{
	_Atomic uint64_t *word;

	for (uint64_t unit = from >> ORDER_PMD;
	     (word = tree_next(&pins->units, &unit, last >> ORDER_PMD)); unit++) {
		struct part part = part_of(unit, from, last);
		uint64_t pin = atomic_load(word), *pages = pages_of(pin);

		if (!pages && !matches(pin, grant))
			continue;
		if (!pages && part.whole)
			atomic_store(word, 0);
		else if (!pages)
			pages = split(word);
		if (pages)
			drop_pages(word, pages, part, grant);
	}
}

void pins_protect(struct pins *pins, uint64_t from, uint64_t last)
{
	_Atomic uint64_t *word;

	for (uint64_t unit = from >> ORDER_PMD;
	     (word = tree_next(&pins->units, &unit, last >> ORDER_PMD)); unit++) {
		struct part part = part_of(unit, from, last);
		uint64_t pin = atomic_load(word), *pages = pages_of(pin);

		for (unsigned i = part.first; pages && i <= part.last; i++)
			pages[i] &= ~(uint64_t)PIN_WRITABLE;
		if (!pages && part.whole)
			atomic_store(word, pin & ~(uint64_t)PIN_WRITABLE);
	}
}

void pins_free(struct pins *pins)
{
	pins_drop(pins, 0, UINT64_MAX, UINT64_MAX);
	tree_free(&pins->units);
}
