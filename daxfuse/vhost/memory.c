/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of a guest's memory. A file that could make us wait, or call ourselves, when its pages
 * are touched is refused: memory is a regular file that is not on FUSE (memfd, tmpfs, hugetlbfs,
 * DAX), or a character device. One that is cut later is met by the guard of each access
 * (pmem_foreign_read() and its kin).
 */
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"

#define PAGE UINT64_C(4096)
#define LARGEST_PAGE (UINT64_C(1) << 30)
#define FUSE_MAGIC 0x65735546

static bool overlaps(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

static bool is_range(uint64_t start, uint64_t size)
{
	return size && start <= UINT64_MAX - size;
}

static errint_t check_range(const struct memory *m, const struct memory_wire *wire)
{
	if (!is_range(wire->guest, wire->size) || !is_range(wire->user, wire->size) ||
	    !is_range(wire->offset, wire->size) || wire->offset + wire->size > SIZE_MAX / 2)
		return -EINVAL;
	if (!is_aligned(wire->offset, PAGE) || !is_aligned(wire->size, PAGE) ||
	    !is_aligned(wire->guest, PAGE) || !is_aligned(wire->user, PAGE))
		return -EINVAL;
	for (unsigned i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->region[i];

		if (overlaps(wire->guest, wire->size, r->guest, r->size) ||
		    overlaps(wire->user, wire->size, r->user, r->size))
			return -EINVAL;
	}
	return 0;
}

static errint_t check_file(const struct memory_wire *wire, int fd)
{
	struct statfs fs;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || fstatfs(fd, &fs) || fs.f_type == FUSE_MAGIC)
		return -EBADF;
	if (S_ISCHR(st.st_mode))
		return 0;
	if (!S_ISREG(st.st_mode))
		return -EBADF;
	return wire->offset + wire->size <= (uint64_t)st.st_size ? 0 : -ENXIO;
}

/* Whether it is the pool's, a piece of which the VMM has in a window. */
static bool is_device(const struct memory *m, int fd)
{
	struct stat st, device;

	return m->device >= 0 && !fstat(fd, &st) && !fstat(m->device, &device) &&
	       st.st_dev == device.st_dev && st.st_ino == device.st_ino;
}

/* From where the largest of huge pages would begin, as none can be mapped from its middle. */
errint_t memory_add(struct memory *m, const struct memory_wire *wire, int fd)
{
	uint64_t in = wire->offset % LARGEST_PAGE;
	size_t length = (size_t)(in + wire->size);
	int err = check_range(m, wire);
	bool device = is_device(m, fd);
	CLEANUP_FD int own = -1;
	void *mapping;

	if (!err && (m->count == MEMORY_REGIONS || (!device && m->files == MEMORY_FILES)))
		err = -ENOSPC;
	if (!err)
		err = check_file(wire, fd);
	if (err)
		return err;
	if (!device) {
		own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (own < 0)
			return -errno;
	}
	mapping = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		       (off_t)(wire->offset - in));
	if (mapping == MAP_FAILED)
		return -errno;
	/* a core of the daemon has nothing of a guest in it */
	madvise(mapping, length, MADV_DONTDUMP);
	madvise(mapping, length, MADV_DONTFORK);
	m->region[m->count++] = (struct memory_region){
		.guest = wire->guest,
		.user = wire->user,
		.size = wire->size,
		.offset = wire->offset,
		.fd = TAKE_FD(own),
		.at = (char *)mapping + in,
		.mapping = mapping,
		.mapped = length,
	};
	m->files += !device;
	return 0;
}

static void close_region(struct memory *m, struct memory_region *r)
{
	munmap(r->mapping, r->mapped);
	if (r->fd < 0)
		return;
	close(r->fd);
	m->files--;
}

errint_t memory_remove(struct memory *m, const struct memory_wire *wire)
{
	for (unsigned i = 0; i < m->count; i++) {
		struct memory_region *r = &m->region[i];

		if (r->guest != wire->guest || r->user != wire->user || r->size != wire->size)
			continue;
		close_region(m, r);
		*r = m->region[--m->count];
		return 0;
	}
	return -ENOENT;
}

void memory_clear(struct memory *m)
{
	while (m->count)
		close_region(m, &m->region[--m->count]);
}

void *memory_at(const struct memory *m, uint64_t guest, uint64_t length, uint64_t *ret_length)
{
	for (unsigned i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->region[i];

		if (guest < r->guest || guest - r->guest >= r->size)
			continue;
		*ret_length = MIN(length, r->size - (guest - r->guest));
		return r->at + (guest - r->guest);
	}
	return NULL;
}

void *memory_at_user(const struct memory *m, uint64_t user, uint64_t length, unsigned alignment)
{
	for (unsigned i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->region[i];

		if (user < r->user || user - r->user >= r->size ||
		    length > r->size - (user - r->user))
			continue;
		return is_aligned(user, alignment) ? r->at + (user - r->user) : NULL;
	}
	return NULL;
}
