/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inode allocator. Inodes live in chunks: whole units of 4096 slots, found through the inode
 * map, so that the number of inodes is limited by the pool alone. A chunk's bitmap of used slots is
 * on media, changed bit by bit in transactions; reservations are made in its copy in memory.
 *
 * Slots are given out in turn, so that one comes back late and its generation
 * (next_generation() in core/create.c) never repeats. Each CPU has a chunk that it prefers. A
 * chunk that has become empty goes back to the unit allocator, except the first.
 *
 * A chunk whose header or bitmaps are poisoned is bad: its inodes are -EIO, and no slot of it is
 * given out. Where the map is poisoned, the headers of the units that hold inodes tell which chunks
 * they are; a chunk that is not found so is bad.
 *
 * Lock order: the map's lock, a chunk's lock, then arena and journal.
 */
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "alloc.h"
#include "ialloc.h"

enum {
	CPUS = 16,
	WORDS = DXF_CHUNK_INODES / 64,
	MAP_WORDS = DXF_BLOCK_SIZE / 8,
	SHARE_BELOW_UNITS = 512,
};
#define SLOTS (DXF_CHUNK_INODES - DXF_CHUNK_FIRST)

struct chunk {
	pthread_mutex_t lock;
	_Atomic uint64_t offset; /* 0: not there (any more), or bad */
	bool bad;                /* set at mount, never after */
	atomic_uint free;        /* others have a look without the lock */
	unsigned cursor;
	atomic_int owner; /* the CPU that prefers it, or -1; a hint */
	uint64_t used[WORDS];
};

struct ialloc {
	pthread_mutex_t map_lock;       /* chunks come under it */
	uint32_t count;                 /* length of the map */
	_Atomic uint32_t end;           /* no chunk is at or above it */
	_Atomic uint32_t current[CPUS]; /* preferred chunk + 1, or 0 */
	_Atomic uint64_t used;          /* inodes */
	uint32_t bad;                   /* chunks */
	_Atomic(struct chunk *) *chunk;
};

static struct chunk *chunk_at(const struct ialloc *ia, uint32_t index)
{
	return index < ia->count ? atomic_load_explicit(&ia->chunk[index], memory_order_acquire)
				 : NULL;
}

static struct dxf_chunk *chunk_media(const struct volume *vol, const struct chunk *c)
{
	return pmem_at(vol->pm, c->offset);
}

/* ---- chunks come and go --------------------------------------------------- */

static struct chunk *chunk_new(void)
{
	struct chunk *c = calloc(1, sizeof(*c));

	if (c) {
		pthread_mutex_init(&c->lock, NULL);
		c->owner = -1;
	}
	return c;
}

static void chunk_reset(struct chunk *c, uint64_t offset)
{
	memset(c->used, 0, sizeof(c->used));
	c->used[0] = (UINT64_C(1) << DXF_CHUNK_FIRST) - 1;
	c->cursor = DXF_CHUNK_FIRST;
	atomic_store_explicit(&c->free, SLOTS, memory_order_relaxed);
	atomic_store_explicit(&c->owner, -1, memory_order_relaxed);
	atomic_store_explicit(&c->offset, offset, memory_order_release);
}

/* Order: the chunk's header and bitmaps (fresh); then map and unit word as one
 * transaction. */
static errint_t make_chunk(struct volume *vol, uint32_t index, uint64_t *ret_offset)
{
	struct dxf_chunk *header;
	uint64_t offset;
	struct tx *tx;
	int err = tx_begin(vol, &tx);

	if (err)
		return err;
	err = alloc_unit(tx, DXF_UNIT_INODES, 0, 0, &offset);
	if (!err && !alloc_is_good(vol, offset)) /* the next one gets another unit */
		err = -EIO;
	if (err) {
		tx_abort(tx);
		return err;
	}
	header = tx_edit_fresh(tx, pmem_at(vol->pm, offset), sizeof(*header));
	header->magic = DXF_CHUNK_MAGIC;
	header->index = index;
	*(uint64_t *)tx_edit(tx, &vol->inode_map[index], 8) = offset;
	err = tx_commit(tx);
	if (!err)
		*ret_offset = offset;
	return err;
}

