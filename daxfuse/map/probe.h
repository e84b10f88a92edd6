/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Static probes of the engine, for bpftrace, perf and SystemTap: a nop each while nobody
 * looks. docs/design/probes.md says what their arguments mean, and contrib/daxfuse.bt uses
 * them. Both are checked against the binaries: a probe that changes here changes there.
 *
 * `file` is backend.id(), offsets and lengths are in bytes, orders ORDER_*, results 0 or a
 * negative errno.
 *
 * Without <sys/sdt.h> (Debian: systemtap-sdt-dev) there are none.
 */
#ifndef DAXFUSE_MAP_PROBE_H
#define DAXFUSE_MAP_PROBE_H

#include <stdint.h>

#ifdef HAVE_SYS_SDT_H
#include <sys/sdt.h>
#else
#define DTRACE_PROBE2(provider, name, a, b) ((void)(a), (void)(b))
#define DTRACE_PROBE3(provider, name, a, b, c) ((void)(a), (void)(b), (void)(c))
#define DTRACE_PROBE4(provider, name, a, b, c, d) ((void)(a), (void)(b), (void)(c), (void)(d))
#define DTRACE_PROBE5(provider, name, a, b, c, d, e) \
	((void)(a), (void)(b), (void)(c), (void)(d), (void)(e))
#endif

/* ---- faults --------------------------------------------------------------- */

/* access: enum map_access */
static inline void probe_fault_begin(uint64_t file, uint64_t offset, unsigned order,
				     unsigned access)
{
	DTRACE_PROBE4(daxfuse, fault_begin, file, offset, order, access);
}

/* result: above 0 a reason to fall back, enum map_fallback */
static inline void probe_fault_end(uint64_t file, uint64_t offset, unsigned order, unsigned access,
				   int result)
{
	DTRACE_PROBE5(daxfuse, fault_end, file, offset, order, access, result);
}

/* reason: enum map_fallback. The fault may go on: a unit that lacks something is made whole for a
 * mapper that can take nothing smaller. */
static inline void probe_fallback(uint64_t file, uint64_t offset, unsigned order, int reason)
{
	DTRACE_PROBE4(daxfuse, fallback, file, offset, order, reason);
}

/* An entry that was clean is about to become writable. */
static inline void probe_mkwrite(uint64_t file, uint64_t offset, unsigned order)
{
	DTRACE_PROBE3(daxfuse, mkwrite, file, offset, order);
}

/* ---- locks ---------------------------------------------------------------- */

/* A thread falls asleep on the entry that begins at a page, and was woken. */
static inline void probe_lock_wait_begin(uint64_t file, uint64_t offset)
{
	DTRACE_PROBE2(daxfuse, lock_wait_begin, file, offset);
}

static inline void probe_lock_wait_end(uint64_t file, uint64_t offset)
{
	DTRACE_PROBE2(daxfuse, lock_wait_end, file, offset);
}

/* ---- mappers let go ------------------------------------------------------- */

/* All mappers of any of a range are asked for it; why: enum revoke_reason. */
static inline void probe_revoke_begin(uint64_t file, uint64_t offset, uint64_t length, unsigned why)
{
	DTRACE_PROBE4(daxfuse, revoke_begin, file, offset, length, why);
}

/* All have answered, or are not waited for any longer; held: enum held. */
static inline void probe_revoke_end(uint64_t file, uint64_t offset, uint64_t length, unsigned why,
				    unsigned held)
{
	DTRACE_PROBE5(daxfuse, revoke_end, file, offset, length, why, held);
}

/* Extents are to go away: map_change_begin() is called; kind: enum map_change_kind. */
static inline void probe_change_begin(uint64_t file, uint64_t offset, uint64_t length,
				      unsigned kind)
{
	DTRACE_PROBE4(daxfuse, change_begin, file, offset, length, kind);
}

/* map_change_end() returns, or map_change_begin() fails; faults go on. */
static inline void probe_change_end(uint64_t file, uint64_t offset, uint64_t length, unsigned kind,
				    int result)
{
	DTRACE_PROBE5(daxfuse, change_end, file, offset, length, kind, result);
}

/* ---- promotion and write-back --------------------------------------------- */

/* The entries of a unit that is not whole are locked. */
static inline void probe_promote_begin(uint64_t file, uint64_t offset)
{
	DTRACE_PROBE2(daxfuse, promote_begin, file, offset);
}

static inline void probe_promote_end(uint64_t file, uint64_t offset, int result)
{
	DTRACE_PROBE3(daxfuse, promote_end, file, offset, result);
}

/* map_writeback() */
static inline void probe_writeback_begin(uint64_t file, uint64_t offset, uint64_t length)
{
	DTRACE_PROBE3(daxfuse, writeback_begin, file, offset, length);
}

static inline void probe_writeback_end(uint64_t file, uint64_t offset, uint64_t length, int result)
{
	DTRACE_PROBE4(daxfuse, writeback_end, file, offset, length, result);
}

/* One dirty entry of it was flushed; clean: 0 if a mapper may still store to it. */
static inline void probe_writeback_entry(uint64_t file, uint64_t offset, unsigned order,
					 unsigned clean)
{
	DTRACE_PROBE4(daxfuse, writeback_entry, file, offset, order, clean);
}

#endif
