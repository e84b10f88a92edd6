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
#include "loop.h"

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

#include "deferred.h"
#include "daxfuse/keeper/kernel.h"
#include "daxfuse/keeper/log.h"
#include "requests.h"

enum { BUFFER_SIZE = TRANSPORT_IO_MAX + (64 << 10), WAKE = SIGUSR2 };

struct loop {
	struct transport *transport;
	int fd;
	bool stopping;          /* atomic */
	sem_t stop;             /* posted with it */
	bool settled;           /* all that is sent again has come (atomic) */
	unsigned unsettled;     /* of that, what is not done yet; and 1 until all has come
				 * (atomic) */
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

void loop_stop(struct transport *t)
{
	(void)t;
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
		  loop.transport->config.attach.device, (unsigned long long)(in->unique & ~FUSE_UNIQUE_RESEND), in->opcode,
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
	__atomic_store_n(&session->init_bytes, (uint32_t)size, __ATOMIC_RELEASE);
}

/* What was sent again has come, or one of it is done. When that holds for all, nobody
 * asks for what the last process has left. */
static void settle_one(void)
{
	if (!__atomic_sub_fetch(&loop.unsettled, 1, __ATOMIC_ACQ_REL))
		deferred_settle(loop.transport->deferred);
}

struct taken {
	ssize_t bytes; /* 0: the end */
	bool welcome;
	bool again;    /* counted in loop.unsettled */
};

/* Read one request and take its slot. */
static struct taken take_request(void *buf)
{
	bool gated = !is_settled(), settles = false;
	struct taken taken = { 0 };

	if (gated)
		pthread_mutex_lock(&loop.gate);
	taken.bytes = read_request(buf);
	if (taken.bytes >= (ssize_t)sizeof(struct fuse_in_header)) {
		taken.welcome = requests_begin(loop.transport->config.answers, buf, (size_t)taken.bytes);
		taken.again = gated && !is_settled() && requests_is_resent(buf);
		settles = gated && !is_settled() && requests_is_new(buf);
	}
	if (taken.again)
		__atomic_fetch_add(&loop.unsettled, 1, __ATOMIC_RELAXED);
	if (settles)
		__atomic_store_n(&loop.settled, true, __ATOMIC_RELEASE);
	if (gated)
		pthread_mutex_unlock(&loop.gate);
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

static void *serve_thread(void *buf)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, WAKE);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	for (;;) {
		struct taken taken = take_request(buf);

		if (taken.bytes <= 0)
			break;
		serve_request(buf, &taken);
	}
	munmap(buf, BUFFER_SIZE);
	loop_stop(loop.transport); /* the others need not find out themselves */
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

static void greet_again(struct transport *t)
{
	struct kept_session *session = &t->config.kept->session;
	const struct fuse_buf buf = { .mem = session->init, .size = session->init_bytes };

	/* the kernel has its answer already, and does not want another */
	if (session->init_bytes)
		fuse_session_process_buf(t->se, &buf);
}

static int ask_again(void)
{
	const struct fuse_out_header out = { .len = sizeof(out), .error = KERNEL_NOTIFY_RESEND };

	return write(loop.fd, &out, sizeof(out)) == sizeof(out) ? 0 : -errno;
}

static int start_thread(pthread_t *ret_thread)
{
	void *buf = make_buffer();
	int err;

	if (!buf)
		return -ENOMEM;
	__atomic_fetch_add(&loop.running, 1, __ATOMIC_RELAXED);
	err = -pthread_create(ret_thread, NULL, serve_thread, buf);
	if (err) {
		__atomic_fetch_sub(&loop.running, 1, __ATOMIC_RELAXED);
		munmap(buf, BUFFER_SIZE);
	}
	return err;
}

/* As many as there is memory for: one is enough. */
static int start_threads(struct transport *t, pthread_t *threads, unsigned *ret_count)
{
	unsigned wanted = t->config.max_threads;
	int err = 0;

	for (*ret_count = 0; *ret_count < wanted; (*ret_count)++) {
		err = start_thread(&threads[*ret_count]);
		if (err)
			break;
	}
	return *ret_count ? 0 : err;
}

int loop_serve(struct transport *t)
{
	struct sigaction action = { .sa_handler = wake };
	pthread_t *threads = calloc(t->config.max_threads, sizeof(*threads));
	unsigned count = 0;
	int err = threads ? 0 : -ENOMEM;

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
		err = start_threads(t, threads, &count);
	if (!err)
		wait_for_threads(threads, count);
	free(threads);
	return err ? err : loop.err;
}
