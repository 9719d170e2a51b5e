/* SPDX-License-Identifier: MIT */
/*
 * The right to read and the channel's thread, function by function as in src/link/baton.c and
 * src/link/standby.c. The models include this file. A model defines who waits, what arrives and
 * what happens to it:
 *
 *   WAITERS, GROUP(w)          threads that wait, numbered from 0; the `struct sleepers` in which
 *                              each waits
 *   INPUT, take_input()        whether there is input in the socket; takes it out, into the
 *                              reader's hands
 *   IN_HAND, deliver(by)       whether some of it must still be delivered; delivers one item
 *   TO_WRITE, IS_OVER          has_to_write() and is_over() of standby.c
 *   standby_looks(), WAKES, standby_wakes(), standby_writes(), standby_finish()
 *                              what the thread does besides reading: before it waits, what else
 *                              wakes it, after that, and at the end
 *
 * What is atomic here is done under one lock there, or under locks that are held together. Between
 * two such steps any other thread may run.
 *
 * Time is not counted. A deadline (a tick's or a waiter's) may have passed at any moment, and need
 * not have. Two things are known. A timeout that ends means that its time has come, unless it was
 * put off meanwhile (`renewed`). And more than 50 microseconds pass between two ticks (`fresh`).
 * Numbers that only decide what is worthwhile (how often a thread has taken over, or returned in
 * time) are left open: both answers are tried.
 *
 * Calls that can fail do so FAULTS times, at any place.
 *
 * BREAK_x leaves out a rule. tests/model/run checks that the models need each rule.
 */
#ifndef FAULTS
#define FAULTS 0
#endif
#define THE_THREAD WAITERS

mtype = { WATCH, REST, TICK };
mtype = { WOKE_NOBODY, WOKE_SOMEBODY, WOKE_AND_BACK };
mtype = { CHANGED, STEP_DOWN, TIMEOUT };

/* struct waiter. `stale`: its sleepers have changed since it began to wait. */
bool listed[WAITERS], waiting[WAITERS], leading[WAITERS], woken[WAITERS], granted[WAITERS],
	passed_over[WAITERS], stale[WAITERS];
/*
 * struct baton. `led`: a thread has begun to lead since the last tick. `fresh`: a thread may have
 * stopped waiting a moment ago. `reliable`: returns >= relied_from. `renewed`: tick_at is later
 * than the thread knows.
 */
mtype mode = WATCH;
bool taken, over, led, fresh = true, reliable, renewed; /* a thread may have waited before */
byte dependents;
/* struct beam_channel. `watched`: what the kernel was told last. */
mtype woke = WOKE_NOBODY;
bool armed = true, watched = true, awake = true, nudged, kick, kicked, read_over, finished;
byte faults = FAULTS;
/* For the properties. */
bool reading;
/* Scratch variables: results of inlines, which are false between two steps, and a counter. */
bool ok, found;
hidden byte i;

#if WAITERS == 1
#define ANY(x) (x[0])
#elif WAITERS == 2
#define ANY(x) (x[0] || x[1])
#else
#define ANY(x) (x[0] || x[1] || x[2])
#endif

#define ASLEEP_(x) (listed[x] && !leading[x])
#if WAITERS == 1
#define ASLEEP (ASLEEP_(0))
#elif WAITERS == 2
#define ASLEEP (ASLEEP_(0) || ASLEEP_(1))
#else
#define ASLEEP (ASLEEP_(0) || ASLEEP_(1) || ASLEEP_(2))
#endif

/* Sets ok to whether the call succeeded. */
inline may_fail()
{
	ok = true;
	if
	:: faults > 0 -> faults--; ok = false
	:: true
	fi
}

/* ---- Waking ---------------------------------------------------------------------------------- */

inline wake(x)
{
	listed[x] = false;
	woken[x] = true
}

inline wake_unless_leading(x)
{
	if
	:: leading[x]
	:: else -> wake(x); woke = WOKE_SOMEBODY
	fi
}

/* sleepers_wake() for one of them. Which one is left open. */
inline sleepers_wake(group)
{
	d_step {
		for (i : 0 .. WAITERS - 1) {
			stale[i] = stale[i] || GROUP(i) == group
		}
		i = 0
	}
	if
	:: listed[0] && GROUP(0) == group -> wake_unless_leading(0)
#if WAITERS > 1
	:: listed[1] && GROUP(1) == group -> wake_unless_leading(1)
#endif
#if WAITERS > 2
	:: listed[2] && GROUP(2) == group -> wake_unless_leading(2)
#endif
	:: else
	fi
}

inline sleepers_wake_all(group, by)
{
	d_step {
		for (i : 0 .. WAITERS - 1) {
			if
			:: GROUP(i) == group ->
				stale[i] = true;
				if
				:: listed[i] && !leading[i] -> wake(i)
#ifndef BREAK_KICK
				:: listed[i] && leading[i] && i != by -> kick = true
#endif
				:: else
				fi
			:: else
			fi
		}
		i = 0
	}
}

