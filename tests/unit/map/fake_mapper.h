/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mappers of each kind, in memory: which page of the device each page of a file is, as the engine
 * has told them; faults, and loads and stores through that. An access to a page that was freed, or
 * is another file's, aborts.
 */
#ifndef TESTS_UNIT_MAP_FAKE_MAPPER_H
#define TESTS_UNIT_MAP_FAKE_MAPPER_H

#include "fake_file.h"

enum { NOT_MAPPED = -1, ZEROES = -2 };

struct fake_mapper {
	pthread_mutex_t lock;
	const struct mapper_ops *ops;
	struct map_view *view;
	struct fake *fake;
	struct fake_file *file; /* NULL: whose a page is isn't looked at */
	int page[FILE_PAGES];   /* of the device, or one of the above */
	bool writable[FILE_PAGES];
	uint64_t void_up_to[FILE_PAGES];
	uint64_t read_only_up_to[FILE_PAGES];
	uint64_t last_grant; /* that it has got */
	bool silent;         /* does not answer */
	bool slow;           /* answers when mapper_answer() is called */
	unsigned reply_us;   /* what a piece needs to arrive */
	uint64_t asked_offset, asked_length, asked_grant;
	atomic_uint asked;
	atomic_bool gone;
};

FAKE void mapper_clear(struct fake_mapper *m, uint64_t offset, uint64_t length, uint64_t grant)
{
	uint64_t end = length == MAP_TO_END
			       ? FILE_PAGES
			       : MIN((offset + length) / MAP_PAGE_SIZE, (uint64_t)FILE_PAGES);

	for (uint64_t i = offset / MAP_PAGE_SIZE; i < end; i++) {
		m->page[i] = NOT_MAPPED;
		m->writable[i] = false;
		m->void_up_to[i] = MAX(m->void_up_to[i], grant);
	}
}

FAKE int mapper_map(void *arg, const struct map_piece *piece)
{
	struct fake_mapper *m = arg;

	pthread_mutex_lock(&m->lock);
	m->last_grant = MAX(m->last_grant, piece->grant);
	mapper_clear(m, piece->drop_offset, piece->drop_length, 0);
	for (uint64_t i = 0; i < piece->length / MAP_PAGE_SIZE; i++) {
		uint64_t at = piece->file_offset / MAP_PAGE_SIZE + i;

		if (piece->grant <= m->void_up_to[at])
			continue;
		m->page[at] = piece->zero ? ZEROES
					  : (int)(piece->device_offset / MAP_PAGE_SIZE + i);
		m->writable[at] = piece->writable && piece->grant > m->read_only_up_to[at];
	}
	pthread_mutex_unlock(&m->lock);
	return 0;
}

