/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxfuse dump: any object of a pool as JSON, as it lies there, right or wrong.
 * Read-only; a pool in use is refused.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <uuid/uuid.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/crc.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/media/geometry.h"
#include "daxfuse/media/volume.h"
#include "command.h"
#include "report.h"

static const struct command_option options[] = {
	{ 0 },
};

static const struct command command = {
	.name = "daxfuse dump",
	.usage = "DEVICE OBJECT [NUMBER]",
	.summary = "Show an object of a pool as JSON.",
	.options = options,
	.details = "OBJECT is one of:\n"
		   "  super [0|1]     a superblock: the first or the second one\n"
		   "  journal N       a journal's record and its operations\n"
		   "  journals        all of them\n"
		   "  units           how many units are in each state\n"
		   "  unit N          a unit's word, and the blocks taken if it is split\n"
		   "  chunk N         an inode chunk: its place, inodes in use, orphans\n"
		   "  inode N         an inode\n"
		   "  xattrs N        the extended attributes of an inode\n"
		   "  table OFFSET    a table of data entries\n"
		   "  bucket OFFSET   a block of a directory\n"
		   "  quotas          all project records\n"
		   "Offsets are in bytes, and may be written as 0x...",
	.usage_status = 1,
};

struct dump {
	const struct pmem *pm;
	struct dxf_super super;
	struct json_object *out; /* what is printed */
};

static void add_int(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

static void add_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, json_object_new_string(text));
}

static void add_time(struct json_object *object, const char *key, int64_t value)
{
	json_object_object_add(object, key, json_object_new_int64(value));
}

static void add_truth(struct json_object *object, const char *key, bool value)
{
	json_object_object_add(object, key, json_object_new_boolean(value));
}

/* Bytes that should be text, but may be anything: outside of printable ASCII
 * as \xNN. */
static void add_bytes(struct json_object *object, const char *key, const void *bytes, size_t length)
{
	CLEANUP_FREE char *text = calloc(4, length + 1);
	const uint8_t *byte = bytes;
	size_t at = 0;

	for (size_t i = 0; text && i < length; i++) {
		if (byte[i] >= ' ' && byte[i] < 127 && byte[i] != '\\')
			text[at++] = (char)byte[i];
		else
			at += (size_t)sprintf(text + at, "\\x%02x", byte[i]);
	}
	add_text(object, key, text ? text : "");
}

static errint_t load(const struct dump *d, void *dst, uint64_t offset, size_t length)
{
	if (!pmem_contains(d->pm, offset, length))
		return -ERANGE;
	return pmem_read(d->pm, dst, pmem_at(d->pm, offset), length);
}

/* ---- superblocks, journals ------------------------------------------------ */

static errint_t dump_super(struct dump *d, uint64_t number)
{
	struct dxf_super super;
	char uuid[37];
	int err = load(d, &super, number ? d->super.pool_size - DXF_UNIT_SIZE : 0, sizeof(super));

	if (err)
		return err;
	uuid_unparse(super.uuid, uuid);
	add_truth(d->out, "crc_right", super.crc == super_crc(&super));
	add_int(d->out, "version", super.version);
	add_text(d->out, "uuid", uuid);
	add_bytes(d->out, "label", super.label,
		  strnlen((const char *)super.label, sizeof(super.label)));
	add_int(d->out, "compat", super.compat);
	add_int(d->out, "ro_compat", super.ro_compat);
	add_int(d->out, "incompat", super.incompat);
	add_int(d->out, "generation", super.generation);
	add_int(d->out, "pool_size", super.pool_size);
	add_int(d->out, "journal_offset", super.journal_offset);
	add_int(d->out, "unit_offset", super.unit_offset);
	add_int(d->out, "bitmap_offset", super.bitmap_offset);
	add_int(d->out, "inode_map_offset", super.inode_map_offset);
	add_int(d->out, "quota_offset", super.quota_offset);
	add_int(d->out, "data_offset", super.data_offset);
	add_int(d->out, "journal_count", super.journal_count);
	add_int(d->out, "inode_chunks", super.inode_chunks);
	add_int(d->out, "quota_count", super.quota_count);
	add_int(d->out, "root_ino", super.root_ino);
	add_int(d->out, "hash_seed", super.hash_seed);
	add_time(d->out, "created", super.created);
	return 0;
}

static struct json_object *journal_ops(const char *ops, uint32_t bytes)
{
	static const char *const types[] = { "nonsense", "write", "set", "clear" };
	struct json_object *array = json_object_new_array();
	struct dxf_journal_op op;

