/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Touching memory that may be poisoned.
 *
 * A load from poisoned memory is answered by SIGBUS in the thread that made it.
 * Once the kernel knows of it, it takes the page away, and stores are answered
 * so, too. A function here says beforehand which range it is about to touch (a
 * guard in thread-local storage); the handler jumps back to it when the signal's
 * address lies there, and the access becomes -EIO. Any other SIGBUS goes to the handler
 * that was installed before ours, so a bug still dies as it should.
 *
 * Invariants:
 * - at most one guard is armed in a thread, and no other code runs under it
 *   than the copy itself (no locks, no allocation): jumping out is safe;
 * - SA_NODEFER keeps SIGBUS unblocked, because the jump does not restore masks
 *   (saving them would cost a system call in every read).
 *
 * The kernel reports memory failures with the granularity of the mapping
 * (si_addr_lsb: a page, or a whole huge page), so the guard compares ranges.
 */
#include "daxfuse/base/errint.h"
#include "daxfuse/base/lockrank.h"
#include "pmem.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#define LINE_SIZE 64

struct guard {
	sigjmp_buf back;
	uintptr_t start, end;
	volatile sig_atomic_t armed;
	volatile sig_atomic_t foreign; /* what is lost there is no poison of ours */
};

static __thread struct guard guard;

static struct {
	pthread_mutex_t lock;      /* installation only */
	struct sigaction previous; /* set before the handler is installed */
	_Atomic uint64_t count;
} poison = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool guard_covers(const siginfo_t *info)
{
	uintptr_t size = 1, start;

	if (info->si_code == BUS_MCEERR_AR) {
		unsigned shift = (unsigned)info->si_addr_lsb;

		size = (uintptr_t)1 << (shift < 40 ? shift : 12);
	}
	start = (uintptr_t)info->si_addr & ~(size - 1);
	return guard.armed && start < guard.end && start + size > guard.start;
}

static void chain(int signal, siginfo_t *info, void *context)
{
	if (poison.previous.sa_flags & SA_SIGINFO) {
		poison.previous.sa_sigaction(signal, info, context);
		return;
	}
	if (poison.previous.sa_handler != SIG_DFL && poison.previous.sa_handler != SIG_IGN) {
		poison.previous.sa_handler(signal);
		return;
	}
	/* The access is repeated when we return, and kills the process then. */
	sigaction(signal, &poison.previous, NULL);
}

static void on_sigbus(int signal, siginfo_t *info, void *context)
{
	/* Somebody else met it, and nobody here has to act on it. */
	if (info->si_code == BUS_MCEERR_AO) {
		atomic_fetch_add_explicit(&poison.count, 1, memory_order_relaxed);
		return;
	}
	if (guard_covers(info)) {
		guard.armed = 0;
		if (!guard.foreign)
			atomic_fetch_add_explicit(&poison.count, 1, memory_order_relaxed);
		siglongjmp(guard.back, 1);
	}
	chain(signal, info, context);
}

errint_t pmem_poison_init(void)
{
	struct sigaction action = { .sa_flags = SA_SIGINFO | SA_NODEFER }, current;
	int err = 0;

	action.sa_sigaction = on_sigbus;
	sigemptyset(&action.sa_mask);
	lock_mutex(LOCK_POISON, &poison.lock);
	if (sigaction(SIGBUS, NULL, &current) < 0) {
		err = -errno;
	} else if (current.sa_sigaction != on_sigbus) {
		poison.previous = current;
		err = sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
	}
	unlock_mutex(LOCK_POISON, &poison.lock);
	return err;
}

uint64_t pmem_poison_count(void)
{
	return atomic_load_explicit(&poison.count, memory_order_relaxed);
}

/* The fences keep the compiler from moving the guarded loads out. */
static inline void guard_arm(const void *p, size_t len)
{
	guard.start = (uintptr_t)p;
	guard.end = (uintptr_t)p + len;
	guard.foreign = 0;
	guard.armed = 1;
	atomic_signal_fence(memory_order_seq_cst);
}

static inline void guard_arm_foreign(const void *p, size_t len)
{
	guard_arm(p, len);
	guard.foreign = 1;
	atomic_signal_fence(memory_order_seq_cst);
}

static inline void guard_disarm(void)
{
	atomic_signal_fence(memory_order_seq_cst);
	guard.armed = 0;
}

errint_t pmem_read(const struct pmem *pm, void *dst, const void *src, size_t len)
{
	if (sigsetjmp(guard.back, 0))
		return -EIO;
	guard_arm(src, len);
	memcpy(dst, src, len);
	guard_disarm();
	return 0;
}

errint_t pmem_load64(const struct pmem *pm, const uint64_t *word, uint64_t *ret_value)
{
	uint64_t value;

	if (sigsetjmp(guard.back, 0))
		return -EIO;
	guard_arm(word, sizeof(*word));
	value = atomic_load_explicit((const _Atomic uint64_t *)word, memory_order_acquire);
	guard_disarm();
	*ret_value = value;
	return 0;
}

errint_t pmem_write_nt(const struct pmem *pm, void *dst, const void *src, size_t len)
{
	if (sigsetjmp(guard.back, 0))
		return -EIO;
	guard_arm(dst, len);
	pmem_copy_nt(pm, dst, src, len);
	guard_disarm();
	return 0;
}

errint_t pmem_write_zero_nt(const struct pmem *pm, void *dst, size_t len)
{
	if (sigsetjmp(guard.back, 0))
		return -EIO;
	guard_arm(dst, len);
	pmem_zero_nt(pm, dst, len);
	guard_disarm();
	return 0;
}

/* Not inlined: a variable that lives across sigsetjmp() may be clobbered. */
__attribute__((noinline)) static void touch_lines(const volatile char *line, size_t len)
{
	const volatile char *end = line + len;

	while (line < end) {
		(void)*line;
		line += LINE_SIZE - ((uintptr_t)line & (LINE_SIZE - 1));
	}
}

errint_t pmem_probe(const struct pmem *pm, const void *p, size_t len)
{
	if (sigsetjmp(guard.back, 0))
		return -EIO;
	guard_arm(p, len);
	touch_lines(p, len);
	guard_disarm();
	return 0;
}

errint_t pmem_foreign_read(void *dst, const void *src, size_t len)
{
	if (sigsetjmp(guard.back, 0))
		return -EFAULT;
	guard_arm_foreign(src, len);
	memcpy(dst, src, len);
	guard_disarm();
	return 0;
}

errint_t pmem_foreign_write(void *dst, const void *src, size_t len)
{
	if (sigsetjmp(guard.back, 0))
		return -EFAULT;
	guard_arm_foreign(dst, len);
	memcpy(dst, src, len);
	guard_disarm();
	return 0;
}

errint_t pmem_foreign_load16(const uint16_t *word, uint16_t *ret_value)
{
	uint16_t value;

	if (sigsetjmp(guard.back, 0))
		return -EFAULT;
	guard_arm_foreign(word, sizeof(*word));
	value = atomic_load_explicit((const _Atomic uint16_t *)word, memory_order_acquire);
	guard_disarm();
	*ret_value = value;
	return 0;
}

errint_t pmem_foreign_store16(uint16_t *word, uint16_t value)
{
	if (sigsetjmp(guard.back, 0))
		return -EFAULT;
	guard_arm_foreign(word, sizeof(*word));
	atomic_store_explicit((_Atomic uint16_t *)word, value, memory_order_release);
	guard_disarm();
	return 0;
}
