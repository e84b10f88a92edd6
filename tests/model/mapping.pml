/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mapping engine: one file of one unit with two pages, a device of six, two mappers,
 * and whatever changes the file beneath them. docs/design/mapping.md says which function
 * of daxfuse/map is which part of this.
 *
 * A mapper is of a kind, KIND0 and KIND1: a CLIENT is asked to let go and answers by a
 * thread of its own, or does not, and may die; a CAREFUL one can be write-protected, too;
 * the KERNEL obeys at once and can be
 * write-protected; a GUEST is writable at once and keeps what it has. FAULTS0 and FAULTS1
 * say how many faults each makes, of any kind; PUNCH, PROMOTE, FSYNC how often that is
 * done; STORES how many stores are made, by whoever may, at any time.
 *
 * What must hold stands in the process `always`. A wake-up that is lost, or a circle of
 * waits, is an invalid end state.
 *
 * Each mutant (MUTANT_*) leaves out one thing that the engine does, and must be found.
 */

#ifndef KIND0
#define KIND0 CLIENT
#endif
#ifndef KIND1
#define KIND1 KERNEL
#endif
#ifndef FAULTS0
#define FAULTS0 1
#endif
#ifndef FAULTS1
#define FAULTS1 1
#endif
#ifndef PUNCH
#define PUNCH 0
#endif
#ifndef PROMOTE
#define PROMOTE 0
#endif
#ifndef FSYNC
#define FSYNC 0
#endif
#ifndef STORES
#define STORES 1
#endif

#define CLIENT 1
#define KERNEL 2
#define GUEST 3
#define CAREFUL 4
#define KIND(m) ((m) == 0 -> KIND0 : KIND1)
#define IS_CLIENT(m) (KIND(m) == CLIENT || KIND(m) == CAREFUL)

/* Entries: of page 0, of page 1, of the unit. */
#define PMD 2
#define NONE 0
#define EMPTY 1
#define ZERO 2
#define DATA 3
byte kind[3];
bool locked[3];
bool dirty[3];
bool table;          /* the unit's slot holds the table of pages */
byte table_number;   /* which one */
bool old_locked[2];  /* words of the table before, until they are DEAD */

/* The file's lock; who sleeps, on the start of which entry (0 or 1). */
byte shared;
bool exclusive;
#define AWAKE 9
byte asleep[6] = AWAKE;

/* The backend: page p lies on a device page d with d % 2 == p; a unit on d and d + 1. */
#define HOLE 9
#define FREE 0
#define USED 1
#define QUARANTINED 2
byte extent[2] = HOLE;
byte state[6];
bool line[6];        /* a store that is not durable */
bool content[6];     /* one bit of data; */
bool flat[2];        /* and what it must be */

/* Mappers: [2 * mapper + page], [6 * mapper + device page] */
#define NOT 8
#define ZEROES 7
byte mapped[4] = NOT;  /* a device page, or one of these */
bool writable[4];
byte excused[4];       /* did not answer, and goes on reading zeroes granted up to that */
bool under_way[2];     /* a piece is granted, and not yet mapped */
byte voided[4];        /* grants up to that number are void, */
byte read_only[4];     /* or for reading only */
bool dead[2];
/* What the engine has of them. */
byte grants[2];
byte pin[4];           /* the grant, or 0 */
bool pin_writable[4];
byte stale[12];        /* pins on quarantined pages */
/* Asked to let go of pages, up to a grant. */
byte asked[2];         /* bits: 1 page 0, 2 page 1 */
byte asked_grant[2];

byte stores;

#define ALIGNED (extent[0] != HOLE && extent[0] % 2 == 0 && extent[1] == extent[0] + 1)
#define HOLES (extent[0] == HOLE && extent[1] == HOLE)
#define ENTRY_OF(p) (table -> (p) : PMD)

/* ---- waiting ---------------------------------------------------------------- */

#define START(w) ((w) == 1 -> 1 : 0)

