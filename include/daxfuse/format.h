/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pool format: everything that daxfuse keeps on a device, and nothing else.
 * docs/design/format.md explains it; a second implementation can be written
 * from the two.
 *
 * All integers are little-endian. The words are used in place, because an
 * aligned 8-byte store is what the media guarantees to be atomic; hosts of the
 * other byte order are refused at build time.
 *
 *   offset 0          struct dxf_super (4 KiB), first superblock
 *   journal_offset    journal_count journals of DXF_JOURNAL_SIZE bytes
 *   unit_offset       uint64_t unit[pool_size / 2 MiB], one word a unit
 *   bitmap_offset     uint64_t bitmap[pool_size / 2 MiB][8], one bit a block
 *   inode_map_offset  uint64_t chunk[inode_chunks], where each inode chunk lies
 *   quota_offset      struct dxf_quota quota[quota_count]
 *   data_offset       whole units: data, split units, inode chunks
 *   pool_size - 2 MiB struct dxf_super, second superblock; the unit holds
 *                     nothing else
 *
 * A pool is a sequence of 2 MiB units, aligned on the device. A unit is free,
 * or holds 2 MiB of one file, or 4096 inodes, or is split into 512 blocks of
 * 4 KiB. unit[] says which; a split unit's bitmap says which blocks are taken.
 *
 * A file's data is found through a table of the shape of an x86 page table:
 * level 0 tables hold 4 KiB blocks, level 1 tables hold whole units or level 0
 * tables, and so on upwards, 512 entries of 8 bytes each.
 *
 * Rules of the feature words (as in ext4): an unknown compat bit is ignored, an
 * unknown ro_compat bit allows read-only mounts only, an unknown incompat bit
 * refuses the mount.
 */
#ifndef DAXFUSE_FORMAT_H
#define DAXFUSE_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "daxfuse pools are little-endian and used in place"
#endif

#define DXF_BLOCK_SHIFT 12
#define DXF_BLOCK_SIZE (UINT64_C(1) << DXF_BLOCK_SHIFT)
#define DXF_UNIT_SHIFT 21
#define DXF_UNIT_SIZE (UINT64_C(1) << DXF_UNIT_SHIFT)
#define DXF_UNIT_BLOCKS (DXF_UNIT_SIZE / DXF_BLOCK_SIZE)

#define DXF_POOL_MIN (8 * DXF_UNIT_SIZE)
#define DXF_POOL_MAX (UINT64_C(1) << 44) /* 16 TiB */
#define DXF_FILE_MAX (UINT64_C(1) << 60)
#define DXF_NAME_MAX 255
#define DXF_LINK_MAX UINT32_C(0x7fffffff)

/* ---- superblock -------------------------------------------------------- */

#define DXF_MAGIC "DAXFUSE\x01"
#define DXF_VERSION 1

#define DXF_COMPAT_KNOWN UINT64_C(0)
#define DXF_RO_COMPAT_KNOWN UINT64_C(0)
#define DXF_INCOMPAT_TAIL UINT64_C(1) /* inodes may have DXF_FLAG_TAIL, or had it */
#define DXF_INCOMPAT_KNOWN DXF_INCOMPAT_TAIL

struct dxf_super {
	uint8_t magic[8];
	uint32_t crc;     /* CRC32C of the block, this word taken as 0 */
	uint32_t version; /* DXF_VERSION */
	uint8_t uuid[16];
	uint8_t label[64]; /* UTF-8, padded with NUL, always ends with one */
	uint64_t compat;
	uint64_t ro_compat;
	uint64_t incompat;
	uint64_t generation; /* of the two valid copies the higher one counts */
	uint64_t pool_size;  /* bytes, a multiple of DXF_UNIT_SIZE */
	uint64_t journal_offset;
	uint64_t unit_offset;
	uint64_t bitmap_offset;
	uint64_t inode_map_offset;
	uint64_t quota_offset;
	uint64_t data_offset; /* a multiple of DXF_UNIT_SIZE */
	uint32_t journal_count;
	uint32_t inode_chunks; /* length of the inode map */
	uint32_t quota_count;  /* a power of two */
	uint32_t root_ino;
	uint64_t hash_seed; /* of directory hashes */
	int64_t created;    /* ns since the epoch */
	uint8_t reserved[4096 - 216];
};

