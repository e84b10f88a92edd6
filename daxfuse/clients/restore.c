/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pins of an earlier process. Its programs still have the device mapped, so before
 * anything was allocated all of it was held (pin_table_busy()). Now each record becomes a
 * pin of the engine again: on the file, where that still has the piece, or on a piece that
 * is no file's any more, which stays held until its program lets go.
 *
 * The records were written by a process that may have had a fault, so they are believed only
 * as far as they can't do harm: a hold too much, a pin too much.
 */
#include "internal.h"
#include "daxfuse/base/errint.h"

static bool is_sane(const struct clients *c, const struct pin_record *record)
{
	return record->ino && record->length && !(record->length % MAP_PAGE_SIZE) &&
	       !(record->file_offset % MAP_PAGE_SIZE) && !(record->device_offset % MAP_PAGE_SIZE) &&
	       record->file_offset < DXF_FILE_MAX && record->length <= DXF_FILE_MAX &&
	       pmem_contains(fs_pmem(c->fs), record->device_offset, record->length);
}

static errint_t get_program(struct clients *c, const struct vfs_open_file *file,
			    const struct pin_record *record, struct holder **ret_holder)
{
	struct session *session;
	int err = session_get(c, record->session, &session);

	if (err)
		return err;
	session->expected = true;
	session->owed = true;
	err = holder_get(c, file, session, record->cookie, ret_holder);
	session_put(c, session);
	return err;
}

static errint_t get_pin(struct clients *c, const struct vfs_open_file *file,
			const struct pin_record *record, struct holder **ret_holder)
{
	const struct dxf_ioc_pin pin = { record->pin_offset, record->pin_length };

	return holder_get_pin(c, file, &pin, record->serial, ret_holder);
}

/* A part of a huge page is restored as pages. */
static bool is_huge(const struct pin_record *record)
{
	return (record->flags & PIN_HUGE) &&
	       !((record->file_offset | record->device_offset | record->length) % MAP_UNIT_SIZE);
}

static int restore_pin(struct clients *c, uint32_t slot, const struct pin_record *record)
{
	const struct vfs_open_file file = { record->ino, record->handle, 0 };
	bool long_term = record->flags & PIN_LONG_TERM;
	struct holder *h;
	int err = long_term ? get_pin(c, &file, record, &h) : get_program(c, &file, record, &h);

	if (err)
		return err;
	err = pins_kept_adopt(&h->clients->pins, &h->slots, slot);
	if (!err)
		err = map_view_restore(h->view, record->file_offset, record->length,
				       record->device_offset,
				       is_huge(record) ? ORDER_PMD : ORDER_PTE,
				       record->flags & PIN_WRITABLE);
	h->wrote |= (record->flags & PIN_WRITABLE) != 0;
	/* it may not have heard a question */
	atomic_store(&h->owed, true);
	holder_put(h);
	return err;
}

void restore_pins(struct clients *c)
{
	const struct pin_table *table = c->config.kept;
	uint32_t used = table ? MIN(table->used, PIN_RECORDS) : 0;

	for (uint32_t i = 0; i < used; i++) {
		const struct pin_record *record = &table->record[i];

		/* a piece that can't be restored stays held until the mount ends */
		if (record->handle && is_sane(c, record))
			restore_pin(c, i, record);
	}
}
