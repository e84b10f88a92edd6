/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxfuse/map/wait.c, step by step: SLEEPERS threads want an entry that one holds; each
 * takes it, and gives it back. A wake-up that is lost leaves somebody asleep for
 * ever: an invalid end state.
 *
 * Mutants: LOOK_FIRST (a sleeper looks whether it is blocked before it counts itself),
 * COUNT_FIRST (the waker looks at the count before it unlocks), NOT_PASSED_ON (who was
 * woken by an unlock, and finds that it has nothing to take, does not wake the next).
 */
#define SLEEPERS 3

bool locked = true;      /* the entry's word */
byte count;              /* of the bucket */
bool mutex;              /* of the bucket */
bool asleep[SLEEPERS];

inline lock_mutex() { atomic { !mutex -> mutex = true } }
inline unlock_mutex() { mutex = false }

/* wait_wake(WAKE_ONE), after the word was stored */
inline wake_one()
{
	if
	:: seen == 0
	:: else ->
		lock_mutex();
		atomic {
			if
			:: asleep[0] -> asleep[0] = false
			:: asleep[1] -> asleep[1] = false
			:: asleep[2] -> asleep[2] = false
			:: else
			fi
		}
		unlock_mutex()
	fi
}

/* entry_unlock() */
inline unlock()
{
#ifdef COUNT_FIRST
	seen = count;
	locked = false;
#else
	locked = false;
	seen = count;
#endif
	wake_one()
}

/* wait_sleep() */
inline sleep()
{
#ifdef LOOK_FIRST
	blocked = locked;
	lock_mutex();
	count++;
#else
	lock_mutex();
	count++;
	blocked = locked;
#endif
	if
	:: blocked ->
		atomic { asleep[me] = true; mutex = false }
		!asleep[me];
		lock_mutex()
	:: else
	fi;
	count--;
	unlock_mutex()
}

proctype taker(byte me)
{
	byte seen;
	bool blocked, taken;

	do
	:: atomic { !locked -> locked = true }; break
	:: atomic { locked -> skip }; sleep();
#ifdef NOT_PASSED_ON
		if
		:: goto out
		:: skip
		fi
#endif
	od;
	unlock();
out:	skip
}

init {
	byte seen;

	atomic {
		run taker(0);
		run taker(1);
		run taker(2)
	}
	unlock()
}