inline wake_all(start)
{
#ifdef MUTANT_WAKE_ONE
	wake_one(start)
#else
	d_step {
		if :: asleep[0] == start -> asleep[0] = AWAKE :: else fi;
		if :: asleep[1] == start -> asleep[1] = AWAKE :: else fi;
		if :: asleep[2] == start -> asleep[2] = AWAKE :: else fi;
		if :: asleep[3] == start -> asleep[3] = AWAKE :: else fi;
		if :: asleep[4] == start -> asleep[4] = AWAKE :: else fi
	}
#endif
}

inline wake_one(start)
{
	if
	:: asleep[0] == start -> asleep[0] = AWAKE
	:: asleep[1] == start -> asleep[1] = AWAKE
	:: asleep[2] == start -> asleep[2] = AWAKE
	:: asleep[3] == start -> asleep[3] = AWAKE
	:: asleep[4] == start -> asleep[4] = AWAKE
	:: else
	fi
}

inline lock_shared() { atomic { !exclusive -> shared++ } }
inline unlock_shared() { shared-- }

/* ---- entries ---------------------------------------------------------------- */

/* entry_unlock(): EMPTY goes, and wakes all; else one. */
inline unlock(w)
{
	atomic {
		locked[w] = false;
		if
		:: kind[w] == EMPTY -> kind[w] = NONE; dirty[w] = false; wake_all(START(w))
		:: else -> wake_one(START(w))
		fi
	}
}

inline remove(w)
{
	atomic { locked[w] = false; kind[w] = NONE; dirty[w] = false; wake_all(START(w)) }
}

/* try_lock(): one attempt on word e, seen in the slot or in table number `seen`; taken if it
 * has it. Sleeps if somebody else has. A table that was replaced has all of its words
 * locked, and then DEAD. */
#define THERE(e) ((e) == PMD -> !table : table && seen == table_number)

inline try_lock(e)
{
	atomic {
		if
		:: !THERE(e) && e != PMD && old_locked[e] -> asleep[me] = e
		:: !THERE(e) && !(e != PMD && old_locked[e])
		:: THERE(e) && locked[e] -> asleep[me] = START(e)
		:: THERE(e) && !locked[e] && kind[e] == NONE ->
#ifdef MUTANT_NO_EMPTY
			held = false;
#else
			kind[e] = EMPTY; locked[e] = true;
#endif
			taken = true
		:: THERE(e) && !locked[e] && kind[e] != NONE -> locked[e] = true; taken = true
		fi
	};
	asleep[me] == AWAKE
}

/* entry_grab(): w is the entry, locked, or fallback is set. */
inline grab(p, huge)
{
	taken = false;
	fallback = false;
	held = true;
	do
	:: taken || fallback -> break
	:: else ->
		atomic {
			seen = table_number;
			if
			:: table && huge && (kind[0] != NONE || kind[1] != NONE) -> fallback = true; how = 0
			:: table && huge && kind[0] == NONE && kind[1] == NONE -> how = 1
			:: table && !huge -> how = 2
			:: !table && kind[PMD] == NONE && !huge -> how = 3;
				/* a table of one's own */
				table = true; table_number++;
#ifdef MUTANT_NO_EMPTY
				held = false;
#else
				kind[p] = EMPTY; locked[p] = true;
#endif
				taken = true; w = p
			:: else -> how = 4
			fi
		};
		if
		:: how == 1 -> grab_empty_table()
		:: how == 2 ->
			try_lock(p);
			if :: taken -> w = p :: else fi
		:: how == 4 ->
			try_lock(PMD);
			if :: taken -> w = PMD :: else fi
		:: else
		fi
	od
}

/* As try_lock() of a page that must be nothing; a lock on one keeps the table. */
inline take_nothing(p)
{
	atomic {
		if
		:: table && seen == table_number && kind[p] == NONE && !locked[p] ->
			kind[p] = EMPTY; locked[p] = true
		:: else -> fallback = true
		fi
	}
}

