/* SPDX-License-Identifier: MIT */
/*
 * Senders wait for credit while others read; credit comes, and may cross with close. Who is forgotten?
 *
 * Two senders and, with WAITERS=3, a receiver who reads for them. Each sender sends MESSAGES messages, each of which costs one of its
 * topic's credit, which is one; with LARGE it costs one of the pool besides, which is two, in use at
 * first. The senders have a topic each (TOPICS=2) or one
 * together. The other side gives back what was used, or, with STINGY, some of it. With CLOSE somebody closes meanwhile, with GOODBYE the other side says goodbye when it
 * likes.
 *
 * Shown, for every order of things: no more is used than was given; when all is quiet nobody waits for what is there, and after a close, of
 * either side, nobody waits at all; all becomes quiet.
 */
#ifndef WAITERS
#define WAITERS 2
#endif
#ifndef TOPICS
#define TOPICS 2
#endif
#ifndef MESSAGES
#define MESSAGES 2
#endif
#define SENDERS 2
/* A topic's `sendable`; the receiver's `arrived`. */
#define TOPIC(w) (w % TOPICS)
#define GROUP(w) (w < SENDERS -> TOPIC(w) : TOPICS)

/* struct tx. `claims`: who is first and second in the queue for the pool, plus one. */
byte credit[TOPICS] = 1, pool;
byte claim_first, claim_second;
/* On their way: frames to the other side; CREDIT from it, in the socket and in the reader's hands; the pool's behind the topics'. */
byte sent[TOPICS + 1], socket[TOPICS + 1], hand[TOPICS + 1];
bool goodbye, hand_goodbye, send_error, ended;

#if TOPICS == 1
#define SUM(x) (x[0] + x[1])
#else
#define SUM(x) (x[0] + x[1] + x[2])
#endif
#define INPUT (SUM(socket) || goodbye)
#define IN_HAND (SUM(hand) || hand_goodbye)
#define TO_WRITE false
#define IS_OVER false

hidden byte t;

inline take_input()
{
	d_step {
		for (t : 0 .. TOPICS) {
			hand[t] = socket[t];
			socket[t] = 0
		}
		hand_goodbye = goodbye;
		goodbye = false
	}
}

/* write_wake_for_credit() */
inline wake_all_senders(by)
{
#ifdef BREAK_WAKE_AT_CLOSE
	skip
#else
	sleepers_wake_all(0, by);
#if TOPICS > 1
	sleepers_wake_all(1, by)
#endif
#endif
}

/* channel_end_reading() */
inline end_reading(by)
{
	ended = true;
	sleepers_wake_all(TOPICS, by)
}

/* tx_credit(), by on_credit(). */
inline deliver_credit(topic, by)
{
	hand[topic]--;
	credit[topic]++;
#ifndef BREAK_WAKE_FOR_CREDIT
	sleepers_wake_all(topic, by)
#endif
}

inline deliver(by)
{
	if
	:: hand[0] -> deliver_credit(0, by)
#if TOPICS > 1
	:: hand[1] -> deliver_credit(1, by)
#endif
	:: hand[TOPICS] -> hand[TOPICS]--; pool++; wake_all_senders(by)
	:: !SUM(hand) -> /* on_goodbye(), and the end of the receivers, both before the thread that reads goes on */
		hand_goodbye = false;
		read_over = true;
		send_error = true;
		wake_all_senders(by);
		end_reading(by)
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

/* leave_queue(): whoever is next may be served now, and is told. */
inline leave_queue(me)
{
	if
	:: claim_first == me + 1 ->
		claim_first = claim_second;
		claim_second = 0;
#ifndef BREAK_QUEUE_MOVES_ON
		if
		:: claim_first -> wake_all_senders(me)
		:: else
		fi
#endif
	:: claim_second == me + 1 -> claim_second = 0; wake_all_senders(me)
	:: else
	fi
}

/* tx_charge() */
inline charge(me)
{
	if
	:: !credit[TOPIC(me)] -> leave_queue(me)
	:: else ->
#ifdef LARGE
		if
		:: claim_first == 0 -> claim_first = me + 1
		:: claim_first && claim_first != me + 1 -> claim_second = me + 1
		:: else
		fi;
		fits = (claim_first == me + 1 && pool);
		pool = pool - fits;
		sent[TOPICS] = sent[TOPICS] + fits;
#else
		fits = true;
#endif
		credit[TOPIC(me)] = credit[TOPIC(me)] - fits;
		sent[TOPIC(me)] = sent[TOPIC(me)] + fits
	fi
}

/* charge(), send.c */
proctype sender(byte me)
{
	byte messages;
	mtype r = CHANGED;
	bool limited, passed, fits;

	do
	:: messages == MESSAGES -> break
	:: atomic {
		messages < MESSAGES ->
		messages++;
		if
		:: limited = true; passed = true
		:: limited = true
		:: true
		fi
	   }
	   do
	   :: atomic { send_error -> leave_queue(me); break }
	   :: atomic {
		!send_error ->
		charge(me);
		if
		:: fits || r == TIMEOUT -> leave_queue(me); break
		:: else -> stale[me] = false
		fi
	      }
	      baton_wait(me)
	   od;
	   atomic { r = CHANGED; limited = false; passed = false; fits = false }
	od
}

#if WAITERS > SENDERS
/* beam_topic_receive(): nothing comes. */
proctype receiver(byte me)
{
	mtype r = CHANGED;
	bool limited, passed;

	if
	:: limited = true
	:: true
	fi;
	do
	:: atomic { ended || r == TIMEOUT -> break }
	:: atomic { !ended && r != TIMEOUT -> stale[me] = false }
	   baton_wait(me)
	od
}
#endif

/* Takes what comes, and gives the credit back. */
active proctype other_side()
{
end:	do
	:: atomic { sent[0] -> sent[0]--; socket[0]++ }
#if TOPICS > 1
	:: atomic { sent[1] -> sent[1]--; socket[1]++ }
#endif
	:: atomic { sent[TOPICS] -> sent[TOPICS]--; socket[TOPICS]++ }
#ifdef GOODBYE
	:: goodbye = true; break
#endif
#ifdef STINGY
	:: break
#endif
	od
}

#ifdef CLOSE
/* channel_mark_closed() */
active proctype closer()
{
	atomic { send_error = true; kicked = true; kick = true; wake_all_senders(THE_THREAD); nudge() }
	atomic { end_reading(THE_THREAD) }
	atomic { attend() }
}
#endif

init {
	atomic {
#ifdef LARGE
		sent[TOPICS] = 2;
#endif
		run sender(0);
		run sender(1);
#if WAITERS > SENDERS
		run receiver(2)
#endif
	}
}

#ifdef LARGE
#define MAY_GO(x) (send_error || (credit[TOPIC(x)] && pool))
#else
#define MAY_GO(x) (send_error || credit[TOPIC(x)])
#endif

active proctype when_all_is_quiet()
{
end:	timeout ->
	assert(!INPUT || read_over);
	assert(!listed[0] || !MAY_GO(0));
	assert(!listed[1] || !MAY_GO(1));
#if WAITERS > SENDERS
	assert(!listed[2] || !ended)
#endif
}
