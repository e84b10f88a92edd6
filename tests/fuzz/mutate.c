/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The input is a list of steps of 12 bytes: where (kind, which object, which
 * word), how, and a value. Words of a kind are thought of as one array, so that
 * "the same as another word of that kind" is a step as well: it makes names of
 * other inodes and entries of other files' blocks.
 */
#include "tests/fuzz/mutate.h"

#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/media/inode.h"
#include "daxfuse/media/journal.h"
#include "tests/fuzz/media.h"

enum { STEP_BYTES = 12, STEPS_MAX = 24 };

/* Memory of one kind: objects of so many words each. */
enum kind {
	KIND_SUPER,
	KIND_UNIT_WORD,
	KIND_BITMAP,
	KIND_INODE_MAP,
	KIND_CHUNK,
	KIND_INODE,
	KIND_TABLE,
	KIND_BUCKET,
	KIND_XATTR,
	KIND_QUOTA,
	KIND_COUNT,
};

struct objects {
	uint64_t *offset;
	size_t count, room;
	unsigned words; /* of each */
};

struct anatomy {
	struct objects objects[KIND_COUNT];
	uint64_t journal_offset;
	uint32_t journal_count;
	uint64_t size;
};

static void add(struct anatomy *a, enum kind kind, uint64_t offset)
{
	struct objects *objects = &a->objects[kind];

	if (objects->count == objects->room) {
		objects->room = objects->room ? objects->room * 2 : 16;
		objects->offset = realloc(objects->offset,
					  objects->room * sizeof(*objects->offset));
		if (!objects->offset)
			abort();
	}
	objects->offset[objects->count++] = offset;
}

/* ---- learning ------------------------------------------------------------- */

static void learn_leaf(struct anatomy *a, const struct pmem *pm, bool directory, uint64_t entry)
{
	if (!directory)
		return;
	for (uint64_t i = 0; i < (entry & DXF_ENTRY_WRITTEN); i++)
		for (uint64_t at = (entry & DXF_ENTRY_OFFSET) + i * DXF_BLOCK_SIZE; at;
		     at = ((struct dxf_bucket *)pmem_at(pm, at))->next)
			add(a, KIND_BUCKET, at);
}

static void learn_entry(struct anatomy *a, const struct pmem *pm, bool directory, uint64_t entry)
{
	const uint64_t *table = pmem_at(pm, entry & DXF_ENTRY_OFFSET);

	if (!entry)
		return;
	if (!(entry & DXF_ENTRY_TABLE)) {
		learn_leaf(a, pm, directory, entry);
		return;
	}
	add(a, KIND_TABLE, entry & DXF_ENTRY_OFFSET);
	for (unsigned i = 0; i < DXF_TABLE_COUNT; i++)
		learn_entry(a, pm, directory, table[i]);
}

static void learn_inode(struct anatomy *a, const struct pmem *pm, uint64_t offset)
{
	const struct dxf_inode *inode = pmem_at(pm, offset);
	const uint64_t *word = (const void *)inode->data;
	unsigned count = inode->data_format == DXF_DATA_INLINE  ? 0
			 : inode->data_format == DXF_DATA_TABLE ? 1
								: DXF_DIRECT_COUNT;

	add(a, KIND_INODE, offset);
	for (unsigned i = 0; i < count; i++)
		learn_entry(a, pm, S_ISDIR(inode->mode), word[i]);
	if (inode->xattr_bytes > DXF_XATTR_INLINE)
		add(a, KIND_XATTR,
		    *(const uint64_t *)(const void *)inode->xattr & DXF_ENTRY_OFFSET);
	else if (inode->xattr_bytes)
		add(a, KIND_XATTR, offset + offsetof(struct dxf_inode, xattr));
}