inline grab_empty_table()
{
	take_nothing(0);
	if
	:: fallback
	:: else ->
		take_nothing(1);
		if
		:: fallback -> unlock(0)
		:: else -> upgrade(EMPTY); taken = true; w = PMD
		fi
	fi
}

/* entry_upgrade(): both pages are locked. */
inline upgrade(new)
{
	atomic {
		table = false;
		kind[PMD] = new; dirty[PMD] = false; locked[PMD] = true;
		old_locked[0] = true; old_locked[1] = true;
		kind[0] = NONE; locked[0] = false; dirty[0] = false;
		kind[1] = NONE; locked[1] = false; dirty[1] = false
	};
	atomic { old_locked[0] = false; wake_all(0) };
	atomic { old_locked[1] = false; wake_all(1) }
}

/* entry_downgrade() of the locked PMD entry */
inline downgrade(p)
{
	atomic {
		kind[PMD] = NONE; locked[PMD] = false; dirty[PMD] = false;
		table = true; table_number++;
		kind[p] = EMPTY; locked[p] = true;
		w = p;
		wake_all(0)
	}
}

/* ---- mappers let go ---------------------------------------------------------- */

#define BITS(w) ((w) == PMD -> 3 : 1 << (w))
#define PINS(m, bits) ((((bits) & 1) && pin[2 * (m)]) || (((bits) & 2) && pin[2 * (m) + 1]))

inline release(d)
{
	if
	:: state[d] == QUARANTINED && stale[d] == 0 && stale[6 + d] == 0 ->
		state[d] = FREE; line[d] = false
	:: else
	fi
}

inline drop_page(m, p, grant)
{
	if
	:: pin[2 * m + p] <= grant -> pin[2 * m + p] = 0; pin_writable[2 * m + p] = false
	:: else
	fi;
	drop_stale(6 * m + p, p, grant);
	drop_stale(6 * m + 2 + p, 2 + p, grant);
	drop_stale(6 * m + 4 + p, 4 + p, grant)
}

inline drop_stale(i, n, grant)
{
	if
	:: stale[i] && stale[i] <= grant -> stale[i] = 0; release(n)
	:: else
	fi
}

/* map_let_go() */
inline let_go(m, bits, grant)
{
	d_step {
		if :: bits & 1 -> drop_page(m, 0, grant) :: else fi;
		if :: bits & 2 -> drop_page(m, 1, grant) :: else fi
	}
}

inline unmap_page(m, p, grant)
{
	mapped[2 * m + p] = NOT;
	writable[2 * m + p] = false;
	if :: excused[2 * m + p] <= grant -> excused[2 * m + p] = 0 :: else fi;
	if :: voided[2 * m + p] < grant -> voided[2 * m + p] = grant :: else fi
}

inline unmap(m, bits, grant)
{
	d_step {
		if :: bits & 1 -> unmap_page(m, 0, grant) :: else fi;
		if :: bits & 2 -> unmap_page(m, 1, grant) :: else fi
	}
}

/* ask(): one view */
inline ask(m, bits)
{
	atomic {
		grant = grants[m];
		if
		:: PINS(m, bits) && IS_CLIENT(m) ->
			asked[m] = asked[m] | (bits);
			asked_grant[m] = grant
		:: PINS(m, bits) && KIND(m) == KERNEL -> unmap(m, bits, grant); obeyed = true
		:: else
		fi
	};
	if
	:: obeyed -> let_go(m, bits, grant); obeyed = false
	:: else
	fi
}

/* await(): until the answer, or too long */
inline await(m, bits)
{
	if
	:: IS_CLIENT(m) && PINS(m, bits) ->
		if
		:: !PINS(m, bits)
		:: true
		fi
	:: else
	fi
}

/* views_ask(), but not `except` (2: all). Afterwards PINS() says who has not let go. */
inline ask_all(bits, except)
{
	if :: except != 0 -> ask(0, bits) :: else fi;
	if :: except != 1 -> ask(1, bits) :: else fi;
	if :: except != 0 -> await(0, bits) :: else fi;
	if :: except != 1 -> await(1, bits) :: else fi
}

