/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transactions: a set of changes to metadata that a crash shows whole or not at all. tx.h says how
 * to use one; this is what one is made of, and why it holds.
 *
 * IN MEMORY. A caller that changes metadata asks for a shadow of the range (tx_edit()) and changes
 * that; the media is not touched before the commit. Shadows lie in an arena that the transaction
 * owns. A shadow is one of
 *
 *   LOGGED   in place on media: what differs from it, by words of 8 bytes, goes into the record
 *   INODE    the same, of an inode: its CRC is computed, and what its blocks have changed by is
 *            charged to its project, when the transaction is committed; its tail_size, which others
 *            store in place, is never in the record
 *   FRESH    a block that nothing durable refers to yet: it is written whole, before the record,
 *            and is not in it
 *   DROPPED  forgotten, as the transaction itself frees the range
 *
 * Bits of words that several transactions share (which blocks, which inodes are in use) have no
 * shadow: a transaction says "set" or "clear" and a mask, and these go into the record as such, so
 * that the others' bits in the word may change at the same time, in any order. Each bit belongs to
 * the transaction that has reserved it in memory (alloc.c, ialloc.c).
 *
 * THE RECORD (struct journal_record, format.h, docs/design/journal.md) is a redo record: a header,
 * then operations {offset, length, type} with their bytes. In this order: SET bits, CLEAR bits,
 * WRITE words. A transaction may free blocks that it has taken, never take ones that it has freed:
 * so SET comes before CLEAR. Two changed words with at most two equal ones between them make one
 * operation, as an operation costs two words.
 *
 * ORDER of stores in a commit:
 *   1. FRESH blocks, and the caller's data before (tx_wrote_data()), non-temporally; fence
 *   2. the record, non-temporally, into a journal of which this thread has the lock; fence: from
 *      here on the transaction has happened
 *   3. the operations, in place; flush; fence
 *   4. the request that it carries out is told (request.h)
 *   5. the record is retired: its magic, CRC and sequence become 0; flush; fence
 *   6. freed space may be allocated again (tx_on_commit())
 * (2 to 5 are journal_commit().)
 *
 * CRASH. Before the fence of 2 is through: a record whose CRC is wrong is no record, nothing has
 * happened; the reservations were in memory only. After it: recovery finds the record and carries
 * its operations out; they are absolute (WRITE) or touch own bits only (SET, CLEAR), so carrying
 * them out once more changes nothing, and records of different journals, whose owners held the
 * locks of what they changed until after 5, are about different things: their order is nothing.
 * After 5: all is durable in place. Freed space is reused only after 5, as a replay could bring its
 * old use back over its new contents.
 *
 * FAILURE. Errors stick, and edits after one go to a scratch area: tx_commit() reports it, and
 * nothing has changed. Poison in a range that would be changed is met while the record is built,
 * when the transaction can still be given up. tx_abort() gives reserved space back (tx_on_abort()).
 *
 * A thread keeps the memory of a few transactions, so that beginning one costs no allocation: an
 * operation's, and the small ones that an allocator commits inside it.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "ialloc.h"
#include "inode.h"
#include "journal.h"
#include "quota.h"
#include "tx.h"
#include "daxfuse/base/errint.h"

enum { EDITS_MAX = 1024, BITS_MAX = 4096, SPACE_MAX = 8192, ARENA_SIZE = 512 << 10, CACHED = 3 };

enum edit_kind { EDIT_LOGGED, EDIT_FRESH, EDIT_INODE, EDIT_DROPPED };

struct edit {
	char *media;
	char *shadow;
	uint32_t len;
	enum edit_kind kind;
	int inodes;           /* +1, -1: for quota */
	int64_t mtime, ctime; /* of an inode: as they were */
};

struct bits {
	uint64_t *word;
	uint64_t mask;
	enum dxf_journal_type type;
};

struct space {
	enum tx_space kind;
	uint64_t where;
};

struct tx {
	struct volume *vol;
	struct tx *next; /* in the thread's cache */
	int error;
	bool wrote_data;
	size_t arena_used;
	unsigned edits, bits_count, abort_count, commit_count;
	struct edit edit[EDITS_MAX];
	struct bits bits[BITS_MAX];
	struct space on_abort[SPACE_MAX], on_commit[SPACE_MAX];
	struct quota_hold quota;
	_Alignas(8) char scratch[DXF_BLOCK_SIZE]; /* where edits go after an error */
	_Alignas(64) char arena[ARENA_SIZE];
	const struct tx_request *request; /* that it carries out; NULL */
	struct journal_record record;
};

/* ---- memory, per thread -------------------------------------------------- */

static pthread_key_t cache_key;
static pthread_once_t cache_once = PTHREAD_ONCE_INIT;

