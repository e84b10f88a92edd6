/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pins of one view: which pages and units it has mapped, whether for writing,
 * and under which grant. 8 bytes for a unit mapped whole, 4 KiB for one mapped in
 * pages. The caller holds the view's lock.
 *
 * All ranges are pages, from and last included. `grant` restricts a function to pins
 * that were granted up to it.
 */
#ifndef DAXFUSE_MAP_PIN_H
#define DAXFUSE_MAP_PIN_H

#include <stdbool.h>
#include <stdint.h>

#include "tree.h"
#include "daxfuse/base/errint.h"

/* All zeroes: none. */
struct pins {
	struct tree units;
};

/* A page or a unit at start, granted; a unit takes the place of pages that it has. A pin that was
 * there for writing stays so, though this is for reading. -ENOMEM */
errint_t pins_add(struct pins *pins, uint64_t start, unsigned order, bool writable, uint64_t grant);
bool pins_any(struct pins *pins, uint64_t from, uint64_t last, uint64_t grant);
bool pins_any_writable(struct pins *pins, uint64_t from, uint64_t last);
void pins_drop(struct pins *pins, uint64_t from, uint64_t last, uint64_t grant);
/* None of them is for writing any more. */
void pins_protect(struct pins *pins, uint64_t from, uint64_t last);
void pins_free(struct pins *pins);

#endif