/* views_drop(), of zeroes */
inline drop_pins(bits)
{
	d_step {
		if :: (bits) & 1 -> drop_zero(0, 0); drop_zero(1, 0) :: else fi;
		if :: (bits) & 2 -> drop_zero(0, 1); drop_zero(1, 1) :: else fi
	}
}

inline drop_zero(m, p)
{
	if :: pin[2 * m + p] -> excused[2 * m + p] = grants[m] :: else fi;
	pin[2 * m + p] = 0;
	pin_writable[2 * m + p] = false
}

/* ---- the backend -------------------------------------------------------------- */

inline take_unit()
{
	if
	:: state[0] == FREE && state[1] == FREE -> d = 0
	:: else ->
		if
		:: state[2] == FREE && state[3] == FREE -> d = 2
		:: else ->
			if
			:: state[4] == FREE && state[5] == FREE -> d = 4
			:: else -> d = HOLE
			fi
		fi
	fi
}

inline use(p, n)
{
	extent[p] = n;
	state[n] = USED;
	content[n] = false;
	line[n] = false
}

/* Page 0 from the start of the device and page 1 from its end: never a unit. */
inline allocate_page(p)
{
	if
	:: extent[p] != HOLE
	:: else ->
		if
		:: p == 0 && state[0] == FREE -> use(0, 0)
		:: p == 0 && state[0] != FREE && state[2] == FREE -> use(0, 2)
		:: p == 1 && state[5] == FREE -> use(1, 5)
		:: p == 1 && state[5] != FREE && state[3] == FREE -> use(1, 3)
		:: else -> failed = true
		fi
	fi
}

inline allocate(w)
{
	d_step {
		d = HOLE;
		if :: w == PMD && HOLES -> take_unit() :: else fi;
		if
		:: d != HOLE -> use(0, d); use(1, d + 1)
		:: else ->
			if :: w == PMD || w == 0 -> allocate_page(0) :: else fi;
			if :: w == PMD || w == 1 -> allocate_page(1) :: else fi
		fi;
		d = 0
	}
}

/* ---- the fault path ------------------------------------------------------------ */

#define EXCEPT (KIND(me) == KERNEL || KIND(me) == GUEST -> 2 : me)

inline grant_page(p)
{
	pin[2 * me + p] = grants[me];
#ifdef MUTANT_FORGET_WRITABLE
	pin_writable[2 * me + p] = writing
#else
	/* it has that until the piece arrives */
	pin_writable[2 * me + p] = pin_writable[2 * me + p] || writing
#endif
}

#ifdef MUTANT_NOTHING_IS_VOID
#define VALID(p) (!dead[me])
#else
#define VALID(p) (number > voided[2 * me + (p)] && !dead[me])
#endif

#ifdef MUTANT_PROTECT_WHAT_IS_MAPPED
#define MAY_WRITE(p) true
#else
#define MAY_WRITE(p) (number > read_only[2 * me + (p)])
#endif

inline map_page(p)
{
	if
	:: VALID(p) ->
		mapped[2 * me + p] = (zero -> ZEROES : from[p]);
		writable[2 * me + p] = writing && MAY_WRITE(p);
		if :: number > excused[2 * me + p] -> excused[2 * me + p] = 0 :: else fi
	:: else
	fi
}

/* What the mapper does with the piece. */
inline map_piece()
{
	d_step {
		if
		:: drop && mapped[2 * me] == ZEROES -> mapped[2 * me] = NOT; writable[2 * me] = false
		:: else
		fi;
		if
		:: drop && mapped[2 * me + 1] == ZEROES -> mapped[2 * me + 1] = NOT; writable[2 * me + 1] = false
		:: else
		fi;
		if :: huge || page == 0 -> map_page(0) :: else fi;
		if :: huge || page == 1 -> map_page(1) :: else fi;
		from[0] = 0; from[1] = 0
	}
}

