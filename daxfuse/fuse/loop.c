/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that read requests and have libfuse decode them.
 *
 * After a mount was taken over they read one at a time until the first request that is new: the
 * kernel puts requests that it sends again before all others, so each of these has found its slot
 * by then, and slots that nobody asked for belong to requests that were withdrawn (their programs
 * were killed meanwhile). Somebody always asks something soon: daemon.c has the mount looked at
 * from outside.
 *
 * Threads may have to wait for a program to let go of a mapping, and others for them, as they use
 * the same file. Programs that answer do so in microseconds, but one that does not must not
 * bring the mount to a standstill: while any thread waits, and all are busy, one more is
 * started (reinforce()), which ends when it has nothing to do. There are never more than
 * LOOP_SPARE of these, and when half as many wait, no more of them may.
 *
 * A thread that is blocked in read() is woken by a signal; as that may come just
 * before it blocks, it is repeated until the thread has ended.
 */
#include "loop.h"
#include "daxfuse/base/errint.h"

#include <errno.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buffer.h"
#include "daxfuse/base/lockrank.h"
#include "deferred.h"
#include "daxfuse/keeper/kernel.h"
#include "daxfuse/keeper/log.h"
#include "requests.h"
#include "times.h"

enum { BUFFER_SIZE = TRANSPORT_IO_MAX + (64 << 10), WAKE = SIGUSR2 };

struct loop {
	struct transport *transport;
	int fd;
	atomic_bool stopping;
	sem_t wake;            /* posted with it, and when somebody waits for a program */
	atomic_bool settled;   /* all that is sent again has come */
	atomic_uint unsettled; /* of those, the ones that are not done yet; and 1 until all has
				 * come */
	pthread_mutex_t gate;  /* held from reading a request until its slot is taken,
				 * while not settled */
	atomic_uint running;   /* threads */
	atomic_uint busy;      /* of them: have a request */
	atomic_uint waiting;   /* of them: wait for a program */
	atomic_int err;        /* why one ended */
	pthread_mutex_t crew;  /* a leaf: all below */
	struct worker *workers;
	atomic_uint regular; /* so many are never sent away */
	unsigned places;     /* for workers */
};

/* A place for a thread that serves. */
struct worker {
	enum { PLACE_FREE, PLACE_SERVES, PLACE_ENDED } state; /* ended: to be joined */
	pthread_t thread;
	struct buffer buffer;
	struct times times;
};

static struct loop loop = {
	/* a process has one */
	.gate = PTHREAD_MUTEX_INITIALIZER,
	.crew = PTHREAD_MUTEX_INITIALIZER,
};

static void wake(int number)
{
	(void)number;
}

void loop_stop(struct transport *t)
{
	(void)t;
	atomic_store_explicit(&loop.stopping, true, memory_order_release);
	sem_post(&loop.wake);
}

static bool is_stopping(void)
{
	return atomic_load_explicit(&loop.stopping, memory_order_acquire);
}

static bool is_settled(void)
{
	return atomic_load_explicit(&loop.settled, memory_order_acquire);
}

/* ---- one request -------------------------------------------------------------- */

/* Bytes read; 0: the end. */
static ssize_t read_request(void *buf)
{
	while (!is_stopping()) {
		ssize_t n = read(loop.fd, buf, BUFFER_SIZE);

		if (n > 0)
			return n;
		/* ENOENT: it was withdrawn while we looked */
		if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
			continue;
		if (n < 0 && errno != ENODEV)
			atomic_store_explicit(&loop.err, -errno, memory_order_relaxed);
		break;
	}
	return 0;
}

static void refuse(const struct fuse_in_header *in)
{
	const struct fuse_out_header out = {
		.len = sizeof(out),
		.error = -EIO,
		.unique = in->unique,
	};
	ssize_t n = write(loop.fd, &out, sizeof(out));

	(void)n; /* nobody waits for it any more */
	log_error("daxfuse: %s: request %llu (opcode %u, node %llu) has ended several serving "
		  "processes, it is answered with EIO\n",
		  loop.transport->config.attach.device,
		  (unsigned long long)(in->unique & ~FUSE_UNIQUE_RESEND), in->opcode,
		  (unsigned long long)in->nodeid);
}

/* The greeting is kept before it is answered: from then on the kernel will not send
 * it again. Order: the bytes, then their number. */
static void keep_greeting(const void *buf, size_t size)
{
	struct kept_session *session = &loop.transport->config.kept->session;

	if (session->init_bytes || size > sizeof(session->init))
		return;
	memcpy(session->init, buf, size);
	atomic_store_explicit(&session->init_bytes, (uint32_t)size, memory_order_release);
}

/* All resent requests have come, or one of them is done. When all are, nobody asks for the rest
 * that the last process has left. */
static void settle_one(void)
{
	if (!(atomic_fetch_sub_explicit(&loop.unsettled, 1, memory_order_acq_rel) - 1))
		deferred_settle(loop.transport->deferred);
}

