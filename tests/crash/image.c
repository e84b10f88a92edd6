/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/crash/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#define IMAGE_ALIGN (UINT64_C(2) << 20)

/* Map fd read-only at a 2 MiB-aligned address. */
static char *map_aligned(int fd, uint64_t size)
{
	char *room = mmap(NULL, size + IMAGE_ALIGN, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *start;

	if (room == MAP_FAILED)
		return NULL;
	start = (char *)(((uintptr_t)room + IMAGE_ALIGN - 1) & ~(IMAGE_ALIGN - 1));
	if (mmap(start, size, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		return NULL;
	return start;
}

int image_create(uint64_t size, struct image **ret_image)
{
	struct image *image = calloc(1, sizeof(*image));

	if (!image)
		return -ENOMEM;
	image->fd = memfd_create("crash", MFD_CLOEXEC);
	if (image->fd < 0 || ftruncate(image->fd, (off_t)size) < 0)
		return -errno;
	image->pm.base = map_aligned(image->fd, size);
	image->rw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, image->fd, 0);
	image->line_epoch = calloc(size / LINE_SIZE, sizeof(*image->line_epoch));
	if (!image->pm.base || image->rw == MAP_FAILED || !image->line_epoch)
		return -ENOMEM;
	image->pm.size = size;
	image->epoch = 1;
	pthread_mutex_init(&image->lock, NULL);
	*ret_image = image;
	return 0;
}

void image_destroy(struct image *image)
{
	if (!image)
		return;
	munmap(image->rw, image->pm.size);
	munmap(image->pm.base, image->pm.size);
	close(image->fd);
	free(image->line_epoch);
	free(image->undo);
	free(image);
}

/* Save the lines of [offset, offset + length) that this epoch has not saved. */
static void save_lines(struct image *image, uint64_t offset, size_t length)
{
	uint64_t line = offset / LINE_SIZE;
	uint64_t last = (offset + length - 1) / LINE_SIZE;

	for (; line <= last; line++) {
		struct image_undo *undo;

		if (image->line_epoch[line] == image->epoch)
			continue;
		image->line_epoch[line] = image->epoch;
		if (image->undo_count == image->undo_room) {
			image->undo_room = image->undo_room ? 2 * image->undo_room : 1024;
			image->undo = realloc(image->undo, image->undo_room * sizeof(*image->undo));
			if (!image->undo)
				abort();
		}
		undo = &image->undo[image->undo_count++];
		undo->line = line;
		memcpy(undo->bytes, image->rw + line * LINE_SIZE, LINE_SIZE);
	}
}

void image_write(struct image *image, uint64_t offset, const void *bytes, size_t length)
{
	if (!length)
		return;
	save_lines(image, offset, length);
	memcpy(image->rw + offset, bytes, length);
}

void image_zero(struct image *image, uint64_t offset, size_t length)
{
	if (!length)
		return;
	save_lines(image, offset, length);
	memset(image->rw + offset, 0, length);
}

const uint8_t *image_at(const struct image *image, uint64_t offset)
{
	return (const uint8_t *)image->rw + offset;
}

size_t image_mark(struct image *image)
{
	image->epoch++;
	return image->undo_count;
}

void image_rollback(struct image *image, size_t mark)
{
	while (image->undo_count > mark) {
		const struct image_undo *undo = &image->undo[--image->undo_count];

		memcpy(image->rw + undo->line * LINE_SIZE, undo->bytes, LINE_SIZE);
	}
	image->epoch++;
}

void image_commit(struct image *image)
{
	image->undo_count = 0;
	image->epoch++;
}

uint64_t image_hash_delta(const struct image *image, size_t mark)
{
	uint64_t hash = 0;
	size_t i;

	for (i = mark; i < image->undo_count; i++) {
		const struct image_undo *undo = &image->undo[i];
		const char *now = image->rw + undo->line * LINE_SIZE;

		if (memcmp(undo->bytes, now, LINE_SIZE) == 0)
			continue;
		hash ^= XXH3_64bits_withSeed(undo->bytes, LINE_SIZE, undo->line);
		hash ^= XXH3_64bits_withSeed(now, LINE_SIZE, undo->line);
	}
	return hash;
}

void image_copy(struct image *to, const struct image *from)
{
	memcpy(to->rw, from->rw, from->pm.size);
	image_commit(to);
}
