/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The persist layer of crash tests: implements daxfuse/pmem/pmem.h in place of
 * persist.c, writes to the image and into the image's log. Nothing is poisoned
 * here.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/image.h"
#include "tests/crash/log.h"

static enum log_mutation mutation;
static const void *mutation_site;
static struct log_event late_flush; /* of MUTATION_SWAP; length 0: none */

/* Of the calling thread. */
static __thread uint16_t thread_number = 1;
static __thread unsigned cpu; /* see sched_getcpu() */
static __thread struct {
	unsigned left; /* fences until fn is called; 0: never */
	void (*fn)(void *arg);
	void *arg;
} fence_hook;

void log_clear(struct log *log)
{
	log->count = 0;
	log->bytes_count = 0;
}

void log_free(struct log *log)
{
	free(log->event);
	free(log->bytes);
	log->event = NULL;
	log->bytes = NULL;
	log->count = log->room = log->bytes_count = log->bytes_room = 0;
}

/*
 * Another CPU for each operation, as the scheduler might choose: what is kept
 * per CPU on the media is then used in turn. Replaces libc's at link time.
 */
int sched_getcpu(void)
{
	return (int)cpu;
}

void log_set_cpu(unsigned number)
{
	cpu = number;
}

static void *grow(void *array, size_t *room, size_t need, size_t size)
{
	if (need <= *room)
		return array;
	*room = need * 2;
	array = realloc(array, *room * size);
	if (!array)
		abort();
	return array;
}

static void log_add(struct log *log, enum log_kind kind, enum log_mark mark, uint64_t offset,
		    uint64_t length, const void *bytes, const void *site)
{
	struct log_event *event;

	pthread_mutex_lock(&log->lock);
	log->event = grow(log->event, &log->room, log->count + 1, sizeof(*log->event));
	event = &log->event[log->count++];
	*event = (struct log_event){ .kind = (uint8_t)kind,
				     .mark = (uint8_t)mark,
				     .thread = thread_number,
				     .offset = offset,
				     .length = length,
				     .bytes = log->bytes_count,
				     .site = site };
	if (bytes) {
		log->bytes = grow(log->bytes, &log->bytes_room, log->bytes_count + length, 1);
		memcpy(log->bytes + log->bytes_count, bytes, length);
		log->bytes_count += length;
	}
	pthread_mutex_unlock(&log->lock);
}

void log_add_mark(struct log *log, enum log_mark mark)
{
	log_add(log, LOG_MARK, mark, 0, 0, NULL, NULL);
}

void log_set_thread(uint16_t number)
{
	thread_number = number;
}

void log_before_fence(unsigned count, void (*fn)(void *arg), void *arg)
{
	fence_hook.left = count;
	fence_hook.fn = fn;
	fence_hook.arg = arg;
}

size_t log_count_kind(const struct log *log, size_t from, enum log_kind kind)
{
	size_t count = 0;
	size_t i;

	for (i = from; i < log->count; i++)
		count += log->event[i].kind == kind;
	return count;
}

void log_set_mutation(enum log_mutation kind, const void *site)
{
	mutation = kind;
	mutation_site = site;
	late_flush.length = 0;
}

static struct image *image_of(const struct pmem *pm)
{
	return (struct image *)(uintptr_t)pm;
}

/* Write to the image and to its log, under the lock. */
static void store_locked(struct image *image, enum log_kind kind, void *dst, const void *src,
			 size_t len, const void *site)
{
	uint64_t offset = pmem_offset(&image->pm, dst);

	if (!len)
		return;
	if (!pmem_contains(&image->pm, offset, len))
		abort();
	if (kind != LOG_STORE && mutation == MUTATION_CACHED && site == mutation_site)
		kind = kind == LOG_NT ? LOG_STORE : LOG_ZERO;
	if (image->log)
		log_add(image->log, kind, 0, offset, len, src, site);
	if (src)
		image_write(image, offset, src, len);
	else
		image_zero(image, offset, len);
}

static void store(const struct pmem *pm, enum log_kind kind, void *dst, const void *src, size_t len,
		  const void *site)
{
	struct image *image = image_of(pm);

	pthread_mutex_lock(&image->lock);
	store_locked(image, kind, dst, src, len, site);
	pthread_mutex_unlock(&image->lock);
}

void pmem_store(const struct pmem *pm, void *dst, const void *src, size_t len)
{
	store(pm, LOG_STORE, dst, src, len, __builtin_return_address(0));
}