struct cache {
	struct tx *first;
	int count;
};

static void cache_destroy(void *arg)
{
	struct cache *cache = arg;

	while (cache && cache->first) {
		struct tx *tx = cache->first;

		cache->first = tx->next;
		free(tx);
	}
	free(cache);
}

static void cache_init(void)
{
	pthread_key_create(&cache_key, cache_destroy);
}

/* The key's destructor doesn't run for the main thread. */
__attribute__((destructor)) static void cache_at_exit(void)
{
	pthread_once(&cache_once, cache_init);
	cache_destroy(pthread_getspecific(cache_key));
	pthread_setspecific(cache_key, NULL);
}

static struct cache *cache_get(void)
{
	struct cache *cache;

	pthread_once(&cache_once, cache_init);
	cache = pthread_getspecific(cache_key);
	if (!cache) {
		cache = calloc(1, sizeof(*cache));
		if (cache)
			pthread_setspecific(cache_key, cache);
	}
	return cache;
}

errint_t tx_begin(struct volume *vol, struct tx **ret_tx)
{
	struct cache *cache = cache_get();
	struct tx *tx;

	if (!cache)
		return -ENOMEM;
	tx = cache->first;
	if (tx) {
		cache->first = tx->next;
		cache->count--;
	} else {
		tx = aligned_alloc(64, (sizeof(*tx) + 63) / 64 * 64);
		if (!tx)
			return -ENOMEM;
	}
	tx->vol = vol;
	tx->error = 0;
	tx->wrote_data = false;
	tx->arena_used = 0;
	tx->edits = tx->bits_count = tx->abort_count = tx->commit_count = 0;
	tx->quota.count = tx->quota.locked = 0;
	memset(&tx->record.header, 0, sizeof(tx->record.header));
	tx->request = NULL;
	*ret_tx = tx;
	return 0;
}

static void tx_end(struct tx *tx)
{
	struct cache *cache = cache_get();

	if (cache && cache->count < CACHED) {
		tx->next = cache->first;
		cache->first = tx;
		cache->count++;
	} else {
		free(tx);
	}
}

struct volume *tx_volume(struct tx *tx)
{
	return tx->vol;
}

/* ---- edits --------------------------------------------------------------- */

static struct edit *find_edit(struct tx *tx, const void *media)
{
	const char *p = media;

	for (unsigned i = tx->edits; i-- > 0;) {
		struct edit *e = &tx->edit[i];

		if (e->kind != EDIT_DROPPED && p >= e->media && p < e->media + e->len)
			return e;
	}
	return NULL;
}

static struct edit *new_edit(struct tx *tx, void *media, size_t len, enum edit_kind kind)
{
	struct edit *e;

	if (tx->edits == EDITS_MAX || len > ARENA_SIZE - tx->arena_used) {
		tx->error = -EOVERFLOW;
		return NULL;
	}
	e = &tx->edit[tx->edits++];
	*e = (struct edit){ .media = media,
			    .shadow = tx->arena + tx->arena_used,
			    .len = (uint32_t)len,
			    .kind = kind };
	tx->arena_used += (len + 63) & ~(size_t)63;
	if (kind == EDIT_FRESH) {
		memset(e->shadow, 0, len);
	} else if (pmem_read(tx->vol->pm, e->shadow, media, len)) {
		memset(e->shadow, 0, len);
		tx->error = -EIO;
	}
	return e;
}

static void *edit(struct tx *tx, void *media, size_t len, enum edit_kind kind)
{
	struct edit *e = find_edit(tx, media);

	if (!e)
		e = new_edit(tx, media, len, kind);
	if (!e) {
		/* the caller may rely on the media as it has seen them */
		if (kind == EDIT_FRESH)
			memset(tx->scratch, 0, len);
		else
			memcpy(tx->scratch, media, len);
		return tx->scratch;
	}
	return e->shadow + ((char *)media - e->media);
}

void *tx_edit(struct tx *tx, void *media, size_t len)
{
	return edit(tx, media, len, EDIT_LOGGED);
}

void *tx_edit_fresh(struct tx *tx, void *media, size_t len)
{
	return edit(tx, media, len, EDIT_FRESH);
}

struct dxf_inode *tx_edit_inode(struct tx *tx, struct dxf_inode *media)
{
	bool is_new = !find_edit(tx, media);
	struct dxf_inode *di = edit(tx, media, sizeof(*media), EDIT_INODE);
	struct edit *e = is_new ? find_edit(tx, media) : NULL;

	if (e) {
		e->mtime = di->mtime;
		e->ctime = di->ctime;
	}
	return di;
}

void tx_count_inode(struct tx *tx, struct dxf_inode *media, int delta)
{
	struct edit *e = find_edit(tx, media);

	if (e)
		e->inodes = delta;
}

