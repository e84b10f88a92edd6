// SPDX-License-Identifier: GPL-2.0
/*
 * Sessions: open files of /dev/daxview, and their calls.
 *
 * A session ends with its open file and its last view. If the file is closed
 * first, as when its process is killed, the views go on while another open file holds
 * the session: what they ask waits for a process that takes it over by its key. When none is
 * left the views are revoked, so that no program waits for ever, or stores to a
 * device that somebody else makes something of.
 */
#include <linux/capability.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "daxview.h"

/* An open file: a session, or one that holds it. Changes below dv_lock. */
struct dv_open {
	struct dv_session *session; /* NULL: neither, yet */
	bool holds;                 /* is not read before `session` */
};

DEFINE_MUTEX(dv_lock);         /* sessions and devices: who owns what */
static LIST_HEAD(dv_sessions); /* dv_lock */

static void dv_session_free(struct kref *kref)
{
	struct dv_session *session = container_of(kref, struct dv_session, kref);

	list_del(&session->list);
	dv_drop_questions(session);
	dv_device_put_locked(session->device);
	mutex_unlock(&dv_lock);
	kfree(session);
}

void dv_session_put(struct dv_session *session)
{
	kref_put_mutex(&session->kref, dv_session_free, &dv_lock);
}

/* Memory has failed. */
void dv_tell_sessions(struct dv_device *device, u64 page, u64 pages)
{
	struct dv_session *session;

	mutex_lock(&dv_lock);
	list_for_each_entry(session, &dv_sessions, list)
		if (session->device == device)
			dv_tell_poison(session, page, pages);
	mutex_unlock(&dv_lock);
}

/* Takes the caller's reference to the device if it succeeds. */
static struct dv_session *dv_session_new_locked(struct dv_device *device, const u8 *key)
{
	struct dv_session *session = kzalloc(sizeof(*session), GFP_KERNEL);

	if (!session)
		return ERR_PTR(-ENOMEM);
	kref_init(&session->kref);
	session->device = device;
	session->owned = true;
	memcpy(session->key, key, sizeof(session->key));
	spin_lock_init(&session->lock);
	INIT_LIST_HEAD(&session->questions);
	init_waitqueue_head(&session->readers);
	list_add(&session->list, &dv_sessions);
	return session;
}

static bool dv_has_owner_locked(struct dv_device *device)
{
	struct dv_session *session;

	list_for_each_entry(session, &dv_sessions, list)
		if (session->device == device && session->owned)
			return true;
	return false;
}

/* Nobody takes it over any more, and it stays so. */
static bool dv_is_over_locked(const struct dv_session *session)
{
	lockdep_assert_held(&dv_lock);
	return !session->owned && !session->holders;
}

static struct dv_session *dv_adopt_locked(struct dv_device *device, const u8 *key)
{
	struct dv_session *session;

	list_for_each_entry(session, &dv_sessions, list) {
		/* One without a reference is waiting for the lock, to be freed. */
		if (session->device != device || dv_is_over_locked(session) ||
		    memcmp(session->key, key, sizeof(session->key)) ||
		    !kref_get_unless_zero(&session->kref))
			continue;
		session->owned = true;
		dv_device_put_locked(device);
		return session;
	}
	return ERR_PTR(-ENOENT);
}

static struct dv_session *dv_session_get_locked(struct dv_device *device,
						const struct daxview_session *wish)
{
	if (dv_has_owner_locked(device))
		return ERR_PTR(-EBUSY);
	if (wish->flags & DAXVIEW_ADOPT)
		return dv_adopt_locked(device, wish->key);
	if (!xa_empty(&device->views) && !(wish->flags & DAXVIEW_REVOKE))
		return ERR_PTR(-EEXIST);
	return dv_session_new_locked(device, wish->key);
}

