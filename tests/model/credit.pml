/* SPDX-License-Identifier: MIT */
/*
 * Senders wait for credit while other threads read. Credit arrives, possibly at the same time as a
 * close. Is any sender forgotten?
 *
 * There are two senders and, with WAITERS=3, a receiver that reads for them. Each sender sends
 * MESSAGES messages. A message costs one unit of its topic's credit, which is WINDOW. With LARGE it
 * also costs one unit of the pool, which is two and in use at the beginning. The senders have a
 * topic each (TOPICS=2) or share one. The other side returns the credit that was used; with STINGY
 * only some of it. With CLOSE a thread closes the channel. With GOODBYE the other side sends
 * GOODBYE at some time.
 *
 * Claims wait in one line, as in src/session/credit.c. Here all messages need the same. How much is
 * reserved, and what the reader withholds, is the subject of withhold.pml.
 *
 * Shown for every order of steps: no more is used than was granted. When all is quiet, no sender
 * waits for credit that is available. After a close by either side, no thread waits at all. There
 * is no endless activity.
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
#ifndef WINDOW
#define WINDOW 1
#endif
#define SENDERS 2
/* Each claim has its own sleepers, and so has the receiver's inbox. */
#define TOPIC(w) (w % TOPICS)
#define GROUP(w) (w)
#define RECEIVER SENDERS

/*
 * struct tx. `claim_first` and `claim_second`: the senders of the first and the second claim in the
 * line, plus one. For each claim: it was woken and has not tried yet; it keeps its turn.
 */
byte credit[TOPICS] = WINDOW, pool;
byte claim_first, claim_second;
bool claim_woken[SENDERS], turn[SENDERS];
/*
 * Under way: frames to the other side, and CREDIT from it, in the socket and in the reader's hands.
 * The pool's credit follows that of the topics.
 */
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

/* ---- credit.c -------------------------------------------------------------------------------- */

#define STANDS(w) (claim_first == w + 1 || claim_second == w + 1)
/* At most one claim of a topic is woken at a time. */
#if TOPICS == 1
#define TOPIC_WOKEN(w) (claim_woken[0] || claim_woken[1])
#else
#define TOPIC_WOKEN(w) claim_woken[w]
#endif

/* True if the claim can be charged after others have taken what is reserved for them. */
#ifdef LARGE
#define LETS_GO(w, reserved, has_turn) (credit[TOPIC(w)] && pool > reserved && (has_turn))
#define KEEPS_TURN(w) (credit[TOPIC(w)] > 0)
#else
#define LETS_GO(w, reserved, has_turn) (credit[TOPIC(w)] > 0)
#define KEEPS_TURN(w) false
#endif

inline wake_claim(w, by)
{
	claim_woken[w] = true;
	sleepers_wake_all(w, by)
}

inline look_at_claim(w, by, reserved, has_turn)
{
	if
	:: TOPIC_WOKEN(w)
	:: !TOPIC_WOKEN(w) && LETS_GO(w, reserved, has_turn) -> turn[w] = false; wake_claim(w, by)
	:: else -> turn[w] = KEEPS_TURN(w)
	fi
}

/* tx_wake_ready() */
inline wake_ready(by)
{
	if
	:: claim_first == 1 ->
		look_at_claim(0, by, 0, true);
		if
		:: claim_second -> look_at_claim(1, by, claim_woken[0], !turn[0])
		:: else
		fi
	:: claim_first == 2 ->
		look_at_claim(1, by, 0, true);
		if
		:: claim_second -> look_at_claim(0, by, claim_woken[1], !turn[1])
		:: else
		fi
	:: else
	fi
}

/* tx_wake_outlet() for all outlets, by write_wake_all() */
inline wake_all_claims(by)
{
#ifdef BREAK_WAKE_AT_CLOSE
	skip
#else
	if
	:: STANDS(0) && !claim_woken[0] -> wake_claim(0, by)
	:: else
	fi;
	if
	:: STANDS(1) && !claim_woken[1] -> wake_claim(1, by)
	:: else
	fi
#endif
}

/* reading_ended() */
inline end_reading(by)
{
	ended = true;
	sleepers_wake_all(RECEIVER, by)
}

/* tx_credit(), by on_credit(). */
inline deliver_credit(topic, by)
{
	hand[topic]--;
	credit[topic]++;
#ifndef BREAK_WAKE_FOR_CREDIT
	wake_ready(by)
#endif
}

inline deliver(by)
{
	if
	:: hand[0] -> deliver_credit(0, by)
#if TOPICS > 1
	:: hand[1] -> deliver_credit(1, by)
#endif
	:: hand[TOPICS] -> hand[TOPICS]--; pool++; wake_ready(by)
	:: !SUM(hand) -> /* on_goodbye(), and the end of the receivers, both before the reading thread continues */
		hand_goodbye = false;
		read_over = true;
		send_error = true;
		wake_all_claims(by);
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

/* tx_unclaim(): the claims behind it may be able to go on. */
inline unclaim(me)
{
	turn[me] = false;
	if
	:: STANDS(me) ->
		claim_woken[me] = false;
		claim_first = (claim_first == me + 1 -> claim_second : claim_first);
		claim_second = 0;
#ifndef BREAK_UNCLAIM_WAKES
		wake_ready(me)
#endif
	:: else
	fi
}

/*
 * tx_charge(). Sets fits to whether it is charged. A sender that has not waited may take what is
 * reserved for a claim that was woken.
 */
inline charge(me)
{
	fits = LETS_GO(me, 0, claim_first == me + 1 || !claim_first || !turn[claim_first - 1]);
	if
	:: fits ->
		credit[TOPIC(me)]--;
		sent[TOPIC(me)]++;
#ifdef LARGE
		pool--;
		sent[TOPICS]++
#endif
	:: else -> turn[me] = KEEPS_TURN(me)
	fi
}

/* tx_wait() */
inline stand(me)
{
	claim_woken[me] = false;
	if
	:: STANDS(me)
	:: !STANDS(me) && !claim_first -> claim_first = me + 1
	:: else -> claim_second = me + 1
	fi
}

/* sending_charge() */
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
	   :: atomic { send_error -> unclaim(me); break }
	   :: atomic {
		!send_error ->
		charge(me);
		if
		:: fits || r == TIMEOUT -> unclaim(me); break
		:: else -> stand(me)
		fi
	      }
	      /* write_pending() releases the lock. */
	      if
#ifndef BREAK_LOOK_AGAIN
	      :: atomic { claim_woken[me] -> r = CHANGED }
	      :: atomic { !claim_woken[me] -> stale[me] = false }
#else
	      :: atomic { stale[me] = false }
#endif
		 baton_wait(me)
	      fi
	   od;
	   atomic { r = CHANGED; limited = false; passed = false; fits = false }
	od
}

#if WAITERS > SENDERS
/* beam_topic_receive(), for which no message arrives. */
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

/* Receives everything, and returns the credit. */
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
/* link_close() */
active proctype closer()
{
	atomic { send_error = true; kicked = true; kick = true; wake_all_claims(THE_THREAD); nudge() }
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