	for (uint64_t at = 0; bytes - at >= sizeof(op) && at < bytes;
	     at += sizeof(op) + op.length) {
		struct json_object *object = json_object_new_object();

		memcpy(&op, ops + at, sizeof(op));
		add_text(object, "type", types[op.type < ARRAY_SIZE(types) ? op.type : 0]);
		add_int(object, "offset", op.offset);
		add_int(object, "length", op.length);
		json_object_array_add(array, object);
		if (op.length > bytes - at - sizeof(op))
			break;
	}
	return array;
}

static errint_t one_journal(struct dump *d, uint64_t number, struct json_object *object)
{
	uint64_t offset = d->super.journal_offset + number * DXF_JOURNAL_SIZE;
	CLEANUP_FREE char *ops = NULL;
	struct dxf_journal_header header;
	uint32_t crc, says;
	int err = load(d, &header, offset, sizeof(header));

	if (err)
		return err;
	add_int(object, "journal", number);
	add_int(object, "sequence", header.sequence);
	add_int(object, "bytes", header.bytes);
	add_int(object, "opcode", header.opcode);
	add_int(object, "unique", header.unique);
	json_object_object_add(object, "result", json_object_new_int64(header.result));
	if (header.magic != DXF_JOURNAL_MAGIC || header.bytes > DXF_JOURNAL_SIZE - sizeof(header)) {
		add_truth(object, "live", false);
		return 0;
	}
	ops = malloc(header.bytes + 1);
	err = ops ? load(d, ops, offset + sizeof(header), header.bytes) : -ENOMEM;
	if (err)
		return err;
	says = header.crc;
	header.crc = 0;
	crc = crc32c(crc32c(0, &header, sizeof(header)), ops, header.bytes);
	add_truth(object, "live", header.sequence && crc == says);
	json_object_object_add(object, "operations", journal_ops(ops, header.bytes));
	return 0;
}

static errint_t dump_journal(struct dump *d, uint64_t number)
{
	if (number >= d->super.journal_count)
		return -ERANGE;
	return one_journal(d, number, d->out);
}

static errint_t dump_journals(struct dump *d, uint64_t number)
{
	struct json_object *array = json_object_new_array();
	int err = 0;

	json_object_object_add(d->out, "journals", array);
	for (uint32_t i = 0; !err && i < d->super.journal_count; i++) {
		struct json_object *object = json_object_new_object();

		json_object_array_add(array, object);
		err = one_journal(d, i, object);
	}
	return err;
}

/* ---- space ---------------------------------------------------------------- */

static const char *const states[] = { "free", "data", "split", "inodes", "system", "nonsense" };
enum { NONSENSE = 5 };

static errint_t dump_units(struct dump *d, uint64_t number)
{
	uint64_t count[NONSENSE + 1] = { 0 }, blocks = 0, word, bitmap[8];

	for (uint64_t unit = 0; unit < d->super.pool_size / DXF_UNIT_SIZE; unit++) {
		int err = load(d, &word, d->super.unit_offset + unit * 8, 8);

		if (!err && word == DXF_UNIT_SPLIT)
			err = load(d, bitmap, d->super.bitmap_offset + unit * 64, 64);
		if (err)
			return err;
		count[MIN(word, (uint64_t)NONSENSE)]++;
		for (unsigned i = 0; word == DXF_UNIT_SPLIT && i < 8; i++)
			blocks += bits_count(bitmap[i]);
	}
	for (unsigned i = 0; i <= NONSENSE; i++)
		add_int(d->out, states[i], count[i]);
	add_int(d->out, "blocks_taken", blocks);
	return 0;
}

static void add_bits(struct json_object *object, const char *key, const uint64_t *words,
		     unsigned count, uint64_t base)
{
	struct json_object *array = json_object_new_array();

	for (unsigned w = 0; w < count; w++)
		for (uint64_t left = words[w]; left; left &= left - 1)
			json_object_array_add(
				array, json_object_new_uint64(base + w * 64 + bits_first(left)));
	json_object_object_add(object, key, array);
}