void pmem_store64(const struct pmem *pm, void *dst, uint64_t value)
{
	store(pm, LOG_STORE, dst, &value, sizeof(value), __builtin_return_address(0));
}

static void change_bits(const struct pmem *pm, uint64_t *word, uint64_t set, uint64_t clear,
			const void *site)
{
	struct image *image = image_of(pm);
	uint64_t value;

	pthread_mutex_lock(&image->lock);
	value = (*(volatile uint64_t *)word | set) & ~clear;
	store_locked(image, LOG_STORE, word, &value, sizeof(value), site);
	pthread_mutex_unlock(&image->lock);
}

void pmem_set_bits(const struct pmem *pm, uint64_t *word, uint64_t mask)
{
	change_bits(pm, word, mask, 0, __builtin_return_address(0));
}

void pmem_clear_bits(const struct pmem *pm, uint64_t *word, uint64_t mask)
{
	change_bits(pm, word, 0, mask, __builtin_return_address(0));
}

void pmem_copy_nt(const struct pmem *pm, void *dst, const void *src, size_t len)
{
	store(pm, LOG_NT, dst, src, len, __builtin_return_address(0));
}

void pmem_zero_nt(const struct pmem *pm, void *dst, size_t len)
{
	store(pm, LOG_ZERO_NT, dst, NULL, len, __builtin_return_address(0));
}

int pmem_write_nt(const struct pmem *pm, void *dst, const void *src, size_t len)
{
	store(pm, LOG_NT, dst, src, len, __builtin_return_address(0));
	return 0;
}

int pmem_write_zero_nt(const struct pmem *pm, void *dst, size_t len)
{
	store(pm, LOG_ZERO_NT, dst, NULL, len, __builtin_return_address(0));
	return 0;
}

void pmem_flush(const struct pmem *pm, const void *p, size_t len)
{
	struct image *image = image_of(pm);
	const void *site = __builtin_return_address(0);
	struct log_event flush = { .offset = pmem_offset(pm, p), .length = len, .site = site };

	if (!len || !image->log)
		return;
	pthread_mutex_lock(&image->lock);
	if (site != mutation_site || mutation == MUTATION_NONE)
		log_add(image->log, LOG_FLUSH, 0, flush.offset, len, NULL, site);
	else if (mutation == MUTATION_SWAP)
		late_flush = flush;
	pthread_mutex_unlock(&image->lock);
}

void pmem_fence(const struct pmem *pm)
{
	struct image *image = image_of(pm);
	const void *site = __builtin_return_address(0);

	if (!image->log)
		return;
	if (fence_hook.left && --fence_hook.left == 0)
		fence_hook.fn(fence_hook.arg);
	pthread_mutex_lock(&image->lock);
	if (site != mutation_site || mutation != MUTATION_DROP)
		log_add(image->log, LOG_FENCE, 0, 0, 0, NULL, site);
	if (late_flush.length) {
		log_add(image->log, LOG_FLUSH, 0, late_flush.offset, late_flush.length, NULL,
			late_flush.site);
		late_flush.length = 0;
	}
	pthread_mutex_unlock(&image->lock);
}

static void note_read(const struct pmem *pm, const void *p, size_t len)
{
	struct image_reads *reads = image_of(pm)->reads;
	uint64_t line, last;

	if (!reads || !len)
		return;
	line = pmem_offset(pm, p) / LINE_SIZE;
	last = (pmem_offset(pm, p) + len - 1) / LINE_SIZE;
	for (; line <= last; line++) {
		reads->line = grow(reads->line, &reads->room, reads->count + 1,
				   sizeof(*reads->line));
		reads->line[reads->count++] = line;
	}
}

int pmem_read(const struct pmem *pm, void *dst, const void *src, size_t len)
{
	note_read(pm, src, len);
	memcpy(dst, src, len);
	return 0;
}

int pmem_load64(const struct pmem *pm, const uint64_t *word, uint64_t *ret_value)
{
	note_read(pm, word, sizeof(*word));
	*ret_value = *(const volatile uint64_t *)word;
	return 0;
}

int pmem_probe(const struct pmem *pm, const void *p, size_t len)
{
	note_read(pm, p, len);
	return 0;
}

int pmem_poison_init(void)
{
	return 0;
}

uint64_t pmem_poison_count(void)
{
	return 0;
}
