/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread of a queue: woken by the driver's kick, it takes requests one after another until
 * there are none. Each is copied to private memory before anything in it is looked at.
 *
 * A guest has as many threads and buffers as it has queues, and one request in each: that is all
 * that it can take of the daemon's memory and time by asking.
 */
#include "ring.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/confine.h"
#include "daxfuse/vfs/answers.h"

enum { DESC_BYTES = 16, USED_BYTES = 8, AVAIL_BYTES = 2, RING_HEAD = 4, EVENT_BYTES = 2 };

static errint_t write_answer(void *arg, uint64_t at, const void *buf, size_t size)
{
	return chain_write(arg, at, buf, size);
}

/* How many bytes were written. */
static uint32_t serve_chain(struct ring *ring)
{
	const struct guest_answer answer = {
		.arg = ring->chain,
		.room = ring->chain->out_bytes,
		.write = write_answer,
		.scratch = ring->out,
		.stop = ring->stop,
	};
	ssize_t bytes = -EINVAL;

	if (!ring->chain->bad && ring->chain->in_bytes <= GUEST_REQUEST_MAX)
		bytes = chain_read(ring->chain, ring->in, GUEST_REQUEST_MAX);
	if (bytes < 0) {
		atomic_fetch_add_explicit(ring->config->bad_chains, 1, memory_order_relaxed);
		return 0;
	}
	return guest_serve(ring->config->guest, ring->in, (size_t)bytes, &answer, &ring->once);
}

/* ---- once ------------------------------------------------------------------------------ */

enum { UNIQUE_INDEX = 1, UNIQUE_NUMBER = 5, UNIQUE_PLACE = 16, UNIQUE_TURNS = 32 };

_Static_assert(EXPORTS_MAX <= 1 << (UNIQUE_PLACE - UNIQUE_NUMBER), "a number fits");

/* The request that is given back next; the kernel's are even. */
static uint64_t unique_of_next(const struct ring *ring)
{
	return 1 | (uint64_t)ring->index << UNIQUE_INDEX |
	       (uint64_t)ring->config->number << UNIQUE_NUMBER |
	       (uint64_t)ring->queue.next_used << UNIQUE_PLACE |
	       (uint64_t)ring->record->turns << UNIQUE_TURNS;
}

/* The slot of the request that an earlier process had; else any. */
static void begin_requests(struct ring *ring)
{
	struct guest_once *once = &ring->once;

	*once = (struct guest_once){ .answers = ring->config->answers };
	once->unique = unique_of_next(ring);
	if (!once->answers)
		return;
	once->slot = answers_take_over(once->answers, once->unique);
	once->repeated = once->slot != NULL;
	if (!once->slot)
		once->slot = answers_take(once->answers);
}

static void next_request(struct ring *ring)
{
	if (ring->once.slot)
		answers_done(ring->once.slot);
	ring->once.repeated = false;
	ring->once.unique = unique_of_next(ring);
}

static void end_requests(struct ring *ring)
{
	if (ring->once.slot)
		answers_end(ring->once.answers, ring->once.slot);
}

/* ---- the thread ------------------------------------------------------------------------- */

static bool is_stopping(const struct ring *ring)
{
	return atomic_load_explicit(&ring->stopping, memory_order_acquire);
}

static void report_refused(struct ring *ring)
{
	long call = confine_take_refused();

	if (call < 0 || ring->told_refused)
		return;
	ring->told_refused = true;
	ring->config->refused(ring->config->arg, call);
}

/* All that is there. -EIO */
static int serve_all(struct ring *ring)
{
	int more = 1;

	while (more > 0 && !is_stopping(ring)) {
		int tell;

		more = queue_pop(&ring->queue, ring->chain);
		if (!more)
			more = queue_sleep(&ring->queue);
		else if (more > 0) {
			uint32_t written = serve_chain(ring);

			if (written == GUEST_LATER) {
				queue_put_back(&ring->queue);
				break;
			}
			report_refused(ring);
			tell = queue_push(&ring->queue, ring->chain, written);
			if (tell > 0 && ring->call >= 0)
				eventfd_write(ring->call, 1);
			more = tell < 0 ? tell : 1;
			next_request(ring);
		}
	}
	return MIN(more, 0);
}

/*
 * A kick or call may block, though it was made not to: the VMM has the same open file. So a thread
 * that is to end is sent a signal until it has.
 */
enum { WAKE = SIGUSR2, WAKE_MS = 10 };

static void do_nothing(int number)
{
	(void)number;
}

