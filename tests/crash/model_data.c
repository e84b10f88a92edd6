/* SPDX-License-Identifier: BSD-3-Clause */
/* The content of the model's files, and their extended attributes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/model.h"

static void *must(void *pointer)
{
	if (!pointer)
		abort();
	return pointer;
}

static void page_put(struct model_page *page)
{
	if (--page->refs == 0)
		free(page);
}

/* Index of the first extent at or behind page index. */
static size_t find(const struct model_node *node, uint64_t index)
{
	size_t low = 0, high = node->extents;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (node->extent[middle].index < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const uint8_t *model_page(const struct model_node *node, uint64_t index)
{
	size_t at = find(node, index);

	if (at == node->extents || node->extent[at].index != index)
		return NULL;
	return node->extent[at].page->bytes;
}

/* A page of this node's own, made of zeroes if there was none. */
static uint8_t *page_edit(struct model_node *node, uint64_t index)
{
	size_t at = find(node, index);
	struct model_page *page, *own;

	if (at == node->extents || node->extent[at].index != index) {
		node->extent =
			must(realloc(node->extent, (node->extents + 1) * sizeof(*node->extent)));
		memmove(&node->extent[at + 1], &node->extent[at],
			(node->extents - at) * sizeof(*node->extent));
		node->extents++;
		page = must(calloc(1, sizeof(*page)));
		page->refs = 1;
		node->extent[at] = (struct model_extent){ .index = index, .page = page };
	}
	page = node->extent[at].page;
	if (page->refs == 1)
		return page->bytes;
	own = must(malloc(sizeof(*own)));
	memcpy(own, page, sizeof(*own));
	own->refs = 1;
	page_put(page);
	node->extent[at].page = own;
	return own->bytes;
}

void model_materialize(struct model_node *node, uint64_t index)
{
	page_edit(node, index);
}

/* Forget the pages [from, to). */
static void drop(struct model_node *node, uint64_t from, uint64_t to)
{
	size_t first = find(node, from);
	size_t last = find(node, to);
	size_t i;

	if (first == last)
		return;
	for (i = first; i < last; i++)
		page_put(node->extent[i].page);
	memmove(&node->extent[first], &node->extent[last],
		(node->extents - last) * sizeof(*node->extent));
	node->extents -= last - first;
}

void model_read(const struct model_node *node, uint64_t offset, uint8_t *buf, size_t length)
{
	while (length) {
		unsigned at = offset % MODEL_PAGE;
		size_t part = MODEL_PAGE - at < length ? MODEL_PAGE - at : length;
		const uint8_t *page = model_page(node, offset / MODEL_PAGE);

		if (page)
			memcpy(buf, page + at, part);
		else
			memset(buf, 0, part);
		buf += part;
		offset += part;
		length -= part;
	}
}

void model_write(struct model_node *node, uint64_t offset, const uint8_t *buf, size_t length)
{
	if (length && offset + length > node->size)
		node->size = offset + length;
	while (length) {
		unsigned at = offset % MODEL_PAGE;
		size_t part = MODEL_PAGE - at < length ? MODEL_PAGE - at : length;

		memcpy(page_edit(node, offset / MODEL_PAGE) + at, buf, part);
		buf += part;
		offset += part;
		length -= part;
	}
}

void model_zero(struct model_node *node, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length;
	uint64_t from = (offset + MODEL_PAGE - 1) / MODEL_PAGE;
	uint64_t to = end / MODEL_PAGE;

	if (from > to) { /* inside one page */
		if (model_page(node, offset / MODEL_PAGE))
			memset(page_edit(node, offset / MODEL_PAGE) + offset % MODEL_PAGE, 0,
			       length);
		return;
	}
	if (offset % MODEL_PAGE && model_page(node, from - 1))
		memset(page_edit(node, from - 1) + offset % MODEL_PAGE, 0,
		       MODEL_PAGE - offset % MODEL_PAGE);
	if (end % MODEL_PAGE && model_page(node, to))
		memset(page_edit(node, to), 0, end % MODEL_PAGE);
	drop(node, from, to);
}

void model_truncate(struct model_node *node, uint64_t size)
{
	uint64_t end = (node->size / MODEL_PAGE + 2) * MODEL_PAGE;

	if (size < node->size)
		model_zero(node, size, end - size);
	node->size = size;
}

void model_collapse(struct model_node *node, uint64_t offset, uint64_t length)
{
	size_t i;

	drop(node, offset / MODEL_PAGE, (offset + length) / MODEL_PAGE);
	for (i = find(node, offset / MODEL_PAGE); i < node->extents; i++)
		node->extent[i].index -= length / MODEL_PAGE;
	node->size -= length;
}

void model_insert(struct model_node *node, uint64_t offset, uint64_t length)
{
	size_t i;

	for (i = find(node, offset / MODEL_PAGE); i < node->extents; i++)
		node->extent[i].index += length / MODEL_PAGE;
	node->size += length;
}

void model_data_share(struct model_node *node)
{
	struct model_extent *extent = node->extent;
	struct model_xattr *xattr = node->xattr;
	size_t i;

	node->extent = must(malloc((node->extents + 1) * sizeof(*extent)));
	if (node->extents)
		memcpy(node->extent, extent, node->extents * sizeof(*extent));
	for (i = 0; i < node->extents; i++)
		node->extent[i].page->refs++;
	node->xattr = must(malloc((node->xattrs + 1) * sizeof(*xattr)));
	if (node->xattrs)
		memcpy(node->xattr, xattr, node->xattrs * sizeof(*xattr));
	for (i = 0; i < node->xattrs; i++) {
		node->xattr[i].value = must(malloc(xattr[i].size + 1));
		memcpy(node->xattr[i].value, xattr[i].value, xattr[i].size);
	}
}

void model_data_free(struct model_node *node)
{
	size_t i;

	drop(node, 0, ~UINT64_C(0));
	free(node->extent);
	for (i = 0; i < node->xattrs; i++)
		free(node->xattr[i].value);
	free(node->xattr);
}

unsigned model_find_xattr(const struct model_node *node, const char *name)
{
	unsigned i;

	for (i = 0; i < node->xattrs; i++)
		if (strcmp(node->xattr[i].name, name) == 0)
			return i;
	return MODEL_NONE;
}

int model_set_xattr(struct model_node *node, const char *name, const void *value, size_t size)
{
	unsigned at = model_find_xattr(node, name);
	struct model_xattr *xattr;

	if (at == MODEL_NONE) {
		for (at = 0; at < node->xattrs && strcmp(node->xattr[at].name, name) < 0; at++)
			;
		node->xattr = must(realloc(node->xattr, (node->xattrs + 1) * sizeof(*node->xattr)));
		memmove(&node->xattr[at + 1], &node->xattr[at],
			(node->xattrs - at) * sizeof(*node->xattr));
		node->xattrs++;
		node->xattr[at] = (struct model_xattr){ 0 };
		strncpy(node->xattr[at].name, name, sizeof(node->xattr[at].name) - 1);
	}
	xattr = &node->xattr[at];
	free(xattr->value);
	xattr->value = must(malloc(size + 1));
	memcpy(xattr->value, value, size);
	xattr->size = size;
	return 0;
}

int model_remove_xattr(struct model_node *node, const char *name)
{
	unsigned at = model_find_xattr(node, name);

	if (at == MODEL_NONE)
		return -ENODATA;
	free(node->xattr[at].value);
	node->xattrs--;
	memmove(&node->xattr[at], &node->xattr[at + 1], (node->xattrs - at) * sizeof(*node->xattr));
	return 0;
}