/* A new chunk at the lowest free place of the map. */
static errint_t grow(struct volume *vol, uint32_t *ret_index)
{
	struct ialloc *ia = vol->ialloc;
	struct chunk *c = NULL;
	uint64_t offset;
	uint32_t index;
	int err = -ENOSPC;

	lock_mutex(LOCK_INODE_MAP, &ia->map_lock);
	for (index = 0; index < ia->end; index++)
		if (!ia->chunk[index] || (!ia->chunk[index]->offset && !ia->chunk[index]->bad))
			break;
	if (index < ia->count) {
		c = ia->chunk[index] ? ia->chunk[index] : chunk_new();
		err = c ? make_chunk(vol, index, &offset) : -ENOMEM;
	}
	if (!err) {
		lock_mutex(LOCK_CHUNK, &c->lock);
		chunk_reset(c, offset);
		unlock_mutex(LOCK_CHUNK, &c->lock);
		*ret_index = index;
	}
	if (c) {
		/* a chunk without media is as good as none */
		atomic_store_explicit(&ia->chunk[index], c, memory_order_release);
		if (index >= ia->end)
			atomic_store_explicit(&ia->end, index + 1, memory_order_release);
	}
	unlock_mutex(LOCK_INODE_MAP, &ia->map_lock);
	return err;
}

static void drop_chunk_locked(struct volume *vol, struct chunk *c, uint32_t index)
{
	struct tx *tx;

	if (tx_begin(vol, &tx))
		return;
	*(uint64_t *)tx_edit(tx, &vol->inode_map[index], 8) = 0;
	free_unit(tx, c->offset);
	if (tx_commit(tx) == 0)
		atomic_store_explicit(&c->offset, 0, memory_order_release);
}

/* ---- get and put ---------------------------------------------------------- */

/* The next free slot of the chunk, in turn; 0 if none. */
static unsigned take_slot(struct chunk *c)
{
	unsigned slot = 0;

	lock_mutex(LOCK_CHUNK, &c->lock);
	if (c->offset && c->free) {
		for (slot = c->cursor; c->used[slot / 64] >> slot % 64 & 1;)
			slot = slot + 1 == DXF_CHUNK_INODES ? DXF_CHUNK_FIRST : slot + 1;
		c->used[slot / 64] |= UINT64_C(1) << slot % 64;
		atomic_store_explicit(&c->free, c->free - 1, memory_order_relaxed);
		c->cursor = slot + 1 == DXF_CHUNK_INODES ? DXF_CHUNK_FIRST : slot + 1;
	}
	unlock_mutex(LOCK_CHUNK, &c->lock);
	return slot;
}

/* A chunk with room: nobody's, or (any) somebody's. */
static bool find_chunk(struct ialloc *ia, bool any, uint32_t *ret_index)
{
	uint32_t end = atomic_load_explicit(&ia->end, memory_order_relaxed);

	for (uint32_t i = 0; i < end; i++) {
		struct chunk *c = chunk_at(ia, i);

		if (c && atomic_load_explicit(&c->offset, memory_order_relaxed) &&
		    atomic_load_explicit(&c->free, memory_order_relaxed) &&
		    (any || atomic_load_explicit(&c->owner, memory_order_relaxed) < 0)) {
			*ret_index = i;
			return true;
		}
	}
	return false;
}

static errint_t next_chunk(struct volume *vol, unsigned cpu, uint32_t *ret_index)
{
	struct ialloc *ia = vol->ialloc;
	bool share = vol->units < SHARE_BELOW_UNITS;
	int err = 0;

	if (!find_chunk(ia, share, ret_index)) {
		err = grow(vol, ret_index);
		if (err && find_chunk(ia, true, ret_index))
			return 0;
	}
	if (!err) {
		atomic_store_explicit(&chunk_at(ia, *ret_index)->owner, (int)cpu,
				      memory_order_relaxed);
		atomic_store_explicit(&ia->current[cpu], *ret_index + 1, memory_order_relaxed);
	}
	return err;
}

static void release_owner(struct ialloc *ia, unsigned cpu, uint32_t index)
{
	struct chunk *c = chunk_at(ia, index);

	if (c)
		atomic_store_explicit(&c->owner, -1, memory_order_relaxed);
	atomic_store_explicit(&ia->current[cpu], 0, memory_order_relaxed);
}

