/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Redo journals, several so that threads don't wait for each other, each with
 * room for one record.
 *
 * Order of a commit:
 *   1. the record, non-temporally; fence      <- from here on it has happened
 *   2. every operation in place, flushed; fence
 *   3. crc = 0, then sequence = 0, flushed; fence <- from here on not replayed
 *
 * Why one record a journal, and the third fence: a record that is still live after a crash is
 * replayed. Were it possible that a later transaction on another CPU had changed the same words and
 * was retired already, the replay would bring back old values. The locks over all that a
 * transaction edits are held until step 3 has ended, so live records never have a word in common,
 * and may be replayed in any order and any number of times.
 *
 * A torn record fails its CRC, which covers the sequence number too: no mixture
 * of an old record and a new one can pass. Sequence numbers begin anew at each
 * mount, so the old CRC must not lie there when the same number comes again:
 * retiring destroys it, before it stores 0 in sequence. PMFS (EuroSys'14) and WineFS
 * (SOSP'21) journal per CPU likewise, but undo records, with a fence for each.
 */
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/crc.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "journal.h"

errint_t journal_open(struct volume *vol)
{
	vol->journals = aligned_alloc(64, vol->super.journal_count * sizeof(struct journal));
	if (!vol->journals)
		return -ENOMEM;
	for (uint32_t i = 0; i < vol->super.journal_count; i++) {
		struct journal *j = &vol->journals[i];

		memset(j, 0, sizeof(*j));
		pthread_mutex_init(&j->lock, NULL);
		j->header = pmem_at(vol->pm, vol->super.journal_offset + i * DXF_JOURNAL_SIZE);
	}
	return 0;
}

void journal_close(struct volume *vol)
{
	for (uint32_t i = 0; vol->journals && i < vol->super.journal_count; i++)
		pthread_mutex_destroy(&vol->journals[i].lock);
	free(vol->journals);
}

static uint32_t record_crc(const struct journal_record *record)
{
	struct dxf_journal_header header = record->header;

	header.crc = 0;
	return crc32c(crc32c(0, &header, sizeof(header)), record->ops, header.bytes);
}

static size_t op_bytes(const struct dxf_journal_op *op)
{
	return sizeof(*op) + op->length;
}

/* Whether a transaction may change [offset, offset + length). */
static bool target_is_right(const struct volume *vol, uint64_t offset, uint64_t length)
{
	const struct dxf_super *super = &vol->super;

	return offset % 8 == 0 && length % 8 == 0 && offset >= super->unit_offset &&
	       pmem_contains(vol->pm, offset, length) &&
	       offset + length <= super->pool_size - DXF_UNIT_SIZE;
}

static bool ops_are_right(const struct volume *vol, const struct journal_record *record)
{
	size_t at = 0;

	while (at < record->header.bytes) {
		const struct dxf_journal_op *op = (const void *)(record->ops + at);

		if (record->header.bytes - at < sizeof(*op) ||
		    op->length > record->header.bytes - at - sizeof(*op) ||
		    !target_is_right(vol, op->offset, op->length))
			return false;
		if (op->type != DXF_JOURNAL_WRITE &&
		    !((op->type == DXF_JOURNAL_SET || op->type == DXF_JOURNAL_CLEAR) &&
		      op->length == 8))
			return false;
		at += op_bytes(op);
	}
	return true;
}

/* Order: store each operation and flush it; fence. */
static void apply(struct volume *vol, const struct journal_record *record)
{
	const struct pmem *pm = vol->pm;

	for (size_t at = 0; at < record->header.bytes;) {
		const struct dxf_journal_op *op = (const void *)(record->ops + at);
		const void *bytes = op + 1;
		void *target = pmem_at(pm, op->offset);

		if (op->type == DXF_JOURNAL_WRITE)
			pmem_store(pm, target, bytes, op->length);
		else if (op->type == DXF_JOURNAL_SET)
			pmem_set_bits(pm, target, *(const uint64_t *)bytes);
		else
			pmem_clear_bits(pm, target, *(const uint64_t *)bytes);
		pmem_flush(pm, target, op->length);
		at += op_bytes(op);
	}
	pmem_fence(pm);
}

/* Order: magic and crc = 0, sequence = 0 (one line), flush; fence. */
static void retire(struct volume *vol, struct dxf_journal_header *header)
{
	static_assert(offsetof(struct dxf_journal_header, crc) ==
			      offsetof(struct dxf_journal_header, magic) + 4,
		      "one word");
	pmem_store64(vol->pm, &header->magic, 0);
	pmem_store64(vol->pm, &header->sequence, 0);
	pmem_flush(vol->pm, header, sizeof(*header));
	pmem_fence(vol->pm);
}

/* Before the record is retired, the one that answers its request knows that it must not be
 * executed again. */
static void tell_replayed(struct volume *vol, const struct dxf_journal_header *header)
{
	if (header->unique && vol->options.replayed)
		vol->options.replayed(vol->options.replayed_arg, header->unique, header->opcode,
				      header->result);
}

/* The record in journal i, if it is live and whole. -ENOENT, -EIO, -EUCLEAN. */
static errint_t read_record(struct volume *vol, uint32_t i, struct journal_record *record)
{
	const struct dxf_journal_header *header = vol->journals[i].header;
	int err = pmem_read(vol->pm, &record->header, header, sizeof(*header));

	if (err)
		return err;
	if (!record->header.sequence || record->header.magic != DXF_JOURNAL_MAGIC ||
	    record->header.bytes > JOURNAL_RECORD_MAX || record->header.bytes % 8)
		return -ENOENT;
	err = pmem_read(vol->pm, record->ops, header + 1, record->header.bytes);
	if (err)
		return err;
	if (record_crc(record) != record->header.crc)
		return -ENOENT;
	return ops_are_right(vol, record) ? 0 : -EUCLEAN;
}

/* Replay happens while nothing was looked at yet: -EIO where apply() would meet poison.
 * The record stays live, for a media that has been mended. */
static errint_t probe_targets(const struct volume *vol, const struct journal_record *record)
{
	int err = 0;

	for (size_t at = 0; !err && at < record->header.bytes;) {
		const struct dxf_journal_op *op = (const void *)(record->ops + at);

		err = pmem_probe(vol->pm, pmem_at(vol->pm, op->offset), op->length);
		at += op_bytes(op);
	}
	return err;
}

errint_t journal_replay(struct volume *vol, bool read_only, unsigned *ret_replayed)
{
	struct journal_record *record = malloc(sizeof(*record));
	unsigned replayed = 0;
	int err = record ? 0 : -ENOMEM;

	for (uint32_t i = 0; !err && i < vol->super.journal_count; i++) {
		err = read_record(vol, i, record);
		if (err == -ENOENT) {
			err = 0;
			continue;
		}
		if (err)
			break;
		err = read_only ? -EROFS : probe_targets(vol, record);
		if (err)
			break;
		apply(vol, record);
		tell_replayed(vol, &record->header);
		retire(vol, vol->journals[i].header);
		replayed++;
	}
	free(record);
	if (!err)
		*ret_replayed = replayed;
	return err;
}

static bool is_bad(const struct journal *j)
{
	return atomic_load_explicit(&j->bad, memory_order_relaxed);
}

/* A journal that nobody uses, this CPU's first; else one that is in use. Locked;
 * NULL: all are poisoned. */
static struct journal *take_journal(struct volume *vol)
{
	uint32_t count = vol->super.journal_count, first = (uint32_t)sched_getcpu() % count;

	for (uint32_t i = 0; i < 2 * count; i++) {
		struct journal *j = &vol->journals[(first + i) % count];

		if (is_bad(j))
			continue;
		if (i >= count)
			lock_mutex(LOCK_JOURNAL, &j->lock);
		else if (!try_mutex(LOCK_JOURNAL, &j->lock))
			continue;
		if (!is_bad(j))
			return j;
		unlock_mutex(LOCK_JOURNAL, &j->lock);
	}
	return NULL;
}

static void seal(struct journal_record *record, uint64_t sequence)
{
	struct dxf_journal_header *header = &record->header;

	header->sequence = sequence;
	header->magic = DXF_JOURNAL_MAGIC;
	memset(header->reserved, 0, sizeof(header->reserved));
	header->crc = record_crc(record);
}

errint_t journal_commit(struct volume *vol, struct journal_record *record,
			const struct tx_request *request)
{
	size_t bytes = sizeof(record->header) + record->header.bytes;
	struct journal *j;

	for (;;) {
		j = take_journal(vol);
		if (!j)
			return -EIO;
		seal(record, ++j->sequence);
		if (pmem_write_nt(vol->pm, j->header, &record->header, bytes) == 0)
			break;
		/* a part of it is missing, so its CRC is wrong */
		atomic_store_explicit(&j->bad, true, memory_order_relaxed);
		unlock_mutex(LOCK_JOURNAL, &j->lock);
	}
	pmem_fence(vol->pm);
	apply(vol, record);
	tx_executed(request, record->header.result);
	retire(vol, j->header);
	j->commits++;
	j->bytes += bytes;
	unlock_mutex(LOCK_JOURNAL, &j->lock);
	return 0;
}
