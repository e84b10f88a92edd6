/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * To answer the daemon takes the lock and nothing else, as others wait for the answer.
 *
 * Order: answers on their way are noted as void, then mapped pieces are unmapped. An answer that
 * arrives later finds the note.
 */
#include "revoke.h"

#include "flight.h"
#include "pieces.h"
#include "region.h"
#include "daxfuse/base/errint.h"

#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/session/object.h"

static uint64_t range_end(uint64_t offset, uint64_t length)
{
	return length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
}

errint_t revoke_pieces(uint64_t cookie, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct lock_guard guard = lock_take();
	struct object *object = object_find_locked(cookie);
	uint64_t end = range_end(offset, length);
	int err = 0;

	if (object) {
		flights_void_locked(object, offset, end, grant);
		err = pieces_clear_file_locked(object, offset, end);
	}
	lock_release(guard);
	return err;
}

errint_t revoke_writing(uint64_t cookie, uint64_t offset, uint64_t length, uint64_t grant)
{
	struct lock_guard guard = lock_take();
	struct object *object = object_find_locked(cookie);
	uint64_t end = range_end(offset, length);
	int err = 0;

	if (object) {
		flights_protect_locked(object, offset, end, grant);
		err = pieces_protect_file_locked(object, offset, end);
	}
	lock_release(guard);
	return err;
}

/* The next process does not know which programs have zeroes: we have none any more of the
 * session's files, mapped or on their way. */
static void drop_zeroes(const struct session *session)
{
	struct lock_guard guard = lock_take();

	flights_void_session_locked(session);
	for (struct region *r = region_from(0); r; r = region_next(r)) {
		if (r->object->session == session)
			pieces_drop_zeroes_locked(r, r->start, r->end);
	}
	lock_release(guard);
}

const struct session_ops revoke_ops = {
	.unmap = revoke_pieces,
	.protect = revoke_writing,
	.lost = drop_zeroes,
	.idle = objects_reap,
};
