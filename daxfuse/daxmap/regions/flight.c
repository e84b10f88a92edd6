/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Flights, and what they are told while they are under way (flight.h). They stand in a fixed array:
 * a fault is a signal, whose stack may be too small for an answer. A thread that finds none free
 * sleeps for a moment and looks again.
 */
#include "flight.h"

#include <stdatomic.h>
#include <stddef.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/daxmap/lock.h"
#include "daxfuse/daxmap/session/object.h"
#include "daxfuse/daxmap/sys.h"

enum { FLIGHTS = 64 };
static struct flight flights[FLIGHTS];

struct flight *flight_new(void)
{
	for (;;) {
		for (size_t i = 0; i < FLIGHTS; i++) {
			bool busy = false;

			if (atomic_compare_exchange_strong(&flights[i].busy, &busy, true))
				return &flights[i];
		}
		sys_sleep_ms(1);
	}
}

void flight_end(struct flight *flight)
{
	flight->busy = false;
}

void flights_reset(void)
{
	for (size_t i = 0; i < FLIGHTS; i++) {
		flights[i].object = NULL;
		flights[i].busy = false;
	}
}

void flight_start_locked(struct flight *flight, struct object *object)
{
	lock_assert_held();
	object_hold_locked(object);
	flight->object = object;
	flight->voided.grant = flight->protected.grant = 0;
}

static void widen_notice(struct notice *notice, uint64_t offset, uint64_t end, uint64_t grant)
{
	if (!notice->grant) {
		*notice = (struct notice){ offset, end, grant };
		return;
	}
	notice->offset = MIN(notice->offset, offset);
	notice->end = MAX(notice->end, end);
	notice->grant = MAX(notice->grant, grant);
}

static bool notice_covers(const struct notice *notice, const struct dxf_ioc_piece *piece)
{
	return piece->grant <= notice->grant && piece->file_offset < notice->end &&
	       piece->file_offset + piece->length > notice->offset;
}

bool flight_is_void_locked(const struct flight *flight, const struct dxf_ioc_piece *piece)
{
	return notice_covers(&flight->voided, piece);
}

bool flight_is_protected_locked(const struct flight *flight, const struct dxf_ioc_piece *piece)
{
	return notice_covers(&flight->protected, piece);
}

void flights_void_locked(struct object *object, uint64_t offset, uint64_t end, uint64_t grant)
{
	lock_assert_held();
	for (size_t i = 0; i < FLIGHTS; i++) {
		if (flights[i].object == object)
			widen_notice(&flights[i].voided, offset, end, grant);
	}
}

void flights_protect_locked(struct object *object, uint64_t offset, uint64_t end, uint64_t grant)
{
	lock_assert_held();
	for (size_t i = 0; i < FLIGHTS; i++) {
		if (flights[i].object == object)
			widen_notice(&flights[i].protected, offset, end, grant);
	}
}

void flights_void_session_locked(const struct session *session)
{
	lock_assert_held();
	for (size_t i = 0; i < FLIGHTS; i++) {
		if (flights[i].object && flights[i].object->session == session)
			widen_notice(&flights[i].voided, 0, UINT64_MAX, UINT64_MAX);
	}
}

void flights_void_others_locked(const struct flight *flight, const struct dxf_ioc_piece *piece)
{
	uint64_t from = piece->file_offset, to = from + piece->length;

	lock_assert_held();
	if (piece->drop_length) {
		from = MIN(from, piece->drop_offset);
		to = MAX(to, piece->drop_offset + piece->drop_length);
	}
	for (size_t i = 0; i < FLIGHTS; i++) {
		if (&flights[i] != flight && flights[i].object == flight->object)
			widen_notice(&flights[i].voided, from, to, piece->grant - 1);
	}
}