static errint_t reserve(struct volume *vol, uint32_t *ret_ino)
{
	struct ialloc *ia = vol->ialloc;
	unsigned cpu = (unsigned)sched_getcpu() % CPUS, slot;
	uint32_t current = atomic_load_explicit(&ia->current[cpu], memory_order_relaxed), index;

	if (current) {
		slot = take_slot(chunk_at(ia, current - 1));
		if (slot) {
			*ret_ino = (current - 1) * DXF_CHUNK_INODES + slot;
			return 0;
		}
		release_owner(ia, cpu, current - 1);
	}
	for (;;) {
		int err = next_chunk(vol, cpu, &index);

		if (err)
			return err;
		slot = take_slot(chunk_at(ia, index));
		if (slot) {
			*ret_ino = index * DXF_CHUNK_INODES + slot;
			return 0;
		}
	}
}

/* The chunk of ino on media, or NULL. It stays if ino is in use or reserved. */
static struct dxf_chunk *media_of(const struct volume *vol, uint32_t ino)
{
	struct chunk *c = chunk_at(vol->ialloc, ino / DXF_CHUNK_INODES);
	uint64_t offset = c ? atomic_load_explicit(&c->offset, memory_order_acquire) : 0;

	return offset && ino % DXF_CHUNK_INODES >= DXF_CHUNK_FIRST ? pmem_at(vol->pm, offset)
								   : NULL;
}

static uint64_t *used_word(struct dxf_chunk *media, uint32_t ino)
{
	return &media->used[ino % DXF_CHUNK_INODES / 64];
}

/* Whether the slot can be marked as used. If its bitmap on media has become unreadable,
 * nobody is sent to the chunk any more. */
static bool can_mark(struct volume *vol, uint32_t ino)
{
	struct chunk *c = chunk_at(vol->ialloc, ino / DXF_CHUNK_INODES);
	uint64_t value;

	if (pmem_load64(vol->pm, used_word(media_of(vol, ino), ino), &value) == 0)
		return true;
	lock_mutex(LOCK_CHUNK, &c->lock);
	atomic_store_explicit(&c->free, 0, memory_order_relaxed);
	unlock_mutex(LOCK_CHUNK, &c->lock);
	return false;
}

errint_t ialloc_get(struct tx *tx, bool orphan, uint32_t *ret_ino)
{
	struct volume *vol = tx_volume(tx);
	uint32_t ino;
	int err = reserve(vol, &ino);

	while (!err && !can_mark(vol, ino))
		err = reserve(vol, &ino);
	if (err)
		return err;
	tx_on_abort(tx, TX_INODE, ino);
	tx_set_bits(tx, used_word(media_of(vol, ino), ino), UINT64_C(1) << ino % 64);
	if (orphan)
		ialloc_set_orphan(tx, ino, true);
	atomic_fetch_add_explicit(&vol->ialloc->used, 1, memory_order_relaxed);
	*ret_ino = ino;
	return 0;
}

void ialloc_put(struct tx *tx, uint32_t ino)
{
	tx_clear_bits(tx, used_word(media_of(tx_volume(tx), ino), ino), UINT64_C(1) << ino % 64);
	ialloc_set_orphan(tx, ino, false);
	tx_on_commit(tx, TX_INODE, ino);
}

void ialloc_release(struct volume *vol, uint32_t ino)
{
	struct chunk *c = chunk_at(vol->ialloc, ino / DXF_CHUNK_INODES);
	unsigned slot = ino % DXF_CHUNK_INODES;
	uint64_t bit = UINT64_C(1) << slot % 64;

	if (!c)
		return;
	lock_mutex(LOCK_CHUNK, &c->lock);
	if (c->used[slot / 64] & bit) {
		c->used[slot / 64] &= ~bit;
		atomic_store_explicit(&c->free, c->free + 1, memory_order_relaxed);
		atomic_fetch_sub_explicit(&vol->ialloc->used, 1, memory_order_relaxed);
		if (c->free == SLOTS && ino >= DXF_CHUNK_INODES)
			drop_chunk_locked(vol, c, ino / DXF_CHUNK_INODES);
	}
	unlock_mutex(LOCK_CHUNK, &c->lock);
}

