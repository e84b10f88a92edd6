/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads with fewer rights: what they can still do, what is refused, and that others are as
 * before. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/confine.h"

#define IOCTLS 0xda

static int event; /* of the whole process */
static pid_t parent;

/* ---- calls ---------------------------------------------------------------------------------- */

static long call_openat(void)
{
	return openat(AT_FDCWD, "/dev/null", O_WRONLY | O_CLOEXEC);
}

static long call_execve(void)
{
	char *const none[] = { NULL };

	return execve("/bin/true", none, none);
}

static long call_fork(void)
{
	pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (child == 0)
		_exit(0);
	if (child > 0)
		waitpid(child, NULL, 0);
	return child;
}

static long call_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static long call_connect(void)
{
	const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };

	return connect(event, &nowhere, sizeof(nowhere));
}

static long call_ptrace(void)
{
	return ptrace(PTRACE_ATTACH, parent, NULL, NULL);
}

static long call_process_vm_writev(void)
{
	return process_vm_writev(parent, NULL, 0, NULL, 0, 0);
}

static long call_mount(void)
{
	return mount("none", "/nowhere", "tmpfs", 0, NULL);
}

static long call_unlink(void)
{
	return unlink("/nowhere");
}

static long call_kill(void)
{
	return kill(parent, 0);
}

static long call_bpf(void)
{
	return syscall(SYS_bpf, 0, NULL, 0);
}

static long call_tiocsti(void)
{
	return ioctl(0, TIOCSTI, "x");
}

static long call_mmap_exec(void)
{
	return (long)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static long call_mprotect_exec(void)
{
	static _Alignas(4096) char page[4096];

	return mprotect(page, sizeof(page), PROT_READ | PROT_EXEC);
}

static long call_recvmsg(void)
{
	struct msghdr header = { 0 };

	return recvmsg(event, &header, 0);
}

static long call_fcntl(void)
{
	return fcntl(event, F_GETFL);
}

static const struct call {
	const char *name;
	long (*call)(void);
	bool of_connections; /* which may do that, or try */
} calls[] = {
	{ "openat", call_openat, false },
	{ "execve", call_execve, false },
	{ "fork", call_fork, false },
	{ "socket", call_socket, false },
	{ "connect", call_connect, false },
	{ "ptrace", call_ptrace, false },
	{ "process_vm_writev", call_process_vm_writev, false },
	{ "mount", call_mount, false },
	{ "unlink", call_unlink, false },
	{ "kill", call_kill, false },
	{ "bpf", call_bpf, false },
	{ "ioctl TIOCSTI", call_tiocsti, false },
	{ "mmap for execution", call_mmap_exec, false },
	{ "mprotect for execution", call_mprotect_exec, false },
	{ "recvmsg", call_recvmsg, true },
	{ "fcntl", call_fcntl, true },
};

/* ---- a thread ------------------------------------------------------------------------------- */

struct thread {
	enum confine to;
	bool filtered;
	unsigned refused; /* bits: of calls, with EPERM, and noted */
	bool works;
	char status[4096]; /* of /proc */
};

static void try_calls(struct thread *t)
{
	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++) {
		errno = 0;
		if (calls[i].call() < 0 && errno == EPERM && confine_take_refused() >= 0)
			t->refused |= 1u << i;
	}
}

/* Memory, an eventfd, locks, time. */
static bool can_work(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct pollfd fd = { .fd = event, .events = POLLIN };
	const struct timespec moment = { .tv_nsec = 1000 };
	eventfd_t value;
	char *small = malloc(100), *large = malloc(64 << 20);
	bool ok = small && large && !eventfd_write(event, 1) && poll(&fd, 1, -1) == 1 &&
		  !eventfd_read(event, &value) && value == 1 && !nanosleep(&moment, NULL);

	if (ok)
		memset(large, 1, 64 << 20);
	pthread_mutex_lock(&lock);
	pthread_mutex_unlock(&lock);
	free(large);
	free(small);
	/* refused without a word, as libc does that */
	ok = ok && open("/dev/null", O_RDONLY | O_CLOEXEC) < 0 && errno == EPERM &&
	     confine_take_refused() < 0;
	return ok && ioctl(event, _IO(IOCTLS, 1)) < 0 && errno == ENOTTY;
}

