/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How an export outlives the serving process. Numbers are in its record, a memory that both
 * processes have mapped; descriptors lie on the shelf, as one lot: that memory, the listener, and
 * of a connection the socket, the guest's memory, and the notifications of each queue. The note
 * says which of them are there.
 *
 * The two need not agree at each moment: they differ only while a message is carried out
 * (backend_record.reading), and then the connection is not gone on with. A VMM sends them when its
 * guest boots, is reset, or gets more memory.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/lockrank.h"
#include "export.h"
#include "handles.h"
#include "nodes.h"
#include "window.h"

enum { PAGE = 4096 };

struct note {
	uint64_t keeps; /* as in the record, or it is older */
	uint32_t regions;
	uint32_t kicks, calls; /* a bit for each queue */
	bool connected, channel;
};

_Static_assert(sizeof(struct note) <= SHELF_NOTE, "fits");
_Static_assert(4 + MEMORY_FILES + 2 * BACKEND_QUEUES <= SHELF_FDS, "fit");
_Static_assert(EXPORTS_MAX <= SHELF_LOTS, "fit");

/* ---- records ---------------------------------------------------------------------------- */

static size_t guest_offset(void)
{
	return round_up(sizeof(struct export_record), PAGE);
}

static size_t window_offset(void)
{
	return round_up(guest_offset() + guest_record_bytes(), PAGE);
}

static size_t record_bytes(uint64_t window)
{
	return window_offset() + (window ? window_record_bytes(window) : 0);
}

struct guest_record *record_guest(struct export_record *record)
{
	return (struct guest_record *)(void *)((char *)record + guest_offset());
}

uint64_t exports_layout(void)
{
	const uint64_t sizes[] = { sizeof(struct export_record),    sizeof(struct backend_record),
				   sizeof(struct ring_record),      sizeof(struct node_record),
				   sizeof(struct handle),           guest_record_bytes(),
				   window_record_bytes(WINDOW_UNIT) };
	uint64_t layout = EXPORTS_LAYOUT;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		layout = layout * 1000003 + sizes[i];
	return layout;
}

struct window_record *record_window(struct export_record *record)
{
	return (struct window_record *)(void *)((char *)record + window_offset());
}

static errint_t map_record(int memory, uint64_t window, struct export_record **ret_record)
{
	void *at = mmap(NULL, record_bytes(window), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_NORESERVE, memory, 0);

	if (at == MAP_FAILED)
		return -errno;
	madvise(at, record_bytes(window), MADV_DONTFORK);
	*ret_record = at;
	return 0;
}

/* A page of it takes memory when it is used. */
errint_t record_make(uint64_t window, int *ret_memory, struct export_record **ret_record)
{
	CLEANUP_FD int memory = memfd_create("daxfuse-export", MFD_CLOEXEC);
	uint32_t turns;
	int err;

	if (memory < 0 || ftruncate(memory, (off_t)record_bytes(window)) ||
	    getentropy(&turns, sizeof(turns)))
		return -errno;
	err = map_record(memory, window, ret_record);
	if (err)
		return err;
	(*ret_record)->window = window;
	/* keys of requests are not those of an export that was removed */
	for (unsigned i = 0; i < BACKEND_QUEUES; i++)
		(*ret_record)->backend.ring[i].turns = turns;
	(*ret_record)->layout = exports_layout();
	*ret_memory = TAKE_FD(memory);
	return 0;
}

void record_free(int memory, struct export_record *record)
{
	munmap(record, record_bytes(record->window));
	close(memory);
}

/* ---- keeping ------------------------------------------------------------------------------ */

static void add_descriptor(struct shelf_lot *lot, int fd)
{
	lot->fd[lot->fd_count++] = fd;
}

static uint32_t add_present(struct shelf_lot *lot, const int fd[BACKEND_QUEUES])
{
	uint32_t present = 0;

	for (unsigned i = 0; i < BACKEND_QUEUES; i++) {
		if (fd[i] < 0)
			continue;
		present |= 1u << i;
		add_descriptor(lot, fd[i]);
	}
	return present;
}

static void add_connection(struct shelf_lot *lot, const struct export *x,
			   const struct backend_fds *fds, struct note *note)
{
	note->connected = true;
	note->channel = fds->channel >= 0;
	if (note->channel)
		add_descriptor(lot, fds->channel);
	note->regions = fds->region_count;
	add_descriptor(lot, x->connection);
	for (uint32_t i = 0; i < note->regions; i++)
		add_descriptor(lot, fds->region[i]);
	note->kicks = add_present(lot, fds->kick);
	note->calls = add_present(lot, fds->call);
}