/* ---- journal ----------------------------------------------------------- */

/*
 * A journal holds at most one record: a header and its operations, written
 * with one fence. A record counts if sequence is not 0 and the CRC is right; it
 * is retired by storing 0 in magic and crc, then in sequence. Records in different journals never
 * touch the same word or bit, so they are replayed in any order, as often as
 * one likes.
 */
#define DXF_JOURNAL_SIZE (UINT64_C(128) << 10)
#define DXF_JOURNAL_MAGIC UINT32_C(0x4a465844)

struct dxf_journal_header {
	uint64_t sequence; /* of this journal, never 0 in a live record */
	uint32_t magic;
	uint32_t crc;    /* CRC32C of header and operations, this word taken as 0 */
	uint32_t bytes;  /* of all operations, a multiple of 8 */
	uint32_t opcode; /* of the request, for a restarted daemon; 0 = none */
	uint64_t unique; /* of the request, likewise */
	int64_t result;  /* of the request, likewise */
	uint64_t reserved[3];
};

enum dxf_journal_type {
	DXF_JOURNAL_WRITE = 1, /* length bytes follow, padded to 8 */
	DXF_JOURNAL_SET = 2,   /* one word follows: bits to set at offset */
	DXF_JOURNAL_CLEAR = 3, /* one word follows: bits to clear at offset */
};

struct dxf_journal_op {
	uint64_t offset; /* in the pool, a multiple of 8 */
	uint32_t length; /* bytes, a multiple of 8 */
	uint32_t type;
};

/* ---- units ------------------------------------------------------------- */

enum dxf_unit_state {
	DXF_UNIT_FREE = 0,
	DXF_UNIT_DATA = 1,   /* 2 MiB of one file */
	DXF_UNIT_SPLIT = 2,  /* 512 blocks, see bitmap[] */
	DXF_UNIT_INODES = 3, /* an inode chunk */
	DXF_UNIT_SYSTEM = 4, /* below data_offset, and the last unit */
};

/* ---- inodes ------------------------------------------------------------ */

/*
 * An inode chunk is one unit of 4096 slots of 512 bytes. Slot 0 is the chunk's
 * header, slot 1 the bitmap of slots in use, slot 2 the bitmap of orphans:
 * inodes whose removal, truncation or growth a crash must complete. Inode
 * number = chunk * 4096 + slot.
 */
#define DXF_INODE_SIZE 512
#define DXF_CHUNK_INODES (DXF_UNIT_SIZE / DXF_INODE_SIZE)
#define DXF_CHUNK_FIRST 3 /* first slot that is an inode */
#define DXF_CHUNK_MAGIC UINT32_C(0x43465844)
#define DXF_INODE_MAGIC UINT32_C(0x49465844)
#define DXF_ROOT_INO 3

struct dxf_chunk {
	uint32_t magic;
	uint32_t index; /* in the inode map */
	uint8_t reserved[DXF_INODE_SIZE - 8];
	uint64_t used[DXF_CHUNK_INODES / 64];
	uint64_t orphan[DXF_CHUNK_INODES / 64];
};

enum dxf_data_format {
	DXF_DATA_INLINE = 0, /* data[] is the data (files, symlinks) */
	DXF_DATA_DIRECT = 1, /* data[] is 16 entries for the first 16 blocks */
	DXF_DATA_TABLE = 2,  /* data[0..7] is the entry of the top table, whose
			      * level is in table_level */
};

#define DXF_INLINE_MAX 128
#define DXF_DIRECT_COUNT 16
#define DXF_LEVEL_MAX 5 /* 512^6 blocks >= 2^60 bytes */