const void *tx_view(struct tx *tx, const void *media)
{
	struct edit *e = tx ? find_edit(tx, media) : NULL;

	return e ? e->shadow + ((const char *)media - e->media) : media;
}

void tx_drop(struct tx *tx, const void *media)
{
	struct edit *e = find_edit(tx, media);

	if (e)
		e->kind = EDIT_DROPPED;
}

/* ---- bits and space ------------------------------------------------------ */

static void add_bits(struct tx *tx, uint64_t *word, uint64_t mask, enum dxf_journal_type type)
{
	unsigned back = tx->bits_count < 16 ? tx->bits_count : 16;

	for (unsigned i = 1; i <= back; i++) {
		struct bits *b = &tx->bits[tx->bits_count - i];

		if (b->word == word && b->type == type) {
			b->mask |= mask;
			return;
		}
	}
	if (tx->bits_count == BITS_MAX) {
		tx->error = -EOVERFLOW;
		return;
	}
	tx->bits[tx->bits_count++] = (struct bits){ word, mask, type };
}

void tx_set_bits(struct tx *tx, uint64_t *word, uint64_t mask)
{
	add_bits(tx, word, mask, DXF_JOURNAL_SET);
}

void tx_clear_bits(struct tx *tx, uint64_t *word, uint64_t mask)
{
	add_bits(tx, word, mask, DXF_JOURNAL_CLEAR);
}

void tx_on_abort(struct tx *tx, enum tx_space kind, uint64_t where)
{
	/* never with the limits there are. It stays reserved until the next mount: its taker may be
	 * storing into it, so it must not be given to anybody else */
	if (tx->abort_count == SPACE_MAX) {
		tx->error = -EOVERFLOW;
		return;
	}
	tx->on_abort[tx->abort_count++] = (struct space){ kind, where };
}

void tx_on_commit(struct tx *tx, enum tx_space kind, uint64_t where)
{
	if (tx->commit_count == SPACE_MAX) {
		tx->error = -EOVERFLOW;
		return;
	}
	tx->on_commit[tx->commit_count++] = (struct space){ kind, where };
}

static void release(struct tx *tx, const struct space *space, unsigned count,
		    void (*give)(struct volume *vol, enum tx_space kind, uint64_t offset))
{
	for (unsigned i = 0; i < count; i++) {
		if (space[i].kind == TX_INODE)
			ialloc_release(tx->vol, (uint32_t)space[i].where);
		else
			give(tx->vol, space[i].kind, space[i].where);
	}
}

void tx_wrote_data(struct tx *tx)
{
	tx->wrote_data = true;
}

void tx_decides(struct tx *tx, const struct tx_request *request, int64_t result)
{
	if (!request || !request->unique)
		return;
	tx->request = request;
	tx->record.header.unique = request->unique;
	tx->record.header.opcode = request->opcode;
	tx->record.header.result = result;
}

/* ---- commit -------------------------------------------------------------- */

static errint_t add_op(struct journal_record *record, uint64_t offset, uint32_t type,
		       const void *bytes, size_t len)
{
	struct dxf_journal_op *op = (void *)(record->ops + record->header.bytes);

	if (sizeof(*op) + len > JOURNAL_RECORD_MAX - record->header.bytes)
		return -EOVERFLOW;
	*op = (struct dxf_journal_op){ .offset = offset, .length = (uint32_t)len, .type = type };
	memcpy(op + 1, bytes, len);
	record->header.bytes += (uint32_t)(sizeof(*op) + len);
	return 0;
}

/* Log those of the words [i, words) in which shadow and media differ; runs that are at most two
 * equal words apart make one operation, as an operation costs two words. */
static errint_t log_words(struct tx *tx, const struct edit *e, size_t i, size_t words)
{
	const uint64_t *old = (const uint64_t *)e->media, *new = (const uint64_t *)e->shadow;

	while (i < words) {
		size_t end, last;

		if (old[i] == new[i]) {
			i++;
			continue;
		}
		last = i;
		for (end = i + 1; end < words && end - last <= 3; end++)
			if (old[end] != new[end])
				last = end;
		int err = add_op(&tx->record, pmem_offset(tx->vol->pm, old + i), DXF_JOURNAL_WRITE,
				 new + i, (last + 1 - i) * 8);
		if (err)
			return err;
		i = last + 1;
	}
	return 0;
}

/* Somebody else stores there, past us: tail_size, and the times. */
static bool is_left_out(const struct edit *e, size_t word)
{
	const struct dxf_inode *di = (const void *)e->shadow;

	switch (word * 8) {
	case offsetof(struct dxf_inode, tail_size):
		return true;
	case offsetof(struct dxf_inode, mtime):
		return di->mtime == e->mtime;
	case offsetof(struct dxf_inode, ctime):
		return di->ctime == e->ctime;
	}
	return false;
}

