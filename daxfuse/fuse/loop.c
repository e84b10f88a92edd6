/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that read requests and have libfuse decode them.
 *
 * After a mount was taken over they read one at a time until the first request
 * that is new: the kernel puts what it sends again before all others, so each of
 * these has found its slot by then, and slots that nobody asked for belong to
 * requests that were withdrawn (their programs were killed meanwhile). Somebody
 * always asks something soon: daemon.c has the mount looked at from outside.
 *
 * A thread that is blocked in read() is woken by a signal; as that may come just
 * before it blocks, it is repeated until the thread has ended.
 */
#include "daxfuse/fuse/loop.h"

#include <errno.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/fuse/deferred.h"
#include "daxfuse/fuse/kernel.h"
#include "daxfuse/fuse/log.h"
#include "daxfuse/fuse/requests.h"

enum { BUFFER_SIZE = STATE_IO_MAX + (64 << 10), WAKE = SIGUSR2 };

struct loop {
	struct state *s;
	int fd;
	bool stopping;          /* atomic */
	sem_t stop;             /* posted with it */
	bool settled;           /* all that is sent again has come (atomic) */
	pthread_mutex_t gate;   /* held from reading a request until its slot is taken,
				 * while not settled */
	unsigned running;       /* threads (atomic) */
	int err;                /* why one ended (atomic) */
};

static struct loop loop = { .gate = PTHREAD_MUTEX_INITIALIZER }; /* a process has one */

static void wake(int number)
{
	(void)number;
}

void loop_stop(struct state *s)
{
	(void)s;
	__atomic_store_n(&loop.stopping, true, __ATOMIC_RELEASE);
	sem_post(&loop.stop);
}

static bool is_stopping(void)
{
	return __atomic_load_n(&loop.stopping, __ATOMIC_ACQUIRE);
}

static bool is_settled(void)
{
	return __atomic_load_n(&loop.settled, __ATOMIC_ACQUIRE);
}

/* ---- one request -------------------------------------------------------------- */

/*
 * SIGKILL while the kernel pages a buffer in would cost the client an EIO: so all
 * of it is there before. Shared, as memory that is copied on write after a fork
 * would not be.
 */
static void *make_buffer(void)
{
	void *p = mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	mlock(p, BUFFER_SIZE); /* as far as the limits allow */
	return p;
}

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
			__atomic_store_n(&loop.err, -errno, __ATOMIC_RELAXED);
		break;
	}
	return 0;
}

static void refuse(const struct fuse_in_header *in)
{
	const struct fuse_out_header out = {
		.len = sizeof(out), .error = -EIO, .unique = in->unique,
	};
	ssize_t n = write(loop.fd, &out, sizeof(out));

	(void)n; /* nobody waits for it any more */
	log_error("daxfuse: %s: request %llu (opcode %u, node %llu) has ended several serving "
		  "processes, it is answered with EIO\n",
		  loop.s->device, (unsigned long long)(in->unique & ~FUSE_UNIQUE_RESEND), in->opcode,
		  (unsigned long long)in->nodeid);
}

/* The greeting is kept before it is answered: from then on the kernel will not send
 * it again. Order: the bytes, then their number. */
static void keep_greeting(const void *buf, size_t size)
{
	struct kept_session *session = &loop.s->kept->session;

	if (session->init_bytes || size > sizeof(session->init))
		return;
	memcpy(session->init, buf, size);
	__atomic_store_n(&session->init_bytes, (uint32_t)size, __ATOMIC_RELEASE);
}

/* Read one request and take its slot. Bytes; 0: the end. */
static ssize_t take_request(void *buf, bool *ret_welcome)
{
	struct requests *r = loop.s->requests;
	bool gated = !is_settled(), settles = false;
	ssize_t n;

	if (gated)
		pthread_mutex_lock(&loop.gate);
	n = read_request(buf);
	if (n >= (ssize_t)sizeof(struct fuse_in_header)) {
		*ret_welcome = requests_begin(r, buf, (size_t)n);
		settles = gated && !is_settled() && requests_is_new(buf);
	}
	if (settles)
		__atomic_store_n(&loop.settled, true, __ATOMIC_RELEASE);
	if (gated)
		pthread_mutex_unlock(&loop.gate);
	if (settles)
		deferred_settle(loop.s->deferred);
	return n;
}

