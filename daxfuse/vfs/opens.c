/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which way reads and writes of an open file take, and why no reader gets stale bytes.
 *
 * A file may be read through the transport's cache of pages, or past it. Memory itself is always
 * current, as writes are written through; pages are not, once somebody stores through a mapping
 * of the memory, of which the kernel hears nothing. So the rule is
 *
 *     a file is mapped directly, or has readers through the cache; never both.
 *
 * It is decided at open, as the kernel can't be told later. An open that may be followed by a
 * direct mapping goes past the cache; while there is one all others do, too; and a mapping is
 * refused while a reader through the cache is left from before. (fill_opened() in open.c says which
 * opens that are.)
 *
 * Two things are left. Pages of earlier readers stay in the cache when these have closed the file:
 * `trusted` has the inodes of which they are good still, and an open past the cache ends that. It
 * begins when a reader closes the file before which the cache was dropped; not when that opens
 * it, as the transport drops the cache when it gets the answer, and another's may be faster. And a
 * write past the cache beside readers through it races with their filling of pages:
 * vfs_wrote_past_cache() tells the transport to drop these once more, before the write is answered.
 *
 * A write through the cache changes the page first, and the file when it arrives here. If the page
 * is dropped in between, and read again, it is old from then on; and we can't drop it before we
 * answer, as its writer may have it locked. So a second rule is
 *
 *     a file has writers through the cache, or opens that drop it; never both.
 *
 * Beside a writer through the cache an open that would have to drop it goes past it, and so does
 * a writer beside one that may be about to drop it, as nobody has read by it yet; if the transport
 * can map what goes past its cache, as such a writer may have expected to.
 *
 * Each open file that is read from, or goes through the cache, has a record that outlives us. Its
 * number is part of the handle, and so is whether it is one of the cache: so a release, of whatever
 * life, ends the right one. One that finds no room goes past the cache: that is right without
 * anybody's knowing. An open that is executed again, as its first process died before it could
 * answer, has written its handle down (answer_choose()), which ends first. So does that of one that
 * nobody asks again, as its program was killed; unless it was about to be answered: then it counts
 * until it is released, though in the rarest case nobody has it.
 */
#include "internal.h"
#include "daxfuse/base/errint.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "daxfuse/base/lockrank.h"

enum { BUCKETS = 4096, LOCKS = 256, TRUSTED = 1 << 20 };
/* A handle: its number, the place of its record counted from 1 (0: none), and: */
enum { HANDLE_CACHED = 1, PLACE_SHIFT = 1, NUMBER_SHIFT = 18 };
/* More turns than there are: the cache is not to be trusted afterwards. */
#define NEVER UINT32_MAX
/* With the handle in a request's slot: it may have been answered. Higher than any handle. */
#define CHOICE_ANSWERED (UINT64_C(1) << 63)

_Static_assert(VFS_OPENS < 1 << (NUMBER_SHIFT - PLACE_SHIFT), "a place fits");

struct open_inode {
	uint64_t ino;
	uint32_t cached, direct;    /* open files; past the cache only those that may be read */
	uint32_t writers, droppers; /* of the cached */
	uint32_t turns;             /* opens past the cache, while it is here */
	uint32_t earlier;           /* of all: opened by earlier processes */
	struct open_inode *next;
};

struct opens {
	struct vfs_open_table *table;
	bool own;                    /* the table is nobody's but ours */
	bool missed;                 /* an earlier process has not recorded all */
	uint64_t first_number;       /* of a handle of ours */
	pthread_mutex_t places_lock; /* free_place, table->used */
	uint32_t free_count;
	uint32_t free_place[VFS_OPENS];
	uint32_t turns[VFS_OPENS]; /* of a reader's inode when it was opened, or NEVER */
	struct {
		bool writes;
		atomic_bool drops;   /* or may be about to */
	} does[VFS_OPENS];           /* with the cache, if it is a reader through it */
	pthread_mutex_t lock[LOCKS]; /* of the buckets of its residue, and of: */
	struct open_inode *bucket[BUCKETS];
	uint32_t trusted[TRUSTED]; /* inodes, each at its residue */
};