/* All views of the device that are not this session's; or all that are. */
static void dv_revoke_all(struct dv_session *session, bool mine)
{
	struct dv_device *device = session->device;
	struct dv_view *view;
	u64 at = 0;

	while ((view = dv_view_next(device, at))) {
		at = view->number;
		if ((view->session == session) == mine)
			dv_revoke(view);
		iput(&view->inode);
		cond_resched();
	}
}

/* The process before has told nobody how far they have come. */
static void dv_take_tails(struct dv_session *session)
{
	struct dv_device *device = session->device;
	struct dv_view *view;
	u64 at = 0;

	while ((view = dv_view_next(device, at))) {
		at = view->number;
		if (view->session == session && dv_take_tail(view))
			dv_revoke(view);
		iput(&view->inode);
		cond_resched();
	}
}

static long dv_call_session(struct file *file, void *argument)
{
	struct daxview_session *wish = argument;
	struct dv_open *open = file->private_data;
	struct dv_device *device;
	struct dv_session *session;

	if (wish->flags & ~(DAXVIEW_ADOPT | DAXVIEW_REVOKE) ||
	    wish->flags == (DAXVIEW_ADOPT | DAXVIEW_REVOKE))
		return -EINVAL;
	wish->version = DAXVIEW_VERSION;
	wish->reason = 0;
	device = dv_device_get(wish->device, &wish->reason);
	if (IS_ERR(device))
		return PTR_ERR(device);
	mutex_lock(&dv_lock);
	session = open->session ? ERR_PTR(-EISCONN) : dv_session_get_locked(device, wish);
	if (!IS_ERR(session))
		/* All of it, before dv_session_of() sees it. */
		smp_store_release(&open->session, session);
	else
		dv_device_put_locked(device);
	mutex_unlock(&dv_lock);
	if (IS_ERR(session))
		return PTR_ERR(session);
	if (wish->flags & DAXVIEW_REVOKE)
		dv_revoke_all(session, false);
	if (wish->flags & DAXVIEW_ADOPT)
		dv_take_tails(session);
	dv_ask_again(session);
	wish->length = session->device->pages << PAGE_SHIFT;
	wish->align = session->device->align;
	return 0;
}

/* NULL: it is none. */
struct dv_session *dv_session_of(struct file *file)
{
	struct dv_open *open = file->private_data;
	/* Of dv_call_session(), in another thread. */
	struct dv_session *session = smp_load_acquire(&open->session);

	return session && !open->holds ? session : NULL;
}

/* A file lets go of its session; whether that was the last one. */
static bool dv_leave_locked(const struct dv_open *open)
{
	struct dv_session *session = open->session;

	if (open->holds)
		session->holders--;
	else
		session->owned = false;
	return dv_is_over_locked(session);
}

/* The caller has a reference from the file that has left. */
static void dv_left(struct dv_session *session, bool over)
{
	if (over)
		dv_revoke_all(session, true);
	dv_session_put(session);
}

static int dv_hold(struct dv_open *open, struct dv_session *session)
{
	struct dv_session *old;
	bool over = false;

	mutex_lock(&dv_lock);
	old = open->session;
	if (old && !open->holds) {
		mutex_unlock(&dv_lock);
		return -EISCONN;
	}
	kref_get(&session->kref);
	session->holders++;
	if (old)
		over = dv_leave_locked(open);
	open->holds = true;
	smp_store_release(&open->session, session);
	mutex_unlock(&dv_lock);
	if (old)
		dv_left(old, over);
	return 0;
}

static long dv_call_hold(struct file *file, void *argument)
{
	const struct daxview_hold *hold = argument;
	struct file *other = fget(hold->session);
	struct dv_session *session = NULL;
	long ret = -EINVAL;

	if (!other)
		return -EBADF;
	if (other->f_op == &dv_session_fops)
		session = dv_session_of(other);
	if (session)
		ret = dv_hold(file->private_data, session);
	fput(other);
	return ret;
}