/* settle(): w is locked. */
inline settle()
{
	failed = false;
	if
	:: writing || KIND(me) == GUEST ->
		if
		:: (huge && !ALIGNED) || (!huge && extent[page] == HOLE) -> allocate((huge -> PMD : page))
		:: else
		fi
	:: else
	fi;
	atomic {
		zero = (huge -> HOLES : extent[page] == HOLE);
		from[0] = extent[0];
		from[1] = extent[1];
		if
		:: failed || (zero && (writing || KIND(me) == GUEST)) || (huge && !zero && !ALIGNED) -> failed = true
		:: else -> failed = false
		fi
	};
	if
	:: failed
	:: else ->
		if
		:: kind[w] == ZERO && !zero ->
			drop = true;
#ifndef MUTANT_KEEP_ZEROES
			ask_all(BITS(w), EXCEPT);
			drop_pins(BITS(w))
#endif
		:: else
		fi;
		/* the entry's own value changes only when it is unlocked; here its kind does, too, as
		 * nobody else looks at a locked one */
		kind[w] = (zero -> ZERO : DATA);
		atomic {
			if
			:: dead[me] -> failed = true
			:: else ->
				grants[me]++;
				number = grants[me];
				if :: huge || page == 0 -> grant_page(0) :: else fi;
				if :: huge || page == 1 -> grant_page(1) :: else fi;
				under_way[me] = true
			fi
		};
		if
		:: !failed && !IS_CLIENT(me) -> map_piece()
		:: else
		fi;
		if :: writing && !failed -> dirty[w] = true :: else fi
	fi
}

inline fault()
{
	lock_shared();
	drop = false;
	grab(page, huge);
	if
	:: fallback -> failed = true
	:: else ->
		if
		:: w == PMD && !huge && kind[PMD] != DATA ->
			if
			:: kind[PMD] == ZERO ->
				drop = true;
				ask_all(3, EXCEPT);
				drop_pins(3)
			:: else
			fi;
			downgrade(page)
		:: else
		fi;
		settle();
		if
		:: held -> unlock(w)
		:: else
		fi
	fi;
	unlock_shared();
	if
	:: !failed && IS_CLIENT(me) -> map_piece()
	:: else
	fi;
	atomic { under_way[me] = false; number = 0; drop = false; seen = 0; how = 0; w = 0; zero = false }
}

proctype mapper(byte me; byte faults)
{
	byte page, w, seen, how, grant, number, d;
	byte from[2];
	bool huge, writing, fallback, taken, held, failed, zero, drop, obeyed;

	do
	:: faults > 0 && !dead[me] ->
		faults--;
		atomic {
			if :: page = 0 :: page = 1 fi;
			if :: huge = true; page = 0 :: huge = false fi;
			if :: KIND(me) != GUEST -> writing = false :: writing = true fi
		};
		fault()
	:: faults == 0 || dead[me] -> break
	od
}

/* The client's thread that answers; what it does not answer, nobody does. */
proctype listener(byte me)
{
	byte bits, grant;

end:	do
	:: atomic { asked[me] != 0 -> bits = asked[me]; grant = asked_grant[me]; asked[me] = 0 };
		unmap(me, bits, grant);
		let_go(me, bits, grant)
#ifdef DEATHS
	:: atomic { !dead[me] -> dead[me] = true };
		unmap(me, 3, 255);
		let_go(me, 3, 255);
		break
#endif
	od
}

#define MAY_STORE(i) (stores < STORES && writable[i] && mapped[i] < 6)

inline store(i)
{
	stores++;
	line[mapped[i]] = true;
	content[mapped[i]] = true;
	if
	:: extent[i % 2] == mapped[i] -> flat[i % 2] = true
	:: else
	fi
}

/* Stores, whenever somebody may. */
proctype storer()
{
	byte at;

end:	do
	:: atomic { MAY_STORE(0) -> store(0) }
	:: atomic { MAY_STORE(1) -> store(1) }
	:: atomic { MAY_STORE(2) -> store(2) }
	:: atomic { MAY_STORE(3) -> store(3) }
	od
}

