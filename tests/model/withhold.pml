/* SPDX-License-Identifier: MIT */
/*
 * Credit for attachments of the whole channel: the reader withholds some of it, and the sender
 * reports when it needs more. Does any sender wait for credit that the reader withholds, or that is
 * available?
 *
 * Three senders wait and are woken as in src/session/credit.c, function by function. The reader
 * takes messages and settles attachments as in inbox.c, attachments.c and control.c. Who reads and
 * how threads sleep is the subject of credit.pml; here a sender that waits continues when it has
 * been woken. What is atomic is done under the writer's lock.
 *
 * The numbers are small, so the rule of isolation is scaled. Of 8 parts, 4 are reserved for topics
 * that hold little, which is 1 part. So of 8 attachments, 1 is little, and half of them can be used
 * by any topic. Nobody drains the topic UNDRAINED. The reader keeps KEEP attachments or fewer, and
 * settles the others at some time after their message was taken. It can lend MORE attachments.
 *
 * Shown for every order of steps: no more is used than was granted. When all is quiet, no sender
 * waits that may go on, and none for which the rule of isolation guarantees room. The latter is
 * computed from what nobody has taken, not from what the sender knows. While a sender needs
 * attachments, nothing is withheld from it. There is no endless activity.
 */

/*
 * For each sender: its topic, the attachments of its messages, the number of messages, and which
 * sender's messages take several frames.
 */
#ifndef T1
#define T1 1
#endif
#ifndef T2
#define T2 2
#endif
#ifndef N0
#define N0 2
#endif
#ifndef N1
#define N1 1
#endif
#ifndef N2
#define N2 2
#endif
#ifndef M0
#define M0 1
#endif
#ifndef M1
#define M1 2
#endif
#ifndef M2
#define M2 2
#endif
#ifndef LARGE
#define LARGE 9 /* none */
#endif
#ifndef UNDRAINED
#define UNDRAINED 0
#endif
#ifndef LENT
#define LENT 8
#endif
#ifndef KEEP
#define KEEP 0
#endif
#ifndef MORE
#define MORE 0
#endif
#define SENDERS 3
#define TOPICS 3
#define TOPIC(w) (w == 0 -> 0 : (w == 1 -> T1 : T2))
#define N(w) (w == 0 -> N0 : (w == 1 -> N1 : N2))
#define MESSAGES(w) (w == 0 -> M0 : (w == 1 -> M1 : M2))
#define IS_LARGE(w) (w == LARGE)

/* The shares in credit.c. */
#define PARTS 8
#define KEPT 4
#ifndef LITTLE
#define LITTLE 1
#endif
/*
 * The topic's window, and how much the reader withholds of it and of what is lent:
 * inlet_withhold(), control_shared_due().
 */
#define WINDOW 4
#define WITHHOLD 2
#define WITHHOLD_PART 4

mtype = { WANT, RETURN, CLOSE, CREDIT, TOPIC_CREDIT, RESET };
chan to_reader = [12] of { mtype, byte };
chan to_sender = [10] of { mtype, byte, byte };

/*
 * The sender's side, struct tx: attachments.limit and .used. For each topic, what is left of its
 * window, held_attachments, busy, n_sending, n_large and n_woken. `line` contains the senders in
 * the order of their claims.
 */
byte limit = LENT, used, want = LENT, give_back;
byte left[TOPICS] = WINDOW, held[TOPICS], n_sending[TOPICS], n_large[TOPICS], n_woken[TOPICS];
bool busy[TOPICS], closed[TOPICS], want_due, active_lately, told_once;
byte line[SENDERS], n_line;
bool stands[SENDERS], waits[SENDERS], woken[SENDERS], turn[SENDERS];
/* The channel's thread was told that there is something to write. */
bool nudged;

/*
 * The reader's side: messages that nobody has taken, by sender; attachments whose message was
 * taken; what topics withhold; what is due.
 */
byte queued[SENDERS], unsettled, keeps, withheld[TOPICS], topic_due[TOPICS], due,
	granted = LENT, lent = LENT, want_until = LENT;
byte ledger = MORE;
bool wanted, lend_later, inlet_closed[TOPICS];

/* Scratch variables. */
hidden short needed, before;
hidden byte at, other, k, turns_before, ok, asked;

#define ROOM (limit - used)
#define HELD (held[0] + held[1] + held[2])
#define TOTAL (ROOM + HELD)
#define IS_LITTLE(n, total) ((n) * PARTS <= (total) * LITTLE)
#define NEEDED(h, n, all_held, total) \
	((IS_LITTLE((h) + (n), total) || !(all_held)) -> (n) : (n) + ((total) * KEPT + PARTS - 1) / PARTS)

