/* SPDX-License-Identifier: MIT */
/*
 * Being the server. If a signal ends the program, the socket's file is removed first. A thread
 * waits for these signals, and lets them take effect afterwards, so that the parent process sees
 * which signal ended the program.
 */
#include "command.h"
#include <pthread.h>
#include <signal.h>

static struct {
	beam_listener *listener;
	void (*before)(void);
	pthread_t thread;
	sigset_t awaited, others;
	/* Held while the listener is being closed, so that the program does not end meanwhile. */
	pthread_mutex_t stopping;
	int code;
} listening = {.stopping = PTHREAD_MUTEX_INITIALIZER};

static void *await_signal(void *unused)
{
	int number;

	(void)unused;
	sigwait(&listening.awaited, &number);
	if (number == SIGRTMIN)
		return NULL;
	listening_abandon();
	saving_abandon();
	pthread_sigmask(SIG_UNBLOCK, &listening.awaited, NULL);
	raise(number);
	_exit(128 + number);
}

/* Signals that were ignored at the start stay ignored. */
static void listening_block_signals(void)
{
	static const int numbers[] = ENDING_SIGNALS;
	struct sigaction action;

	sigemptyset(&listening.awaited);
	sigaddset(&listening.awaited, SIGRTMIN); /* our own, to end the thread */
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		if (sigaction(numbers[i], NULL, &action) == 0 && action.sa_handler == SIG_DFL)
			sigaddset(&listening.awaited, numbers[i]);
	pthread_sigmask(SIG_BLOCK, &listening.awaited, &listening.others);
}

int listening_begin(void (*before)(void))
{
	const struct beam_channel_options channel_options = endpoint_options();
	struct beam_listener_options listener_options = BEAM_LISTENER_OPTIONS;

	listener_options.mode = options.mode;
	listener_options.channel = &channel_options;
	listening.before = before;
	listening_block_signals();
	int r = beam_listener_new(&listening.listener, options.address, &listener_options);
	if (r == 0 && (r = -pthread_create(&listening.thread, NULL, await_signal, NULL)) < 0)
		listening.listener = beam_listener_unref(listening.listener);
	return r < 0 ? say_error(r, options.address) : CODE_DONE;
}

int listening_accept(beam_channel **ret)
{
	int r = beam_listener_accept(listening.listener, ret, options.deadline);

	if (r > 0)
		return CODE_DONE;
	if (r < 0)
		return say_error(r, options.address);
	pthread_mutex_lock(&listening.stopping);
	int code = listening.code;
	pthread_mutex_unlock(&listening.stopping);
	if (code == CODE_DONE)
		pthread_join(listening.thread, NULL); /* a signal is ending the program */
	return code;
}

void listening_stop(int code)
{
	pthread_mutex_lock(&listening.stopping);
	listening.code = code;
	beam_listener_close(listening.listener);
	pthread_mutex_unlock(&listening.stopping);
}

void listening_abandon(void)
{
	pthread_mutex_lock(&listening.stopping);
	beam_listener_close(listening.listener);
	pthread_mutex_unlock(&listening.stopping);
	if (listening.before)
		listening.before();
}

void listening_end(void)
{
	pthread_kill(listening.thread, SIGRTMIN);
	pthread_join(listening.thread, NULL);
	pthread_mutex_lock(&listening.stopping);
	listening.listener = beam_listener_unref(listening.listener);
	pthread_mutex_unlock(&listening.stopping);
	pthread_sigmask(SIG_SETMASK, &listening.others, NULL);
}
