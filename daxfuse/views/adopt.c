/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the last process has left: views with programs that have gone on, and records of them.
 *
 * Each view forgets what lies where, and gets the size of its file. So programs ask again, and what
 * they ask becomes pins of this process's engine, as if they had begun now; and what they have
 * stored is durable, as nobody knows any more what was dirty. That comes before the first request
 * is served: until then no extent is freed or moved. (Recovery frees what a transaction of the last
 * process has freed, and before that the view was told to let go.) What a device uses can't be
 * taken away: that is pinned again.
 *
 * A record is believed as far as the module confirms it. One without a view: the process died when
 * it had ended the view. A view that is revoked: it was about to. A view without a record: it was
 * about to make it, and nobody has heard of it.
 */
#include <stdlib.h>

#include "daxfuse/base/errint.h"
#include "internal.h"

/* A registration that has two records was ended, and its number given to the other one. */
static bool is_registered_twice(const struct view_table *table, uint32_t slot)
{
	for (uint32_t i = 0; i < table->used; i++) {
		if (i != slot && table->record[i].ino &&
		    table->record[i].backing == table->record[slot].backing)
			return true;
	}
	return false;
}

static bool record_is_true(const struct views *v, const struct view_record *record)
{
	uint64_t ino;

	return record->backing && record->backing <= INT32_MAX &&
	       session_ino(v->session, record->number, &ino) == 0 && ino == record->ino;
}

static errint_t forget_all(struct mapper *m)
{
	int err = session_forget(m->views->session, m->number, 0, VIEW_BYTES);

	if (!err)
		err = sizes_adopt(m);
	if (err != -ESTALE)
		return err;
	m->over = true;
	if (is_registered_twice(m->views->table, m->slot))
		m->backing = 0;
	return 0;
}

static errint_t adopt_view(struct views *v, uint32_t slot)
{
	const struct view_record *record = &v->table->record[slot];
	struct mapper *m = calloc(1, sizeof(*m));
	int err;

	if (!m)
		return -ENOMEM;
	m->views = v;
	m->ino = record->ino;
	m->number = record->number;
	m->backing = (int)record->backing;
	m->slot = slot;
	m->adopted = true;
	atomic_init(&m->passes, true); /* for all that is known */
	err = viewed_adopt(v, m);
	if (!err)
		return forget_all(m);
	free(m);
	return err;
}

static errint_t adopt_record(struct views *v, uint32_t slot)
{
	const struct view_record *record = &v->table->record[slot];
	int err = -EEXIST;

	if (!record->ino)
		return 0;
	if (record_is_true(v, record))
		err = adopt_view(v, slot);
	if (err == -EEXIST) {
		table_erase_view(v, slot);
		return 0;
	}
	return err;
}

static void revoke_others(struct views *v)
{
	uint64_t number = 0, ino;

	while (session_next(v->session, &number, &ino) == 0) {
		const struct mapper *m = viewed_mapper(v, ino);

		if (!m || m->number != number)
			session_revoke(v->session, number);
	}
}

static errint_t restore_extents(struct views *v, uint32_t slot)
{
	uint64_t ino = v->table->record[slot].ino;
	struct mapper *m = ino ? viewed_mapper(v, ino) : NULL;

	return m && !m->over ? busy_restore_extents(m) : 0;
}

errint_t adopt_views(struct views *v)
{
	uint32_t used = v->table->used;
	int err = 0;

	for (uint32_t slot = 0; !err && slot < used; slot++)
		err = adopt_record(v, slot);
	if (err)
		return err;
	revoke_others(v);
	err = busy_restore_records(v);
	for (uint32_t slot = 0; !err && slot < used; slot++)
		err = restore_extents(v, slot);
	return err;
}