/* ---- places ------------------------------------------------------------------------------ */

/* Counted from 1; 0: there is none. */
static uint32_t take_place(struct opens *o)
{
	uint32_t place = 0;

	lock_mutex(LOCK_PLACES, &o->places_lock);
	if (o->free_count)
		place = o->free_place[--o->free_count];
	else if (o->table->used < VFS_OPENS)
		place = atomic_fetch_add_explicit(&o->table->used, 1, memory_order_release) + 1;
	else
		atomic_store_explicit(&o->table->missed, 1, memory_order_relaxed);
	unlock_mutex(LOCK_PLACES, &o->places_lock);
	return place;
}

static void give_place(struct opens *o, uint32_t place)
{
	lock_mutex(LOCK_PLACES, &o->places_lock);
	o->free_place[o->free_count++] = place;
	unlock_mutex(LOCK_PLACES, &o->places_lock);
}

static uint32_t place_of(uint64_t handle)
{
	return handle >> PLACE_SHIFT & ((1u << (NUMBER_SHIFT - PLACE_SHIFT)) - 1);
}

static bool is_earlier(const struct opens *o, uint64_t handle)
{
	return handle >> NUMBER_SHIFT < o->first_number;
}

/* Whether they are of the same open file: it may have gone past the cache since. */
static bool is_same(uint64_t a, uint64_t b)
{
	return (a | HANDLE_CACHED) == (b | HANDLE_CACHED);
}

/* Its record; NULL: it has none (any more). */
static struct vfs_open_record *find_record(struct opens *o, uint64_t handle)
{
	uint32_t place = place_of(handle);
	struct vfs_open_record *record;

	if (!place || place > VFS_OPENS)
		return NULL;
	record = &o->table->record[place - 1];
	return is_same(atomic_load_explicit(&record->handle, memory_order_acquire), handle) ? record
											    : NULL;
}

/* ---- inodes ------------------------------------------------------------------------------ */

static pthread_mutex_t *lock_of(struct opens *o, uint64_t ino)
{
	_Static_assert(BUCKETS % LOCKS == 0 && TRUSTED % LOCKS == 0,
		       "one lock for all of an inode");
	return &o->lock[ino % LOCKS];
}

static struct open_inode *find_inode_locked(struct opens *o, uint64_t ino)
{
	struct open_inode *inode = o->bucket[ino % BUCKETS];

	while (inode && inode->ino != ino)
		inode = inode->next;
	return inode;
}

/* NULL: there is no memory. */
static struct open_inode *get_inode_locked(struct opens *o, uint64_t ino)
{
	struct open_inode *inode = find_inode_locked(o, ino);

	if (inode)
		return inode;
	inode = calloc(1, sizeof(*inode));
	if (inode) {
		inode->ino = ino;
		inode->next = o->bucket[ino % BUCKETS];
		o->bucket[ino % BUCKETS] = inode;
	}
	return inode;
}

static void put_inode_locked(struct opens *o, struct open_inode *inode)
{
	struct open_inode **at = &o->bucket[inode->ino % BUCKETS];

	if (inode->cached || inode->direct)
		return;
	while (*at != inode)
		at = &(*at)->next;
	*at = inode->next;
	free(inode);
}

static bool is_trusted_locked(const struct opens *o, uint64_t ino)
{
	return o->trusted[ino % TRUSTED] == ino;
}

static void trust_locked(struct opens *o, uint64_t ino)
{
	o->trusted[ino % TRUSTED] = (uint32_t)ino;
}

static void distrust_locked(struct opens *o, uint64_t ino)
{
	if (is_trusted_locked(o, ino))
		o->trusted[ino % TRUSTED] = 0;
}