/* ---- what changes the file ------------------------------------------------------ */

#define PINNED(p) (pin[p] || pin[2 + (p)])
#define KEPT(p) ((KIND0 == GUEST && pin[p]) || (KIND1 == GUEST && pin[2 + (p)]))

/* map_change_begin(): what is pinned of a page, after all were asked. */
inline list_page(p)
{
	atomic {
		list[p] = 0;
		if
		:: !(bits & (1 << p)) || kind[ENTRY_OF(p)] != DATA
		:: else ->
			if
			:: !table && (KEPT(0) || KEPT(1) || (bits != 3 && (PINNED(0) || PINNED(1)))) -> list[p] = 2
			:: table && KEPT(p) -> list[p] = 2
			:: !table && !(KEPT(0) || KEPT(1)) && bits == 3 && (PINNED(0) || PINNED(1)) -> list[p] = 1
			:: table && !KEPT(p) && PINNED(p) -> list[p] = 1
			:: else
			fi
		fi
	}
}

/* The transaction. */
inline free_page(p)
{
	if
	:: !(bits & (1 << p)) || extent[p] == HOLE -> was[p] = HOLE
	:: else ->
		was[p] = extent[p];
		flat[p] = false;
		if
		:: list[p] == 2 -> content[extent[p]] = false; line[extent[p]] = false
		:: list[p] == 1 -> state[extent[p]] = QUARANTINED; extent[p] = HOLE
		:: else -> state[extent[p]] = FREE; line[extent[p]] = false; extent[p] = HOLE
		fi
	fi
}

/* quarantine(): pins follow the piece; without one, it is free. */
inline quarantine_page(p)
{
	d_step {
		if
		:: list[p] == 1 ->
			if :: pin[p] -> stale[was[p]] = grants[0]; pin[p] = 0; pin_writable[p] = false :: else fi;
			if :: pin[2 + p] -> stale[6 + was[p]] = grants[1]; pin[2 + p] = 0; pin_writable[2 + p] = false :: else fi;
			release(was[p])
		:: else
		fi
	}
}

/* The entry of a page that was cut off: it goes, unless it is kept; what is left of it in the
 * file is made durable. */
inline end_entry(p)
{
	w = ENTRY_OF(p);
	if
	:: kind[w] == NONE || list[p] == 2 && (PINNED(0) || PINNED(1))
	:: else ->
		if
		:: !table && dirty[PMD] && bits != 3 ->
			if :: extent[0] != HOLE -> line[extent[0]] = false :: else fi;
			if :: extent[1] != HOLE -> line[extent[1]] = false :: else fi
		:: else
		fi;
		remove(w)
	fi
}

proctype punch(byte me)
{
	byte grant, bits, at, w;
	byte list[2], was[2];
	bool obeyed;

	if :: bits = 3 :: bits = 2 fi;
	atomic { !exclusive && shared == 0 -> exclusive = true };
	at = (!table && kind[PMD] != NONE -> 3 : bits);
	ask_all(at, 2);
#ifndef MUTANT_NO_QUARANTINE
	list_page(0);
	list_page(1);
#endif
	/* zeroes need no pin */
	atomic {
		if :: kind[ENTRY_OF(0)] == ZERO && (at & 1) -> drop_pins(1) :: else fi;
		if :: kind[ENTRY_OF(1)] == ZERO && (at & 2) -> drop_pins(2) :: else fi
	};
	d_step { free_page(0); free_page(1) };
	quarantine_page(0);
	quarantine_page(1);
	if :: bits & 1 -> end_entry(0) :: else fi;
	if :: bits & 2 -> end_entry(1) :: else fi;
	exclusive = false
}

/* entry_grab_unit() and map_promote() */
inline grab_page_of_unit(p)
{
	do
	:: taken -> taken = false; break
	:: !taken && !THERE(p) -> retired = true; break
	:: else -> try_lock(p)
	od
}