static void *run_thread(void *arg)
{
	struct thread *t = arg;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)gettid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	t->filtered = confine_thread(t->to, IOCTLS);
	if (pread(fd, t->status, sizeof(t->status) - 1, 0) < 0)
		t->status[0] = '\0';
	if (t->filtered) {
		try_calls(t);
		t->works = can_work();
	}
	close(fd);
	return NULL;
}

static unsigned long long number_of(const struct thread *t, const char *key, int base)
{
	const char *at = strstr(t->status, key);

	assert_non_null(at);
	return strtoull(at + strlen(key), NULL, base);
}

/* cmocka has put its own handler there before each test. */
static void begin(void)
{
	const struct sigaction action = { .sa_handler = SIG_DFL };

	sigaction(SIGSYS, &action, NULL);
	confine_begin();
}

static void check_thread(enum confine to)
{
	static struct thread t;
	pthread_t thread;
	uint64_t before = confine_refused(), count = 0;

	begin();
	t = (struct thread){ .to = to };
	assert_int_equal(pthread_create(&thread, NULL, run_thread, &t), 0);
	pthread_join(thread, NULL);
	assert_int_equal(number_of(&t, "CapPrm:", 16), 0);
	assert_int_equal(number_of(&t, "CapEff:", 16), 0);
	assert_int_equal(number_of(&t, "CapInh:", 16), 0);
	assert_int_equal(number_of(&t, "NoNewPrivs:", 10), 1);
	if (!t.filtered)
		return; /* sanitizers, other processors */
	assert_int_equal(number_of(&t, "Seccomp:", 10), 2);
	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++) {
		bool refused = t.refused >> i & 1;

		if (refused != (to == CONFINE_WORK || !calls[i].of_connections))
			fail_msg("%s is%s refused", calls[i].name, refused ? "" : " not");
		count += refused;
	}
	assert_int_equal(confine_refused() - before, count);
	assert_true(t.works);
}

static void test_work(void **state)
{
	check_thread(CONFINE_WORK);
}

static void test_connection(void **state)
{
	check_thread(CONFINE_CONNECTION);
}

static void *start_another(void *arg)
{
	struct thread *t = arg;
	pthread_t thread;

	confine_thread(CONFINE_CONNECTION, IOCTLS);
	if (pthread_create(&thread, NULL, run_thread, t))
		abort();
	pthread_join(thread, NULL);
	return NULL;
}

/* A connection starts threads, which give up more; a filter is never taken away. */
static void test_one_by_another(void **state)
{
	static struct thread t = { .to = CONFINE_WORK };
	pthread_t thread;

	begin();
	assert_int_equal(pthread_create(&thread, NULL, start_another, &t), 0);
	pthread_join(thread, NULL);
	if (t.filtered) {
		assert_int_equal(t.refused, (1u << ARRAY_SIZE(calls)) - 1);
		assert_true(t.works);
	}
}

static void test_others_are_as_before(void **state)
{
	int fd = (int)call_openat();

	assert_true(fd >= 0);
	close(fd);
	assert_true(call_fork() > 0);
	assert_int_equal(confine_take_refused(), -1);
}

/* SIGSYS that is none of ours goes to who had it. */
static volatile sig_atomic_t foreign;

static void note_foreign(int number)
{
	foreign = number;
}

static void test_foreign_signals(void **state)
{
	const struct sigaction action = { .sa_handler = note_foreign };

	sigaction(SIGSYS, &action, NULL);
	confine_begin();
	raise(SIGSYS);
	assert_int_equal(foreign, SIGSYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_work),
		cmocka_unit_test(test_connection),
		cmocka_unit_test(test_one_by_another),
		cmocka_unit_test(test_others_are_as_before),
		cmocka_unit_test(test_foreign_signals),
	};

	parent = getppid();
	event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