static void learn_chunks(struct anatomy *a, const struct pmem *pm, const struct dxf_super *super)
{
	const uint64_t *map = pmem_at(pm, super->inode_map_offset);

	for (uint32_t i = 0; i < super->inode_chunks; i++) {
		const struct dxf_chunk *chunk = pmem_at(pm, map[i]);

		if (!map[i])
			continue;
		add(a, KIND_CHUNK, map[i]);
		add(a, KIND_CHUNK, map[i] + offsetof(struct dxf_chunk, used));
		add(a, KIND_CHUNK, map[i] + offsetof(struct dxf_chunk, orphan));
		for (unsigned slot = DXF_CHUNK_FIRST; slot < DXF_CHUNK_INODES; slot++)
			if (chunk->used[slot / 64] >> slot % 64 & 1)
				learn_inode(a, pm, map[i] + slot * DXF_INODE_SIZE);
	}
}

struct anatomy *anatomy_new(const struct pmem *pm)
{
	static const unsigned words[KIND_COUNT] = { 27, 1, 8, 1, 4, 64, 512, 512, 32, 8 };
	const struct dxf_super *super = pmem_at(pm, 0);
	struct anatomy *a = calloc(1, sizeof(*a));

	if (!a)
		abort();
	for (unsigned i = 0; i < KIND_COUNT; i++)
		a->objects[i].words = words[i];
	a->journal_offset = super->journal_offset;
	a->journal_count = super->journal_count;
	a->size = super->pool_size;
	add(a, KIND_SUPER, 0);
	add(a, KIND_SUPER, super->pool_size - DXF_UNIT_SIZE);
	for (uint64_t unit = 0; unit < super->pool_size / DXF_UNIT_SIZE; unit++) {
		add(a, KIND_UNIT_WORD, super->unit_offset + unit * 8);
		add(a, KIND_BITMAP, super->bitmap_offset + unit * 64);
	}
	for (uint32_t i = 0; i < MIN(super->inode_chunks, 8u); i++)
		add(a, KIND_INODE_MAP, super->inode_map_offset + i * 8);
	for (uint32_t i = 0; i < super->quota_count; i++)
		add(a, KIND_QUOTA, super->quota_offset + i * sizeof(struct dxf_quota));
	learn_chunks(a, pm, super);
	return a;
}

/* ---- mutating ------------------------------------------------------------- */

struct step {
	uint8_t kind;
	uint8_t how;
	uint16_t object;
	uint16_t word;
	uint16_t other; /* object to take a word from */
	uint32_t value;
};
static_assert(sizeof(struct step) == STEP_BYTES, "step");

static uint64_t word_at(const struct anatomy *a, enum kind kind, unsigned object, unsigned word)
{
	const struct objects *objects = &a->objects[kind];

	return objects->offset[object % objects->count] + word % objects->words * 8;
}

/* Values near which mistakes are made. */
static uint64_t interesting(const struct anatomy *a, uint32_t value)
{
	const uint64_t values[] = {
		0,
		1,
		2,
		UINT64_MAX,
		INT64_MAX,
		UINT32_MAX,
		DXF_UNIT_SIZE,
		DXF_BLOCK_SIZE,
		a->size,
		a->size - DXF_UNIT_SIZE,
		DXF_FILE_MAX,
		DXF_FILE_MAX + 1,
		UINT64_C(1) << 44,
		a->size - DXF_BLOCK_SIZE,
		2 * DXF_UNIT_SIZE,
		UINT64_MAX - DXF_BLOCK_SIZE + 1,
	};

	return values[value % ARRAY_SIZE(values)] + (value >> 8 & 7) - ((value >> 11) & 3);
}

static uint64_t changed(const struct anatomy *a, const struct pmem *pm, const struct step *step,
			enum kind kind, uint64_t old)
{
	uint64_t wide = (uint64_t)step->value << (step->how >> 4 & 3) * 16;