inline copy()
{
	d_step {
		take_unit();
		if
		:: d != HOLE ->
			if :: extent[0] != HOLE -> content[d] = content[extent[0]] :: else -> content[d] = false fi;
			if :: extent[1] != HOLE -> content[d + 1] = content[extent[1]] :: else -> content[d + 1] = false fi
		:: else
		fi
	}
}

inline switch()
{
	d_step {
		if
		:: d != HOLE ->
			state[d] = USED; state[d + 1] = USED; line[d] = false; line[d + 1] = false;
			if :: extent[0] != HOLE -> state[extent[0]] = FREE; line[extent[0]] = false :: else fi;
			if :: extent[1] != HOLE -> state[extent[1]] = FREE; line[extent[1]] = false :: else fi;
			extent[0] = d;
			extent[1] = d + 1
		:: else -> failed = true
		fi;
		d = 0
	}
}

proctype promote(byte me)
{
	byte grant, seen, d;
	bool obeyed, taken, held, failed, retired, of_pages;

	lock_shared();
	held = true;
	do
	:: atomic { table -> seen = table_number; retired = false };
		grab_page_of_unit(0);
		if
		:: retired
		:: else -> grab_page_of_unit(1); of_pages = true; break
		fi
	:: !table ->
		try_lock(PMD);
		if :: taken -> break :: else fi
	od;
	if
	:: !of_pages && kind[PMD] == DATA && ALIGNED -> failed = true
	:: else ->
#ifdef MUTANT_COPY_FIRST
		copy();
#endif
		ask_all(3, 2);
		if
		:: PINS(0, 3) || PINS(1, 3) -> failed = true; d = 0
		:: else ->
#ifdef MUTANT_COPY_FIRST
			switch()
#else
			atomic { copy(); switch() }
#endif
		fi
	fi;
	if
	:: failed && of_pages -> unlock(0); unlock(1)
	:: failed && !of_pages -> unlock(PMD)
	:: !failed && of_pages -> upgrade(DATA); unlock(PMD)
	:: else -> kind[PMD] = DATA; dirty[PMD] = false; unlock(PMD)
	fi;
	unlock_shared()
}

inline protect_page(m, p)
{
	if
	:: pin_writable[2 * m + p] && (KIND(m) == KERNEL || KIND(m) == CAREFUL) ->
		writable[2 * m + p] = false;
		pin_writable[2 * m + p] = false;
		read_only[2 * m + p] = grants[m]
	:: pin_writable[2 * m + p] && KIND(m) != KERNEL && KIND(m) != CAREFUL -> clean = false
	:: else
	fi
}

inline protect(m)
{
	d_step {
		if :: w != 1 -> protect_page(m, 0) :: else fi;
		if :: w != 0 -> protect_page(m, 1) :: else fi
	}
}

inline flush()
{
	if :: w != 1 && extent[0] != HOLE -> line[extent[0]] = false :: else fi;
	if :: w != 0 && extent[1] != HOLE -> line[extent[1]] = false :: else fi
}

/* writeback_entry() */
inline write_back()
{
	clean = true;
#ifdef MUTANT_FLUSH_FIRST
	flush();
#endif
	protect(0);
	protect(1);
#ifdef MUTANT_CLEAR_FIRST
	if :: clean -> dirty[w] = false :: else fi;
	unlock(w);
#endif
#ifndef MUTANT_FLUSH_FIRST
	flush();
#endif
#ifndef MUTANT_CLEAR_FIRST
	if :: clean -> dirty[w] = false :: else fi;
	unlock(w)
#endif
}

/* One step of write_back_entries(): a look at the entry over page p, and entry_grab_present(). Who
 * has slept there takes the entry, unless it is gone: else nobody would wake the next. */
