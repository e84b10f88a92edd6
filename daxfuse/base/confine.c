/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Three things, each of one thread only: its capabilities are dropped (capset(2)), it can't get
 * new ones (no_new_privs), and a filter of system calls is put before it (seccomp(2)). A thread
 * inherits all three, so the filter of a thread that starts others allows what these need, and
 * what does more must not be started by one of them.
 *
 * A call that is not in the list is answered with EPERM, and counted, by way of SIGSYS. An attacker
 * gains nothing by trying again; and if the list lacks something that a library does on
 * another machine, a request fails, and not the mount of everybody, which eight deaths would end.
 *
 * Sanitizers make calls of their own, and start programs for their reports: no filter there.
 */
#include "confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "bits.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ARCHITECTURE 0
#elif defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#define RESULT(context) ((context)->uc_mcontext.gregs[REG_RAX])
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#define RESULT(context) ((context)->uc_mcontext.regs[0])
#else
#define ARCHITECTURE 0
#endif

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 /* asm-generic/siginfo.h */
#endif

static __thread volatile long last_refused; /* its number + 1; 0: none */
static _Atomic uint64_t refused;

static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[2] = { { 0 } };

	syscall(SYS_capset, &header, none); /* fewer are always granted */
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

#if ARCHITECTURE

/* ---- the lists ------------------------------------------------------------------------------- */

/* Beside them: mmap(2) and mprotect(2) for what is not executed, ioctl(2), a way of fstat(2). */
static const int work[] = {
	SYS_futex,
	SYS_read,
	SYS_write,
	SYS_writev,
#ifdef SYS_poll
	SYS_poll,
#endif
	SYS_ppoll,
	SYS_sendmsg,
	SYS_sendto,
	SYS_recvfrom,
	SYS_pread64,
	SYS_madvise,
	SYS_msync,
	SYS_munmap,
	SYS_mremap,
	SYS_brk,
	SYS_sched_yield,
	SYS_sched_getaffinity,
	SYS_clock_gettime,
	SYS_gettimeofday,
	SYS_nanosleep,
	SYS_clock_nanosleep,
	SYS_getrandom,
	SYS_getpid,
	SYS_gettid,
	SYS_membarrier,
	SYS_close,
	SYS_fstat,
	SYS_restart_syscall,
	/* signals, and the end: of the thread, or with a core */
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_sigaltstack,
	SYS_tgkill,
	SYS_exit,
	SYS_exit_group,
};

/* clone(2) is beside it, for threads. */
static const int connection[] = {
	SYS_recvmsg,    SYS_accept4, SYS_shutdown,        SYS_setsockopt, SYS_getsockopt,
	SYS_fcntl,      SYS_fstatfs, SYS_readlinkat,      SYS_capset,     SYS_eventfd2,
	SYS_pidfd_open, SYS_prctl,   SYS_set_robust_list,
#ifdef SYS_readlink
	SYS_readlink,
#endif
#ifdef SYS_rseq
	SYS_rseq,
#endif
};

/* ---- the filter ------------------------------------------------------------------------------ */

struct program {
	struct sock_filter at[256];
	unsigned short count;
};

static void add(struct program *p, struct sock_filter instruction)
{
	p->at[p->count++] = instruction;
}

#define LOAD(field)          \
	(struct sock_filter) \
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(what) (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, what)
/* Skip so many instructions if the word in hand is, or has, that; else so many. */
#define IF_EQUAL(value, then, otherwise) \
	(struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, then, otherwise)
#define IF_ANY(bits, then, otherwise) \
	(struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, then, otherwise)

static void answer_call(struct program *p, int number, unsigned what)
{
	add(p, IF_EQUAL((unsigned)number, 0, 1));
	add(p, ANSWER(what));
}

static void allow_calls(struct program *p, const int *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		answer_call(p, numbers[i], SECCOMP_RET_ALLOW);
}

/* As the argument has any of these bits or none. Its lower half: the other one is ignored by the
 * calls that are asked about. */
static void answer_by_bits(struct program *p, int number, unsigned argument, unsigned bits,
			   unsigned if_any, unsigned if_none)
{
	add(p, IF_EQUAL((unsigned)number, 0, 4));
	add(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					    (unsigned)offsetof(struct seccomp_data, args) +
						    8 * argument));
	add(p, IF_ANY(bits, 0, 1));
	add(p, ANSWER(if_any));
	add(p, ANSWER(if_none));
}