/* write_nudge() */
inline nudge()
{
	if
	:: !awake && !finished -> awake = true; nudged = true
	:: else
	fi
}

/* ---- The right to read; its lock is held ----------------------------------------------------- */

inline set_tick()
{
	mode = TICK;
	renewed = true;
	led = false
}

/* standby_watch(). Sets ok to whether it succeeded. */
inline standby_watch()
{
	ok = true;
	if
	:: watched != (armed && !read_over) ->
		may_fail();
		if
		:: ok -> watched = armed && !read_over
		:: else
		fi
	:: else
	fi
}

inline arm(on)
{
	armed = on;
	standby_watch();
#ifndef BREAK_TELL_TICK
	if
	:: mode == TICK -> nudge()
	:: else
	fi
#endif
}

inline watch()
{
	mode = WATCH;
	led = false;
	arm(true);
	if
	:: !ok -> set_tick(); arm(false)
	:: else
	fi;
	ok = false
}

inline stop_watching()
{
	if
	:: mode == WATCH ->
		if
		:: !dependents -> set_tick()
		:: mode = REST
		fi;
		arm(false);
		ok = false
	:: mode == TICK -> led = true
	:: else
	fi
}

/* take(). If granted[me] is set, this thread has the right. */
inline take(me)
{
	granted[me] = false;
	if
#ifdef BREAK_ONE_READER
	:: !over ->
#else
	:: !taken && !over ->
#endif
		taken = true;
		granted[me] = true;
		stop_watching()
	:: else
	fi
}

/* give(). Sets found to whether x has taken it. */
inline give(x)
{
	passed_over[x] = true;
	found = false;
	if
	:: !woken[x] -> granted[x] = true; wake(x); stop_watching(); found = true
	:: else
	fi
}

/*
 * pass_on(). Which deadline is the latest is left open. Sets found to whether a thread has the
 * right.
 */
inline pass_on()
{
	found = false;
	do
	:: found -> break
	:: !found && waiting[0] && !passed_over[0] -> give(0)
#if WAITERS > 1
	:: !found && waiting[1] && !passed_over[1] -> give(1)
#endif
#if WAITERS > 2
	:: !found && waiting[2] && !passed_over[2] -> give(2)
#endif
	:: else -> break
	od
}

#define IS_EXPECTED (reliable && mode != WATCH && !dependents)

/*
 * expect(): no thread has the right, and a tick will notice that. It fails only if there is no
 * thread.
 */
inline expect()
{
	if
	:: set_tick();
#ifndef BREAK_TELL_EXPECT
		nudge()
#endif
	:: mode == TICK /* the next tick is near */
	fi;
	fresh = true;
	taken = false;
	found = true
}

inline leave()
{
	over = over || read_over;
	woke = WOKE_NOBODY; /* nobody reads it before a thread leads again */
	found = false;
	if
	:: !over && IS_EXPECTED && ANY(waiting) -> expect()
	:: else
	fi;
#ifndef BREAK_HAND_OVER
	if
	:: !over && !found -> pass_on()
	:: else
	fi;
#endif
	if
	:: found
	:: else ->
		taken = false;
		if
		:: over
#ifndef BREAK_REARM
		:: !over && (mode == REST || (mode == TICK && dependents)) -> watch()
#endif
		:: else
		fi
	fi;
	/* A sleeping thread must not have to wait for a tick, except for an expected one. */
	assert(found || mode != TICK || !(ASLEEP));
	found = false
}

#ifdef BREAK_REST_WHEN_OVER
#define OR_OVER
#else
#define OR_OVER || over
#endif

/* baton_tick(). `due`: the tick is due. */
inline tick(due)
{
	if
	:: mode == TICK && due ->
		found = !taken && !over && ANY(waiting);
		if
#ifdef BREAK_GIVE_UP
		:: found -> set_tick()
#else
		:: found -> /* give_up_expecting() */
			reliable = false;
			pass_on();
			taken = found;
			set_tick()
#endif
		:: found && fresh -> set_tick()
		:: !found && led -> set_tick()
		:: !found && !led && (taken OR_OVER) -> mode = REST
		:: !found && !led && !taken && !over -> watch()
		:: else
		fi;
		fresh = false;
		found = false
	:: else
	fi
}

/* attend() */
inline attend()
{
	if
	:: !taken && !over && mode != WATCH -> watch()
	:: else
	fi
}

/* step_down(). Sets found to whether it has stepped down. Which waiter came last is left open. */
inline step_down(me)
{
	found = false;
	if
	:: IS_EXPECTED && woke == WOKE_AND_BACK ->
		if
		:: waiting[0] -> give(0)
#if WAITERS > 1
		:: waiting[1] -> give(1)
#endif
#if WAITERS > 2
		:: waiting[2] -> give(2)
#endif
		:: else
		fi;
		waiting[me] = found
	:: IS_EXPECTED && woke != WOKE_AND_BACK -> waiting[me] = true; expect()
	:: else
	fi
}