static long dv_call_create(struct file *file, void *argument)
{
	struct daxview_create *create = argument;
	struct dv_session *session = dv_session_of(file);
	struct file *opened;

	if (!session)
		return -ENOTCONN;
	if (create->flags || create->padding)
		return -EINVAL;
	opened = dv_view_create(session, create);
	if (IS_ERR(opened))
		return PTR_ERR(opened);
	create->fd = get_unused_fd_flags(O_CLOEXEC);
	if (create->fd < 0) {
		fput(opened);
		return create->fd;
	}
	create->view = dv_view_of(file_inode(opened))->number;
	/* The caller sees a number that it can't use before this is over. */
	fd_install(create->fd, opened);
	return 0;
}

/* The view, with a reference, or an error. */
static struct dv_view *dv_call_view(struct file *file, u64 number)
{
	struct dv_session *session = dv_session_of(file);
	struct dv_view *view;

	if (!session)
		return ERR_PTR(-ENOTCONN);
	view = dv_view_find(session->device, number);
	if (view && view->session != session) {
		iput(&view->inode);
		view = NULL;
	}
	return view ?: ERR_PTR(-ENOENT);
}

static long dv_call_set(struct file *file, void *argument)
{
	struct daxview_set *set = argument;
	struct daxview_piece *pieces = NULL;
	struct dv_view *view;
	long err;

	if (set->flags & ~(DAXVIEW_SET_SIZE | DAXVIEW_SET_PRIVILEGED | DAXVIEW_SET_PLAIN) ||
	    set->padding || set->count > DAXVIEW_PIECES_MAX)
		return -EINVAL;
	if ((set->flags & DAXVIEW_SET_SIZE) && set->file_size > MAX_LFS_FILESIZE)
		return -EFBIG;
	view = dv_call_view(file, set->view);
	if (IS_ERR(view))
		return PTR_ERR(view);
	if (set->count)
		pieces = vmemdup_user(u64_to_user_ptr(set->pieces), set->count * sizeof(*pieces));
	err = PTR_ERR_OR_ZERO(pieces);
	if (!err) {
		err = dv_check_pieces(view->session->device, set, pieces)
			      ?: dv_set(view, set, pieces);
		kvfree(pieces);
	}
	iput(&view->inode);
	return err;
}

static long dv_call_tail(struct file *file, void *argument)
{
	struct daxview_tail *tail = argument;
	const struct daxview_set range = {
		.length = MAX_LFS_FILESIZE & PAGE_MASK,
		.count = tail->count,
	};
	struct daxview_piece *pieces = NULL;
	struct dv_view *view;
	long err;

	if (tail->flags & ~DAXVIEW_TAIL_TAKE || tail->padding || tail->count > DAXVIEW_PIECES_MAX)
		return -EINVAL;
	view = dv_call_view(file, tail->view);
	if (IS_ERR(view))
		return PTR_ERR(view);
	if (tail->flags & DAXVIEW_TAIL_TAKE) {
		err = dv_take_tail(view);
	} else {
		if (tail->count)
			pieces = vmemdup_user(u64_to_user_ptr(tail->pieces),
					      tail->count * sizeof(*pieces));
		err = PTR_ERR_OR_ZERO(pieces);
		if (!err) {
			err = dv_check_pieces(view->session->device, &range, pieces)
				      ?: dv_give_tail(view, tail, pieces);
			kvfree(pieces);
		}
	}
	tail->file_size = i_size_read(&view->inode);
	iput(&view->inode);
	return err;
}

static long dv_call_clean(struct file *file, struct daxview_range *range, bool protect)
{
	u64 __user *bitmap = protect ? u64_to_user_ptr(range->bitmap) : NULL;
	struct dv_view *view;
	long err;

	if (range->flags || !IS_ALIGNED(range->offset | range->length, PAGE_SIZE) ||
	    !range->length || range->offset > MAX_LFS_FILESIZE ||
	    range->length > MAX_LFS_FILESIZE - range->offset || (protect && !bitmap))
		return -EINVAL;
	view = dv_call_view(file, range->view);
	if (IS_ERR(view))
		return PTR_ERR(view);
	err = dv_clean(view, range->offset >> PAGE_SHIFT,
		       ((range->offset + range->length) >> PAGE_SHIFT) - 1, bitmap);
	iput(&view->inode);
	return err;
}

