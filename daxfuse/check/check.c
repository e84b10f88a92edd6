/* SPDX-License-Identifier: BSD-3-Clause */
/* The order of the passes (see state.h), and what all of them use. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/media/journal.h"

void *ck_vector_add(void **item, size_t *count, size_t *room, size_t size)
{
	char *at;

	if (*count == *room) {
		size_t want = *room ? *room * 2 : 16;
		void *more = realloc(*item, want * size);

		if (!more)
			return NULL;
		*item = more;
		*room = want;
	}
	at = (char *)*item + (*count)++ * size;
	memset(at, 0, size);
	return at;
}

/* ---- report --------------------------------------------------------------- */

bool check_may_repair(const struct check *c)
{
	return c->options->repair && !c->hands_off;
}

bool check_found(struct check *c, enum check_problem problem, uint64_t ino, const char *format, ...)
{
	struct check_finding finding = { .problem = problem, .ino = ino };
	char text[512];
	va_list args;

	if (c->options->preen && !check_problem_is_harmless(problem))
		c->hands_off = true;
	finding.repaired = check_may_repair(c);
	c->result.found++;
	c->result.repaired += finding.repaired;
	if (c->options->found) {
		va_start(args, format);
		vsnprintf(text, sizeof(text), format, args);
		va_end(args);
		finding.text = text;
		c->options->found(&finding, c->options->arg);
	}
	return finding.repaired;
}

void check_not_repaired(struct check *c)
{
	c->result.repaired--;
}

void check_progress(const struct check *c, const char *what, uint64_t done, uint64_t total)
{
	if (c->options->progress)
		c->options->progress(what, done, total, c->options->arg);
}

/* ---- media ---------------------------------------------------------------- */

errint_t check_read(struct check *c, void *dst, uint64_t offset, size_t length)
{
	int err = pmem_read(c->pm, dst, pmem_at(c->pm, offset), length);

	if (!err && c->view)
		ck_journal_view_apply(c->view, offset, dst, length);
	return err;
}

void check_store64(struct check *c, uint64_t offset, uint64_t value)
{
	uint64_t *word = pmem_at(c->pm, offset);

	if (pmem_probe(c->pm, word, sizeof(*word))) {
		check_not_repaired(c);
		return;
	}
	pmem_store64(c->pm, word, value);
	pmem_flush(c->pm, word, sizeof(*word));
	pmem_fence(c->pm);
}

/* The sectors that [offset, offset + length) touches; the other bytes of bad ones can't be read
 * either, and are looked at as zeroes from now on. */
static errint_t clear_sectors(struct check *c, uint64_t offset, size_t length)
{
	uint64_t from = round_down(offset, PMEM_SECTOR);

	return pmem_clear_bad(c->pm, pmem_at(c->pm, from),
			      round_up(offset + length, PMEM_SECTOR) - from);
}

void check_overwrite(struct check *c, uint64_t offset, const void *src, size_t length)
{
	void *dst = pmem_at(c->pm, offset);
	int err = pmem_write_nt(c->pm, dst, src, length);

	if (err && clear_sectors(c, offset, length) == 0)
		err = pmem_write_nt(c->pm, dst, src, length);
	if (err)
		check_not_repaired(c);
	pmem_fence(c->pm);
}

errint_t check_commit(struct check *c, uint64_t offset, const void *src, size_t length)
{
	struct journal_record *record = malloc(sizeof(*record));
	struct dxf_journal_op op = { offset, (uint32_t)length, DXF_JOURNAL_WRITE };

	if (!record)
		return -ENOMEM;
	memset(&record->header, 0, sizeof(record->header));
	memcpy(record->ops, &op, sizeof(op));
	memcpy(record->ops + sizeof(op), src, length);
	record->header.bytes = (uint32_t)(sizeof(op) + length);
	journal_commit(&c->vol, record, NULL);
	free(record);
	return 0;
}

/* ---- passes --------------------------------------------------------------- */

typedef errint_t check_pass(struct check *c);

static int run_passes(struct check *c)
{
	static check_pass *const passes[] = {
		ck_journal_pass,
		ck_space_open,
		ck_chunk_pass,
		ck_inode_pass,
	};
	static check_pass *const later[] = {
		ck_walk_shared_pass, ck_name_pass,  ck_connect_pass,
		ck_rebuild_pass,     ck_count_pass, ck_quota_pass,
	};
	int err = ck_super_pass(c);

	for (size_t i = 0; !err && i < ARRAY_SIZE(passes); i++)
		err = passes[i](c);
	if (!err)
		err = ck_space_pass(c, false);
	for (size_t i = 0; !err && i < ARRAY_SIZE(later); i++)
		err = later[i](c);
	if (!err && check_may_repair(c))
		err = ck_space_pass(c, true);
	return err;
}

static void free_state(struct check *c)
{
	for (uint32_t i = 0; c->chunk && i < c->chunks; i++)
		free(c->chunk[i]);
	free(c->chunk);
	free(c->dirs.item);
	free(c->dir_block.item);
	free(c->shared.item);
	free(c->misplaced.item);
	free(c->lost.item);
	free(c->usage);
	ck_journal_view_free(c->view);
	journal_close(&c->vol);
	ck_space_close(c);
}

int check_pool(const struct pmem *pm, const struct check_options *options,
	       struct check_result *ret_result)
{
	struct check c = { .pm = pm, .options = options };
	int err;

	if (options->repair && pm->read_only)
		return -EROFS;
	c.vol.pm = pm;
	err = run_passes(&c);
	free_state(&c);
	if (!err)
		*ret_result = c.result;
	return err;
}
