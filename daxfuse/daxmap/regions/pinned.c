/* SPDX-License-Identifier: BSD-3-Clause */
/* A list with free places: a program has few pins, and looks are rare. */
#include "pinned.h"

#include <errno.h>
#include <stddef.h>

struct kept {
	uintptr_t start, end; /* 0: free */
	bool stale;
};

enum { KEPT = 4096 };
static struct kept table[KEPT];
static size_t used; /* none behind it */

int pinned_add(uintptr_t start, uintptr_t end)
{
	size_t at = 0;

	while (at < used && table[at].end)
		at++;
	if (at == KEPT)
		return -ENOMEM;
	table[at] = (struct kept){ .start = start, .end = end };
	if (at == used)
		used++;
	return 0;
}

int pinned_remove(uintptr_t start, uintptr_t end, bool *ret_stale)
{
	for (size_t i = 0; i < used; i++) {
		struct kept *k = &table[i];

		if (k->start != start || k->end != end)
			continue;
		*ret_stale = k->stale;
		k->start = k->end = 0;
		return 0;
	}
	return -EINVAL;
}

void pinned_forget(uintptr_t start, uintptr_t end)
{
	for (size_t i = 0; i < used; i++) {
		if (table[i].start < end && table[i].end > start)
			table[i].start = table[i].end = 0;
	}
}

void pinned_reset(void)
{
	used = 0;
}

bool pinned_next_other(uintptr_t *start, uintptr_t end, bool asked, uintptr_t *ret_stop)
{
	bool moved = true;

	while (moved && *start < end) {
		moved = false;
		*ret_stop = end;
		for (size_t i = 0; i < used; i++) {
			struct kept *k = &table[i];

			if (k->end <= *start || k->start >= *ret_stop)
				continue;
			k->stale |= asked;
			if (k->start > *start) {
				*ret_stop = k->start;
				continue;
			}
			*start = k->end;
			moved = true;
		}
	}
	return *start < end;
}