struct taken {
	ssize_t bytes; /* 0: the end */
	bool welcome;
	bool again; /* counted in loop.unsettled */
};

/* Read one request and take its slot. */
static struct taken take_request(void *buf)
{
	bool gated = !is_settled(), settles = false;
	struct taken taken = { 0 };

	if (gated)
		lock_mutex(LOCK_LOOP, &loop.gate);
	taken.bytes = read_request(buf);
	if (taken.bytes >= (ssize_t)sizeof(struct fuse_in_header)) {
		taken.welcome = requests_begin(loop.transport->config.answers, buf,
					       (size_t)taken.bytes);
		taken.again = gated && !is_settled() && requests_is_resent(buf);
		settles = gated && !is_settled() && requests_is_new(buf);
	}
	if (taken.again)
		atomic_fetch_add_explicit(&loop.unsettled, 1, memory_order_relaxed);
	if (settles)
		atomic_store_explicit(&loop.settled, true, memory_order_release);
	if (gated)
		unlock_mutex(LOCK_LOOP, &loop.gate);
	if (settles)
		settle_one();
	return taken;
}

static void serve_request(void *bytes, const struct taken *taken)
{
	const struct fuse_buf buf = { .mem = bytes, .size = (size_t)taken->bytes };
	const struct fuse_in_header *in = bytes;

	if (buf.size < sizeof(*in))
		return;
	if (in->opcode == FUSE_INIT)
		keep_greeting(bytes, buf.size);
	if (taken->welcome)
		fuse_session_process_buf(loop.transport->se, &buf);
	else
		refuse(in);
	requests_end(loop.transport->config.answers);
	if (taken->again)
		settle_one();
}

/* ---- threads ------------------------------------------------------------------ */

static void *serve_thread(void *arg);

static struct worker *find_place_locked(void)
{
	for (unsigned i = 0; i < loop.places; i++) {
		if (loop.workers[i].state != PLACE_SERVES)
			return &loop.workers[i];
	}
	return NULL;
}

static errint_t start_worker_locked(void)
{
	struct worker *worker = find_place_locked();
	struct buffer buffer;
	int err = worker ? buffer_alloc(BUFFER_SIZE, &buffer) : -ENOMEM;

	if (err)
		return err;
	if (worker->state == PLACE_ENDED)
		pthread_join(worker->thread, NULL);
	worker->state = PLACE_FREE;
	worker->buffer = buffer;
	atomic_fetch_add_explicit(&loop.running, 1, memory_order_relaxed);
	err = -pthread_create(&worker->thread, NULL, serve_thread, worker);
	if (err) {
		atomic_fetch_sub_explicit(&loop.running, 1, memory_order_relaxed);
		buffer_free(&buffer);
		return err;
	}
	worker->state = PLACE_SERVES;
	return 0;
}

/* Without memory for one they wait for each other, a second at most. */
static void reinforce(void)
{
	if (!atomic_load_explicit(&loop.waiting, memory_order_seq_cst))
		return;
	lock_mutex(LOCK_CREW, &loop.crew);
	if (!is_stopping() && loop.workers &&
	    atomic_load_explicit(&loop.busy, memory_order_seq_cst) >=
		    atomic_load_explicit(&loop.running, memory_order_relaxed))
		start_worker_locked();
	unlock_mutex(LOCK_CREW, &loop.crew);
}

bool loop_waiting(bool begins)
{
	if (!begins) {
		atomic_fetch_sub_explicit(&loop.waiting, 1, memory_order_seq_cst);
		return true;
	}
	if (atomic_fetch_add_explicit(&loop.waiting, 1, memory_order_seq_cst) + 1 >
	    LOOP_SPARE / 2) {
		atomic_fetch_sub_explicit(&loop.waiting, 1, memory_order_seq_cst);
		return false;
	}
	sem_post(&loop.wake);
	return true;
}

static bool has_spare(void)
{
	return atomic_load_explicit(&loop.running, memory_order_relaxed) >
	       atomic_load_explicit(&loop.regular, memory_order_relaxed);
}

/* Nobody waits any more, and there are others. */
static bool is_spare(void)
{
	bool spare;

	if (!has_spare() || atomic_load_explicit(&loop.waiting, memory_order_relaxed))
		return false;
	lock_mutex(LOCK_CREW, &loop.crew);
	spare = has_spare();
	if (spare)
		atomic_fetch_sub_explicit(&loop.running, 1, memory_order_relaxed);
	unlock_mutex(LOCK_CREW, &loop.crew);
	return spare;
}

static uint32_t opcode_of(const void *bytes)
{
	const struct fuse_in_header *in = bytes;

	return in->opcode;
}

