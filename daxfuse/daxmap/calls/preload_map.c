/* SPDX-License-Identifier: BSD-3-Clause */
/* libdaxmap-preload: the calls on mappings of programs that know nothing of libdaxmap. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>

#include "daxfuse/daxmap.h"
#include "next.h"

EXPORTED void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	return dxm_map(addr, length, prot, flags, fd, offset);
}

EXPORTED void *mmap64(void *addr, size_t length, int prot, int flags, int fd, off64_t offset)
	__attribute__((alias("mmap")));

EXPORTED int munmap(void *addr, size_t length)
{
	return dxm_unmap(addr, length);
}

EXPORTED int mprotect(void *addr, size_t length, int prot)
{
	return dxm_protect(addr, length, prot);
}

EXPORTED void *mremap(void *old, size_t old_length, size_t new_length, int flags, ...)
{
	void *new_addr = NULL;
	va_list args;

	va_start(args, flags);
	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))
		new_addr = va_arg(args, void *);
	va_end(args);
	return dxm_remap(old, old_length, new_length, flags, new_addr);
}

EXPORTED int msync(void *addr, size_t length, int flags)
{
	return dxm_sync(addr, length, flags);
}

EXPORTED int madvise(void *addr, size_t length, int advice)
{
	return dxm_advise(addr, length, advice);
}

/* They fault in what is to be locked, as any other system call does: without a signal. */
static void fault_in(const void *addr, size_t length)
{
	int saved = errno;

	dxm_populate((void *)addr, length, PROT_READ);
	errno = saved;
}

EXPORTED int mlock(const void *addr, size_t length)
{
	fault_in(addr, length);
	return NEXT(mlock)(addr, length);
}

EXPORTED int mlock2(const void *addr, size_t length, unsigned flags)
{
	fault_in(addr, length);
	return NEXT(mlock2)(addr, length, flags);
}

EXPORTED int posix_madvise(void *addr, size_t length, int advice)
{
	/* POSIX's DONTNEED is a hint, and changes no contents */
	if (advice == POSIX_MADV_DONTNEED)
		return 0;
	return NEXT(posix_madvise)(addr, length, advice);
}
