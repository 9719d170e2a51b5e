/* SPDX-License-Identifier: MIT */
/*
 * Every rule of the protocol that a peer can break, by name. docs/protocol.md explains each;
 * beam_channel_breach() returns these texts.
 */
#ifndef WIRE_BREACH_H
#define WIRE_BREACH_H

#define BREACH_LENGTH "length: a frame is shorter or longer than a frame can be, or not a multiple of 8"
#define BREACH_KIND "kind: a frame of no known kind"
#define BREACH_FLAGS "flags: a flag that is unknown or does not belong to this kind of frame"
#define BREACH_PADDING "padding: more than needed, or not zero"
#define BREACH_UNUSED "unused: a field that must be zero is not"
#define BREACH_PAYLOAD "payload: of a size that this kind of frame does not have"
#define BREACH_CARRIER "carrier: bit 31 and the number of descriptors carried do not agree"
#define BREACH_FIRST "first: the first frame is not HELLO, or a later one is"
#define BREACH_HELLO "hello: not Beam's, or below what every side accepts"
#define BREACH_GOODBYE "goodbye: frames follow it, or a message is unfinished"
#define BREACH_DESCRIPTORS "descriptors: they came without the frame that carries them, or in another number"
#define BREACH_UNCLAIMED "unclaimed: descriptors are left over when others arrive"
#define BREACH_CLAIM "claim: a frame claims descriptors that have not come, or may not claim any"
#define BREACH_TOPIC_ID "topic-id: no such topic is open, or it may not be opened"
#define BREACH_NAME "name: empty, too long, with a NUL, or open already"
#define BREACH_CLOSED "closed: a frame for a topic after its CLOSE or RESET"
#define BREACH_FRAGMENT "fragment: it does not continue the message that was begun"
#define BREACH_MESSAGE_SIZE "message-size: a message larger than accepted, or not of the size announced"
#define BREACH_ATTACHMENTS "attachments: a message with more than accepted"
#define BREACH_CREDIT "credit: a message or descriptors for which there was none"
#define BREACH_GRANT "grant: credit of nothing, more than can be outstanding, or more given back than was left"
#define BREACH_RESET "reset: of a topic that was not open, or done before it was closed"
#define BREACH_CALL_ID "call-id: a call's id that is in use or out of range, or a reply to no call"
#define BREACH_TIMEOUT "timeout: a frame, or a message with descriptors, took too long to arrive"

#endif
