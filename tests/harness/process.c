/* SPDX-License-Identifier: MIT */
/* Processes and threads that tests start, and what tests need from the machine. */
#include <dirent.h>
#include <fcntl.h>
#include <harness/internal.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* True in a process that was spawned here; how many errors Valgrind had found when it began. */
static bool spawned;
static unsigned long errors_before;

/* Processes */

bool process_spawned(void)
{
	return spawned;
}

/* Where --coverage is compiled in: the first writes what has been counted, the second clears it. */
extern void __gcov_dump(void) __attribute__((weak));
extern void __gcov_reset(void) __attribute__((weak));

/*
 * The child clears what the parent has counted. In the child, what the parent's other threads were
 * just doing will never be counted. This comes before the library's fork handlers, which count.
 */
__attribute__((constructor(101))) static void count_from_the_fork_on(void)
{
	if (__gcov_reset)
		pthread_atfork(NULL, NULL, __gcov_reset);
}

void needs_threads_in_children(void)
{
	if (THREAD_SANITIZER)
		skip("ThreadSanitizer can not follow a child that starts threads when its parent had some");
}

void needs_descriptors(size_t n)
{
	struct rlimit limit;

	require_int(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_max < n)
		skip("needs %zu descriptors, and this user may have %llu", n, (unsigned long long)limit.rlim_max);
	if (limit.rlim_cur < n) {
		limit.rlim_cur = n;
		require_int(setrlimit(RLIMIT_NOFILE, &limit), 0);
	}
}

void needs_memory_in_children(void)
{
	if (ADDRESS_SANITIZER)
		skip("AddressSanitizer's allocator may be locked for ever in a child");
}

static bool other_threads_asleep(void)
{
	DIR *folder = opendir("/proc/self/task");
	pid_t self = thread_number();
	bool asleep = true;
	struct dirent *task;

	require(folder != NULL);
	while (asleep && (task = readdir(folder))) {
		pid_t thread = (pid_t)strtol(task->d_name, NULL, 10);
		char state = thread == self ? 'S' : thread_state(thread);

		/* 0: entries that are not threads, and threads that have ended meanwhile. */
		asleep = state == 'S' || state == 0;
	}
	closedir(folder);
	return asleep;
}

/*
 * AddressSanitizer copies its allocator's locks in a fork. A lock that another thread holds just
 * then is never released in the child. Sleeping threads hold none. If threads do not sleep for
 * long, their test has to deal with it.
 */
static void wait_for_the_allocator(void)
{
	struct harness_wait wait = harness_wait_begin(100);

	while (ADDRESS_SANITIZER && !other_threads_asleep() && harness_wait_more(&wait))
		;
}

pid_t process_spawn(int (*run)(void *argument), void *argument)
{
	pid_t parent = getpid(), child;

	fflush(NULL);
	wait_for_the_allocator();
	child = fork();
	require(child >= 0);
	if (child > 0)
		return child;
	spawned = true;
	errors_before = VALGRIND_COUNT_ERRORS;
	harness_begin_in_child();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		process_exit(1);
	harness_progress();
	process_exit(run(argument));
}

static bool errors_of_child(void)
{
#ifdef BEAM_HELGRIND
	/* Helgrind believes that the parent's threads run in the child. */
	return false;
#else
	return VALGRIND_COUNT_ERRORS != errors_before;
#endif
}

void process_exit(int code)
{
	fflush(stdout);
	if (code == 0 && harness_failed())
		code = 1;
	if (__gcov_dump)
		__gcov_dump();
	if (spawned && (under_valgrind() || THREAD_SANITIZER)) {
		/*
		 * At an exit, Valgrind would report the parent's memory, of which this is a copy,
		 * as leaked, and ThreadSanitizer would report threads that have ended and have not
		 * been joined yet. Another program has neither.
		 */
		char command[] = "exit 000";

		if (code == 0 && errors_of_child())
			code = 99;
		snprintf(command, sizeof command, "exit %d", code & 0xff);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	}
	_exit(code);
}

int process_wait(pid_t process)
{
	int status;

	while (waitpid(process, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Threads */

pthread_t thread_spawn(void *(*run)(void *argument), void *argument)
{
	pthread_t thread;

	require_int(pthread_create(&thread, NULL, run, argument), 0);
	return thread;
}

void *thread_wait(pthread_t thread)
{
	void *result = NULL;

	check_int(pthread_join(thread, &result), 0);
	return result;
}

pid_t thread_number(void)
{
	return (pid_t)syscall(SYS_gettid);
}

char thread_state(pid_t thread)
{
	char path[64], state = 0;
	FILE *file;

	snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
	file = thread ? fopen(path, "re") : NULL;
	if (!file)
		return 0;
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	fclose(file);
	return state;
}

bool thread_asleep(pid_t thread)
{
	return thread_state(thread) == 'S';
}

bool thread_named(const char *name)
{
	DIR *folder = opendir("/proc/self/task");
	struct dirent *task;
	bool found = false;

	require(folder != NULL);
	while (!found && (task = readdir(folder))) {
		char path[300], comm[32] = "";
		int fd;

		snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		found = read(fd, comm, sizeof comm - 1) > 0 && strcspn(comm, "\n") == strlen(name) &&
			strncmp(comm, name, strlen(name)) == 0;
		close(fd);
	}
	closedir(folder);
	return found;
}
