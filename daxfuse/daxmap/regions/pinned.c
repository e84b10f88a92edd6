/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The addresses that have a long-term pin (pinned.h): an array that is searched from its beginning,
 * as programs have few of them.
 */
#include "pinned.h"
#include "daxfuse/base/errint.h"

#include <errno.h>
#include <stddef.h>

#include "daxfuse/daxmap/lock.h"

struct pinned {
	uintptr_t start, end; /* 0: free */
	bool stale;
};

enum { PINNED = 4096 };
static struct pinned table[PINNED];
static size_t used; /* none behind it */

errint_t pinned_add(uintptr_t start, uintptr_t end)
{
	size_t at = 0;

	lock_assert_held();
	while (at < used && table[at].end)
		at++;
	if (at == PINNED)
		return -ENOMEM;
	table[at] = (struct pinned){ .start = start, .end = end };
	if (at == used)
		used++;
	return 0;
}

errint_t pinned_remove(uintptr_t start, uintptr_t end, bool *ret_stale)
{
	lock_assert_held();
	for (size_t i = 0; i < used; i++) {
		struct pinned *pin = &table[i];

		if (pin->start != start || pin->end != end)
			continue;
		*ret_stale = pin->stale;
		pin->start = pin->end = 0;
		return 0;
	}
	return -EINVAL;
}

void pinned_forget(uintptr_t start, uintptr_t end)
{
	lock_assert_held();
	for (size_t i = 0; i < used; i++) {
		if (table[i].start < end && table[i].end > start)
			table[i].start = table[i].end = 0;
	}
}

void pinned_reset(void)
{
	lock_assert_held();
	used = 0;
}

bool pinned_next_other(uintptr_t *start, uintptr_t end, bool asked, uintptr_t *ret_stop)
{
	bool moved = true;

	lock_assert_held();
	while (moved && *start < end) {
		moved = false;
		*ret_stop = end;
		for (size_t i = 0; i < used; i++) {
			struct pinned *pin = &table[i];

			if (pin->end <= *start || pin->start >= *ret_stop)
				continue;
			pin->stale |= asked;
			if (pin->start > *start) {
				*ret_stop = pin->start;
				continue;
			}
			*start = pin->end;
			moved = true;
		}
	}
	return *start < end;
}