/* ---- opening and releasing ----------------------------------------------------------------- */

/* Whether what the cache has of the file must go before it is read. */
static bool must_drop_locked(const struct opens *o, uint64_t ino, unsigned how)
{
	return (how & OPEN_DROPS) || !(is_trusted_locked(o, ino) || (how & OPEN_EMPTY));
}

static bool goes_direct(const struct open_inode *inode, unsigned how, bool drops)
{
	if ((how & OPEN_DIRECT) || !inode)
		return true;
	if ((how & OPEN_FOLLOWS) && inode->direct)
		return true;
	if (!(how & OPEN_YIELDS))
		return false;
	return (drops && inode->writers) || ((how & OPEN_WRITES) && inode->droppers);
}

/* An open past the cache may be mapped, unless it is for writing only; of an empty file the cache
 * has nothing. */
static void renew_trust_locked(struct opens *o, uint64_t ino, unsigned how, bool direct)
{
	if (direct && (how & OPEN_READS))
		distrust_locked(o, ino);
	else if (!direct && (how & OPEN_EMPTY))
		trust_locked(o, ino);
}

static void count_cached_locked(struct opens *o, struct open_inode *inode, uint32_t place,
				bool writes, bool drops)
{
	o->does[place - 1].writes = writes;
	o->does[place - 1].drops = drops;
	inode->cached++;
	inode->writers += writes;
	inode->droppers += drops;
}

/* Order: the choice, so that it ends if we die; the inode; then the handle, which makes it one. */
static void write_record(struct opens *o, struct vfs_answer *answer, uint64_t ino, uint64_t handle)
{
	struct vfs_open_record *record = &o->table->record[place_of(handle) - 1];

	answer_choose(answer, handle);
	record->ino = ino;
	atomic_store_explicit(&record->handle, handle, memory_order_release);
}

static void decide_locked(struct vfs *v, struct vfs_answer *answer, uint64_t ino, unsigned how,
			  uint32_t place, struct open_way *ret_way)
{
	struct opens *o = v->opens;
	struct open_inode *inode = place ? get_inode_locked(o, ino) : find_inode_locked(o, ino);
	bool drops = must_drop_locked(o, ino, how);
	bool direct = goes_direct(place ? inode : NULL, how, drops);
	bool counted = place && inode && (!direct || (how & OPEN_READS));

	ret_way->direct = direct;
	ret_way->keep_cache = direct || !drops;
	ret_way->handle = vfs_new_handle(v) << NUMBER_SHIFT | (direct ? 0 : HANDLE_CACHED) |
			  (counted ? place << PLACE_SHIFT : 0);
	renew_trust_locked(o, ino, how, direct);
	if (!counted) {
		answer_choose(answer, ret_way->handle); /* it has no record to end */
		if (inode)
			put_inode_locked(o, inode);
		return;
	}
	write_record(o, answer, ino, ret_way->handle);
	if (direct) {
		inode->direct++;
		inode->turns++;
	} else {
		count_cached_locked(o, inode, place, how & OPEN_WRITES, drops);
		o->turns[place - 1] = inode->turns;
	}
}

void open_enter(struct vfs *v, struct vfs_answer *answer, uint64_t ino, unsigned how,
		struct open_way *ret_way)
{
	struct opens *o = v->opens;
	uint32_t place;

	/* an earlier process has got so far, and was not heard */
	open_leave(v, answer_choice(answer) & ~CHOICE_ANSWERED);
	place = (how & OPEN_READS) || !(how & OPEN_DIRECT) ? take_place(o) : 0;
	lock_mutex(LOCK_OPENS, lock_of(o, ino));
	decide_locked(v, answer, ino, how, place, ret_way);
	unlock_mutex(LOCK_OPENS, lock_of(o, ino));
	if (place && place_of(ret_way->handle) != place)
		give_place(o, place);
}