static void hear_signal(void)
{
	const struct sigaction action = { .sa_handler = do_nothing };
	sigset_t set;

	sigaction(WAKE, &action, NULL);
	sigemptyset(&set);
	sigaddset(&set, WAKE);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void join_thread(pthread_t thread)
{
	struct timespec until;

	do {
		pthread_kill(thread, WAKE);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += WAKE_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
	} while (pthread_timedjoin_np(thread, NULL, &until) == ETIMEDOUT);
}

static void *run_ring(void *arg)
{
	struct ring *ring = arg;
	struct pollfd fds[] = {
		{ .fd = ring->kick, .events = POLLIN },
		{ .fd = ring->stop, .events = POLLIN },
	};
	int err = 0;

	hear_signal();
	pthread_setname_np(pthread_self(), "daxfuse-queue");
	confine_thread(CONFINE_WORK, ring->config->ioctls);
	if (ring->adopted && ring->call >= 0)
		eventfd_write(ring->call,
			      1); /* what was given back last may not have been heard of */
	while (!err && !is_stopping(ring)) {
		eventfd_t kicks;

		err = serve_all(ring);
		if (err || is_stopping(ring))
			break;
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			err = -errno;
		eventfd_read(ring->kick, &kicks); /* it does not block */
	}
	if (err)
		atomic_store_explicit(&ring->record->broken, true, memory_order_relaxed);
	return NULL;
}

/* ---- for the connection ----------------------------------------------------------------- */

errint_t ring_open(struct ring *ring, const struct ring_config *config, unsigned index,
		   struct ring_record *record)
{
	*ring = (struct ring){
		.config = config,
		.record = record,
		.index = index,
		.kick = -1,
		.call = -1,
	};
	ring->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return ring->stop < 0 ? -errno : 0;
}

void ring_set_base(struct ring *ring, uint16_t next_avail)
{
	ring->record->next_avail = next_avail;
	ring->record->turns++;
	atomic_store(&ring->record->runs, false);
	atomic_store(&ring->record->broken, false);
}

static void free_buffers(struct ring *ring)
{
	free(ring->in);
	free(ring->out);
	free(ring->chain);
	ring->in = ring->out = NULL;
	ring->chain = NULL;
}

static errint_t alloc_buffers(struct ring *ring)
{
	ring->in = malloc(GUEST_REQUEST_MAX);
	ring->out = malloc(GUEST_ANSWER_MAX);
	ring->chain = malloc(sizeof(*ring->chain));
	if (ring->in && ring->out && ring->chain)
		return 0;
	free_buffers(ring);
	return -ENOMEM;
}

/* Where the ring is in memory of ours. */
static bool place_ring(struct ring *ring, const struct memory *memory)
{
	const struct ring_record *r = ring->record;
	struct queue *q = &ring->queue;

	q->memory = memory;
	q->size = r->size;
	q->desc = memory_at_user(memory, r->desc, (uint64_t)q->size * DESC_BYTES, 16);
	q->avail = memory_at_user(memory, r->avail, RING_HEAD + q->size * AVAIL_BYTES + EVENT_BYTES,
				  2);
	q->used = memory_at_user(memory, r->used, RING_HEAD + q->size * USED_BYTES + EVENT_BYTES,
				 4);
	return q->desc && q->avail && q->used && !queue_begin(q);
}

/* Order: how far it is ahead, then that this counts. */
static void find_position(struct ring *ring)
{
	struct ring_record *r = ring->record;
	struct queue *q = &ring->queue;

	ring->adopted = r->runs;
	if (r->runs) {
		q->next_avail = (uint16_t)(q->next_used + r->ahead);
		return;
	}
	q->next_avail = r->next_avail;
	r->ahead = (uint16_t)(q->next_avail - q->next_used);
	atomic_store_explicit(&r->runs, true, memory_order_release);
}

errint_t ring_start(struct ring *ring, const struct memory *memory)
{
	const struct ring_record *r = ring->record;
	int err;

	if (ring->running || !r->enabled || ring->kick < 0 || !r->size || !r->placed || r->broken ||
	    !place_ring(ring, memory))
		return 0;
	err = alloc_buffers(ring);
	if (err)
		return err;
	find_position(ring);
	begin_requests(ring);
	atomic_store_explicit(&ring->stopping, false, memory_order_release);
	err = -pthread_create(&ring->thread, NULL, run_ring, ring);
	if (err) {
		end_requests(ring);
		free_buffers(ring);
	}
	ring->running = !err;
	return err;
}

/* Order: where it is, then that this counts. */
void ring_stop(struct ring *ring)
{
	eventfd_t ignored;

	if (!ring->running)
		return;
	atomic_store_explicit(&ring->stopping, true, memory_order_release);
	eventfd_write(ring->stop, 1);
	join_thread(ring->thread);
	eventfd_read(ring->stop, &ignored);
	ring->record->next_avail = ring->queue.next_avail;
	atomic_store_explicit(&ring->record->runs, false, memory_order_release);
	end_requests(ring);
	free_buffers(ring);
	ring->running = false;
}

void ring_close(struct ring *ring)
{
	int *const fds[] = { &ring->kick, &ring->call, &ring->stop };

	ring_stop(ring);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}
