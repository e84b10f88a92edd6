/* SPDX-License-Identifier: BSD-3-Clause */
/* A futex: 0 free, 1 held, 2 held and waited for. */
#include "daxfuse/daxmap/lock.h"

#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic uint32_t word;

static void set_mask(uint64_t mask, uint64_t *ret_before)
{
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, ret_before, sizeof(mask));
}

uint64_t signals_block(void)
{
	uint64_t before = 0;

	set_mask(UINT64_MAX, &before);
	return before;
}

void signals_restore(uint64_t mask)
{
	set_mask(mask, NULL);
}

struct held lock_take(void)
{
	struct held held = { .mask = signals_block() };
	uint32_t was = 0;

	if (atomic_compare_exchange_strong(&word, &was, 1))
		return held;
	while (atomic_exchange(&word, 2))
		syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
	return held;
}

void lock_release(struct held held)
{
	if (atomic_exchange(&word, 0) == 2)
		syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	signals_restore(held.mask);
}

void lock_reset(void)
{
	atomic_store(&word, 0);
}
