/* SPDX-License-Identifier: BSD-3-Clause */
/* The slots of requests in progress, and what an operation makes of one that it finds executed. */
#include "daxfuse/base/lockrank.h"
#include "internal.h"

#include <stdatomic.h>
#include <string.h>

enum { CRASHES_MAX = 3 };

void answers_open(struct vfs_answers *a, struct vfs_answer *slots, uint32_t life, bool crashed)
{
	a->slot = slots;
	a->life = life;
	a->crashed = crashed;
	memset(a->in_use, 0, sizeof(a->in_use));
	pthread_mutex_init(&a->lock, NULL);
}

void answers_close(struct vfs_answers *a)
{
	pthread_mutex_destroy(&a->lock);
}

/* ---- slots --------------------------------------------------------------------------- */

/* A slot in use belongs to a thread of this process, which has something else in it. */
static struct vfs_answer *find_slot_locked(struct vfs_answers *a, uint64_t unique)
{
	lock_assert(LOCK_ANSWERS);
	for (unsigned i = 0; i < VFS_ANSWERS; i++) {
		if (!a->in_use[i] && a->slot[i].unique == unique)
			return &a->slot[i];
	}
	return NULL;
}

/* A free slot, or if there is none, the oldest of earlier lives. */
struct vfs_answer *answers_take(struct vfs_answers *a)
{
	struct vfs_answer *best = NULL;

	lock_mutex(LOCK_ANSWERS, &a->lock);
	for (unsigned i = 0; i < VFS_ANSWERS; i++) {
		struct vfs_answer *slot = &a->slot[i];

		if (a->in_use[i])
			continue;
		if (!best || !slot->unique || slot->life < best->life)
			best = slot;
		if (!best->unique)
			break;
	}
	if (best)
		a->in_use[best - a->slot] = true;
	unlock_mutex(LOCK_ANSWERS, &a->lock);
	return best;
}

/* Order: everything else, then unique: a slot whose filling was cut short is free. */
void answers_begin(const struct vfs_answers *a, struct vfs_answer *slot,
		   const struct vfs_answer *request)
{
	atomic_store_explicit(&slot->unique, 0, memory_order_release);
	slot->node = request->node;
	slot->other_node = request->other_node;
	slot->unnamed = 0;
	slot->opcode = request->opcode;
	slot->result = 0;
	atomic_store_explicit(&slot->choice, 0, memory_order_relaxed);
	slot->life = a->life;
	slot->crashes = 0;
	atomic_store_explicit(&slot->executed, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->unique, request->unique, memory_order_release);
}

struct vfs_answer *answers_take_over(struct vfs_answers *a, uint64_t unique)
{
	struct vfs_answer *slot;

	lock_mutex(LOCK_ANSWERS, &a->lock);
	slot = find_slot_locked(a, unique);
	if (slot) {
		if (a->crashed && slot->life + 1 == a->life)
			slot->crashes++;
		slot->life = a->life;
		a->in_use[slot - a->slot] = true;
	}
	unlock_mutex(LOCK_ANSWERS, &a->lock);
	return slot;
}

bool answers_is_welcome(const struct vfs_answer *slot)
{
	return slot->executed || slot->crashes < CRASHES_MAX;
}

void answers_done(struct vfs_answer *slot)
{
	atomic_store_explicit(&slot->unique, 0, memory_order_release);
}

void answers_end(struct vfs_answers *a, struct vfs_answer *slot)
{
	lock_mutex(LOCK_ANSWERS, &a->lock);
	answers_done(slot);
	a->in_use[slot - a->slot] = false;
	unlock_mutex(LOCK_ANSWERS, &a->lock);
}

/* ---- what is executed ------------------------------------------------------------------ */

/* Order: the result, then that there is one. */
static void mark_executed(struct vfs_answer *slot, int64_t result)
{
	slot->result = result;
	atomic_store_explicit(&slot->executed, 1, memory_order_release);
}

void answers_mark(struct vfs_answer *slot)
{
	mark_executed(slot, 0);
}

static void note_executed(const struct tx_request *once, int64_t result)
{
	const struct vfs_request *request = container_of(once, struct vfs_request, who.once);

	mark_executed(request->answer, result);
}

struct tx_request answer_once(const struct vfs_answer *answer)
{
	if (!answer)
		return (struct tx_request){ 0 };
	return (struct tx_request){ answer->unique, answer->opcode, note_executed };
}

void answer_choose(struct vfs_answer *answer, uint64_t choice)
{
	if (answer)
		atomic_store_explicit(&answer->choice, choice, memory_order_release);
}

uint64_t answer_choice(const struct vfs_answer *answer)
{
	return answer ? answer->choice : 0;
}

void answers_replayed(void *arg, uint64_t unique, uint32_t opcode, int64_t result)
{
	struct vfs_answers *a = arg;
	struct vfs_answer *slot;

	(void)opcode;
	lock_mutex(LOCK_ANSWERS, &a->lock);
	slot = find_slot_locked(a, unique);
	unlock_mutex(LOCK_ANSWERS, &a->lock);
	if (slot)
		mark_executed(slot, result);
}

void answers_settle(struct vfs_answers *a, void (*settle)(void *arg, const struct vfs_answer *lost),
		    void *arg)
{
	for (unsigned i = 0; i < VFS_ANSWERS; i++) {
		struct vfs_answer *slot = &a->slot[i];
		bool lost;

		lock_mutex(LOCK_ANSWERS, &a->lock);
		lost = !a->in_use[i] && slot->unique;
		a->in_use[i] |= lost;
		unlock_mutex(LOCK_ANSWERS, &a->lock);
		if (!lost)
			continue;
		settle(arg, slot);
		answers_end(a, slot);
	}
}

/* ---- of an operation --------------------------------------------------------------------- */

bool answer_is_known(const struct vfs_request *request, int64_t *ret_result)
{
	if (!request->answer || !request->answer->executed)
		return false;
	*ret_result = request->answer->result;
	return true;
}

/* Others may have removed it meanwhile, and the number may mean another inode. */
bool answer_of_made(struct vfs *v, const struct vfs_request *request, int *ret_err,
		    struct fs_attr *ret_attr)
{
	int64_t result;

	if (!answer_is_known(request, &result))
		return false;
	*ret_err = fs_getattr(v->config.fs, FS_RESULT_INO(result), ret_attr);
	if (!*ret_err && ret_attr->generation != FS_RESULT_GENERATION(result))
		*ret_err = -ESTALE;
	if (*ret_err == -ESTALE)
		*ret_err = -ENOENT;
	return true;
}
