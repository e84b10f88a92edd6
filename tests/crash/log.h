/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log of everything that the persist layer was asked to do, in one order
 * for all threads, with marks where operations begin, return and end.
 */
#ifndef CRASH_LOG_H
#define CRASH_LOG_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

enum log_kind { LOG_STORE, LOG_NT, LOG_ZERO, LOG_ZERO_NT, LOG_FLUSH, LOG_FENCE, LOG_MARK };

enum log_mark { MARK_BEGIN = 1, MARK_RETURNED, MARK_END };

struct log_event {
	uint8_t kind;    /* enum log_kind */
	uint8_t mark;    /* enum log_mark, of LOG_MARK */
	uint16_t thread; /* small number of the thread */
	uint64_t offset; /* in the pool */
	uint64_t length;
	size_t bytes;     /* where in log.bytes they are, of LOG_STORE and LOG_NT */
	const void *site; /* return address into the caller */
};

struct log {
	pthread_mutex_t lock;
	struct log_event *event;
	size_t count, room;
	uint8_t *bytes;
	size_t bytes_count, bytes_room;
};

void log_clear(struct log *log);
void log_free(struct log *log);
/* The calling thread has this number (1 if it does not say) in the log. */
void log_set_thread(uint16_t number);
/* It runs on this CPU from now on. */
void log_set_cpu(unsigned number);
/* Call fn before the count-th fence from now on of the calling thread; 0: don't. */
void log_before_fence(unsigned count, void (*fn)(void *arg), void *arg);
void log_add_mark(struct log *log, enum log_mark mark);
/* Events of a kind in [from, log->count). */
size_t log_count_kind(const struct log *log, size_t from, enum log_kind kind);

/*
 * A mutant: one flush or fence call site whose effect is left out of the log,
 * or comes too late. The stores themselves are made as always.
 */
enum log_mutation {
	MUTATION_NONE,
	MUTATION_DROP,   /* the flush or fence is not made */
	MUTATION_SWAP,   /* the flush comes only after the next fence */
	MUTATION_CACHED, /* the non-temporal store is a cached one that nobody flushes */
};
void log_set_mutation(enum log_mutation mutation, const void *site);

#endif
