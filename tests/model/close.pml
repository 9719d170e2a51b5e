/* SPDX-License-Identifier: MIT */
/*
 * The end of a channel: a receiver waits or leads, a sender writes or waits, a thread closes the
 * channel, and the other side answers, stays silent or dies. Does any thread keep another from
 * leaving, or use the socket after it has been closed?
 *
 * The socket takes one batch, and the next one when the other side has read it. Lingering ends at
 * some time. With POLITE it does not end. Then the other side reads until it sends GOODBYE or dies,
 * and that alone must end the channel. NO_RECEIVER and NO_SENDER leave these threads out.
 *
 * Shown for every order of steps: nobody reads, writes or waits for the socket after it has been
 * released. Only one thread has the right to write. Whenever output is pending, some thread is
 * responsible for writing it. After a close all threads leave, and the channel's thread finishes.
 * There is no endless activity.
 */
#define WAITERS 1
#define THE_THREAD WAITERS
#define GROUP(w) 0
/* Who waits for the right to write: the sender, the closer, and the channel's thread. */
#define SENDER 0
#define CLOSER 1
#define LAST 2

mtype = { NOTHING, WRITTEN, FULL, BROKEN };

/* From the other side. */
bool goodbye, goodbye_said, died, hand_goodbye, hand_died;
/* To the other side: there is room for a batch. */
bool room = true;
/* struct link_writer, under its lock. `pending`: there is data in the buffer. */
bool writing, is_full, pending, goodbye_due, goodbye_sent, broken, send_error, ended;
bool queued[3], writer_granted[3];
/* The deadline of lingering: it is set, the thread knows it, it has passed. */
bool linger, knows_linger, lingered, watches_room;
/* For the properties. */
bool shut, released, writes;
/* What the batch contains. Belongs to the writer. */
bool with_goodbye, with_pending;

#define TX_PENDING (!goodbye_sent && (pending || goodbye_due))
#define WRITE_OVER goodbye_sent
#define THREAD_LOCALS mtype what;
#define INPUT (goodbye || died)
#define IN_HAND (hand_goodbye || hand_died)
#define TO_WRITE (!broken && !is_full && !writing && TX_PENDING)
#define IS_OVER (lingered || (read_over && (broken || WRITE_OVER)))
/* What poll() reports about the socket, besides input. */
#define WRITABLE (room || died || shut)
#define WAKES (watches_room && WRITABLE) || knows_linger

inline take_input()
{
	hand_goodbye = goodbye;
	hand_died = died && !goodbye;
	goodbye = false
}

/* wake_writer() for all writers. */
inline wake_writers()
{
	d_step { queued[0] = false; queued[1] = false; queued[2] = false }
}

/* write_break(), except that what is pending is dropped if nobody writes. */
inline break_writing()
{
	if
	:: !broken -> broken = true; send_error = true; wake_writers(); nudge(); pending = pending && writing
	:: else
	fi
}

inline end_reading(by)
{
	ended = true;
	sleepers_wake_all(0, by)
}

/* on_goodbye() and answer_goodbye(), or fail(). */
inline deliver(by)
{
	read_over = true;
	if
	:: hand_goodbye ->
		send_error = true;
		wake_writers();
		goodbye_due = true
	:: hand_died -> break_writing()
	fi;
	hand_goodbye = false;
	hand_died = false;
	end_reading(by);
	if /* tell_over() */
#ifndef BREAK_TELL_READ
	:: broken || WRITE_OVER -> nudge()
#endif
	:: else
	fi
}

inline standby_looks()
{
	watches_room = is_full && !broken && !writing && TX_PENDING;
#ifndef POLITE
	knows_linger = linger
#endif
}

/* socket_ready(), or the deadline of lingering. */
inline standby_wakes()
{
	if
	:: watches_room && WRITABLE -> is_full = false
	:: knows_linger -> lingered = true
	:: else
	fi
}

/* Writes one batch. The writer's lock is not held in the middle. Sets `what` to the result. */
inline write_batch(what, own)
{
	atomic {
		assert(writing);
		if
		:: broken -> what = BROKEN
		:: !broken && !TX_PENDING && !own -> what = NOTHING
		:: else -> what = WRITTEN; assert(!writes); writes = true;
			with_goodbye = goodbye_due; with_pending = pending
		fi
	}
	if
	:: what == WRITTEN ->
		atomic {
			assert(!released);
			writes = false;
			if
			:: died || shut -> what = BROKEN; break_writing()
			:: !died && !shut && room ->
				room = false;
				is_full = false;
				goodbye_sent = with_goodbye;
				pending = pending && !with_pending
			:: else -> what = FULL; is_full = true
			fi
		}
	:: else
	fi
}