void open_was_in_vain(struct vfs *v, uint64_t handle)
{
	if (find_record(v->opens, handle))
		v->opens->turns[place_of(handle) - 1] = NEVER;
}

void vfs_open_is_used(struct vfs *v, uint64_t handle)
{
	struct opens *o = v->opens;
	struct vfs_open_record *record;
	struct open_inode *inode;
	uint32_t place = place_of(handle);
	uint64_t ino;

	if (!(handle & HANDLE_CACHED) || !place || place > VFS_OPENS || !o->does[place - 1].drops)
		return;
	record = find_record(o, handle);
	if (!record)
		return;
	ino = record->ino;
	lock_mutex(LOCK_OPENS, lock_of(o, ino));
	inode = find_inode_locked(o, ino);
	if (inode && find_record(o, handle) && o->does[place - 1].drops) {
		o->does[place - 1].drops = false;
		inode->droppers--;
	}
	unlock_mutex(LOCK_OPENS, lock_of(o, ino));
}

static void leave_inode_locked(struct opens *o, struct open_inode *inode, uint64_t handle)
{
	uint32_t place = place_of(handle);

	inode->earlier -= is_earlier(o, handle);
	if (!(handle & HANDLE_CACHED)) {
		inode->direct--;
	} else {
		inode->cached--;
		inode->writers -= o->does[place - 1].writes;
		inode->droppers -= o->does[place - 1].drops;
		if (o->turns[place - 1] == inode->turns)
			trust_locked(o, inode->ino);
	}
	put_inode_locked(o, inode);
}

void open_leave(struct vfs *v, uint64_t handle)
{
	struct opens *o = v->opens;
	struct vfs_open_record *record = find_record(o, handle);
	struct open_inode *inode;
	uint64_t ino;

	if (!record)
		return;
	ino = record->ino;
	lock_mutex(LOCK_OPENS, lock_of(o, ino));
	handle = atomic_exchange_explicit(&record->handle, 0, memory_order_acq_rel);
	inode = find_inode_locked(o, ino);
	if (inode && handle)
		leave_inode_locked(o, inode, handle);
	unlock_mutex(LOCK_OPENS, lock_of(o, ino));
	if (handle)
		give_place(o, place_of(handle));
}

/* Order: the record, then the choice. They differ for a moment in what is_same() leaves out. */
void vfs_open_past_cache(struct vfs *v, const struct vfs_request *request,
			 struct vfs_opened *opened)
{
	struct opens *o = v->opens;
	struct vfs_open_record *record = find_record(o, opened->handle);
	uint64_t ino = opened->attr.ino, direct = opened->handle & ~(uint64_t)HANDLE_CACHED;
	struct open_inode *inode;

	if (!(opened->handle & HANDLE_CACHED) || !record)
		return;
	lock_mutex(LOCK_OPENS, lock_of(o, ino));
	inode = find_inode_locked(o, ino);
	o->turns[place_of(direct) - 1] = NEVER;
	inode->direct++;
	inode->turns++;
	leave_inode_locked(o, inode, opened->handle);
	distrust_locked(o, ino);
	atomic_store_explicit(&record->handle, direct, memory_order_release);
	unlock_mutex(LOCK_OPENS, lock_of(o, ino));
	answer_choose(request->answer, direct);
	opened->handle = direct;
	opened->direct = opened->keep_cache = true;
}

void vfs_opening_answered(const struct vfs_request *request)
{
	uint64_t handle = answer_choice(request->answer);

	if (handle)
		answer_choose(request->answer, handle | CHOICE_ANSWERED);
}

uint64_t vfs_opening_choice(const struct vfs_answer *answer)
{
	return answer_choice(answer) & ~CHOICE_ANSWERED;
}

void vfs_opening_lost(struct vfs *v, const struct vfs_answer *lost)
{
	if (!(answer_choice(lost) & CHOICE_ANSWERED))
		open_leave(v, answer_choice(lost));
}

