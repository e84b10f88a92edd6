/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lock of the process, and latches: futexes that are taken with all signals blocked. A word is
 * 0 when free, 1 when held, 2 when held and waited for; so neither taking nor giving back calls the
 * kernel unless somebody waits.
 */
#include "lock.h"

#include <assert.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct latch the_lock;

static void set_mask(uint64_t mask, uint64_t *ret_before)
{
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, ret_before, sizeof(mask));
}

/*
 * How often this thread has blocked its signals. A handler that comes before the kernel was called
 * leaves it as it was, and none comes after that: so it changes after the call, and not before.
 */
static __thread __attribute__((tls_model("initial-exec"))) volatile unsigned blocked;
static __thread __attribute__((tls_model("initial-exec"))) uint64_t mask_before;

uint64_t signals_block(void)
{
	if (!blocked)
		set_mask(UINT64_MAX, &mask_before);
	blocked++;
	return mask_before;
}

void signals_restore(uint64_t mask)
{
	blocked--;
	if (!blocked)
		set_mask(mask, NULL);
}

void signals_enter_handler(void)
{
	blocked++;
}

void signals_leave_handler(void)
{
	blocked--;
}

uint64_t latch_take(struct latch *latch)
{
	uint64_t mask = signals_block();
	uint32_t was = 0;

	if (atomic_compare_exchange_strong(&latch->word, &was, 1))
		return mask;
	while (atomic_exchange(&latch->word, 2))
		syscall(SYS_futex, &latch->word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
	return mask;
}

void latch_release(struct latch *latch, uint64_t mask)
{
	if (atomic_exchange(&latch->word, 0) == 2)
		syscall(SYS_futex, &latch->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	signals_restore(mask);
}

void latch_reset(struct latch *latch)
{
	atomic_store(&latch->word, 0);
}

/* This thread has it. A fork's child goes on with it, as the thread that forked. */
static __thread __attribute__((tls_model("initial-exec"))) bool holding;

struct lock_guard lock_take(void)
{
	struct lock_guard guard = { .mask = latch_take(&the_lock) };

	holding = true;
	return guard;
}

void lock_release(struct lock_guard guard)
{
	holding = false;
	latch_release(&the_lock, guard.mask);
}

void lock_assert_held(void)
{
	assert(holding);
}