void ialloc_set_orphan(struct tx *tx, uint32_t ino, bool orphan)
{
	uint64_t *word = &media_of(tx_volume(tx), ino)->orphan[ino % DXF_CHUNK_INODES / 64];
	uint64_t mask = UINT64_C(1) << ino % 64;

	if (orphan)
		tx_set_bits(tx, word, mask);
	else
		tx_clear_bits(tx, word, mask);
}

/* ---- questions ------------------------------------------------------------ */

struct dxf_inode *ialloc_slot(const struct volume *vol, uint32_t ino)
{
	struct dxf_chunk *media = media_of(vol, ino);

	return media ? (void *)((char *)media + ino % DXF_CHUNK_INODES * DXF_INODE_SIZE) : NULL;
}

errint_t ialloc_inode(const struct volume *vol, uint32_t ino, struct dxf_inode **ret_inode)
{
	const struct chunk *c = chunk_at(vol->ialloc, ino / DXF_CHUNK_INODES);
	struct dxf_chunk *media = media_of(vol, ino);
	uint64_t used;
	int err;

	if (!media)
		return c && c->bad ? -EIO : -ESTALE;
	err = pmem_load64(vol->pm, used_word(media, ino), &used);
	if (err)
		return err;
	if (!(used >> ino % 64 & 1))
		return -ESTALE;
	*ret_inode = (void *)((char *)media + ino % DXF_CHUNK_INODES * DXF_INODE_SIZE);
	return 0;
}

/* Word by word: others may set and clear bits meanwhile. */
static errint_t read_orphans(struct volume *vol, struct chunk *c, uint64_t ret_orphan[WORDS])
{
	const uint64_t *word = chunk_media(vol, c)->orphan;
	int err = 0;

	for (unsigned i = 0; !err && i < WORDS; i++)
		err = pmem_load64(vol->pm, &word[i], &ret_orphan[i]);
	return err;
}

errint_t ialloc_for_each_orphan(struct volume *vol, errint_t (*fn)(uint32_t ino, void *arg),
				void *arg)
{
	struct ialloc *ia = vol->ialloc;

	for (uint32_t i = 0; i < ia->end; i++) {
		uint64_t orphan[WORDS];
		struct chunk *c = chunk_at(ia, i);

		if (!c || !c->offset)
			continue;
		if (read_orphans(vol, c, orphan))
			continue;
		for (unsigned slot = DXF_CHUNK_FIRST; slot < DXF_CHUNK_INODES; slot++) {
			if (!(orphan[slot / 64] >> slot % 64)) {
				slot |= 63;
				continue;
			}
			if (orphan[slot / 64] >> slot % 64 & 1) {
				int err = fn(i * DXF_CHUNK_INODES + slot, arg);
				if (err)
					return err;
			}
		}
	}
	return 0;
}

void ialloc_count(const struct volume *vol, uint64_t *ret_used, uint64_t *ret_max)
{
	*ret_used = atomic_load_explicit(&vol->ialloc->used, memory_order_relaxed);
	*ret_max = (uint64_t)(vol->ialloc->count - vol->ialloc->bad) * SLOTS;
}

/* ---- mount ---------------------------------------------------------------- */

/* A chunk object at index, which is bad unless more is found out. */
static errint_t add_chunk(struct ialloc *ia, uint32_t index)
{
	struct chunk *c = chunk_new();

	if (!c)
		return -ENOMEM;
	c->bad = true;
	ia->bad++;
	ia->chunk[index] = c;
	ia->end = MAX(ia->end, index + 1);
	return 0;
}

/* A unit word that can't be read says nothing against the map and the header. */
static bool is_chunk_offset(const struct volume *vol, uint64_t offset)
{
	uint64_t word;

	return offset % DXF_UNIT_SIZE == 0 && offset >= vol->super.data_offset &&
	       offset < vol->super.pool_size - DXF_UNIT_SIZE &&
	       (pmem_load64(vol->pm, &vol->unit_word[offset / DXF_UNIT_SIZE], &word) ||
		word == DXF_UNIT_INODES);
}

