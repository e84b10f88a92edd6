/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The module's own header. Locks, outermost first:
 *
 *   dv_lock            sessions and devices: who owns what
 *   view->sync         one flush of a view at a time
 *   (a program's mmap_lock)
 *   view->lock         what lies where; shared: faults and copies, exclusive: changes of it
 *   a unit's mutex     pages and huge pages are not put into one unit at the same time
 *   session->lock      questions
 *
 * No lock but mmap_lock, and that only where the kernel leaves no choice, is
 * held while a thread waits for the daemon. User memory is not touched with
 * page faults enabled under view->lock, as it may be a mapping of a view.
 */
#ifndef DAXVIEW_H
#define DAXVIEW_H

#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/maple_tree.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/wait.h>
#include <linux/xarray.h>
#include <daxfuse/daxview.h>

#define DV_UNIT_PAGES HPAGE_PMD_NR

struct dv_range {
	u64 first; /* in pages of the device */
	u64 pages;
	unsigned long pfn;
};

/* A device-dax with sessions. */
struct dv_device {
	struct list_head list;
	struct kref kref;
	struct file *file;
	struct dev_pagemap *pgmap; /* a reference: the driver can't be unbound */
	struct xarray views;       /* of all its sessions, by number */
	u32 next;
	struct xarray bad; /* pages that have failed */
	u64 pages;
	u32 align;
	unsigned int ranges;
	struct dv_range range[] __counted_by(ranges);
};

struct dv_session {
	struct list_head list;
	struct kref kref; /* its open file, those that hold it, and each view */
	struct dv_device *device;
	bool owned;           /* it has an open file */
	unsigned int holders; /* open files that wait for its next one */
	u8 key[16];
	spinlock_t lock; /* questions */
	struct list_head questions;
	u64 last_question;
	wait_queue_head_t readers;
};

/* Words on the device. */
struct dv_words {
	u64 page;
	u64 *at; /* NULL: there are none */
};

/* Where a view may grow by itself. */
struct dv_tail {
	u64 end;             /* in bytes; 0: there is none */
	pgoff_t first, last; /* its pages, from the one on that the size lay in */
	struct dv_words size_word;
};

/* Pages that lie in one piece of memory, to be written to: what the last write has found. */
struct dv_spot {
	u64 generation; /* of the view: another one, and it may not be so any more */
	pgoff_t first;
	u64 pages;
	void *at;
};

struct dv_view {
	struct inode inode;
	struct dv_session *session;
	u32 number;
	u64 cookie;
	struct rw_semaphore lock;
	struct maple_tree map; /* page -> where it lies, see map.c */
	u64 generation;        /* counts changes of the map and the size */
	bool revoked;
	bool privileged; /* a write is to take that away */
	struct dv_tail tail;
	struct dv_words times;
	struct dv_spot spot; /* below the inode's lock */
	struct xarray tags;  /* unit -> struct dv_tags */
	struct mutex sync;
	wait_queue_head_t askers;
	u64 stored, read; /* when */
	atomic_t files;   /* open, or of mappings */
	atomic64_t huge, small, hole, asked, reads, writes, flushed;
};

enum dv_kind { DV_UNKNOWN, DV_EXTENT, DV_HOLE };

/* What is known of a page, and of which others the same is known. */
struct dv_place {
	enum dv_kind kind;
	bool reads_only; /* a store asks */
	bool is_tail;    /* a mapping asks */
	pgoff_t first, last;
	u64 device; /* page of the device */
};

/* What a thread wants to know: bytes of the file. */
struct dv_want {
	u32 kind;
	u64 offset;
	u64 length;
	u64 generation; /* of the view when the thread looked */
};

static inline struct dv_view *dv_view_of(struct inode *inode)
{
	return container_of(inode, struct dv_view, inode);
}

static inline pgoff_t dv_view_pages(struct dv_view *view)
{
	return DIV_ROUND_UP_ULL(i_size_read(&view->inode), PAGE_SIZE);
}

extern struct mutex dv_lock;
extern struct page *dv_zeroes;

/* device.c */
struct dv_device *dv_device_get(int fd, u32 *reason);
void dv_device_put_locked(struct dv_device *device);
unsigned long dv_device_pfn(struct dv_device *device, u64 page, u64 *run);
bool dv_find_bad(struct dv_device *device, u64 page, u64 *run);
bool dv_page_busy(struct page *page, unsigned long *run);
int dv_device_busy(struct dv_device *device, u64 first, u64 pages, u32 timeout_ms, u64 *where);
void dv_device_exit(void);

/* Has this page failed? If not: how many of the next *run have not, either. */
static inline bool dv_device_bad(struct dv_device *device, u64 page, u64 *run)
{
	return unlikely(!xa_empty(&device->bad)) && dv_find_bad(device, page, run);
}

/* session.c */
extern const struct file_operations dv_session_fops;
struct dv_session *dv_session_of(struct file *file);
void dv_session_put(struct dv_session *session);
void dv_tell_sessions(struct dv_device *device, u64 page, u64 pages);

/* question.c */
int dv_ask(struct dv_view *view, const struct dv_want *want);
void dv_answer_range(struct dv_view *view, u64 offset, u64 length);
void dv_answer_size(struct dv_view *view, u64 size);
void dv_answer_strip(struct dv_view *view);
void dv_answer_view(struct dv_view *view, int error);
int dv_answer(struct dv_session *session, u64 number, int error);
void dv_tell_poison(struct dv_session *session, u64 page, u64 pages);
void dv_tell_closed(struct dv_view *view);
void dv_ask_again(struct dv_session *session);
void dv_drop_questions(struct dv_session *session);
bool dv_has_question(struct dv_session *session);
ssize_t dv_read_questions(struct file *file, char __user *buffer, size_t size, loff_t *pos);

/* map.c */
void dv_look(struct dv_view *view, pgoff_t page, struct dv_place *place);
int dv_check_pieces(struct dv_device *device, const struct daxview_set *set,
		    const struct daxview_piece *pieces);
int dv_put_tail_piece_locked(struct dv_view *view, const struct daxview_piece *piece);
int dv_forget_locked(struct dv_view *view, pgoff_t first, pgoff_t last);
int dv_set(struct dv_view *view, const struct daxview_set *set, const struct daxview_piece *pieces);
void dv_revoke(struct dv_view *view);
void dv_unmap_device(struct dv_view *view, u64 page, u64 pages);

/* tags.c */
int dv_tag(struct dv_view *view, pgoff_t first, unsigned long pages, bool dirty);
int dv_clean(struct dv_view *view, pgoff_t first, pgoff_t last, u64 __user *bitmap);
void dv_flush_leaving(struct dv_view *view, pgoff_t first, pgoff_t last);
void dv_free_tags(struct dv_view *view);

/* tail.c */
int dv_find_words(struct dv_device *device, u64 offset, unsigned int count, struct dv_words *words);
int dv_give_tail(struct dv_view *view, const struct daxview_tail *tail,
		 const struct daxview_piece *pieces);
int dv_take_tail(struct dv_view *view);
int dv_take_tail_locked(struct dv_view *view);
u64 dv_write_limit(struct dv_view *view);
void dv_stamp_locked(struct dv_view *view);
void dv_grow_locked(struct dv_view *view, u64 size);

/* fault.c */
extern const struct vm_operations_struct dv_vm_ops;
int dv_fault_init(void);
void dv_fault_exit(void);

/* io.c */
ssize_t dv_read_iter(struct kiocb *iocb, struct iov_iter *to);
ssize_t dv_write_iter(struct kiocb *iocb, struct iov_iter *from);

/* view.c */
int dv_view_init(void);
void dv_view_exit(void);
struct file *dv_view_create(struct dv_session *session, const struct daxview_create *create);
struct dv_view *dv_view_find(struct dv_device *device, u64 number);
struct dv_view *dv_view_next(struct dv_device *device, u64 after);

#endif
