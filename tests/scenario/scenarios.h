/* SPDX-License-Identifier: MIT */
/*
 * The scenarios to run while system calls fail. Together they call every public function, and no
 * other function of the library. Each one starts without any objects, leaves none, and checks all
 * results with the ledger (ledger.h). The files to attach are open (attached_open()).
 */
#ifndef SCENARIO_SCENARIOS_H
#define SCENARIO_SCENARIOS_H

#define SCENARIOS(EACH)                                                                                                \
	/* core.c */                                                                                                   \
	EACH(messages_on_a_stream)                                                                                     \
	EACH(messages_in_packets)                                                                                      \
	EACH(messages_in_the_bare_form)                                                                                \
	EACH(a_pipe_that_is_sent)                                                                                      \
	EACH(waiting_in_vain)                                                                                          \
	/* message.c */                                                                                                \
	EACH(a_message_made_by_hand)                                                                                   \
	EACH(a_buffer_made_and_sealed)                                                                                 \
	EACH(a_buffer_sent_and_taken)                                                                                  \
	/* life.c */                                                                                                   \
	EACH(a_channel_made_and_let_go_of)                                                                             \
	EACH(topics_let_go_of_first)                                                                                   \
	EACH(channels_let_go_of_first)                                                                                 \
	EACH(a_message_that_outlives_its_channel)                                                                      \
	EACH(a_channel_that_is_asked)                                                                                  \
	EACH(connecting_and_accepting_topics)                                                                          \
	EACH(coming_and_going)                                                                                         \
	/* send.c */                                                                                                   \
	EACH(each_way_of_sending_and_receiving)                                                                        \
	EACH(credit_over_several_windows)                                                                              \
	EACH(a_burst)                                                                                                  \
	EACH(two_threads_on_one_topic)                                                                                 \
	/* attachment.c */                                                                                             \
	EACH(attachments_borrowed_and_given)                                                                           \
	EACH(attachments_taken_and_left)                                                                               \
	EACH(attachments_sent_on)                                                                                      \
	EACH(attachments_given_by_number)                                                                              \
	EACH(attachments_given_in_the_buffer)                                                                          \
	EACH(attachments_given_to_calls)                                                                               \
	EACH(attachments_in_the_buffer)                                                                                \
	EACH(credit_for_attachments)                                                                                   \
	EACH(attachments_of_large_messages)                                                                            \
	/* large.c */                                                                                                  \
	EACH(large_messages)                                                                                           \
	EACH(large_messages_given_up)                                                                                  \
	/* end.c */                                                                                                    \
	EACH(topics_closed_and_opened_again)                                                                           \
	EACH(a_topic_that_is_reset)                                                                                    \
	EACH(a_topic_that_is_accepted_and_refused)                                                                     \
	EACH(a_topic_that_is_refused)                                                                                  \
	EACH(a_channel_closed_here)                                                                                    \
	EACH(a_channel_closed_there)                                                                                   \
	EACH(a_channel_that_is_left)                                                                                   \
	EACH(a_peer_that_dies)                                                                                         \
	EACH(a_peer_that_breaks_the_protocol)                                                                          \
	EACH(waiting_until_it_is_closed_here)                                                                          \
	EACH(waiting_until_it_is_closed_there)                                                                         \
	EACH(waiting_until_it_is_aborted)                                                                              \
	EACH(waiting_until_the_topic_ends)                                                                             \
	EACH(waiting_for_topics_until_it_is_closed_here)                                                               \
	EACH(waiting_for_topics_until_it_is_closed_there)                                                              \
	/* call.c */                                                                                                   \
	EACH(a_call_and_its_reply)                                                                                     \
	EACH(answers_of_every_kind)                                                                                    \
	EACH(large_calls_and_many_at_once)                                                                             \
	EACH(calls_that_wait_in_the_buffer)                                                                            \
	EACH(requests_and_replies_that_are_messages)                                                                   \
	/* loop.c */                                                                                                   \
	EACH(descriptors_for_an_event_loop)                                                                            \
	EACH(a_channel_run_by_a_loop)                                                                                  \
	/* select.c */                                                                                                 \
	EACH(selecting_among_everything)                                                                               \
	/* listener.c */                                                                                               \
	EACH(listening_at_an_abstract_name)                                                                            \
	EACH(listening_at_a_path)                                                                                      \
	EACH(a_stale_socket_that_is_replaced)                                                                          \
	EACH(a_socket_that_was_handed_in)                                                                              \
	EACH(a_socket_of_the_service_manager)                                                                          \
	EACH(a_policy_that_refuses)                                                                                    \
	/* relay.c */                                                                                                  \
	EACH(a_pair_of_channels)                                                                                       \
	EACH(a_channel_in_a_message)                                                                                   \
	EACH(a_channel_sent_on_a_topic)                                                                                \
	EACH(messages_forwarded)                                                                                       \
	EACH(messages_by_routes)                                                                                       \
	EACH(calls_by_routes)                                                                                          \
	/* spawn.c */                                                                                                  \
	EACH(a_program_that_is_started)                                                                                \
	EACH(a_channel_of_the_environment)

#define SCENARIO_DECLARE(name) void name(void);
SCENARIOS(SCENARIO_DECLARE)
#undef SCENARIO_DECLARE

#endif