/* A chunk that was added is filled from its header and bitmaps, if they can be read. */
static errint_t load_chunk(struct volume *vol, uint32_t index, uint64_t offset)
{
	struct ialloc *ia = vol->ialloc;
	struct chunk *c = ia->chunk[index];
	struct dxf_chunk header;

	if (!is_chunk_offset(vol, offset))
		return -EUCLEAN;
	if (pmem_read(vol->pm, &header, pmem_at(vol->pm, offset), sizeof(header)))
		return 0;
	if (header.magic != DXF_CHUNK_MAGIC || header.index != index)
		return -EUCLEAN;
	chunk_reset(c, offset);
	for (unsigned w = 0; w < WORDS; w++)
		c->used[w] |= header.used[w];
	c->free = DXF_CHUNK_INODES;
	for (unsigned w = 0; w < WORDS; w++)
		c->free -= bits_count(c->used[w]);
	c->bad = false;
	ia->bad--;
	ia->used += SLOTS - c->free;
	return 0;
}

/* Whether the unit holds inodes, of a chunk that is bad so far. */
static bool is_bad_chunk(const struct volume *vol, uint64_t unit, uint32_t *ret_index)
{
	const struct dxf_chunk *media = pmem_at(vol->pm, unit * DXF_UNIT_SIZE);
	uint64_t word, head;

	static_assert(offsetof(struct dxf_chunk, index) == 4, "high half of the first word");
	if (pmem_load64(vol->pm, &vol->unit_word[unit], &word) || word != DXF_UNIT_INODES ||
	    pmem_load64(vol->pm, (const uint64_t *)(const void *)media, &head))
		return false;
	*ret_index = (uint32_t)(head >> 32);
	return *ret_index < vol->ialloc->count && vol->ialloc->chunk[*ret_index] &&
	       vol->ialloc->chunk[*ret_index]->bad;
}

/* The map can't be read in part: look at the units themselves. */
static errint_t search_chunks(struct volume *vol)
{
	uint32_t index;
	int err = 0;

	for (uint64_t unit = vol->super.data_offset / DXF_UNIT_SIZE; !err && unit < vol->units - 1;
	     unit++)
		if (is_bad_chunk(vol, unit, &index))
			err = load_chunk(vol, index, unit * DXF_UNIT_SIZE);
	return err;
}

/* The chunks [from, from + n), whose words of the map lie in one page. */
static errint_t load_map(struct volume *vol, uint32_t from, uint32_t n, bool *ret_search)
{
	uint64_t map[MAP_WORDS];
	bool unreadable = pmem_read(vol->pm, map, &vol->inode_map[from], n * 8);
	int err = 0;

	for (uint32_t i = 0; !err && i < n; i++) {
		if (unreadable || map[i])
			err = add_chunk(vol->ialloc, from + i);
		if (!err && !unreadable && map[i])
			err = load_chunk(vol, from + i, map[i]);
	}
	*ret_search |= unreadable;
	return err;
}

errint_t ialloc_open(struct volume *vol)
{
	struct ialloc *ia = calloc(1, sizeof(*ia));
	bool search = false;
	int err = 0;

	if (!ia)
		return -ENOMEM;
	vol->ialloc = ia;
	pthread_mutex_init(&ia->map_lock, NULL);
	ia->count = vol->super.inode_chunks;
	ia->chunk = calloc(ia->count, sizeof(*ia->chunk));
	if (!ia->chunk)
		return -ENOMEM;
	for (uint32_t i = 0; !err && i < ia->count; i += MAP_WORDS)
		err = load_map(vol, i, MIN(ia->count - i, (uint32_t)MAP_WORDS), &search);
	if (!err && search)
		err = search_chunks(vol);
	if (!err && !ia->chunk[0])
		err = -EUCLEAN;
	return err;
}

void ialloc_close(struct volume *vol)
{
	struct ialloc *ia = vol->ialloc;

	if (!ia)
		return;
	for (uint32_t i = 0; ia->chunk && i < ia->end; i++) {
		if (ia->chunk[i])
			pthread_mutex_destroy(&ia->chunk[i]->lock);
		free(ia->chunk[i]);
	}
	pthread_mutex_destroy(&ia->map_lock);
	free(ia->chunk);
	free(ia);
}
