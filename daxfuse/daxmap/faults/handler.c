/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each SIGSEGV and SIGBUS of the process comes here. Those of our mappings are resolved; the others
 * go to what the program has set, with its mask and flags, or the default action, as the kernel
 * would have it. The two signals are never really blocked: an access that we could resolve would
 * end the process. A program that has blocked them is told that they are.
 */
#include "handler.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "fault.h"
#include "fork.h"
#include "daxfuse/base/errint.h"

#include "daxfuse/daxmap.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/preload.h"

/* libc's sigaction() under the name which the preload does not take. */
int __sigaction(int sig, const struct sigaction *action, struct sigaction *ret_old);

/* What the program wants done; under the lock. */
static struct sigaction segv, bus;
static _Atomic bool installed;
/* Signals that the program believes to be blocked in this thread: bit 0 SIGSEGV, bit 1 SIGBUS. */
static __thread __attribute__((tls_model("initial-exec"))) unsigned believed;

static struct sigaction *action_of(int sig)
{
	return sig == SIGSEGV ? &segv : &bus;
}

static unsigned belief_of(int sig)
{
	return sig == SIGSEGV ? 1 : 2;
}

/* ---- a fault ---- */

static bool is_store(int sig, const ucontext_t *context)
{
#ifdef __x86_64__
	return context->uc_mcontext.gregs[REG_ERR] & 2;
#else
	/* A load fails where nothing is mapped, and that is a SIGBUS. */
	return sig == SIGSEGV;
#endif
}

int dxm_fault(int sig, siginfo_t *info, void *context)
{
	int saved = errno;
	enum fault fault;

	if (info->si_code <= 0 || info->si_code == BUS_MCEERR_AR || info->si_code == BUS_MCEERR_AO)
		return 0;
	fault = fault_resolve((uintptr_t)info->si_addr, is_store(sig, context), sig == SIGBUS);
	errno = saved;
	return fault == FAULT_AGAIN;
}

/* The default action is set, and the access repeated, or the signal sent again: so the core dump
 * shows the right place. */
static void fault_by_default(int sig, const siginfo_t *info)
{
	struct sigaction action = { .sa_handler = SIG_DFL };

	__sigaction(sig, &action, NULL);
	if (info->si_code <= 0)
		syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), sig);
}

static void call_program(const struct sigaction *action, int sig, siginfo_t *info,
			 ucontext_t *context)
{
	sigset_t mask = context->uc_sigmask;

	for (int other = 1; other < NSIG; other++) {
		if (sigismember(&action->sa_mask, other) == 1)
			sigaddset(&mask, other);
	}
	sigdelset(&mask, SIGSEGV);
	sigdelset(&mask, SIGBUS);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, NSIG / 8);
	if (action->sa_flags & SA_SIGINFO)
		action->sa_sigaction(sig, info, context);
	else
		action->sa_handler(sig);
}

/* To the program: its handler runs with SIGSEGV and SIGBUS open, as it may touch mappings, and
 * may never come back (siglongjmp). */
static void pass_on(int sig, siginfo_t *info, ucontext_t *context)
{
	struct lock_guard guard = lock_take();
	struct sigaction action = *action_of(sig);

	if (action.sa_flags & SA_RESETHAND)
		action_of(sig)->sa_handler = SIG_DFL;
	lock_release(guard);
	if (action.sa_handler == SIG_IGN && info->si_code <= 0)
		return;
	if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN ||
	    believed & belief_of(sig))
		fault_by_default(sig, info);
	else
		call_program(&action, sig, info, context);
}

static void handle_fault(int sig, siginfo_t *info, void *context)
{
	int saved = errno;
	bool resolved;

	signals_enter_handler();
	resolved = dxm_fault(sig, info, context);
	signals_leave_handler();
	if (!resolved)
		pass_on(sig, info, context);
	errno = saved;
}

/* With the lock: a thread that comes to pass_on() before the program's action is kept waits. */
errint_t handlers_install(void)
{
	struct sigaction action = { .sa_sigaction = handle_fault,
				    .sa_flags = SA_SIGINFO | SA_ONSTACK };
	struct lock_guard guard;
	int err = 0;

	if (installed)
		return 0;
	sigfillset(&action.sa_mask);
	guard = lock_take();
	if (!installed) {
		if (__sigaction(SIGSEGV, &action, &segv) || __sigaction(SIGBUS, &action, &bus))
			err = -errno;
		installed = !err;
	}
	lock_release(guard);
	return err;
}

/* ---- the program's own calls, by the preload ---- */

/* SIGSEGV and SIGBUS out of a set. */
static void open_ours(sigset_t *set)
{
	sigdelset(set, SIGSEGV);
	sigdelset(set, SIGBUS);
}

static int change_ours_locked(int sig, const struct sigaction *action, struct sigaction *ret_old)
{
	struct sigaction old = *action_of(sig);

	if (action)
		*action_of(sig) = *action;
	if (ret_old)
		*ret_old = old;
	return 0;
}

static int change_kernels(int sig, const struct sigaction *action, struct sigaction *ret_old)
{
	struct sigaction changed;

	if (action) {
		changed = *action;
		open_ours(&changed.sa_mask);
	}
	return __sigaction(sig, action ? &changed : NULL, ret_old);
}

int dxm_preload_sigaction(int sig, const struct sigaction *action, struct sigaction *ret_old)
{
	struct lock_guard guard;
	int err;

	/* a child of vfork() has handlers of its own, and our memory is the parent's */
	if ((sig != SIGSEGV && sig != SIGBUS) || fork_is_foreign())
		return change_kernels(sig, action, ret_old);
	guard = lock_take();
	err = installed ? change_ours_locked(sig, action, ret_old)
			: change_kernels(sig, action, ret_old);
	lock_release(guard);
	return err;
}

static unsigned beliefs_in(const sigset_t *set)
{
	return (sigismember(set, SIGSEGV) == 1 ? 1 : 0) | (sigismember(set, SIGBUS) == 1 ? 2 : 0);
}

int dxm_preload_sigmask(int how, const sigset_t *set, sigset_t *ret_old)
{
	unsigned before = believed;
	sigset_t changed;

	if (set) {
		changed = *set;
		open_ours(&changed);
	}
	/* the kernel's set has 64 bits; 32 and 33 are libc's */
	if (set)
		((uint64_t *)&changed)[0] &= ~(UINT64_C(3) << 31);
	if (syscall(SYS_rt_sigprocmask, how, set ? &changed : NULL, ret_old, NSIG / 8))
		return errno;
	if (set)
		believed = how == SIG_BLOCK     ? believed | beliefs_in(set)
			   : how == SIG_UNBLOCK ? believed & ~beliefs_in(set)
						: beliefs_in(set);
	if (ret_old && before & 1)
		sigaddset(ret_old, SIGSEGV);
	if (ret_old && before & 2)
		sigaddset(ret_old, SIGBUS);
	return 0;
}
