/* SPDX-License-Identifier: MIT */
/*
 * Receivers wait, lead, step down and leave while messages arrive. Nothing else happens. Is any
 * message or receiver forgotten?
 *
 * Each receiver makes CALLS calls, with or without a deadline, and then never returns. The other
 * side sends at most MESSAGES messages, each on any topic, and with GOODBYE it sends GOODBYE. This
 * side's own GOODBYE is never written, so the thread does not finish. A topic may be reset from
 * outside, and a descriptor for event loops may appear and disappear.
 *
 * Shown for every order of steps: there is one reader at a time. When all is quiet, nothing is left
 * in the socket, and no thread sleeps although its message is there. There is no endless activity:
 * no ticks forever, and no passing on of the right forever (no cycle).
 */
#ifndef WAITERS
#define WAITERS 2
#endif
#ifndef TOPICS
#define TOPICS 2
#endif
#ifndef CALLS
#define CALLS 2
#endif
#ifndef MESSAGES
#define MESSAGES 2
#endif
#define GROUP(w) (w % TOPICS)

byte socket[TOPICS], hand[TOPICS], queue[TOPICS];
bool goodbye, hand_goodbye, ended[TOPICS];

#if TOPICS == 1
#define SUM(x) (x[0])
#else
#define SUM(x) (x[0] + x[1])
#endif
#define INPUT (SUM(socket) || goodbye)
#define IN_HAND (SUM(hand) || hand_goodbye)
#define TO_WRITE false
#define IS_OVER false

hidden byte t;

inline take_input()
{
	d_step {
		for (t : 0 .. TOPICS - 1) {
			hand[t] = socket[t];
			socket[t] = 0
		}
		hand_goodbye = goodbye;
		goodbye = false
	}
}

/* on_messages() */
inline deliver_to(topic)
{
	hand[topic]--;
	queue[topic]++;
	sleepers_wake(topic)
}

/* Delivers one message, or calls on_goodbye(). */
inline deliver(by)
{
	if
	:: hand[0] -> deliver_to(0)
#if TOPICS > 1
	:: hand[1] -> deliver_to(1)
#endif
	:: !SUM(hand) ->
		hand_goodbye = false;
		read_over = true;
		ended[0] = true;
		sleepers_wake_all(0, by);
#if TOPICS > 1
		ended[1] = true;
		sleepers_wake_all(1, by)
#endif
	fi
}

/* The thread only reads. */
inline standby_looks()
{
	skip
}

inline standby_wakes()
{
	skip
}

inline standby_writes()
{
	skip
}

inline standby_finish()
{
	skip
}

#include "baton.pml"

/* beam_topic_receive() */
proctype receiver(byte me)
{
	byte calls;
	mtype r = CHANGED;
	bool limited, passed;

	do
	:: calls == CALLS -> break
	:: atomic {
		calls < CALLS ->
		calls++;
		if
		:: limited = true; passed = true
		:: limited = true
		:: true
		fi
	   }
	   do
	   :: atomic { queue[GROUP(me)] -> queue[GROUP(me)]--; break }
	   :: atomic { !queue[GROUP(me)] && (ended[GROUP(me)] || r == TIMEOUT) -> break }
	   :: atomic { !queue[GROUP(me)] && !ended[GROUP(me)] && r != TIMEOUT -> stale[me] = false }
	      baton_wait(me)
	   od;
	   atomic { r = CHANGED; limited = false; passed = false }
	od
}

active proctype other_side()
{
	byte sent = 0;

	do
	:: sent < MESSAGES -> sent++;
		if
		:: socket[0]++
#if TOPICS > 1
		:: socket[1]++
#endif
		fi
	:: break
	od;
#ifdef GOODBYE
	goodbye = true
#endif
}

#ifdef RESET
/* reset_inlets() */
active proctype resetter()
{
	atomic { ended[0] = true; sleepers_wake_all(0, THE_THREAD) }
}
#endif

#ifdef DEPENDS
/* baton_depend() and baton_independ() */
active proctype loop()
{
	atomic { dependents++; attend() }
	if
	:: atomic { dependents-- }
	:: true
	fi
}
#endif

init {
	atomic {
		run receiver(0);
#if WAITERS > 1
		run receiver(1);
#endif
#if WAITERS > 2
		run receiver(2);
#endif
	}
}

/* Asleep, or waiting at the socket, although what it wants is there. */
#define FORGOTTEN(x) (listed[x] && (queue[GROUP(x)] || ended[GROUP(x)]))

active proctype when_all_is_quiet()
{
end:	timeout ->
	assert(!INPUT || read_over);
	for (i : 0 .. WAITERS - 1) {
		assert(!FORGOTTEN(i))
	}
}