/* inode flags; the user-visible ones have the FS_XFLAG_* meaning */
#define DXF_FLAG_DAX UINT32_C(0x0001)
#define DXF_FLAG_IMMUTABLE UINT32_C(0x0002)
#define DXF_FLAG_APPEND UINT32_C(0x0004)
#define DXF_FLAG_PROJINHERIT UINT32_C(0x0008)
#define DXF_FLAG_EXTSIZE UINT32_C(0x0010)
#define DXF_FLAG_EXTSZINHERIT UINT32_C(0x0020)
#define DXF_FLAG_NODUMP UINT32_C(0x0040)
#define DXF_FLAG_NOATIME UINT32_C(0x0080)
#define DXF_FLAG_SYNC UINT32_C(0x0100)
#define DXF_FLAG_TAIL UINT32_C(0x4000)       /* it has grown to tail_size, if that is more */
#define DXF_FLAG_TRUNCATING UINT32_C(0x8000) /* blocks past size wait to be freed */
#define DXF_FLAG_KNOWN UINT32_C(0xc1ff)
/* of them, those that are nobody's to see or set */
#define DXF_FLAG_INTERNAL (DXF_FLAG_TAIL | DXF_FLAG_TRUNCATING)

struct dxf_inode {
	uint32_t magic;
	uint32_t crc; /* CRC32C of the inode; without this word and the three
		       * times, tail_size taken as 0 */
	uint32_t ino;
	uint32_t generation; /* grows each time the slot is reused */
	uint32_t mode;       /* as st_mode */
	uint32_t uid;
	uint32_t gid;
	uint32_t nlink;
	uint64_t size;   /* bytes; directories: 4096 * number of buckets */
	uint64_t blocks; /* 4 KiB blocks held: data, tables, xattrs */
	uint32_t flags;
	uint32_t project;
	uint32_t extsize; /* bytes, hint */
	uint32_t rdev;    /* (major << 20) | minor */
	/* the next three are stored in place, 8 bytes each, outside the CRC */
	int64_t atime; /* ns since the epoch */
	int64_t mtime;
	int64_t ctime;
	int64_t btime;
	uint64_t entries;     /* directories: slots in use in all buckets */
	uint32_t parent;      /* directories: inode number of ".." */
	uint32_t xattr_bytes; /* 0 = none; <= 256 in xattr[], else in blocks */
	uint8_t data_format;
	uint8_t table_level;
	/* DXF_FLAG_TAIL: from this block of the 2 MiB around `size` on, what lies behind the end
	 * was reserved for the tail; 0 to 512 */
	uint16_t tail_first;
	uint8_t reserved[4];
	uint64_t tail_size; /* bytes; stored in place, in no journal record, outside the CRC */
	uint8_t data[128];
	uint8_t xattr[256]; /* the xattrs, or entries of the blocks with them */
};

/*
 * An entry of data[], of a table, or of xattr[]. 0 is a hole. Otherwise the device offset of a
 * block, a unit or a table, and in the low bits how many of its blocks have been written, from the
 * first on: 0..1 for a block, 0..512 for a unit. Blocks that were not written read as zeroes. A
 * block wholly past the end of the file counts as not written.
 */
#define DXF_ENTRY_WRITTEN UINT64_C(0x3ff)
#define DXF_ENTRY_TABLE UINT64_C(0x400)
#define DXF_ENTRY_UNIT UINT64_C(0x800)
#define DXF_ENTRY_OFFSET (~UINT64_C(0xfff))
#define DXF_TABLE_COUNT 512

/* ---- directories ------------------------------------------------------- */

/*
 * A directory is a linear hash table: bucket b is block b of its data, and
 * there are size / 4096 of them. A name's hash is XXH64(name, hash_seed) >> 2
 * with its low 3 bits cleared, and at least DXF_KEY_MIN; its key is the hash or,
 * where other names of that hash are in the directory, the hash + 1 .. + 7. The
 * bucket of a key is found from its upper bits, reversed (see docs/design/
 * format.md), so that walking the keys in ascending order survives any splitting
 * and joining of buckets: the key is the readdir cookie. A full bucket continues
 * in the block `next`.
 */
