/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * System calls past libc: the preload takes libc's names for the program's calls, and ours
 * must not come back to it. 0 or a negative errno; they may be used in signal handlers.
 */
#ifndef DAXFUSE_DAXMAP_SYS_H
#define DAXFUSE_DAXMAP_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "daxfuse/base/errint.h"

static inline errint_t sys_mmap(uintptr_t addr, size_t length, int prot, int flags, int fd,
				uint64_t offset, uintptr_t *ret_addr)
{
	long got = syscall(SYS_mmap, addr, length, prot, flags, fd, offset);

	if (got == -1)
		return -errno;
	*ret_addr = (uintptr_t)got;
	return 0;
}

/* At this address, whatever is there. */
static inline errint_t sys_mmap_fixed(uintptr_t addr, size_t length, int prot, int flags, int fd,
				      uint64_t offset)
{
	uintptr_t got;

	return sys_mmap(addr, length, prot, flags | MAP_FIXED, fd, offset, &got);
}

static inline errint_t sys_munmap(uintptr_t addr, size_t length)
{
	return syscall(SYS_munmap, addr, length) ? -errno : 0;
}

static inline errint_t sys_mprotect(uintptr_t addr, size_t length, int prot)
{
	return syscall(SYS_mprotect, addr, length, prot) ? -errno : 0;
}

static inline errint_t sys_madvise(uintptr_t addr, size_t length, int advice)
{
	return syscall(SYS_madvise, addr, length, advice) ? -errno : 0;
}

static inline void sys_close(int fd)
{
	if (fd >= 0)
		syscall(SYS_close, fd);
}

static inline void sys_sleep_ms(unsigned ms)
{
	const struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	syscall(SYS_nanosleep, &pause, NULL);
}

/* Anonymous memory of ours; what is not touched costs nothing. */
static inline errint_t sys_memory(size_t size, void **ret_memory)
{
	uintptr_t addr = 0;
	int err = sys_mmap(0, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, &addr);

	if (!err)
		*ret_memory = (void *)addr;
	return err;
}

#endif