bool vfs_is_of_this_life(const struct vfs *v, uint64_t handle)
{
	return !is_earlier(v->opens, handle);
}

bool vfs_earlier_opens(struct vfs *v, uint64_t ino)
{
	struct opens *o = v->opens;
	const struct open_inode *inode;
	bool found;

	lock_mutex(LOCK_OPENS, lock_of(o, ino));
	inode = find_inode_locked(o, ino);
	found = o->missed || (inode && inode->earlier);
	unlock_mutex(LOCK_OPENS, lock_of(o, ino));
	return found;
}

bool vfs_is_cached(uint64_t handle)
{
	return handle & HANDLE_CACHED;
}

/* ---- what depends on it -------------------------------------------------------------------- */

bool vfs_wrote_past_cache(struct vfs *v, uint64_t ino)
{
	struct opens *o = v->opens;
	struct open_inode *inode;
	bool cached;

	lock_mutex(LOCK_OPENS, lock_of(o, ino));
	inode = find_inode_locked(o, ino);
	cached = inode && inode->cached;
	if (!cached)
		distrust_locked(o, ino);
	unlock_mutex(LOCK_OPENS, lock_of(o, ino));
	return cached;
}

unsigned vfs_cached_readers(struct vfs *v, uint64_t ino)
{
	struct opens *o = v->opens;
	struct open_inode *inode;
	unsigned count;

	lock_mutex(LOCK_OPENS, lock_of(o, ino));
	inode = find_inode_locked(o, ino);
	count = inode ? inode->cached : 0;
	unlock_mutex(LOCK_OPENS, lock_of(o, ino));
	return count;
}

bool vfs_is_recorded(struct vfs *v, uint64_t handle)
{
	return find_record(v->opens, handle);
}

/* ---- life ---------------------------------------------------------------------------------- */

/* What earlier processes have left; before there are threads. */
static errint_t take_over_records(struct opens *o)
{
	for (uint32_t place = MIN(o->table->used, (uint32_t)VFS_OPENS); place; place--) {
		const struct vfs_open_record *record = &o->table->record[place - 1];
		struct open_inode *inode;

		if (place_of(record->handle) != place) {
			o->free_place[o->free_count++] = place;
			continue;
		}
		inode = get_inode_locked(o, record->ino);
		if (!inode)
			return -ENOMEM;
		/* it was before our time, and may do anything */
		o->turns[place - 1] = NEVER;
		inode->earlier++;
		if (record->handle & HANDLE_CACHED)
			count_cached_locked(o, inode, place, true, true);
		else
			inode->direct++;
	}
	return 0;
}

errint_t opens_open(struct vfs *v)
{
	struct opens *o = calloc(1, sizeof(*o));

	if (!o)
		return -ENOMEM;
	v->opens = o;
	pthread_mutex_init(&o->places_lock, NULL);
	for (unsigned i = 0; i < LOCKS; i++)
		pthread_mutex_init(&o->lock[i], NULL);
	o->own = !v->config.opens;
	o->table = o->own ? calloc(1, sizeof(*o->table)) : v->config.opens;
	if (!o->table)
		return -ENOMEM;
	o->missed = o->table->missed;
	o->first_number = vfs_new_handle(v);
	return take_over_records(o);
}

void opens_close(struct vfs *v)
{
	struct opens *o = v->opens;

	if (!o)
		return;
	for (unsigned i = 0; i < BUCKETS; i++) {
		while (o->bucket[i]) {
			struct open_inode *inode = o->bucket[i];

			o->bucket[i] = inode->next;
			free(inode);
		}
	}
	for (unsigned i = 0; i < LOCKS; i++)
		pthread_mutex_destroy(&o->lock[i]);
	pthread_mutex_destroy(&o->places_lock);
	if (o->own)
		free(o->table);
	free(o);
}