	switch (step->how % 8) {
	case 0:
		return wide;
	case 1:
		return old ^ wide;
	case 2:
		return old + (int8_t)step->value;
	case 3:
		return interesting(a, step->value);
	case 4:
		return old ^ UINT64_C(1) << step->value % 64;
	case 5:
		return *(const uint64_t *)pmem_at(pm, word_at(a, kind, step->other, step->word));
	case 6:
		return *(const uint64_t *)pmem_at(pm, word_at(a, kind, step->other, step->value));
	default:
		return (old & UINT64_C(0xffffffff00000000)) | step->value;
	}
}

/* A live record with one operation on a word of any kind. */
static void write_record(const struct anatomy *a, const struct pmem *pm, const struct step *step,
			 enum kind kind)
{
	struct {
		struct dxf_journal_header header;
		struct dxf_journal_op op;
		uint64_t value;
	} record = { .header = { .sequence = 1, .magic = DXF_JOURNAL_MAGIC } };
	uint64_t at = word_at(a, kind, step->object, step->word);

	record.op.offset = step->how & 8 ? interesting(a, step->value) : at;
	record.op.length = step->how & 16 ? step->value : 8;
	record.op.type = 1 + step->other % 3;
	record.value = changed(a, pm, step, kind, *(uint64_t *)pmem_at(pm, at));
	record.header.bytes = sizeof(record.op) + sizeof(record.value);
	record.header.crc = crc32c(0, &record, sizeof(record));
	memcpy(pmem_at(pm, a->journal_offset + step->object % a->journal_count * DXF_JOURNAL_SIZE),
	       &record, sizeof(record));
}

static void fix_xattrs(const struct pmem *pm, struct dxf_inode *inode)
{
	char *blob = (char *)inode->xattr;

	if (inode->xattr_bytes > DXF_XATTR_INLINE) {
		uint64_t offset = *(uint64_t *)(void *)inode->xattr & DXF_ENTRY_OFFSET;

		/* more than a block is rarely contiguous: its checksum stays wrong */
		if (!pmem_contains(pm, offset, DXF_BLOCK_SIZE) ||
		    inode->xattr_bytes > 2 * DXF_BLOCK_SIZE)
			return;
		blob = pmem_at(pm, offset);
	}
	if (inode->xattr_bytes >= 8 && pmem_contains(pm, pmem_offset(pm, blob), inode->xattr_bytes))
		*(uint32_t *)(void *)blob = crc32c(0, blob + 4, inode->xattr_bytes - 4);
}

static void fix_checksums(const struct anatomy *a, const struct pmem *pm)
{
	for (size_t i = 0; i < a->objects[KIND_SUPER].count; i++) {
		struct dxf_super *super = pmem_at(pm, a->objects[KIND_SUPER].offset[i]);

		super->crc = super_crc(super);
	}
	for (size_t i = 0; i < a->objects[KIND_INODE].count; i++) {
		struct dxf_inode *inode = pmem_at(pm, a->objects[KIND_INODE].offset[i]);

		fix_xattrs(pm, inode);
		inode->crc = inode_crc(inode);
	}
}

void mutate(const struct anatomy *a, const struct pmem *pm, const uint8_t *data, size_t size)
{
	bool fix = size && data[0] & 1;
	struct step step;

	for (unsigned i = 0; i < STEPS_MAX && size >= 1 + (i + 1) * STEP_BYTES; i++) {
		enum kind kind;
		uint64_t *word;

		memcpy(&step, data + 1 + i * STEP_BYTES, sizeof(step));
		kind = (step.kind & 15) % KIND_COUNT;
		if (!a->objects[kind].count)
			continue;
		word = pmem_at(pm, word_at(a, kind, step.object, step.word));
		if (step.kind >> 4 == 15)
			write_record(a, pm, &step, kind);
		else if (step.kind >> 4 == 14)
			media_poison(pmem_offset(pm, word));
		else
			*word = changed(a, pm, &step, kind, *word);
	}
	if (!fix)
		fix_checksums(a, pm);
}
