/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libdaxmap: mappings of files on a daxfuse mount that are mappings of the device's memory, in 2
 * MiB pages where the file lies in whole units. (A plain mmap goes through the kernel's page cache
 * there.) A range that can't be had that way is mapped by the kernel: the same calls serve any
 * file, and no call fails that would not fail without the library.
 *
 * All functions can be called from any thread at any time, but not in signal handlers, unless said
 * otherwise. Errors are those of the system call that a function stands for, in errno. Addresses,
 * lengths and offsets are in bytes; an argument that must be a multiple of a page in the system
 * call must be one here.
 *
 * The library has a handler for SIGSEGV and SIGBUS (see dxm_fault()), a thread for each mount
 * (all signals blocked), which answers when the daemon wants memory back, and some
 * file descriptors at high numbers. fork() is followed: the child's mappings are made
 * anew. A system call that is given memory which is not mapped at this moment fails with EFAULT:
 * call dxm_populate() and repeat it; memory that a device uses for long must be pinned.
 */
#ifndef DAXFUSE_DAXMAP_H
#define DAXFUSE_DAXMAP_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * mmap(2). Direct if: the file is a regular one of a daxfuse mount that gives out its device,
 * and has the DAX flag; the mapping is MAP_SHARED or MAP_SHARED_VALIDATE, not executable, and has
 * no flags but MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_POPULATE, MAP_NONBLOCK, MAP_NORESERVE and,
 * where stores can be durable, MAP_SYNC. Without a fixed address one is chosen that
 * lines up with the file, if a whole unit lies in the range; a hint that does not is ignored then,
 * a fixed one means pages of 4 KiB.
 * Holes are allocated by the first store to them.
 */
void *dxm_map(void *addr, size_t length, int prot, int flags, int fd, off_t offset);

/* munmap(2): of any range, ours or not. */
int dxm_unmap(void *addr, size_t length);

/* mremap(2); a mapping that moves lines up with the file again. */
void *dxm_remap(void *old, size_t old_length, size_t new_length, int flags, void *new_addr);

/* mprotect(2). With PROT_EXEC the kernel maps the range from then on. */
int dxm_protect(void *addr, size_t length, int prot);

/*
 * msync(2). Where caches must be flushed for that they are: then all that was stored before through
 * this mapping is durable, also to parts that have been protected or taken back since. The
 * filesystem's own metadata always are.
 */
int dxm_sync(void *addr, size_t length, int flags);

/*
 * madvise(2). MADV_HUGEPAGE gathers parts that lie in 4 KiB blocks into whole units, now, and maps
 * them (EBUSY: somebody else does not let go, ENOSPC: no unit is free; all that could be done is
 * done). MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_WILLNEED: see dxm_populate(). MADV_REMOVE
 * punches a hole. Other advice does nothing.
 */
int dxm_advise(void *addr, size_t length, int advice);

/*
 * Have a range mapped, ready for prot (PROT_READ; PROT_WRITE allocates holes), as far as it
 * belongs to mappings of ours. EFAULT: a part can't be (behind the end of the file).
 * It may be unmapped again at any time by what others do to the file.
 */
int dxm_populate(void *addr, size_t length, int prot);

/*
 * A long-term pin: for memory that a device or the kernel uses by its physical address (io_uring's
 * registered buffers, RDMA, VFIO). The range is allocated and mapped, and stays as it is, whatever
 * happens to the file; nobody else gets the space. A part that is cut off of the file is a piece of
 * no file then, for this mapping. Unpin the same range, before it is unmapped; the end of the
 * program unpins all. A fork's child has no pins. EINVAL: part of the range is not a direct
 * mapping, or not pinned; EACCES: it can't be accessed (PROT_NONE).
 */
int dxm_pin(void *addr, size_t length);
int dxm_unpin(void *addr, size_t length);

enum dxm_kind {
	DXM_NONE,   /* not a direct mapping: the kernel's, or nothing at all */
	DXM_ABSENT, /* a direct mapping that is not filled here: the next access asks */
	DXM_ZERO,   /* a hole, read as zeroes */
	DXM_PAGES,  /* 4 KiB pages */
	DXM_HUGE,   /* 2 MiB pages */
};

struct dxm_range {
	void *addr;
	size_t length;
	uint64_t offset;   /* in the file; 0 for DXM_NONE */
	uint32_t kind;     /* enum dxm_kind */
	uint32_t reason;   /* DXM_PAGES: why it is not huge; see dxm_reason_name() */
	uint32_t writable; /* 1: stores go through; else the first one asks */
	uint32_t reserved;
};

/* How [addr, addr + length) is mapped, in ascending ranges. Returns how many were written to
 * range[], at most count: there may be more behind the last one if it is count. */
ssize_t dxm_query(const void *addr, size_t length, struct dxm_range *range, size_t count);

/* "start", "end", "eof", "short", ...: one word for each enum dxf_reason of ioctl.h. */
const char *dxm_reason_name(unsigned reason);

/*
 * For programs that install handlers for SIGSEGV or SIGBUS after their first dxm_map(): call this
 * first in them, with what they were called with. 1: the fault was resolved, return from the
 * handler; 0: it is the program's. The two signals must not be blocked in threads that use
 * mappings. (A handler that is there at the first dxm_map() is called by the library's own; under
 * `daxfuse run` all of this is cared for.) Async-signal-safe.
 */
int dxm_fault(int sig, siginfo_t *info, void *context);

#ifdef __cplusplus
}
#endif

#endif