static void allow_ioctls(struct program *p, unsigned type)
{
	add(p, IF_EQUAL(SYS_ioctl, 0, 5));
	add(p, LOAD(args[1]));
	add(p, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff00));
	add(p, IF_EQUAL(type << 8, 0, 1));
	add(p, ANSWER(SECCOMP_RET_ALLOW));
	add(p, ANSWER(SECCOMP_RET_TRAP));
}

/* Both halves of an argument lie as the processor has them: these are little-endian. */
static void write_program(struct program *p, enum confine to, unsigned ioctls)
{
	add(p, LOAD(arch));
	add(p, IF_EQUAL(ARCHITECTURE, 1, 0));
	add(p, ANSWER(SECCOMP_RET_TRAP));
	add(p, LOAD(nr));
	allow_calls(p, work, ARRAY_SIZE(work));
	answer_by_bits(p, SYS_mmap, 2, PROT_EXEC, SECCOMP_RET_TRAP, SECCOMP_RET_ALLOW);
	answer_by_bits(p, SYS_mprotect, 2, PROT_EXEC, SECCOMP_RET_TRAP, SECCOMP_RET_ALLOW);
	/* libc's way to say fstat(2) */
	answer_by_bits(p, SYS_newfstatat, 3, AT_EMPTY_PATH, SECCOMP_RET_ALLOW, SECCOMP_RET_TRAP);
	/* its allocator has a look at a file of /proc, once in a process, and can do without */
	answer_by_bits(p, SYS_openat, 2, O_ACCMODE | O_CREAT, SECCOMP_RET_TRAP,
		       SECCOMP_RET_ERRNO | EPERM);
	if (ioctls)
		allow_ioctls(p, ioctls);
	if (to == CONFINE_CONNECTION) {
		allow_calls(p, connection, ARRAY_SIZE(connection));
		answer_by_bits(p, SYS_clone, 0, CLONE_THREAD, SECCOMP_RET_ALLOW, SECCOMP_RET_TRAP);
		/* its flags can't be seen: libc takes clone(2) then */
		answer_call(p, SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS);
	}
	add(p, ANSWER(SECCOMP_RET_TRAP));
}

static bool filter_calls(enum confine to, unsigned ioctls)
{
	struct program program = { .count = 0 };
	struct sock_fprog fprog;

	write_program(&program, to, ioctls);
	fprog = (struct sock_fprog){ .len = program.count, .filter = program.at };
	return !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &fprog, 0, 0);
}

/* ---- what is refused ------------------------------------------------------------------------ */

static struct sigaction previous;

/* As if we were not there: the signal comes again, or kills. */
static void hand_on(int signal, siginfo_t *info, void *context)
{
	if (previous.sa_flags & SA_SIGINFO)
		previous.sa_sigaction(signal, info, context);
	else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN)
		previous.sa_handler(signal);
	else
		sigaction(signal, &previous, NULL);
}

/* Also in a thread that has inherited a filter, and not its own yet. */
static void refuse_call(int signal, siginfo_t *info, void *context)
{
	if (info->si_code != SYS_SECCOMP) {
		hand_on(signal, info, context);
		return;
	}
	atomic_fetch_add_explicit(&refused, 1, memory_order_relaxed);
	last_refused = info->si_syscall + 1;
	RESULT((ucontext_t *)context) = -EPERM;
}

void confine_begin(void)
{
	struct sigaction action = { .sa_flags = SA_SIGINFO, .sa_sigaction = refuse_call };

	sigemptyset(&action.sa_mask);
	sigaction(SIGSYS, &action, &previous);
}

#else

static bool filter_calls(enum confine to, unsigned ioctls)
{
	return false;
}

void confine_begin(void)
{
}

#endif

bool confine_thread(enum confine to, unsigned ioctls)
{
	drop_capabilities();
	return filter_calls(to, ioctls);
}

uint64_t confine_refused(void)
{
	return atomic_load_explicit(&refused, memory_order_relaxed);
}

long confine_take_refused(void)
{
	long number = last_refused - 1;

	last_refused = 0;
	return number;
}