/* ---- credit.c -------------------------------------------------------------------------------- */

#define TOPIC_LETS(w) \
	(!closed[TOPIC(w)] && !busy[TOPIC(w)] && !(IS_LARGE(w) -> n_sending[TOPIC(w)] : n_large[TOPIC(w)]) && \
	 left[TOPIC(w)] >= N(w))
#define SENDER_NEEDS(w) NEEDED(held[TOPIC(w)], N(w), HELD, TOTAL)

#ifdef BREAK_OLD_POLICY
#define SHARED_LETS(w, reserved, has_turn) (ROOM >= N(w) + (reserved))
#else
#define SHARED_LETS(w, reserved, has_turn) \
	(((has_turn) || IS_LITTLE(held[TOPIC(w)] + N(w), TOTAL)) && ROOM >= (reserved) + SENDER_NEEDS(w))
#endif

/* Sets ok to whether the claim can be charged. */
inline lets_go(w, reserved, has_turn)
{
	turn[w] = false;
	ok = false;
	if
	:: !TOPIC_LETS(w)
	:: else ->
		ok = SHARED_LETS(w, reserved, has_turn);
		turn[w] = !ok && !held[TOPIC(w)]
	fi
}

/* Sets asked if the claim waits for attachments of the channel. */
inline want_attachments(w)
{
	needed = SENDER_NEEDS(w);
	asked = false;
#ifndef BREAK_OLD_POLICY
	if
	:: TOPIC_LETS(w) && ROOM < needed ->
		asked = true;
		if
#ifdef BREAK_WANT_AGAIN
		:: !told_once ->
			told_once = true;
#else
		:: want <= limit ->
#endif
			want = limit + PARTS / (PARTS - KEPT) * (needed - ROOM);
			want_due = true
		:: else
		fi
	:: else
	fi
#endif
}

inline wake(w)
{
	woken[w] = true;
	n_woken[TOPIC(w)]++
}

inline wake_up(w)
{
#ifndef BREAK_LET_GO
	n_woken[TOPIC(w)] = n_woken[TOPIC(w)] - woken[w];
#endif
	woken[w] = false
}

/* tx_wake_ready() */
inline wake_ready()
{
	before = 0;
	turns_before = false;
	asked = false;
	at = 0;
	do
	:: at < n_line ->
		other = line[at];
		if
		:: !woken[other] && !n_woken[TOPIC(other)] ->
			lets_go(other, before, !turns_before);
			if
			:: ok -> wake(other)
			:: else
			fi
		:: else
		fi;
		if
		:: woken[other] -> before = before + N(other)
		:: !woken[other] && !asked -> want_attachments(other)
		:: else
		fi;
		turns_before = turns_before || turn[other];
		at++
#ifdef BREAK_WAKE_ALL
		;
		if
		:: !woken[other] -> break
		:: else
		fi
#endif
	:: else -> break
	od;
	/* on_changed() */
#ifndef BREAK_WRITE_WANT
	nudged = nudged || want_due;
#endif
	clear()
}

inline clear()
{
	needed = 0;
	before = 0;
	at = 0;
	other = 0;
	k = 0;
	turns_before = false;
	ok = false;
	asked = false
}

/* tx_wait() */
inline stand(w)
{
	ok = woken[w];
	wake_up(w);
	if
	:: IS_LARGE(w) && !waits[w] -> waits[w] = true; n_large[TOPIC(w)]++
	:: else
	fi;
	if
	:: !stands[w] -> stands[w] = true; line[n_line] = w; n_line++
	:: else
	fi;
	if
#ifndef BREAK_PASS_ON
	:: ok -> wake_ready()
#endif
	:: else -> skip
	fi;
	want_attachments(w);
	clear()
}

inline unclaim(w)
{
	if
	:: stands[w] ->
		wake_up(w);
		n_large[TOPIC(w)] = n_large[TOPIC(w)] - waits[w];
		waits[w] = false;
		turn[w] = false;
		stands[w] = false;
		at = 0;
		do
		:: line[at] == w -> break
		:: else -> at++
		od;
		do
		:: at + 1 < n_line -> line[at] = line[at + 1]; at++
		:: else -> break
		od;
		n_line--;
		line[n_line] = 0;
		at = 0;
		wake_ready()
	:: else -> turn[w] = false
	fi
}

/*
 * tx_charge(). Sets ok to whether it is charged. A sender that has not waited takes what is there,
 * even if it is reserved for a claim that was woken.
 */
inline charge(w)
{
	at = 0;
	turns_before = false;
	do
	:: at < n_line && line[at] != w -> turns_before = turns_before || turn[line[at]]; at++
	:: else -> break
	od;
	lets_go(w, 0, !turns_before)
}