static errint_t dump_unit(struct dump *d, uint64_t number)
{
	uint64_t word, bitmap[8];
	int err;

	if (number >= d->super.pool_size / DXF_UNIT_SIZE)
		return -ERANGE;
	err = load(d, &word, d->super.unit_offset + number * 8, 8);
	if (!err)
		err = load(d, bitmap, d->super.bitmap_offset + number * 64, 64);
	if (err)
		return err;
	add_int(d->out, "offset", number * DXF_UNIT_SIZE);
	add_int(d->out, "word", word);
	add_text(d->out, "state", states[MIN(word, (uint64_t)NONSENSE)]);
	if (word == DXF_UNIT_SPLIT)
		add_bits(d->out, "blocks_taken", bitmap, 8, 0);
	return 0;
}

/* ---- inodes --------------------------------------------------------------- */

static errint_t chunk_offset(struct dump *d, uint64_t number, uint64_t *ret_offset)
{
	int err;

	if (number >= d->super.inode_chunks)
		return -ERANGE;
	err = load(d, ret_offset, d->super.inode_map_offset + number * 8, 8);
	if (!err && (!*ret_offset || !pmem_contains(d->pm, *ret_offset, DXF_UNIT_SIZE)))
		err = -ENOENT;
	return err;
}

static errint_t dump_chunk(struct dump *d, uint64_t number)
{
	struct dxf_chunk chunk;
	uint64_t offset;
	int err = chunk_offset(d, number, &offset);

	if (!err)
		err = load(d, &chunk, offset, sizeof(chunk));
	if (err)
		return err;
	add_int(d->out, "offset", offset);
	add_truth(d->out, "magic_right", chunk.magic == DXF_CHUNK_MAGIC);
	add_int(d->out, "index", chunk.index);
	add_bits(d->out, "used", chunk.used, DXF_CHUNK_INODES / 64, number * DXF_CHUNK_INODES);
	add_bits(d->out, "orphans", chunk.orphan, DXF_CHUNK_INODES / 64, number * DXF_CHUNK_INODES);
	return 0;
}

static struct json_object *entry_json(uint64_t index, uint64_t entry)
{
	struct json_object *object = json_object_new_object();

	add_int(object, "index", index);
	add_int(object, "offset", entry & DXF_ENTRY_OFFSET);
	add_text(object, "kind",
		 entry & DXF_ENTRY_TABLE  ? "table"
		 : entry & DXF_ENTRY_UNIT ? "unit"
					  : "block");
	add_int(object, "written", entry & DXF_ENTRY_WRITTEN);
	return object;
}

static struct json_object *entries_json(const void *words, unsigned count)
{
	struct json_object *array = json_object_new_array();

	for (unsigned i = 0; i < count; i++) {
		uint64_t entry;

		memcpy(&entry, (const char *)words + i * 8, 8);
		if (entry)
			json_object_array_add(array, entry_json(i, entry));
	}
	return array;
}

static errint_t load_inode(struct dump *d, uint64_t number, struct dxf_inode *inode,
			   uint64_t *ret_offset)
{
	uint64_t offset;
	int err = chunk_offset(d, number / DXF_CHUNK_INODES, &offset);

	if (err)
		return err;
	*ret_offset = offset + number % DXF_CHUNK_INODES * DXF_INODE_SIZE;
	return load(d, inode, *ret_offset, sizeof(*inode));
}

static void add_owner(struct json_object *out, const struct dxf_inode *inode)
{
	char mode[16];

	snprintf(mode, sizeof(mode), "%06o", inode->mode);
	add_text(out, "mode", mode);
	add_int(out, "uid", inode->uid);
	add_int(out, "gid", inode->gid);
	add_int(out, "nlink", inode->nlink);
	add_int(out, "size", inode->size);
	add_int(out, "blocks", inode->blocks);
	add_int(out, "flags", inode->flags);
	if (inode->flags & DXF_FLAG_TAIL) {
		add_int(out, "tail_size", inode->tail_size);
		add_int(out, "tail_first", inode->tail_first);
	}
	add_int(out, "project", inode->project);
	add_int(out, "extsize", inode->extsize);
	add_int(out, "rdev", inode->rdev);
	add_time(out, "atime", inode->atime);
	add_time(out, "mtime", inode->mtime);
	add_time(out, "ctime", inode->ctime);
	add_time(out, "btime", inode->btime);
	add_int(out, "entries", inode->entries);
	add_int(out, "parent", inode->parent);
	add_int(out, "xattr_bytes", inode->xattr_bytes);
}