void loop_times(struct dxf_ioc_requests *ret_sum)
{
	memset(ret_sum, 0, sizeof(*ret_sum));
	for (unsigned i = 0; loop.workers && i < loop.places; i++)
		times_sum(&loop.workers[i].times, ret_sum);
}

/* True: it is not needed any more. False: the loop ends. */
static bool serve_until_spare(struct worker *worker)
{
	while (!is_spare()) {
		struct taken taken = take_request(worker->buffer.at);
		uint64_t begun = times_now();

		if (taken.bytes <= 0)
			return false;
		atomic_fetch_add_explicit(&loop.busy, 1, memory_order_seq_cst);
		reinforce();
		serve_request(worker->buffer.at, &taken);
		times_add(&worker->times, opcode_of(worker->buffer.at), begun);
		atomic_fetch_sub_explicit(&loop.busy, 1, memory_order_seq_cst);
	}
	return true;
}

static void *serve_thread(void *arg)
{
	struct worker *worker = arg;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, WAKE);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	if (serve_until_spare(worker)) {
		requests_leave(loop.transport->config.answers);
	} else {
		loop_stop(loop.transport); /* the others need not find out themselves */
		atomic_fetch_sub_explicit(&loop.running, 1, memory_order_acq_rel);
	}
	buffer_free(&worker->buffer);
	lock_mutex(LOCK_CREW, &loop.crew);
	worker->state = PLACE_ENDED;
	unlock_mutex(LOCK_CREW, &loop.crew);
	return NULL;
}

static void wake_workers(void)
{
	lock_mutex(LOCK_CREW, &loop.crew);
	for (unsigned i = 0; i < loop.places; i++) {
		if (loop.workers[i].state == PLACE_SERVES)
			pthread_kill(loop.workers[i].thread, WAKE);
	}
	unlock_mutex(LOCK_CREW, &loop.crew);
}

/* A thread that has counted itself out may still say that its place has ended. */
static bool is_place_used(unsigned i)
{
	bool used;

	lock_mutex(LOCK_CREW, &loop.crew);
	used = loop.workers[i].state != PLACE_FREE;
	unlock_mutex(LOCK_CREW, &loop.crew);
	return used;
}

/*
 * Until every thread has ended. Those that are needed meanwhile are started here: one that waits
 * may be another transport's, with fewer rights, which a thread inherits.
 */
static void wait_for_threads(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	do {
		while (sem_wait(&loop.wake))
			;
		reinforce();
	} while (!is_stopping());
	while (atomic_load_explicit(&loop.running, memory_order_acquire)) {
		wake_workers();
		nanosleep(&pause, NULL);
	}
	for (unsigned i = 0; i < loop.places; i++) {
		if (is_place_used(i))
			pthread_join(loop.workers[i].thread, NULL);
	}
}

/* ---- taking over -------------------------------------------------------------- */

static void greet_again(struct transport *t)
{
	struct kept_session *session = &t->config.kept->session;
	const struct fuse_buf buf = { .mem = session->init, .size = session->init_bytes };

	/* the kernel has its answer already, and does not want another */
	if (session->init_bytes)
		fuse_session_process_buf(t->se, &buf);
}

static errint_t ask_again(void)
{
	const struct fuse_out_header out = { .len = sizeof(out), .error = KERNEL_NOTIFY_RESEND };

	return write(loop.fd, &out, sizeof(out)) == sizeof(out) ? 0 : -errno;
}

/* As many as there is memory for: one is enough. */
static errint_t start_threads(const struct transport *t)
{
	unsigned started = 0;
	int err = 0;

	lock_mutex(LOCK_CREW, &loop.crew);
	atomic_store_explicit(&loop.regular, t->config.max_threads, memory_order_relaxed);
	while (!err && started < t->config.max_threads) {
		err = start_worker_locked();
		started += !err;
	}
	atomic_store_explicit(&loop.regular, started, memory_order_relaxed);
	unlock_mutex(LOCK_CREW, &loop.crew);
	return started ? 0 : err;
}

static errint_t make_places(const struct transport *t)
{
	loop.places = t->config.max_threads + LOOP_SPARE;
	loop.workers = calloc(loop.places, sizeof(*loop.workers));
	return loop.workers ? 0 : -ENOMEM;
}

errint_t loop_serve(struct transport *t)
{
	struct sigaction action = { .sa_handler = wake };
	int err = make_places(t);

	loop.transport = t;
	loop.fd = fuse_session_fd(t->se);
	loop.settled = !t->config.adopts;
	loop.unsettled = t->config.adopts;
	sigaction(WAKE, &action, NULL);
	if (!err && t->config.adopts) {
		greet_again(t);
		err = ask_again();
		if (err == -ENODEV || err == -ENOTCONN || err == -EPERM) {
			err = 0; /* unmounted meanwhile */
			loop_stop(t);
		}
	}
	if (!err && !is_stopping())
		err = start_threads(t);
	if (!err)
		wait_for_threads();
	return err ? err : loop.err;
}
