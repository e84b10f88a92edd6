/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libdaxmap-preload: SIGSEGV and SIGBUS are ours first, and open; the program sees what it has
 * set.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>

#include "next.h"
#include "daxfuse/daxmap/preload.h"

EXPORTED int sigaction(int sig, const struct sigaction *action, struct sigaction *ret_old)
{
	return dxm_preload_sigaction(sig, action, ret_old);
}

static __sighandler_t set_handler(int sig, __sighandler_t handler, int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags }, old;

	sigemptyset(&action.sa_mask);
	if (!(flags & SA_NODEFER))
		sigaddset(&action.sa_mask, sig);
	return dxm_preload_sigaction(sig, &action, &old) ? SIG_ERR : old.sa_handler;
}

static int is_ours(int sig)
{
	return sig == SIGSEGV || sig == SIGBUS;
}

EXPORTED __sighandler_t signal(int sig, __sighandler_t handler)
{
	return is_ours(sig) ? set_handler(sig, handler, SA_RESTART) : NEXT(signal)(sig, handler);
}

EXPORTED __sighandler_t ssignal(int sig, __sighandler_t handler)
{
	return is_ours(sig) ? set_handler(sig, handler, SA_RESTART) : NEXT(ssignal)(sig, handler);
}

EXPORTED __sighandler_t __sysv_signal(int sig, __sighandler_t handler)
{
	return is_ours(sig) ? set_handler(sig, handler, SA_RESETHAND | SA_NODEFER)
			    : NEXT(__sysv_signal)(sig, handler);
}

EXPORTED __sighandler_t sysv_signal(int sig, __sighandler_t handler)
{
	return __sysv_signal(sig, handler);
}

EXPORTED int pthread_sigmask(int how, const sigset_t *set, sigset_t *ret_old)
{
	return dxm_preload_sigmask(how, set, ret_old);
}

EXPORTED int sigprocmask(int how, const sigset_t *set, sigset_t *ret_old)
{
	int err = dxm_preload_sigmask(how, set, ret_old);

	if (err)
		errno = err;
	return err ? -1 : 0;
}