static long dv_call_sync(struct file *file, void *argument)
{
	return dv_call_clean(file, argument, false);
}

static long dv_call_protect(struct file *file, void *argument)
{
	return dv_call_clean(file, argument, true);
}

static long dv_call_busy(struct file *file, void *argument)
{
	struct daxview_busy *busy = argument;
	struct dv_session *session = dv_session_of(file);
	u64 where = 0;
	int err;

	if (!session)
		return -ENOTCONN;
	if (busy->flags || busy->padding || !busy->length ||
	    !IS_ALIGNED(busy->device | busy->length, PAGE_SIZE))
		return -EINVAL;
	err = dv_device_busy(session->device, busy->device >> PAGE_SHIFT,
			     busy->length >> PAGE_SHIFT, busy->timeout_ms, &where);
	busy->where = where << PAGE_SHIFT;
	return err;
}

static long dv_call_revoke(struct file *file, void *argument)
{
	struct daxview_revoke *revoke = argument;
	struct dv_view *view;

	if (revoke->flags & ~DAXVIEW_REVOKE_ALL)
		return -EINVAL;
	if (revoke->flags & DAXVIEW_REVOKE_ALL) {
		if (!dv_session_of(file))
			return -ENOTCONN;
		dv_revoke_all(dv_session_of(file), true);
		return 0;
	}
	view = dv_call_view(file, revoke->view);
	if (IS_ERR(view))
		return PTR_ERR(view);
	dv_revoke(view);
	iput(&view->inode);
	return 0;
}

static long dv_call_answer(struct file *file, void *argument)
{
	struct daxview_answer *answer = argument;
	struct dv_session *session = dv_session_of(file);

	if (!session)
		return -ENOTCONN;
	if (answer->error > MAX_ERRNO)
		return -EINVAL;
	return dv_answer(session, answer->question, -(int)answer->error);
}

static struct dv_view *dv_call_next(struct file *file, u64 after)
{
	struct dv_session *session = dv_session_of(file);
	struct dv_view *view;

	if (!session)
		return ERR_PTR(-ENOTCONN);
	while ((view = dv_view_next(session->device, after))) {
		if (view->session == session)
			return view;
		after = view->number;
		iput(&view->inode);
	}
	return ERR_PTR(-ENOENT);
}

static long dv_call_stat(struct file *file, void *argument)
{
	struct daxview_stat *stat = argument;
	struct dv_view *view;

	if (stat->flags & ~DAXVIEW_STAT_NEXT)
		return -EINVAL;
	view = stat->flags & DAXVIEW_STAT_NEXT ? dv_call_next(file, stat->view)
					       : dv_call_view(file, stat->view);
	if (IS_ERR(view))
		return PTR_ERR(view);
	stat->view = view->number;
	stat->cookie = view->cookie;
	stat->file_size = i_size_read(&view->inode);
	stat->stored = READ_ONCE(view->stored);
	stat->faults_huge = atomic64_read(&view->huge);
	stat->faults_page = atomic64_read(&view->small);
	stat->faults_hole = atomic64_read(&view->hole);
	stat->questions = atomic64_read(&view->asked);
	stat->reads = atomic64_read(&view->reads);
	stat->writes = atomic64_read(&view->writes);
	stat->flushed = atomic64_read(&view->flushed);
	stat->files = atomic_read(&view->files);
	stat->read = READ_ONCE(view->read);
	iput(&view->inode);
	return 0;
}

struct dv_call {
	size_t size, least; /* as compiled; of the first version */
	long (*call)(struct file *file, void *argument);
};

#define DV_CALL(command, type, function) \
	[_IOC_NR(command)] = { sizeof(type), sizeof(type), function }