static errint_t dump_inode(struct dump *d, uint64_t number)
{
	static const char *const formats[] = { "inline", "direct", "table" };
	struct dxf_inode inode;
	uint64_t offset;
	int err = load_inode(d, number, &inode, &offset);

	if (err)
		return err;
	add_int(d->out, "offset", offset);
	add_truth(d->out, "magic_right", inode.magic == DXF_INODE_MAGIC);
	add_int(d->out, "crc", inode.crc);
	add_int(d->out, "ino", inode.ino);
	add_int(d->out, "generation", inode.generation);
	add_owner(d->out, &inode);
	add_text(d->out, "data_format",
		 inode.data_format <= DXF_DATA_TABLE ? formats[inode.data_format] : "nonsense");
	add_int(d->out, "table_level", inode.table_level);
	if (inode.data_format == DXF_DATA_INLINE)
		add_bytes(d->out, "data", inode.data, MIN(inode.size, (uint64_t)DXF_INLINE_MAX));
	else
		json_object_object_add(d->out, "entries_of_data",
				       entries_json(inode.data, inode.data_format == DXF_DATA_TABLE
									? 1
									: DXF_DIRECT_COUNT));
	if (inode.xattr_bytes > DXF_XATTR_INLINE)
		json_object_object_add(d->out, "entries_of_xattrs",
				       entries_json(inode.xattr, DXF_XATTR_INLINE / 8));
	return 0;
}

static errint_t load_xattrs(struct dump *d, const struct dxf_inode *inode, char *blob)
{
	int err = 0;

	if (inode->xattr_bytes <= DXF_XATTR_INLINE) {
		memcpy(blob, inode->xattr, inode->xattr_bytes);
		return 0;
	}
	for (size_t i = 0; !err && i * DXF_BLOCK_SIZE < inode->xattr_bytes; i++) {
		uint64_t entry;

		memcpy(&entry, inode->xattr + i * 8, 8);
		err = load(d, blob + i * DXF_BLOCK_SIZE, entry & DXF_ENTRY_OFFSET, DXF_BLOCK_SIZE);
	}
	return err;
}

static errint_t dump_xattrs(struct dump *d, uint64_t number)
{
	struct json_object *array = json_object_new_array();
	CLEANUP_FREE char *blob = calloc(1, DXF_XATTR_MAX);
	struct dxf_xattr_header header;
	struct dxf_inode inode;
	uint64_t offset;
	int err = blob ? load_inode(d, number, &inode, &offset) : -ENOMEM;

	json_object_object_add(d->out, "xattrs", array);
	if (!err)
		err = inode.xattr_bytes > DXF_XATTR_MAX ? -ERANGE : load_xattrs(d, &inode, blob);
	if (err || inode.xattr_bytes < sizeof(header))
		return err;
	memcpy(&header, blob, sizeof(header));
	add_truth(d->out, "crc_right", header.crc == crc32c(0, blob + 4, inode.xattr_bytes - 4));
	add_int(d->out, "count", header.count);
	for (size_t at = sizeof(header); at + sizeof(struct dxf_xattr) <= inode.xattr_bytes;) {
		struct json_object *object = json_object_new_object();
		struct dxf_xattr entry;

		memcpy(&entry, blob + at, sizeof(entry));
		json_object_array_add(array, object);
		at += sizeof(entry);
		if (entry.name_length + (uint64_t)entry.value_length > inode.xattr_bytes - at)
			break;
		add_bytes(object, "name", blob + at, entry.name_length);
		add_bytes(object, "value", blob + at + entry.name_length, entry.value_length);
		at = round_up(at + entry.name_length + entry.value_length, 4);
	}
	return 0;
}

/* ---- blocks --------------------------------------------------------------- */

static errint_t dump_table(struct dump *d, uint64_t number)
{
	uint64_t table[DXF_TABLE_COUNT];
	int err = load(d, table, number, sizeof(table));

	if (!err)
		json_object_object_add(d->out, "entries", entries_json(table, DXF_TABLE_COUNT));
	return err;
}