/* write_pending(), and anything else that makes a batch. */
inline write_control()
{
	if
	:: give_back -> assert(nfull(to_reader)); to_reader ! RETURN(give_back); give_back = 0
	:: else
	fi;
	if
	:: want_due -> assert(nfull(to_reader)); to_reader ! WANT(want); want_due = false
	:: else
	fi;
	nudged = false
}

/* ---- The sender's side ----------------------------------------------------------------------- */

/* sending_send() */
proctype sender(byte me)
{
	byte messages;

	do
	:: messages == MESSAGES(me) -> break
	:: else ->
		do
		:: atomic {
			charge(me);
			if
			:: ok ->
				used = used + N(me);
				left[TOPIC(me)] = left[TOPIC(me)] - N(me);
				held[TOPIC(me)] = held[TOPIC(me)] + N(me);
				assert(used <= limit);
				clear();
				if
				:: IS_LARGE(me) -> busy[TOPIC(me)] = true
				:: else -> n_sending[TOPIC(me)]++
				fi;
				unclaim(me);
				break
			:: else -> stand(me)
			fi
		   }
		   atomic { write_control() }
		   /* The lock was released meanwhile. */
end_wait:	   if
		   :: woken[me]
#ifdef DEADLINES
		   :: atomic { !woken[me] -> unclaim(me); goto gone }
#endif
		   fi
		od;
		atomic { write_control(); queued[me]++ }
		/* tx_complete() */
		atomic {
			messages++;
			if
			:: IS_LARGE(me) -> busy[TOPIC(me)] = false; wake_ready()
			:: else ->
				n_sending[TOPIC(me)]--;
				if
				:: !n_sending[TOPIC(me)] && n_large[TOPIC(me)] -> wake_ready()
				:: else
				fi
			fi
		}
	od;
gone:
#ifdef CLOSES
	/* tx_close(), whose CLOSE is sent at once. */
	if
	:: me == CLOSES ->
		atomic { closed[TOPIC(me)] = true; assert(nfull(to_reader)); to_reader ! CLOSE(me); write_control() }
	:: else
	fi
#endif
	skip
}

/* Receives everything, and is idle now and then. */
active proctype sender_side()
{
	byte t, n;

end:	do
	:: atomic {
		to_sender ? CREDIT(t, n) ->
		limit = limit + n;
		active_lately = true;
		wake_ready();
		write_control();
		t = 0; n = 0
	   }
	:: atomic {
		to_sender ? TOPIC_CREDIT(t, n) ->
		left[t] = left[t] + n;
		held[t] = (held[t] > n -> held[t] - n : 0);
		active_lately = true;
		wake_ready();
		write_control();
		t = 0; n = 0
	   }
	:: atomic {
		to_sender ? RESET(t, n) -> /* tx_release() */
		held[t] = 0;
		active_lately = true;
#ifndef BREAK_FORGET_WAKES
		wake_ready();
#endif
		write_control();
		t = 0; n = 0
	   }
	:: atomic { nudged -> write_control() }
#ifdef LENDS
	:: atomic {
		active_lately -> /* trim_when_idle() and tx_give_back() */
		active_lately = false;
		if
		:: !n_line && ROOM ->
			give_back = give_back + ROOM;
			limit = used;
			want = limit;
			write_control()
		:: else
		fi
	   }
#endif
	od
}

/* ---- The reader's side ----------------------------------------------------------------------- */

/* tx_short_of() */
#ifdef BREAK_WANT_ENDS_HOLDING
#define SHORT_OF() skip
#else
#define SHORT_OF() wanted = want_until > granted
#endif
#ifdef BREAK_OLD_POLICY
#define SHARED_DUE (due > lent / 2)
#else
#define SHARED_DUE (due > (wanted -> 0 : lent / WITHHOLD_PART))
#endif

/* make_control() */
inline answer()
{
	if
	:: SHARED_DUE ->
		assert(nfull(to_sender));
		to_sender ! CREDIT(0, due);
		granted = granted + due;
		due = 0;
		SHORT_OF()
	:: else
	fi;
	for (k : 0 .. TOPICS - 1) {
		if
		:: topic_due[k] -> assert(nfull(to_sender)); to_sender ! TOPIC_CREDIT(k, topic_due[k]); topic_due[k] = 0
		:: else
		fi
	}
	k = 0
}

/* inbox_inlet_done() */
inline inlet_done(t)
{
	withheld[t] = 0;
	topic_due[t] = 0;
	assert(nfull(to_sender));
	to_sender ! RESET(t, 0)
}

#define IS_EMPTY(t) ((TOPIC(0) != t || !queued[0]) && (TOPIC(1) != t || !queued[1]) && (TOPIC(2) != t || !queued[2]))