FAKE int mapper_unmap(void *arg, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct fake_mapper *m = arg;

	pthread_mutex_lock(&m->lock);
	note(m->fake, 'u');
	mapper_clear(m, offset, length, grant);
	atomic_fetch_add(&m->asked, 1);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

FAKE void mapper_let_go(struct fake_mapper *m, uint64_t offset, uint64_t length, uint64_t grant)
{
	pthread_mutex_lock(&m->lock);
	mapper_clear(m, offset, length, grant);
	pthread_mutex_unlock(&m->lock);
	map_let_go(m->view, offset, length, grant);
}

/* Of its own accord: all that it has been given there. */
FAKE void mapper_drop(struct fake_mapper *m, uint64_t offset, uint64_t length)
{
	uint64_t grant;

	pthread_mutex_lock(&m->lock);
	grant = m->last_grant;
	pthread_mutex_unlock(&m->lock);
	mapper_let_go(m, offset, length, grant);
}

/* The answer to what it was asked last. */
FAKE void mapper_answer(struct fake_mapper *m)
{
	uint64_t offset, length, grant;

	pthread_mutex_lock(&m->lock);
	offset = m->asked_offset;
	length = m->asked_length;
	grant = m->asked_grant;
	pthread_mutex_unlock(&m->lock);
	mapper_let_go(m, offset, length, grant);
}

FAKE int client_unmap(void *arg, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct fake_mapper *m = arg;
	bool later;

	pthread_mutex_lock(&m->lock);
	note(m->fake, 'u');
	m->asked_offset = offset;
	m->asked_length = length;
	m->asked_grant = grant;
	later = m->silent || m->slow;
	atomic_fetch_add(&m->asked, 1);
	pthread_mutex_unlock(&m->lock);
	if (!later)
		mapper_let_go(m, offset, length, grant);
	return -EINPROGRESS;
}

FAKE int mapper_protect(void *arg, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct fake_mapper *m = arg;

	pthread_mutex_lock(&m->lock);
	note(m->fake, 'w');
	for (uint64_t i = offset / MAP_PAGE_SIZE; i < (offset + length) / MAP_PAGE_SIZE; i++) {
		m->writable[i] = false;
		m->read_only_up_to[i] = grant;
	}
	pthread_mutex_unlock(&m->lock);
	return 0;
}

FAKE int mapper_flush(void *arg, uint64_t offset, uint64_t length)
{
	struct fake_mapper *m = arg;

	note(m->fake, 'F');
	return 0;
}

FAKE int mapper_refuse(void *arg, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct fake_mapper *m = arg;

	atomic_fetch_add(&m->asked, 1);
	return -EBUSY;
}

FAKE void mapper_gone(void *arg)
{
	struct fake_mapper *m = arg;

	atomic_store(&m->gone, true);
}

/* Three of mapper.h's table; the client in both of its sizes; a long-term pin; and one that
 * only reads, and can't be told anything. */
FAKE const struct mapper_ops client_ops = {
	.smallest = ORDER_PTE,
	.read_only_first = true,
	.unmap = client_unmap,
	.gone = mapper_gone,
};
FAKE const struct mapper_ops huge_client_ops = {
	.smallest = ORDER_PMD,
	.read_only_first = true,
	.unmap = client_unmap,
	.gone = mapper_gone,
};
/* A client that can be write-protected. */
FAKE const struct mapper_ops careful_client_ops = {
	.smallest = ORDER_PTE,
	.read_only_first = true,
	.unmap = client_unmap,
	.write_protect = mapper_protect,
	.gone = mapper_gone,
};
FAKE const struct mapper_ops guest_ops = {
	.smallest = ORDER_PTE,
	.map = mapper_map,
	.gone = mapper_gone,
};
FAKE const struct mapper_ops kernel_ops = {
	.smallest = ORDER_PMD,
	.read_only_first = true,
	.map = mapper_map,
	.unmap = mapper_unmap,
	.write_protect = mapper_protect,
	.flush = mapper_flush,
	.gone = mapper_gone,
};
FAKE const struct mapper_ops long_term_ops = {
	.smallest = ORDER_PTE,
	.read_only_first = true,
	.unmap = mapper_refuse,
	.gone = mapper_gone,
};
FAKE const struct mapper_ops deaf_ops = {
	.smallest = ORDER_PTE,
	.read_only_first = true,
	.gone = mapper_gone,
};

FAKE void mapper_open(struct fake_mapper *m, struct fake *fake, struct map_file *map,
		      const struct mapper_ops *ops)
{
	memset(m, 0, sizeof(*m));
	pthread_mutex_init(&m->lock, NULL);
	m->fake = fake;
	m->ops = ops;
	for (unsigned i = 0; i < FILE_PAGES; i++)
		m->page[i] = NOT_MAPPED;
	assert_int_equal(map_view_open(map, ops, m, &m->view), 0);
}

FAKE void mapper_close(struct fake_mapper *m)
{
	map_view_close(m->view);
	wait_until(atomic_load(&m->gone));
	pthread_mutex_destroy(&m->lock);
}

/* A fault, and what the mapper does with its result. */
FAKE int mapper_fault(struct fake_mapper *m, uint64_t page, enum map_access access, unsigned order)
{
	struct map_request request = { page * MAP_PAGE_SIZE, access, order, 0, UINT64_MAX, false };
	struct map_piece piece;
	int err = map_fault(m->view, &request, &piece);

	if (m->reply_us)
		usleep(m->reply_us);
	if (!err && !m->ops->map)
		mapper_map(m, &piece);
	return err;
}

/* A run of faults, and what the mapper does with it; the pieces, or a negative errno. */
FAKE int mapper_fault_run(struct fake_mapper *m, const struct map_request *request, uint64_t length)
{
	struct map_piece pieces[16];
	unsigned count = 0;
	int err = map_fault_run(m->view, request, length, pieces, 16, &count);

	if (m->reply_us)
		usleep(m->reply_us);
	for (unsigned i = 0; i < count && !m->ops->map; i++)
		mapper_map(m, &pieces[i]);
	return err ? err : (int)count;
}

/* The page that is mapped must not have gone to somebody else. */
FAKE struct fake_page *mapped_page(struct fake_mapper *m, uint64_t page)
{
	struct fake_page *at = &m->fake->page[m->page[page]];

	if (atomic_load(&at->state) == PAGE_FREE)
		die("access to a page that was freed");
	if (m->file && (atomic_load(&at->owner) != m->file || atomic_load(&at->index) != (int)page))
		die("access to somebody else's page");
	return at;
}

/* Store through the mapping; false: it is not mapped for that. */
FAKE bool mapper_store(struct fake_mapper *m, uint64_t page, unsigned word, uint64_t value)
{
	bool done;

	pthread_mutex_lock(&m->lock);
	done = m->page[page] >= 0 && m->writable[page];
	if (done)
		atomic_store(&mapped_page(m, page)->word[word], value);
	pthread_mutex_unlock(&m->lock);
	return done;
}

FAKE bool mapper_load(struct fake_mapper *m, uint64_t page, unsigned word, uint64_t *ret_value)
{
	bool done;

	pthread_mutex_lock(&m->lock);
	done = m->page[page] != NOT_MAPPED;
	if (m->page[page] == ZEROES)
		*ret_value = 0;
	else if (done)
		*ret_value = atomic_load(&mapped_page(m, page)->word[word]);
	pthread_mutex_unlock(&m->lock);
	return done;
}

#endif