/* Of an inode all but tail_size, and times that are not set by this: the record would bring back
 * old ones if it were replayed after somebody has stored new ones there, or has since we have read
 * them. */
static errint_t log_edit(struct tx *tx, const struct edit *e)
{
	size_t words = e->len / 8, from = 0;
	int err = 0;

	for (size_t i = 0; !err && e->kind == EDIT_INODE && i < words; i++) {
		if (!is_left_out(e, i))
			continue;
		err = log_words(tx, e, from, i);
		from = i + 1;
	}
	return err ? err : log_words(tx, e, from, words);
}

static errint_t log_bits(struct tx *tx, enum dxf_journal_type type)
{
	int err = 0;

	for (unsigned i = 0; !err && i < tx->bits_count; i++) {
		const struct bits *b = &tx->bits[i];
		uint64_t seen;

		if (b->type != type)
			continue;
		/* poison is found while the transaction can still be given up */
		err = pmem_load64(tx->vol->pm, b->word, &seen);
		if (!err)
			err = add_op(&tx->record, pmem_offset(tx->vol->pm, b->word), type, &b->mask,
				     8);
	}
	return err;
}

/* A transaction may free blocks that it took, never the other way round: bits that are set come
 * before those that are cleared. */
static errint_t build_record(struct tx *tx)
{
	int err = tx->error;

	tx->record.header.bytes = 0;
	if (!err)
		err = log_bits(tx, DXF_JOURNAL_SET);
	if (!err)
		err = log_bits(tx, DXF_JOURNAL_CLEAR);
	for (unsigned i = 0; !err && i < tx->edits; i++)
		if (tx->edit[i].kind == EDIT_LOGGED || tx->edit[i].kind == EDIT_INODE)
			err = log_edit(tx, &tx->edit[i]);
	return err;
}

/* Order: fresh blocks, non-temporally (the caller's data was before); fence. */
static void write_fresh(struct tx *tx)
{
	for (unsigned i = 0; i < tx->edits; i++) {
		struct edit *e = &tx->edit[i];

		if (e->kind == EDIT_FRESH) {
			pmem_copy_nt(tx->vol->pm, e->media, e->shadow, e->len);
			tx->wrote_data = true;
		}
	}
	if (tx->wrote_data)
		pmem_fence(tx->vol->pm);
}

/* The charges of an inode's edit to its project, or to the old and the new one. */
static errint_t charge_inode(struct tx *tx, const struct edit *e)
{
	const struct dxf_inode *old = (const void *)e->media, *new = (const void *)e->shadow;
	int64_t had = (int64_t)old->blocks, has = (int64_t) new->blocks;
	int err;

	if (e->inodes > 0)
		return quota_charge(&tx->quota, new->project, has, 1);
	if (e->inodes < 0)
		return quota_charge(&tx->quota, old->project, -had, -1);
	if (old->project == new->project)
		return quota_charge(&tx->quota, new->project, has - had, 0);
	err = quota_charge(&tx->quota, old->project, -had, -1);
	return err ? err : quota_charge(&tx->quota, new->project, has, 1);
}

/* Inodes get their CRC, and projects are charged for what they grew. */
static errint_t seal_inodes(struct tx *tx)
{
	int err = 0;

	for (unsigned i = 0; !err && i < tx->edits; i++) {
		struct edit *e = &tx->edit[i];

		if (e->kind == EDIT_INODE) {
			struct dxf_inode *new = (void *)e->shadow;

			new->crc = inode_crc(new);
			err = charge_inode(tx, e);
		}
	}
	return !err && tx->quota.count ? quota_apply(tx, &tx->quota) : err;
}

/*
 * Order: fresh blocks and data, fence; then as journal_commit(). Freed space
 * becomes reusable last, when no replay can bring its old use back.
 */
errint_t tx_commit(struct tx *tx)
{
	int err = seal_inodes(tx);

	if (!err)
		err = build_record(tx);
	if (err) {
		tx_abort(tx);
		return err;
	}
	write_fresh(tx);
	if (tx->record.header.bytes)
		err = journal_commit(tx->vol, &tx->record, tx->request);
	if (err) {
		tx_abort(tx);
		return err;
	}
	quota_release(tx->vol, &tx->quota);
	release(tx, tx->on_commit, tx->commit_count, alloc_release);
	tx_end(tx);
	return 0;
}

void tx_abort(struct tx *tx)
{
	quota_release(tx->vol, &tx->quota);
	release(tx, tx->on_abort, tx->abort_count, alloc_give_back);
	tx_end(tx);
}