/* write_release() */
inline write_release(what)
{
	atomic {
		what = (!queued[0] && !queued[1] && !queued[2] && !is_full && !broken && TX_PENDING ->
			WRITTEN : NOTHING)
	}
	if
	:: what == WRITTEN -> write_batch(what, false)
	:: else
	fi;
	atomic {
		pending = pending && !broken;
		if
#ifndef BREAK_PASS_WRITING
		:: queued[0] -> queued[0] = false; writer_granted[0] = true
		:: queued[1] -> queued[1] = false; writer_granted[1] = true
		:: queued[2] -> queued[2] = false; writer_granted[2] = true
#endif
		:: else ->
			writing = false;
			if
			:: broken || !TX_PENDING ->
				is_full = false;
				if
#ifndef BREAK_TELL_OVER
				:: read_over && (broken || WRITE_OVER) -> nudge()
#endif
				:: else
				fi
			:: !broken && TX_PENDING && is_full -> watches_room = true
			:: !broken && TX_PENDING && !is_full -> nudge()
			fi
		fi;
		what = NOTHING;
		with_goodbye = false;
		with_pending = false
	}
}

/* The right was taken in the previous step. */
inline write_and_release(what)
{
	write_batch(what, false);
	write_release(what)
}

#define MAY_WRITE (!writing && !broken && TX_PENDING)

/* write_some() */
inline standby_writes()
{
	if
	:: atomic { MAY_WRITE -> writing = true }; write_and_release(what)
	:: else
	fi
}

inline standby_finish()
{
	atomic { over = true; mode = REST; kicked = true; kick = true } /* baton_close() */
	!taken;
	atomic { end_reading(THE_THREAD) }
	atomic {
		if
		:: !WRITE_OVER -> break_writing()
		:: else
		fi;
#ifndef BREAK_SHUTDOWN
		shut = true;
#endif
		queued[LAST] = writing
	}
	do
	:: atomic { !queued[LAST] && (!writing || writer_granted[LAST]) -> break }
	:: atomic { !queued[LAST] && writing && !writer_granted[LAST] -> queued[LAST] = true }
	od;
	atomic {
		writing = true;
		finished = true;
		wake_writers()
	}
	atomic {
		assert(!reading && !writes && !leading[0]);
		released = true
	}
}

#include "baton.pml"

#ifndef NO_RECEIVER
/* beam_topic_receive(), for which no message arrives. */
active proctype receiver()
{
	mtype r = CHANGED;
	bool limited, passed;

	if
	:: limited = true
	:: true
	fi;
	do
	:: atomic { ended || r == TIMEOUT -> break }
	:: atomic { !ended && r != TIMEOUT -> stale[0] = false }
	   baton_wait(0)
	od
}
#endif

#ifndef NO_SENDER
/* send_frame(), and write_own() for one frame. */
active proctype sender()
{
	mtype what;

	do
	:: atomic { send_error -> break }
	:: atomic { !send_error && (writing || is_full) && !pending -> pending = true; break } /* append() */
	:: atomic { !send_error && writing && pending -> queued[SENDER] = true }
	   atomic {
		!queued[SENDER];
		if
		:: writer_granted[SENDER] -> writer_granted[SENDER] = false; what = FULL
		:: else
		fi
	   }
	   if
	   :: what == FULL -> goto has_right
	   :: else
	   fi
	:: atomic { !send_error && !writing && (!is_full || pending) -> writing = true }
has_right: do
	   :: write_batch(what, true);
	      if
	      :: what == FULL ->
		assert(!released);
		if /* write_poll() */
		:: WRITABLE
#ifndef BREAK_KICK_WRITER
		:: kicked
#endif
		fi;
		if
		:: atomic { send_error && !WRITABLE -> break }
		:: else
		fi
	      :: else -> break
	      fi
	   od;
	   write_release(what);
	   break
	od
}
#endif

/* link_close(), and write_until() of link_wait_closed(). */
active proctype closer()
{
	mtype what;

	atomic {
		send_error = true;
		linger = true;
		goodbye_due = true;
		kicked = true;
		kick = true;
#ifndef BREAK_WAKE_WRITERS
		wake_writers();
#endif
		what = (MAY_WRITE -> WRITTEN : NOTHING);
		writing = writing || what == WRITTEN
	}
	if
	:: what == WRITTEN -> write_and_release(what)
	:: else
	fi;
#ifndef BREAK_TELL_LINGER
	atomic { nudge() }
#endif
	atomic { end_reading(THE_THREAD) }
	atomic { attend() }
	do
	:: atomic { broken || WRITE_OVER -> break }
	:: atomic { !broken && !WRITE_OVER && writing -> queued[CLOSER] = true }
	   atomic {
		!queued[CLOSER];
		if
		:: writer_granted[CLOSER] -> writer_granted[CLOSER] = false; what = FULL
		:: else
		fi
	   }
	   if
	   :: what == FULL -> goto has_right
	   :: else
	   fi
	:: atomic { !broken && !WRITE_OVER && !writing -> writing = true }
has_right: write_batch(what, false);
	   if
	   :: what == FULL ->
		assert(!released);
		WRITABLE
	   :: else
	   fi;
	   write_release(what)
	od
}

active proctype other_side()
{
end:	do
	:: atomic { !room -> room = true }
	:: atomic { !goodbye_said -> goodbye_said = true; goodbye = true }
	:: died = true; break
#ifndef POLITE
	:: break
#endif
	od
}

active proctype when_all_is_quiet()
{
end:	timeout ->
	assert(!INPUT || over);
	assert(finished && released);
	assert(!listed[0])
}