/* The beginning of sleep_among(): the baton's lock is released when the sleepers' lock is held. */
inline fall_asleep(me)
{
	waiting[me] = true;
	woken[me] = false;
	granted[me] = false;
	passed_over[me] = false;
#ifdef BREAK_LOOK_BEFORE_SLEEP
	listed[me] = true
#else
	listed[me] = !stale[me]
#endif
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* read_some(). The reader works without a lock. It delivers under the lock of the recipient. */
inline read_some(by, came)
{
	atomic {
		assert(!reading);
		assert(!finished);
		came = false;
		if
		:: !read_over && INPUT -> take_input(); reading = IN_HAND; came = true
		:: else
		fi
	}
	do
	:: atomic { IN_HAND -> assert(taken); deliver(by); reading = IN_HAND }
	:: !reading -> break
	od
}

/* lead(). Sets r. */
inline lead(me)
{
	bool looked = false;

	r = CHANGED;
	do
	:: atomic { stale[me] || read_over -> r = CHANGED; break }
	:: atomic { !stale[me] && !read_over && r == STEP_DOWN -> break }
	:: atomic { !stale[me] && !read_over && r != STEP_DOWN && looked && passed -> r = TIMEOUT; break }
	:: atomic {
		!stale[me] && !read_over && r != STEP_DOWN && !(looked && passed) ->
		listed[me] = true;
		leading[me] = true;
		woke = WOKE_NOBODY
	   }
	   read_some(me, looked);
	   if
	   :: looked || passed
	   :: else ->
end_poll:	if /* sleep_until() */
		:: atomic { kick -> kick = kicked }
		:: INPUT && !kick
		:: atomic { limited -> passed = true }
		fi
	   fi;
	   atomic {
		looked = true;
		if
		:: woke != WOKE_NOBODY -> r = STEP_DOWN
		:: else
		fi;
		listed[me] = false;
		leading[me] = false
	   }
	od;
	looked = false
}

inline stopped_waiting(me)
{
	fresh = true;
	granted[me] = false;
	stale[me] = true /* as always between two waits */
}

/*
 * baton_wait(). `limited`: there is a deadline. `passed`: it has passed. Sets r. stale[me] was
 * cleared under the sleepers' lock.
 */
inline baton_wait(me)
{
	if /* note_return(): this may coincide with another thread that leads */
	:: woke == WOKE_SOMEBODY -> woke = WOKE_AND_BACK
	:: else
	fi;
	atomic {
		if
		:: reliable = false
		:: fresh -> reliable = true
		fi;
		take(me);
		r = CHANGED;
		if
		:: !granted[me] && passed -> r = TIMEOUT
		:: !granted[me] && !passed -> fall_asleep(me)
		:: else
		fi
	}
	do
	:: atomic { !granted[me] && !waiting[me] -> stopped_waiting(me); break } /* too late */
	:: granted[me] && !waiting[me] ->
		lead(me);
		atomic {
			if
			:: r != STEP_DOWN -> leave(); stopped_waiting(me); break
			:: else ->
				r = CHANGED;
				step_down(me);
				if
				:: found -> fall_asleep(me)
				:: else
				fi;
				found = false
			fi
		}
	:: waiting[me] ->
end_sleep:	if
		:: atomic { !listed[me] }
		:: atomic { listed[me] && limited -> passed = true; listed[me] = false; r = TIMEOUT }
		fi;
		atomic {
			waiting[me] = false;
			passed_over[me] = false;
			r = (woken[me] -> CHANGED : r);
			woken[me] = false;
			if
			:: !granted[me] -> stopped_waiting(me); break
			:: else
			fi
		}
	od
}

/* ---- The thread ------------------------------------------------------------------------------ */

/* turn() and standby_work(). */
active proctype the_thread()
{
	bool input, timed, busy, due, came;
#ifdef THREAD_LOCALS
	THREAD_LOCALS
#endif

	do
	:: atomic {
		standby_watch();
		ok = false;
		standby_looks();
		if
		:: IS_OVER -> break
		:: else
		fi;
		timed = (mode == TICK);
		renewed = false;
		busy = TO_WRITE;
		awake = busy
	   }
end_wait:  atomic {
		if
		:: busy
		:: watched && INPUT
		:: nudged
		:: timed -> due = true
#ifdef WAKES
		:: WAKES
#endif
		fi;
		standby_wakes();
		input = watched && INPUT;
		nudged = false;
		busy = false;
		/*
		 * The tick may be due although something else has woken the thread. And it may not
		 * be due although the timeout has ended, because the tick was put off.
		 */
		if
		:: !due || renewed -> due = false
		:: due || timed || renewed -> due = true
		fi;
		timed = false
	   }
	   atomic { tick(due); due = false }
	   atomic {
		if
		:: input && !taken && !over -> taken = true
		:: else -> input = false
		fi
	   }
	   if
	   :: input -> read_some(THE_THREAD, came); atomic { leave(); input = false; came = false }
	   :: else
	   fi;
	   standby_writes()
	od;
	standby_finish()
}
