/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Faults in a row: a range of a file, each part in the largest size that it can have, neighbours
 * told as one piece.
 *
 * The file stays locked (shared) over many of them, and the backend's answers about it count for
 * all: a range that lies in one extent asks for the extent once. Where something has to be
 * allocated or moved, which takes its time, the lock is given back in between, so that a truncation
 * need not wait for the whole range.
 */
#include "fault.h"

/* Of one call: zeroes join without end, and a file may be as long as 2^59 bytes. Of units these are
 * 64 GiB. And of those, with the file locked without a break. */
enum { RUN_FAULTS = 32768, LOCKED_FAULTS = 512 };

struct run {
	struct fault f;
	uint64_t at, end;     /* what is left of the range */
	uint64_t pages_until; /* up to here no more units are tried, */
	int reason;           /* for this */
	struct map_piece *pieces;
	unsigned count, max;
	unsigned faults;
	bool full;
};

/* The next part in the order wanted, or the largest below it. Pages are tried for the rest of a
 * unit that can't be huge: the obstacle is the same for all of them. */
static int fault_falling_back(struct run *run)
{
	unsigned order = run->at < run->pages_until ? ORDER_PTE : run->f.request->order;
	int err;

	while ((err = fault_at(&run->f, run->at, order)) > 0) {
		if (order == ORDER_PTE)
			return -EBUSY;
		run->reason = err;
		if (order == ORDER_PMD)
			run->pages_until = round_down(run->at, MAP_UNIT_SIZE) + MAP_UNIT_SIZE;
		order = order == ORDER_PMD ? ORDER_PTE : ORDER_PMD;
	}
	run->f.piece.reason = run->f.piece.order == ORDER_PTE && run->at < run->pages_until
				      ? run->reason
				      : 0;
	return err;
}

/* Whether b goes on where a ends; a is it, too, then, up to its last grant. It keeps the first, so
 * that a piece that is void in part is void: faulting once more does no harm. */
static bool join_piece(struct map_piece *a, const struct map_piece *b)
{
	if (a->zero != b->zero || a->writable != b->writable || a->order != b->order ||
	    a->reason != b->reason || b->drop_length ||
	    a->file_offset + a->length != b->file_offset ||
	    (!a->zero && a->device_offset + a->length != b->device_offset))
		return false;
	a->length += b->length;
	a->last_grant = b->last_grant;
	return true;
}

/* False: there is no room. The piece stays pinned: its mapper may have it mapped since an earlier
 * call, and that pin is this one now. */
static bool add_piece(struct run *run, const struct map_piece *piece)
{
	if (run->count && join_piece(&run->pieces[run->count - 1], piece))
		return true;
	if (run->count == run->max)
		return false;
	run->pieces[run->count++] = *piece;
	return true;
}

static bool is_done(const struct run *run)
{
	return run->full || run->at >= run->end || run->faults >= RUN_FAULTS;
}

/* As many as are done with the file locked. */
static int fault_some(struct run *run)
{
	struct fault *f = &run->f;
	int err = fault_enter(f);

	if (err)
		return err;
	f->ahead = MIN(run->end, round_up(f->known.size, MAP_UNIT_SIZE));
	for (unsigned i = 0; !is_done(run) && !f->slow && i < LOCKED_FAULTS; i++) {
		err = fault_falling_back(run);
		if (err)
			break;
		run->full = !add_piece(run, &f->piece);
		if (run->full)
			fault_discard(f);
		run->at = f->piece.file_offset + f->piece.length;
		run->faults++;
	}
	fault_leave(f);
	return err;
}

int map_fault_run(struct map_view *view, const struct map_request *request, uint64_t length,
		  struct map_piece *pieces, unsigned max, unsigned *ret_count)
{
	struct run run = {
		.f = { .view = view, .file = view->file, .request = request },
		.at = request->offset,
		.end = range_end(request->offset, length),
		.pieces = pieces,
		.max = max,
	};
	int err = 0;

	view_get(view);
	while (!err && !is_done(&run))
		err = fault_some(&run);
	file_trim(view->file);
	view_put(view);
	if (err && !run.count)
		return err;
	*ret_count = run.count;
	return 0;
}
