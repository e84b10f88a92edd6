/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tests/crash/compare.h"

/* Files up to this are read whole; of larger ones what SEEK_DATA finds. */
#define READ_WHOLE (UINT64_C(256) << 10)
#define CHUNK (UINT64_C(1) << 20)

static const uint8_t zeroes[MODEL_PAGE];

struct content {
	struct compare *compare;
	unsigned id;
	const struct model_node *node;
	const struct model_node *other; /* NULL: nothing may be torn */
	uint64_t offset;                /* where the next piece lies */
	bool failed;
};

static const uint8_t *page_or_zero(const struct model_node *node, uint64_t index)
{
	const uint8_t *page = model_page(node, index);

	return page ? page : zeroes;
}

static void report(struct content *content, uint64_t offset, const uint8_t *got,
		   const uint8_t *want)
{
	content->failed = true;
	compare_differs(content->compare, "node %u byte %llu: %02x, should be %02x%s", content->id,
			(unsigned long long)offset, *got, *want,
			*got == 0xdb ? " (stale space shows)" : "");
}

/* Of a torn page: each word is of one of the two; behind the smaller size only ours. */
static void check_torn(struct content *content, uint64_t offset, const uint8_t *got, size_t length)
{
	uint64_t index = offset / MODEL_PAGE;
	const uint8_t *ours = page_or_zero(content->node, index) + offset % MODEL_PAGE;
	const uint8_t *theirs = page_or_zero(content->other, index) + offset % MODEL_PAGE;
	bool whole = !content->compare->torn_anywhere &&
		     (!model_page(content->node, index) || !model_page(content->other, index));
	size_t shared = length;
	size_t at, part;

	if (offset >= content->other->size)
		shared = 0;
	else if (offset + length > content->other->size)
		shared = content->other->size - offset;
	if (shared && whole && memcmp(got, ours, shared) != 0 && memcmp(got, theirs, shared) != 0)
		report(content, offset, got, ours);
	for (at = 0; at < shared && !whole && !content->failed; at += part) {
		part = 8 - (offset + at) % 8;
		if (part > shared - at)
			part = shared - at;
		if (memcmp(got + at, ours + at, part) != 0 &&
		    memcmp(got + at, theirs + at, part) != 0)
			report(content, offset + at, got + at, ours + at);
	}
	if (!content->failed && memcmp(got + shared, ours + shared, length - shared) != 0)
		report(content, offset + shared, got + shared, ours + shared);
}

static void check_bytes(struct content *content, uint64_t offset, const uint8_t *got, size_t length)
{
	const uint8_t *want = page_or_zero(content->node, offset / MODEL_PAGE) +
			      offset % MODEL_PAGE;
	size_t i;

	if (memcmp(got, want, length) == 0)
		return;
	if (content->other) {
		check_torn(content, offset, got, length);
		return;
	}
	for (i = 0; got[i] == want[i]; i++)
		;
	report(content, offset + i, got + i, want + i);
}

static ssize_t emit(const struct iovec *iov, int count, size_t bytes, void *arg)
{
	struct content *content = arg;
	int i;

	for (i = 0; i < count; i++) {
		const uint8_t *got = iov[i].iov_base;
		size_t left = iov[i].iov_len;

		while (left && !content->failed) {
			size_t part = MODEL_PAGE - content->offset % MODEL_PAGE;

			part = part < left ? part : left;
			check_bytes(content, content->offset, got, part);
			content->offset += part;
			got += part;
			left -= part;
		}
	}
	return (ssize_t)bytes;
}

static int check_range(struct content *content, uint64_t ino, uint64_t from, uint64_t to)
{
	while (from < to && !content->failed) {
		uint64_t length = to - from < CHUNK ? to - from : CHUNK;
		ssize_t got;

		content->offset = from;
		got = fs_read(content->compare->fs, ino, from, length, emit, content);
		if (got != (ssize_t)length && !content->failed)
			return compare_differs(content->compare,
					       "node %u: read of %llu at %llu says %lld",
					       content->id, (unsigned long long)length,
					       (unsigned long long)from, (long long)got);
		from += length;
	}
	return content->failed ? -1 : 0;
}

/* All pages that a model has are read, too, wherever SEEK_DATA finds none. */
static int check_pages(struct content *content, const struct model_node *node, uint64_t ino,
		       uint64_t size)
{
	size_t i;

	for (i = 0; i < node->extents; i++) {
		uint64_t from = node->extent[i].index * MODEL_PAGE;
		uint64_t to = from + MODEL_PAGE < size ? from + MODEL_PAGE : size;

		if (from < size && check_range(content, ino, from, to))
			return -1;
	}
	return 0;
}

int compare_content(struct compare *compare, unsigned id, uint64_t ino, uint64_t size)
{
	struct content content = { .compare = compare,
				   .id = id,
				   .node = model_at(compare->model, id) };
	off_t from, to;

	if (id == compare->torn_node && compare->other && id < compare->other->nodes)
		content.other = compare->other->node[id];
	if (size <= READ_WHOLE || (compare->live && size <= 16 * CHUNK))
		return check_range(&content, ino, 0, size);
	for (from = 0; (uint64_t)from < size; from = to) {
		from = fs_seek(compare->fs, ino, (uint64_t)from, SEEK_DATA);
		if (from == -ENXIO)
			break;
		to = from < 0 ? from : fs_seek(compare->fs, ino, (uint64_t)from, SEEK_HOLE);
		if (to <= from)
			return compare_differs(compare, "node %u: seek says %lld, %lld", id,
					       (long long)from, (long long)to);
		if (check_range(&content, ino, (uint64_t)from,
				(uint64_t)to < size ? (uint64_t)to : size))
			return -1;
	}
	return check_pages(&content, content.node, ino, size);
}