static const struct dv_call dv_calls[] = {
	DV_CALL(DAXVIEW_IOC_SESSION, struct daxview_session, dv_call_session),
	[_IOC_NR(DAXVIEW_IOC_CREATE)] = { sizeof(struct daxview_create),
					  offsetofend(struct daxview_create, padding),
					  dv_call_create },
	DV_CALL(DAXVIEW_IOC_SET, struct daxview_set, dv_call_set),
	DV_CALL(DAXVIEW_IOC_SYNC, struct daxview_range, dv_call_sync),
	DV_CALL(DAXVIEW_IOC_PROTECT, struct daxview_range, dv_call_protect),
	DV_CALL(DAXVIEW_IOC_BUSY, struct daxview_busy, dv_call_busy),
	DV_CALL(DAXVIEW_IOC_REVOKE, struct daxview_revoke, dv_call_revoke),
	DV_CALL(DAXVIEW_IOC_ANSWER, struct daxview_answer, dv_call_answer),
	[_IOC_NR(DAXVIEW_IOC_STAT)] = { sizeof(struct daxview_stat),
					offsetofend(struct daxview_stat, files), dv_call_stat },
	DV_CALL(DAXVIEW_IOC_TAIL, struct daxview_tail, dv_call_tail),
	DV_CALL(DAXVIEW_IOC_HOLD, struct daxview_hold, dv_call_hold),
};

union dv_argument {
	struct daxview_session session;
	struct daxview_create create;
	struct daxview_set set;
	struct daxview_range range;
	struct daxview_busy busy;
	struct daxview_revoke revoke;
	struct daxview_answer answer;
	struct daxview_stat stat;
	struct daxview_tail tail;
	struct daxview_hold hold;
};

/* The size counts that the struct says, as the number of a command has another one elsewhere. */
static long dv_ioctl(struct file *file, unsigned int command, unsigned long address)
{
	void __user *user = (void __user *)address;
	union dv_argument argument = {};
	const struct dv_call *call;
	u32 size;
	long ret;

	if (_IOC_TYPE(command) != _IOC_TYPE(DAXVIEW_IOC_SESSION) ||
	    _IOC_NR(command) >= ARRAY_SIZE(dv_calls) || !dv_calls[_IOC_NR(command)].call)
		return -ENOTTY;
	call = &dv_calls[array_index_nospec(_IOC_NR(command), ARRAY_SIZE(dv_calls))];
	if (get_user(size, (u32 __user *)user))
		return -EFAULT;
	if (size < call->least || size > PAGE_SIZE)
		return -EINVAL;
	ret = copy_struct_from_user(&argument, call->size, user, size);
	if (ret)
		return ret;
	ret = call->call(file, &argument);
	*(u32 *)&argument = size;
	if (copy_to_user(user, &argument, min_t(size_t, size, call->size)) && !ret)
		ret = -EFAULT;
	return ret;
}

static __poll_t dv_poll(struct file *file, poll_table *table)
{
	struct dv_session *session = dv_session_of(file);

	if (!session)
		return EPOLLERR;
	poll_wait(file, &session->readers, table);
	return dv_has_question(session) ? EPOLLIN | EPOLLRDNORM : 0;
}

static int dv_session_open(struct inode *inode, struct file *file)
{
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	/* In place of the misc device's. */
	file->private_data = kzalloc(sizeof(struct dv_open), GFP_KERNEL);
	return file->private_data ? 0 : -ENOMEM;
}

static int dv_session_release(struct inode *inode, struct file *file)
{
	struct dv_open *open = file->private_data;
	bool over;

	if (open->session) {
		mutex_lock(&dv_lock);
		over = dv_leave_locked(open);
		mutex_unlock(&dv_lock);
		dv_left(open->session, over);
	}
	kfree(open);
	return 0;
}

const struct file_operations dv_session_fops = {
	.owner = THIS_MODULE,
	.open = dv_session_open,
	.release = dv_session_release,
	.read = dv_read_questions,
	.poll = dv_poll,
	.unlocked_ioctl = dv_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};