/* inbox_take() and inbox_settle() */
inline take(w)
{
	queued[w]--;
	unsettled = unsettled + N(w);
	if
	:: inlet_closed[TOPIC(w)] ->
		if
		:: IS_EMPTY(TOPIC(w)) -> inlet_done(TOPIC(w))
		:: else
		fi
	:: else ->
		withheld[TOPIC(w)] = withheld[TOPIC(w)] + N(w);
		if
		:: withheld[TOPIC(w)] > (wanted -> 0 : WITHHOLD) ->
			topic_due[TOPIC(w)] = topic_due[TOPIC(w)] + withheld[TOPIC(w)];
			withheld[TOPIC(w)] = 0
		:: else
		fi
	fi;
	answer()
}

/* attachments_lend(). Lends what is available, and the rest later. */
inline lend()
{
	needed = want_until - granted - due;
	lend_later = needed > ledger;
	if
	:: needed > 0 ->
		k = (needed < ledger -> needed : ledger);
		ledger = ledger - k;
		lent = lent + k;
		due = due + k
	:: else
	fi;
	needed = 0;
	k = 0
}

active proctype reader()
{
	byte n;

end:	do
#if KEEP > 0
	:: keeps == 0 -> keeps = KEEP
#endif
	:: atomic { TOPIC(0) != UNDRAINED && queued[0] -> take(0) }
	:: atomic { TOPIC(1) != UNDRAINED && queued[1] -> take(1) }
	:: atomic { TOPIC(2) != UNDRAINED && queued[2] -> take(2) }
	:: atomic { unsettled > keeps -> unsettled--; due++; answer() } /* on_settled() */
	:: atomic { /* on_want() */
		to_reader ? WANT(n) ->
		want_until = n;
		SHORT_OF();
		lend();
#ifndef BREAK_WANT_ENDS_HOLDING
		for (k : 0 .. TOPICS - 1) {
			if
			:: !inlet_closed[k] -> topic_due[k] = topic_due[k] + withheld[k]; withheld[k] = 0
			:: else
			fi
		}
#endif
		answer();
		n = 0
	   }
	:: atomic { /* tx_given_back() */
		to_reader ? RETURN(n) ->
		assert(n);
		granted = granted - n;
#ifndef BREAK_RETURN_ENDS_WANT
		want_until = granted;
#endif
		lent = lent - n;
		ledger = ledger + n;
		n = 0
	   }
	:: atomic { lend_later && ledger -> lend(); answer() } /* attachments_lend_again() */
	:: atomic { /* on_closed() */
		to_reader ? CLOSE(n) ->
		inlet_closed[TOPIC(n)] = true;
		if
		:: IS_EMPTY(TOPIC(n)) -> inlet_done(TOPIC(n))
		:: else
		fi;
		answer();
		n = 0
	   }
	od
}

init {
	atomic {
		run sender(0);
		run sender(1);
		run sender(2)
	}
}

/* ---- When all is quiet ----------------------------------------------------------------------- */

/* What nobody has taken, whether or not the sender knows that. */
#define TRULY_HELD (queued[0] * N0 + queued[1] * N1 + queued[2] * N2)
#define TRULY_FREE (lent - TRULY_HELD - unsettled)
#define OTHER_TURNS(w) ((turn[0] && w != 0) || (turn[1] && w != 1) || (turn[2] && w != 2))
/* For a topic that is drained. */
#define IS_PROMISED(w) (TOPIC(w) != UNDRAINED && TOPIC_LETS(w) && \
			(!OTHER_TURNS(w) || IS_LITTLE(N(w), TRULY_FREE + TRULY_HELD)) && \
			TRULY_FREE >= NEEDED(0, N(w), TRULY_HELD, TRULY_FREE + TRULY_HELD))
#define IS_SHORT(w) (TOPIC_LETS(w) && ROOM < SENDER_NEEDS(w))

inline look_at(w)
{
	d_step {
		may_go = false;
		promised = false;
		held_back = false;
		if
		:: stands[w] && !woken[w] ->
			/* It may have to wait for those that came before it. */
			may_go = TOPIC_LETS(w) && SHARED_LETS(w, 0, !OTHER_TURNS(w));
			promised = IS_PROMISED(w);
			held_back = IS_SHORT(w) && (due || want_due || withheld[0] || withheld[1] || withheld[2])
		:: else
		fi
	}
	assert(!may_go);
	assert(!promised);
	assert(!held_back)
}

active proctype when_all_is_quiet()
{
	bool may_go, promised, held_back;

end:	timeout ->
	assert(empty(to_reader) && empty(to_sender) && !nudged);
	look_at(0);
	look_at(1);
	look_at(2)
}
