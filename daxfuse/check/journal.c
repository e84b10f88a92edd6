/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Live journal records. Before a repair they are replayed, as a mount would. Without repair nothing
 * may be stored, so they are laid over all that is read: the answer is that of the pool after
 * replay.
 */
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/crc.h"
#include "state.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/media/journal.h"

struct journal_view {
	size_t count;
	struct journal_record *record[];
};

/* Whether the bytes make sense as operations within the range that a record may change. */
static bool ops_make_sense(struct check *c, const struct journal_record *record)
{
	uint64_t end = c->vol.super.pool_size - DXF_UNIT_SIZE;
	struct dxf_journal_op op;

	for (uint64_t at = 0; at < record->header.bytes; at += sizeof(op) + op.length) {
		if (record->header.bytes - at < sizeof(op))
			return false;
		memcpy(&op, record->ops + at, sizeof(op));
		if (op.offset % 8 || op.length % 8 || op.offset < c->vol.super.unit_offset ||
		    op.offset > end || op.length > end - op.offset ||
		    op.length > record->header.bytes - at - sizeof(op))
			return false;
		if (op.type < DXF_JOURNAL_WRITE || op.type > DXF_JOURNAL_CLEAR ||
		    (op.type != DXF_JOURNAL_WRITE && op.length != 8))
			return false;
	}
	return true;
}

static bool crc_is_right(const struct journal_record *record)
{
	struct dxf_journal_header header = record->header;

	header.crc = 0;
	return crc32c(crc32c(0, &header, sizeof(header)), record->ops, header.bytes) ==
	       record->header.crc;
}

/* 1: live, 0: none or torn, -EUCLEAN: must not be replayed, -EIO */
static int read_record(struct check *c, uint32_t i, struct journal_record *record)
{
	const char *media = pmem_at(c->pm, c->vol.super.journal_offset + i * DXF_JOURNAL_SIZE);
	int err = pmem_read(c->pm, &record->header, media, sizeof(record->header));

	if (err)
		return err;
	if (!record->header.sequence || record->header.magic != DXF_JOURNAL_MAGIC ||
	    record->header.bytes > JOURNAL_RECORD_MAX || record->header.bytes % 8)
		return 0;
	err = pmem_read(c->pm, record->ops, media + sizeof(record->header), record->header.bytes);
	if (err)
		return err;
	if (!crc_is_right(record))
		return 0;
	return ops_make_sense(c, record) ? 1 : -EUCLEAN;
}

/* Order: a whole header of zeroes (which heals poison), fence. */
static void erase(struct check *c, uint32_t i)
{
	static const struct dxf_journal_header none;

	check_overwrite(c, c->vol.super.journal_offset + i * DXF_JOURNAL_SIZE, &none, sizeof(none));
}

static errint_t add_to_view(struct check *c, struct journal_record *record)
{
	size_t count = c->view ? c->view->count : 0;
	struct journal_view *view = realloc(c->view, sizeof(*view) + (count + 1) * sizeof(record));

	if (!view)
		return -ENOMEM;
	view->record[count] = record;
	view->count = count + 1;
	c->view = view;
	return 0;
}

static errint_t check_journal(struct check *c, uint32_t i, struct journal_record **record)
{
	int live = read_record(c, i, *record), err;

	if (live < 0) {
		if (check_found(c, live == -EIO ? CHECK_POISON : CHECK_JOURNAL_BAD, 0,
				"journal %u: %s", i,
				live == -EIO ? "poisoned"
					     : "the record would change what no record may change"))
			erase(c, i);
		return 0;
	}
	if (!live)
		return 0;
	c->result.records++;
	if (c->options->settled)
		check_found(c, CHECK_JOURNAL_LIVE, 0, "journal %u holds a live record", i);
	if (c->options->repair)
		return 0;
	err = add_to_view(c, *record);
	if (!err)
		*record = malloc(sizeof(**record));
	return err ? err : *record ? 0 : -ENOMEM;
}

errint_t ck_journal_pass(struct check *c)
{
	struct journal_record *record = malloc(sizeof(*record));
	unsigned replayed;
	int err = record ? journal_open(&c->vol) : -ENOMEM;

	for (uint32_t i = 0; !err && i < c->vol.super.journal_count; i++)
		err = check_journal(c, i, &record);
	if (!err && check_may_repair(c))
		err = journal_replay(&c->vol, false, &replayed);
	free(record);
	return err;
}

void ck_journal_view_free(struct journal_view *view)
{
	for (size_t i = 0; view && i < view->count; i++)
		free(view->record[i]);
	free(view);
}

static void apply_op(const struct dxf_journal_op *op, const char *bytes, uint64_t offset, char *dst,
		     size_t length)
{
	uint64_t from = MAX(op->offset, offset), to = MIN(op->offset + op->length, offset + length);

	for (uint64_t at = from; at < to; at++) {
		char byte = bytes[at - op->offset], *target = &dst[at - offset];

		if (op->type == DXF_JOURNAL_WRITE)
			*target = byte;
		else if (op->type == DXF_JOURNAL_SET)
			*target |= byte;
		else
			*target &= ~byte;
	}
}

void ck_journal_view_apply(const struct journal_view *view, uint64_t offset, void *dst,
			   size_t length)
{
	struct dxf_journal_op op;

	for (size_t i = 0; i < view->count; i++) {
		const struct journal_record *record = view->record[i];

		for (uint64_t at = 0; at < record->header.bytes; at += sizeof(op) + op.length) {
			memcpy(&op, record->ops + at, sizeof(op));
			apply_op(&op, record->ops + at + sizeof(op), offset, dst, length);
		}
	}
}