static errint_t dump_bucket(struct dump *d, uint64_t number)
{
	struct json_object *array = json_object_new_array();
	struct dxf_bucket bucket;
	int err = load(d, &bucket, number, sizeof(bucket));

	json_object_object_add(d->out, "names", array);
	if (err)
		return err;
	add_truth(d->out, "magic_right", bucket.magic == DXF_BUCKET_MAGIC);
	add_int(d->out, "next", bucket.next);
	add_bits(d->out, "used", &bucket.used, 1, 0);
	for (uint64_t left = bucket.first; left; left &= left - 1) {
		unsigned i = bits_first(left);
		const struct dxf_slot *slot = &bucket.slot[i];
		const char *text = (const char *)&bucket + offsetof(struct dxf_bucket, slot) +
				   i * sizeof(*slot) + offsetof(struct dxf_slot, name);
		struct json_object *object;

		if (i >= DXF_BUCKET_SLOTS)
			break;
		object = json_object_new_object();
		json_object_array_add(array, object);
		add_int(object, "slot", i);
		add_int(object, "key", slot->key);
		add_int(object, "ino", slot->ino);
		add_int(object, "type", slot->type);
		add_int(object, "slots", slot->slots);
		add_int(object, "tag", bucket.tag[i]);
		add_bytes(object, "name", text,
			  MIN((size_t)slot->name_length,
			      (size_t)((const char *)(&bucket + 1) - text)));
	}
	return 0;
}

static errint_t dump_quotas(struct dump *d, uint64_t number)
{
	struct json_object *array = json_object_new_array();
	int err = 0;

	json_object_object_add(d->out, "quotas", array);
	for (uint32_t slot = 0; !err && slot < d->super.quota_count; slot++) {
		struct json_object *object;
		struct dxf_quota quota;

		err = load(d, &quota, d->super.quota_offset + slot * sizeof(quota), sizeof(quota));
		if (err || !quota.project)
			continue;
		object = json_object_new_object();
		json_object_array_add(array, object);
		add_int(object, "slot", slot);
		add_int(object, "project", quota.project);
		add_int(object, "block_limit", quota.block_limit);
		add_int(object, "inode_limit", quota.inode_limit);
		add_int(object, "blocks", quota.blocks);
		add_int(object, "inodes", quota.inodes);
	}
	return err;
}

/* ---- command -------------------------------------------------------------- */

static const struct kind {
	const char *name;
	int (*dump)(struct dump *d, uint64_t number);
	int numbers; /* 1: needs one, 0: takes none, -1: may have one, else 0 */
} kinds[] = {
	{ "super", dump_super, -1 },      { "journal", dump_journal, 1 },
	{ "journals", dump_journals, 0 }, { "units", dump_units, 0 },
	{ "unit", dump_unit, 1 },         { "chunk", dump_chunk, 1 },
	{ "inode", dump_inode, 1 },       { "xattrs", dump_xattrs, 1 },
	{ "table", dump_table, 1 },       { "bucket", dump_bucket, 1 },
	{ "quotas", dump_quotas, 0 },
};

static const struct kind *parse_kind(int operands, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(kinds[i].name, name) != 0)
			continue;
		if ((kinds[i].numbers == 1 && operands < 3) || (!kinds[i].numbers && operands > 2))
			command_misused(&command, "%s takes %s number", name,
					kinds[i].numbers ? "a" : "no");
		return &kinds[i];
	}
	command_misused(&command, "%s is not an object of a pool", name);
}

static uint64_t parse_number(const char *text)
{
	uint64_t number;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 0);
	if (errno || *end || end == text || *text == '-')
		command_misused(&command, "%s is not a number", text);
	return number;
}

static int dump(struct device *dev, const struct kind *kind, uint64_t number,
		struct device_error *error)
{
	CLEANUP_JSON struct json_object *out = json_object_new_object();
	struct dump d = { .out = out };
	struct pmem *pm;
	bool spare;
	int err = device_map(dev, &pm, error);

	if (err)
		return err;
	d.pm = pm;
	err = pmem_poison_init();
	if (!err)
		err = super_load(pm, &d.super, &spare);
	if (err == -EROFS)
		err = 0;
	if (!err)
		err = kind->dump(&d, number);
	if (!err)
		report_json(out);
	return err;
}

int dump_main(int argc, char **argv)
{
	CLEANUP_DEVICE struct device *dev = NULL;
	struct device_error error = { "cannot be read", "" };
	const struct kind *kind;
	uint64_t number;
	int err;

	while (command_next(&command, argc, argv) >= 0)
		;
	command_operands(&command, argc, 2, 3);
	kind = parse_kind(argc - optind, argv[optind + 1]);
	number = argc - optind == 3 ? parse_number(argv[optind + 2]) : 0;
	err = pool_open_device(argv[optind], -1, DEVICE_READ, &dev, &error);
	if (!err)
		err = dump(dev, kind, number, &error);
	if (err) {
		report_device_error("daxfuse", argv[optind], err, &error);
		return 1;
	}
	return 0;
}
