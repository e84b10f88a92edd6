# SPDX-License-Identifier: BSD-3-Clause
"""A pool image, read and damaged from the words of include/daxfuse/format.h.

An asset (tests/assets/NAME.py) gets one of these and changes what it likes:
objects are found by their path, so that assets do not depend on where the
allocator put them.
"""

import mmap
import struct

BLOCK, UNIT, INODE_SIZE, CHUNK = 4096, 2 << 20, 512, 4096
WRITTEN, TABLE, UNIT_ENTRY = 0x3FF, 0x400, 0x800
FREE, DATA, SPLIT, INODES, SYSTEM = range(5)
ROOT = 3

SUPER = {"crc": (8, "I"), "version": (12, "I"), "incompat": (112, "Q"), "ro_compat": (104, "Q"),
         "generation": (120, "Q"), "pool_size": (128, "Q"), "journal_offset": (136, "Q"),
         "unit_offset": (144, "Q"), "bitmap_offset": (152, "Q"), "inode_map_offset": (160, "Q"),
         "quota_offset": (168, "Q"), "data_offset": (176, "Q"), "journal_count": (184, "I"),
         "inode_chunks": (188, "I"), "quota_count": (192, "I"), "hash_seed": (200, "Q")}
INODE = {"magic": (0, "I"), "crc": (4, "I"), "ino": (8, "I"), "generation": (12, "I"),
         "mode": (16, "I"), "uid": (20, "I"), "nlink": (28, "I"), "size": (32, "Q"),
         "blocks": (40, "Q"), "flags": (48, "I"), "project": (52, "I"), "entries": (96, "Q"),
         "parent": (104, "I"), "xattr_bytes": (108, "I"), "data_format": (112, "B"),
         "table_level": (113, "B"), "tail_first": (114, "H"), "tail_size": (120, "Q")}
INODE_DATA, INODE_XATTR = 128, 256
BUCKET_USED, BUCKET_FIRST, BUCKET_NEXT, BUCKET_TAG, BUCKET_SLOTS = 16, 24, 8, 32, 128


def _table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