static void serve_request(void *bytes, size_t size, bool welcome)
{
	const struct fuse_buf buf = { .mem = bytes, .size = size };
	const struct fuse_in_header *in = bytes;

	if (size < sizeof(*in))
		return;
	if (in->opcode == FUSE_INIT)
		keep_greeting(bytes, size);
	if (welcome)
		fuse_session_process_buf(loop.s->se, &buf);
	else
		refuse(in);
	requests_end(loop.s->requests);
}

/* ---- threads ------------------------------------------------------------------ */

static void *serve_thread(void *arg)
{
	void *buf = make_buffer();
	sigset_t set;

	(void)arg;
	sigemptyset(&set);
	sigaddset(&set, WAKE);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	while (buf) {
		bool welcome = true;
		ssize_t n = take_request(buf, &welcome);

		if (n <= 0)
			break;
		serve_request(buf, (size_t)n, welcome);
	}
	if (buf)
		munmap(buf, BUFFER_SIZE);
	loop_stop(loop.s); /* the others need not find out themselves */
	__atomic_fetch_sub(&loop.running, 1, __ATOMIC_ACQ_REL);
	return NULL;
}

/* Until every thread has ended. */
static void wait_for_threads(const pthread_t *threads, unsigned count)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	while (sem_wait(&loop.stop))
		;
	while (__atomic_load_n(&loop.running, __ATOMIC_ACQUIRE)) {
		for (unsigned i = 0; i < count; i++)
			pthread_kill(threads[i], WAKE);
		nanosleep(&pause, NULL);
	}
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

/* ---- taking over -------------------------------------------------------------- */

static void greet_again(struct state *s)
{
	struct kept_session *session = &s->kept->session;
	const struct fuse_buf buf = { .mem = session->init, .size = session->init_bytes };

	/* the kernel has its answer already, and does not want another */
	if (session->init_bytes)
		fuse_session_process_buf(s->se, &buf);
}

static int ask_again(void)
{
	const struct fuse_out_header out = { .len = sizeof(out), .error = KERNEL_NOTIFY_RESEND };

	return write(loop.fd, &out, sizeof(out)) == sizeof(out) ? 0 : -errno;
}

static int start_threads(struct state *s, pthread_t *threads, unsigned *ret_count)
{
	unsigned wanted = s->options->max_threads;
	int err = 0;

	for (*ret_count = 0; !err && *ret_count < wanted; (*ret_count)++) {
		__atomic_fetch_add(&loop.running, 1, __ATOMIC_RELAXED);
		err = -pthread_create(&threads[*ret_count], NULL, serve_thread, NULL);
	}
	if (err) {
		(*ret_count)--;
		__atomic_fetch_sub(&loop.running, 1, __ATOMIC_RELAXED);
	}
	return *ret_count ? 0 : err;
}

int loop_serve(struct state *s)
{
	struct sigaction action = { .sa_handler = wake };
	pthread_t *threads = calloc(s->options->max_threads, sizeof(*threads));
	unsigned count = 0;
	int err = threads ? 0 : -ENOMEM;

	loop.s = s;
	loop.fd = fuse_session_fd(s->se);
	loop.settled = !s->adopts;
	sigaction(WAKE, &action, NULL);
	if (!err && s->adopts) {
		greet_again(s);
		err = ask_again();
		if (err == -ENODEV || err == -ENOTCONN || err == -EPERM) {
			err = 0; /* unmounted meanwhile */
			loop_stop(s);
		}
	}
	if (!err && !is_stopping())
		err = start_threads(s, threads, &count);
	if (!err)
		wait_for_threads(threads, count);
	free(threads);
	return err ? err : loop.err;
}
