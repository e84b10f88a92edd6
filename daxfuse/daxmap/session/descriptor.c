/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which of the process's descriptors are ours: a bit for each number, read without a lock, as every
 * close() of the program asks (descriptor.h).
 */
#include "descriptor.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/daxmap/sys.h"

/* Numbers up to HIGHEST only: a higher one makes the kernel's table of descriptors large, and a
 * fork slow. */
enum { NUMBERS = 65536, HIGHEST = 4096, RESERVE = 512 };
static _Atomic uint64_t owned[NUMBERS / 64];
static _Atomic int bound; /* above all that were ever owned */

static void mark_number(int fd, bool own)
{
	uint64_t bit = UINT64_C(1) << (fd % 64);
	int was = atomic_load(&bound);

	if (fd < 0 || fd >= NUMBERS)
		return;
	if (!own) {
		atomic_fetch_and(&owned[fd / 64], ~bit);
		return;
	}
	atomic_fetch_or(&owned[fd / 64], bit);
	while (fd >= was && !atomic_compare_exchange_weak(&bound, &was, fd + 1))
		;
}

/* From where on our numbers are: programs take the lowest ones. */
static int lowest_number(void)
{
	struct rlimit limit;
	int top = HIGHEST;

	if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < HIGHEST)
		top = (int)limit.rlim_cur;
	return top > 2 * RESERVE ? top - RESERVE : top / 2;
}

int descriptor_own(int fd)
{
	int high = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, lowest_number());

	if (high >= 0) {
		sys_close(fd);
		fd = high;
	}
	mark_number(fd, true);
	return fd;
}

/* Our own locks are found by a test for another open file. */
bool descriptor_has_locks(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return !syscall(SYS_fcntl, fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
}

int descriptor_own_file(int fd)
{
	if (!descriptor_has_locks(fd))
		return descriptor_own(fd);
	mark_number(fd, true);
	return fd;
}

void descriptor_close(int fd)
{
	if (fd < 0)
		return;
	mark_number(fd, false);
	sys_close(fd);
}

errint_t descriptor_replace(int fd, int other)
{
	int err = syscall(SYS_dup3, other, fd, O_CLOEXEC) < 0 ? -errno : 0;

	descriptor_close(other);
	return err;
}

int descriptor_move(int fd)
{
	int other = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, lowest_number());

	if (other < 0)
		return -1;
	mark_number(fd, false);
	mark_number(other, true);
	return other;
}

bool descriptor_is_own(int fd)
{
	return fd >= 0 && fd < atomic_load_explicit(&bound, memory_order_relaxed) &&
	       atomic_load(&owned[fd / 64]) >> (fd % 64) & 1;
}

int descriptor_from(int fd)
{
	for (int end = atomic_load(&bound); fd < end; fd++) {
		if (descriptor_is_own(fd))
			return fd;
	}
	return -1;
}