CRC_TABLE = tuple(_table())


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class Pool:
    def __init__(self, path):
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)

    def close(self):
        self.map.close()

    def get(self, at, kind="Q"):
        return struct.unpack_from("<" + kind, self.map, at)[0]

    def put(self, at, value, kind="Q"):
        struct.pack_into("<" + kind, self.map, at, value)

    # superblocks

    def super(self, field, copy=0):
        at, kind = SUPER[field]
        return self.get(self.super_at(copy) + at, kind)

    def super_at(self, copy):
        return len(self.map) - UNIT if copy else 0

    def set_super(self, copy=None, fix=True, **fields):
        for base in [self.super_at(c) for c in ((0, 1) if copy is None else (copy,))]:
            for field, value in fields.items():
                self.put(base + SUPER[field][0], value, SUPER[field][1])
            if fix:
                self.put(base + 8, 0, "I")
                self.put(base + 8, crc32c(self.map[base:base + BLOCK]), "I")

    # units

    def word_at(self, unit):
        return self.super("unit_offset") + 8 * unit

    def units(self, state):
        return [u for u in range(len(self.map) // UNIT) if self.get(self.word_at(u)) == state]

    def bitmap_at(self, unit):
        return self.super("bitmap_offset") + 64 * unit

    def free_block(self):
        """The offset of a block that is not taken."""
        for unit in self.units(SPLIT):
            for block in range(512):
                if not self.get(self.bitmap_at(unit) + block // 64 * 8) >> block % 64 & 1:
                    return unit * UNIT + block * BLOCK
        raise AssertionError("no free block")

    def set_bit(self, base, bit, value=True):
        at = base + bit // 64 * 8
        word = self.get(at)
        self.put(at, word | 1 << bit % 64 if value else word & ~(1 << bit % 64))

    def take(self, offset, value=True):
        """Mark a block in its unit's bitmap."""
        self.set_bit(self.bitmap_at(offset // UNIT), offset % UNIT // BLOCK, value)

    # inodes

    def chunk_at(self, index=0):
        return self.get(self.super("inode_map_offset") + 8 * index)

    def inode_at(self, ino):
        return self.chunk_at(ino // CHUNK) + ino % CHUNK * INODE_SIZE

    def inode(self, ino, field):
        at, kind = INODE[field]
        return self.get(self.inode_at(ino) + at, kind)

    def set_inode(self, number, fix=True, **fields):
        for field, value in fields.items():
            self.put(self.inode_at(number) + INODE[field][0], value, INODE[field][1])
        if fix:
            self.fix_inode(number)

    def fix_inode(self, ino):
        at = self.inode_at(ino)
        raw = self.map[at:at + INODE_SIZE]
        self.put(at + 4, crc32c(raw[:4] + raw[8:64] + raw[88:120] + bytes(8) + raw[128:]), "I")

    def used(self, ino, value):
        self.set_bit(self.chunk_at(ino // CHUNK) + INODE_SIZE, ino % CHUNK, value)

    def orphan(self, ino, value):
        self.set_bit(self.chunk_at(ino // CHUNK) + 2 * INODE_SIZE, ino % CHUNK, value)

    # data

    def leaf_entries(self, ino):
        """(where the entry is, the entry) of every block or unit, in the file's order."""
        base = self.inode_at(ino) + INODE_DATA
        if self.inode(ino, "data_format") == 1:
            yield from self._leaves([base + 8 * i for i in range(16)])
        elif self.inode(ino, "data_format") == 2:
            yield from self._leaves([base])

    def _leaves(self, places):
        for at in places:
            entry = self.get(at)
            if entry & TABLE:
                yield from self._leaves([(entry & ~0xFFF) + 8 * i for i in range(512)])
            elif entry:
                yield at, entry

    def set_entry(self, ino, at, entry):
        self.put(at, entry)
        self.fix_inode(ino)

    def buckets(self, ino):
        """Offsets of all blocks with names, those of the chains, too."""
        for _, entry in self.leaf_entries(ino):
            for i in range(entry & WRITTEN):
                at = (entry & ~0xFFF) + i * BLOCK
                while at:
                    yield at
                    at = self.get(at + BUCKET_NEXT)

    def names(self, ino):
        """name -> offset of its slot"""
        found = {}
        for bucket in self.buckets(ino):
            for slot in range(62):
                if self.get(bucket + BUCKET_FIRST) >> slot & 1:
                    at = bucket + BUCKET_SLOTS + slot * 64
                    length = self.get(at + 13, "B")
                    found[self.map[at + 20:at + 20 + length].decode()] = at
        return found

    def slot(self, path):
        ino = ROOT
        *parents, last = path.split("/")
        for name in parents:
            ino = self.get(self.names(ino)[name] + 8, "I")
        return self.names(ino)[last]

    def lookup(self, path):
        return self.get(self.slot(path) + 8, "I") if path else ROOT

    def retarget(self, path, ino):
        self.put(self.slot(path) + 8, ino, "I")

    # journal

    def journal(self, index, *operations, fix=True):
        """A live record of (type, offset, bytes) operations."""
        at = self.super("journal_offset") + index * (128 << 10)
        body = b"".join(struct.pack("<QII", offset, len(data), kind) + data
                        for kind, offset, data in operations)
        header = struct.pack("<QIIIIQq24x", 1, 0x4A465844, 0, len(body), 0, 0, 0)
        crc = crc32c(header + body) if fix else 12345
        self.map[at:at + 64] = header[:12] + struct.pack("<I", crc) + header[16:]
        self.map[at + 64:at + 64 + len(body)] = body

    # quotas

    def quota_at(self, project):
        base = self.super("quota_offset")
        for slot in range(self.super("quota_count")):
            if self.get(base + 64 * slot, "I") == project:
                return base + 64 * slot
        raise AssertionError(f"no record of project {project}")