#define DXF_BUCKET_MAGIC UINT32_C(0x42465844)
#define DXF_BUCKET_SLOTS 62 /* of 64 bytes, behind a header of 128 */
#define DXF_KEY_BITS 62
#define DXF_KEY_MIN UINT64_C(8)
#define DXF_KEY_PROBES 8
#define DXF_SLOT_NAME 44 /* bytes of the name in the first slot */

struct dxf_slot {
	uint64_t key;
	uint32_t ino;
	uint8_t type; /* DT_* */
	uint8_t name_length;
	uint8_t slots; /* 1 + those behind it that continue the name */
	uint8_t reserved[5];
	uint8_t name[DXF_SLOT_NAME];
};

struct dxf_bucket {
	uint32_t magic;
	uint32_t reserved0;
	uint64_t next;   /* device offset of the continuing block, or 0 */
	uint64_t used;   /* bit i: slot i is taken */
	uint64_t first;  /* bit i: slot i is the first one of a name */
	uint8_t tag[64]; /* of first slots: bits 3 to 10 of the key */
	uint8_t reserved1[32];
	struct dxf_slot slot[DXF_BUCKET_SLOTS];
};

/* ---- extended attributes ----------------------------------------------- */

/*
 * xattr_bytes of them, in xattr[] or in whole blocks: a header, then entries
 * one after the other, each padded to 4 bytes.
 */
#define DXF_XATTR_INLINE 256
#define DXF_XATTR_MAX (32 * DXF_BLOCK_SIZE)

struct dxf_xattr_header {
	uint32_t crc; /* CRC32C of what follows, up to xattr_bytes */
	uint32_t count;
};

struct dxf_xattr {
	uint8_t name_length;
	uint8_t reserved;
	uint16_t reserved1;
	uint32_t value_length;
	/* name (with its "user." or other prefix, without NUL), value, padding */
};

/* ---- project quotas ---------------------------------------------------- */

/* A hash table of open addressing, never shrunk: slot (project * 0x9e3779b1) & (count - 1), then
 * the next. */
struct dxf_quota {
	uint32_t project; /* 0 = slot not used */
	uint32_t reserved0;
	uint64_t block_limit; /* 4 KiB blocks, 0 = none */
	uint64_t inode_limit; /* 0 = none */
	uint64_t blocks;      /* in use */
	uint64_t inodes;
	uint64_t reserved[3];
};

/* ---- layout ------------------------------------------------------------ */

#define DXF_LAYOUT(type, field, at) \
	static_assert(offsetof(struct type, field) == (at), #type "." #field)

static_assert(sizeof(struct dxf_super) == 4096, "super");
DXF_LAYOUT(dxf_super, uuid, 16);
DXF_LAYOUT(dxf_super, label, 32);
DXF_LAYOUT(dxf_super, pool_size, 128);
DXF_LAYOUT(dxf_super, reserved, 216);
static_assert(sizeof(struct dxf_journal_header) == 64, "journal header");
static_assert(sizeof(struct dxf_journal_op) == 16, "journal op");
static_assert(offsetof(struct dxf_chunk, used) == DXF_INODE_SIZE, "chunk");
static_assert(sizeof(struct dxf_chunk) == DXF_CHUNK_FIRST * DXF_INODE_SIZE, "chunk");
static_assert(sizeof(struct dxf_inode) == DXF_INODE_SIZE, "inode");
DXF_LAYOUT(dxf_inode, atime, 64);
DXF_LAYOUT(dxf_inode, tail_size, 120);
DXF_LAYOUT(dxf_inode, data, 128);
DXF_LAYOUT(dxf_inode, xattr, 256);
static_assert(sizeof(struct dxf_slot) == 64, "slot");
static_assert(sizeof(struct dxf_bucket) == 4096, "bucket");
DXF_LAYOUT(dxf_bucket, tag, 32);
static_assert(sizeof(struct dxf_xattr) == 8, "xattr");
static_assert(sizeof(struct dxf_quota) == 64, "quota");

#endif