inline fsync_page(p)
{
	taken = false;
	gone = false;
	atomic {
		w = ENTRY_OF(p);
		if
		:: kind[w] == NONE || (!dirty[w] && !locked[w]) -> gone = true
		:: else
		fi
	};
	do
	:: taken || gone -> break
	:: else ->
#ifdef MUTANT_NOT_PASSED_ON
		if :: !locked[w] && !dirty[w] -> gone = true :: else fi;
#endif
		atomic { seen = table_number; w = ENTRY_OF(p) };
		grab_present(w)
	od;
	if
	:: gone
	:: !gone && dirty[w] -> write_back()
	:: else -> unlock(w)
	fi
}

inline grab_present(e)
{
	atomic {
		if
		:: !THERE(e)
		:: THERE(e) && kind[e] == NONE -> gone = true
		:: THERE(e) && kind[e] != NONE && locked[e] -> asleep[me] = START(e)
		:: else -> locked[e] = true; taken = true
		fi
	};
	asleep[me] == AWAKE
}

proctype fsync(byte me)
{
	byte w, seen;
	bool clean, taken, gone;

	lock_shared();
	fsync_page(0);
	fsync_page(1);
	unlock_shared()
}

/* ---- what must hold --------------------------------------------------------------- */

#define ONE_ENTRY (!(table && kind[PMD] != NONE) && \
	!(!table && (kind[0] != NONE || kind[1] != NONE)))
/* Nobody sees a page that was freed. */
#define LIVE(i) (mapped[i] >= 6 || state[mapped[i]] != FREE)
/* What somebody maps is the file's, or was, and is nobody else's. */
#define PINNED_OR_STALE(i) (mapped[i] >= 6 || pin[i] || stale[6 * ((i) / 2) + mapped[i]])
/* No zeroes over data, but for who is about to replace them, or has not answered. */
#define SETTLED(p) (kind[ENTRY_OF(p)] == DATA && !locked[ENTRY_OF(p)])
#define NO_ZEROES(m, p) (mapped[2 * (m) + (p)] != ZEROES || !SETTLED(p) || under_way[m] || \
	excused[2 * (m) + (p)])
/* A line that is not durable is under a tag, or its entry is being worked on. */
#define TAGGED(p) (extent[p] == HOLE || !line[extent[p]] || locked[ENTRY_OF(p)] || dirty[ENTRY_OF(p)])
/* No store is lost. */
#define KEPT_DATA(p) (extent[p] == HOLE || content[extent[p]] == flat[p])

proctype always()
{
end:	atomic {
		!(ONE_ENTRY &&
		  LIVE(0) && LIVE(1) && LIVE(2) && LIVE(3) &&
		  PINNED_OR_STALE(0) && PINNED_OR_STALE(1) && PINNED_OR_STALE(2) && PINNED_OR_STALE(3) &&
		  NO_ZEROES(0, 0) && NO_ZEROES(0, 1) && NO_ZEROES(1, 0) && NO_ZEROES(1, 1) &&
		  TAGGED(0) && TAGGED(1) && KEPT_DATA(0) && KEPT_DATA(1)) ->
		assert(ONE_ENTRY);
		assert(LIVE(0) && LIVE(1) && LIVE(2) && LIVE(3));
		assert(PINNED_OR_STALE(0) && PINNED_OR_STALE(1) && PINNED_OR_STALE(2) && PINNED_OR_STALE(3));
		assert(NO_ZEROES(0, 0) && NO_ZEROES(0, 1) && NO_ZEROES(1, 0) && NO_ZEROES(1, 1));
		assert(TAGGED(0) && TAGGED(1));
		assert(KEPT_DATA(0) && KEPT_DATA(1))
	}
}

init {
	atomic {
		run mapper(0, FAULTS0);
		run mapper(1, FAULTS1);
		if :: IS_CLIENT(0) -> run listener(0) :: else fi;
		if :: IS_CLIENT(1) -> run listener(1) :: else fi;
		if :: STORES -> run storer() :: else fi;
		if :: PUNCH -> run punch(2) :: else fi;
		if :: PROMOTE -> run promote(3) :: else fi;
		if :: FSYNC -> run fsync(4) :: else fi;
		run always()
	}
}