void export_keep(struct export *x, const struct backend_fds *fds)
{
	struct shelf_lot lot = { .note_size = sizeof(struct note) };
	struct note note = { 0 };

	add_descriptor(&lot, x->memory);
	add_descriptor(&lot, x->listener);
	lock_mutex(LOCK_EXPORTS, &x->all->lock);
	if (fds)
		add_connection(&lot, x, fds, &note);
	note.keeps = ++x->record->keeps;
	memcpy(lot.note, &note, sizeof(note));
	lot.number = x->number;
	x->kept = !x->record->removed && !shelf_put(&x->all->shelf, &lot);
	unlock_mutex(LOCK_EXPORTS, &x->all->lock);
}

/* ---- adopting ------------------------------------------------------------------------------ */

/* Descriptors of a lot, one after another; what is not taken is closed. */
struct pile {
	const struct shelf_lot *lot;
	unsigned at;
};

static int take_descriptor(struct pile *pile)
{
	return pile->at < pile->lot->fd_count ? pile->lot->fd[pile->at++] : -1;
}

static void drop_rest(struct pile *pile)
{
	while (pile->at < pile->lot->fd_count)
		close(pile->lot->fd[pile->at++]);
}

static void take_present(struct pile *pile, uint32_t present, int ret_fd[BACKEND_QUEUES])
{
	for (unsigned i = 0; i < BACKEND_QUEUES; i++)
		ret_fd[i] = present & 1u << i ? take_descriptor(pile) : -1;
}

/* One whose message was under way is closed: neither side knows what the other has heard. So is
 * one of which not all could be kept. */
static void adopt_connection(struct export *x, struct pile *pile, const struct note *note)
{
	int fd;

	if (!note->connected)
		return;
	fd = take_descriptor(pile);
	if (note->keeps != x->record->keeps || note->regions > MEMORY_FILES ||
	    x->record->backend.reading) {
		shutdown(fd, SHUT_RDWR);
		close(fd);
		return;
	}
	x->connection = fd;
	for (uint32_t i = 0; i < note->regions; i++)
		x->fds.region[i] = take_descriptor(pile);
	x->fds.region_count = note->regions;
	take_present(pile, note->kicks, x->fds.kick);
	take_present(pile, note->calls, x->fds.call);
	x->adopted = x->connection >= 0;
}

static errint_t adopt_export(struct exports *e, struct pile *pile, const struct note *note)
{
	CLEANUP_FD int memory = take_descriptor(pile), listener = take_descriptor(pile);
	struct export_record *record = NULL;
	struct export *x;
	uint64_t window;
	struct stat st;
	int err;

	if (memory < 0 || listener < 0 || fstat(memory, &st) ||
	    pread(memory, &window, sizeof(window), offsetof(struct export_record, window)) !=
		    sizeof(window) ||
	    window > WINDOW_MOST || (uint64_t)st.st_size != record_bytes(window))
		return -EINVAL;
	err = map_record(memory, window, &record);
	if (err)
		return err;
	if (record->layout != exports_layout())
		err = -EOPNOTSUPP;
	else if (record->removed)
		err = -ENOENT;
	if (!err)
		err = export_new(e, memory, record, &x);
	if (err) {
		munmap(record, record_bytes(window));
		return err;
	}
	memory = -1; /* the export's */
	x->listener = TAKE_FD(listener);
	x->kept = true;
	x->fds.channel = note->channel ? take_descriptor(pile) : -1;
	adopt_connection(x, pile, note);
	x->number = pile->lot->number;
	lock_mutex(LOCK_EXPORTS, &e->lock);
	exports_insert_locked(x);
	unlock_mutex(LOCK_EXPORTS, &e->lock);
	if (!x->adopted)
		export_keep(x, NULL); /* on the shelf, a connection is not closed */
	return 0;
}

struct adopting {
	struct exports *exports;
	unsigned lost;
};

/* One that can't be gone on with is ended: its VMM hears that nobody is there. */
static void adopt_lot(void *arg, const struct shelf_lot *lot)
{
	struct adopting *a = arg;
	struct pile pile = { .lot = lot };
	struct note note;
	int err = -EINVAL;

	if (lot->number < EXPORTS_MAX && lot->note_size == sizeof(note)) {
		memcpy(&note, lot->note, sizeof(note));
		err = adopt_export(a->exports, &pile, &note);
	}
	drop_rest(&pile);
	if (err)
		shelf_remove(&a->exports->shelf, lot->number);
	a->lost += err && err != -ENOENT;
}

unsigned exports_adopt(struct exports *e)
{
	struct adopting a = { .exports = e };

	return shelf_each(&e->shelf, adopt_lot, &a) ? a.lost + 1 : a.lost;
}
