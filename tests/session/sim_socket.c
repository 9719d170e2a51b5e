/* SPDX-License-Identifier: MIT */
/*
 * The model socket: it does with a stream and its descriptors what the kernel may do
 * (tests/kernel).
 */
#include <session/sim.h>

int sim_file_new(struct sim *sim, struct sim_message *message, bool refused)
{
	if (sim->n_files == sim->capacity_files) {
		sim->capacity_files = 2 * sim->capacity_files + 64;
		sim->files = realloc(sim->files, sim->capacity_files * sizeof *sim->files);
		require(sim->files != NULL);
	}
	sim->files[sim->n_files] = (struct sim_file){.message = message, .refused = refused};
	return (int)sim->n_files++;
}

/* Far from the numbers of real descriptors. */
enum { FIRST_FD = 1000000 };

int sim_fd_new(struct sim_side *side, int file)
{
	struct sim *sim = side->sim;

	if (sim->n_fds == sim->capacity_fds) {
		sim->capacity_fds = 2 * sim->capacity_fds + 64;
		sim->fds = realloc(sim->fds, sim->capacity_fds * sizeof *sim->fds);
		require(sim->fds != NULL);
	}
	sim->fds[sim->n_fds] = (struct sim_fd){.file = file, .side = (uint8_t)side->index, .open = true};
	sim->files[file].references++;
	side->n_fds++;
	return FIRST_FD + (int)sim->n_fds++;
}

static struct sim_fd *open_fd(const struct sim_side *side, int fd)
{
	struct sim *sim = side->sim;
	size_t i = (size_t)(fd - FIRST_FD);

	require(fd >= FIRST_FD && i < sim->n_fds);
	require(sim->fds[i].open);
	require_int(sim->fds[i].side, side->index);
	return &sim->fds[i];
}

int sim_fd_file(const struct sim_side *side, int fd)
{
	return open_fd(side, fd)->file;
}

void sim_fd_close(struct sim_side *side, int fd)
{
	struct sim_fd *entry = open_fd(side, fd);

	entry->open = false;
	side->n_fds--;
	side->sim->files[entry->file].references--;
}

void sim_pipe_init(struct sim_pipe *pipe, size_t capacity)
{
	*pipe = (struct sim_pipe){.capacity = capacity};
	pipe->last = &pipe->first;
}

void sim_segment_cut(struct sim *sim, struct sim_pipe *pipe, struct sim_segment **at)
{
	struct sim_segment *segment = *at;

	for (unsigned i = 0; i < segment->n_files; i++)
		sim->files[segment->files[i]].references--;
	pipe->queued -= segment->size - segment->at;
	*at = segment->next;
	if (!*at)
		pipe->last = at;
	free(segment->bytes);
	free(segment);
}

void sim_pipe_empty(struct sim *sim, struct sim_pipe *pipe)
{
	while (pipe->first)
		sim_segment_cut(sim, pipe, &pipe->first);
}

struct sim_segment *sim_segment_new(struct sim_side *from, size_t size, const int *fds, unsigned n_fds)
{
	struct sim_pipe *pipe = &from->sim->pipes[from->index];
	struct sim_segment *segment = calloc(1, sizeof *segment);

	require(segment != NULL);
	segment->bytes = malloc(size);
	require(segment->bytes != NULL);
	segment->size = size;
	for (unsigned i = 0; i < n_fds; i++) {
		segment->files[i] = sim_fd_file(from, fds[i]);
		from->sim->files[segment->files[i]].references++;
	}
	segment->n_files = n_fds;
	*pipe->last = segment;
	pipe->last = &segment->next;
	pipe->queued += size;
	return segment;
}

/* The error if the kernel refuses the write, or 0 if it may take a part of it. */
static int refusal(struct sim_side *from, const int *fds, unsigned n_fds)
{
	struct sim *sim = from->sim;
	bool refused = false;

	if (sim_other(from)->dead) {
		sim_event(from, SIM_BROKEN_PIPE, NULL);
		return -EPIPE;
	}
	for (unsigned i = 0; i < n_fds; i++)
		refused |= sim->files[sim_fd_file(from, fds[i])].refused;
	if (refused) {
		sim_event(from, SIM_BAD_FD, NULL);
		return -EBADF;
	}
	if (!sim->calm && n_fds && sim_chance(sim, 6)) {
		sim_event(from, SIM_TOO_MANY, NULL);
		return -ETOOMANYREFS;
	}
	if (!sim->calm && sim_chance(sim, 2)) {
		sim_event(from, SIM_NO_BUFFERS, NULL);
		return -ENOBUFS;
	}
	return 0;
}

/* Copies `size` bytes from the iovecs, and advances them. */
static void gather(unsigned char *to, size_t size, const struct iovec **iov, size_t *at)
{
	while (size) {
		size_t some = (*iov)->iov_len - *at;

		if (some > size)
			some = size;
		memcpy(to, (unsigned char *)(*iov)->iov_base + *at, some);
		to += some;
		size -= some;
		*at += some;
		if (*at == (*iov)->iov_len) {
			(*iov)++;
			*at = 0;
		}
	}
}

/* A sendmsg may arrive as several segments. The first one has all the descriptors. */
static void put_segments(struct sim_side *from, const struct iovec *iov, size_t n, const int *fds, unsigned n_fds)
{
	struct sim *sim = from->sim;
	struct sim_pipe *pipe = &sim->pipes[from->index];
	size_t at = 0;

	while (n) {
		size_t size = n > 1 && sim_chance(sim, 30) ? 1 + sim_choose(sim, n - 1) : n;
		struct sim_segment **place = pipe->last;

		if (size < n)
			sim_event(from, SIM_SPLIT, NULL);
		gather(sim_segment_new(from, size, fds, n_fds)->bytes, size, &iov, &at);
		if (sim_breaks(sim, SIM_BREAK_SEGMENT))
			sim_segment_cut(sim, pipe, place);
		n_fds = 0;
		n -= size;
	}
}

ssize_t sim_pipe_write(struct sim_side *from, const struct iovec *iov, size_t n_iov, const int *fds, unsigned n_fds)
{
	struct sim *sim = from->sim;
	const struct sim_pipe *pipe = &sim->pipes[from->index];
	size_t total = 0, n;
	int r;

	for (size_t i = 0; i < n_iov; i++) {
		require(iov[i].iov_len > 0);
		total += iov[i].iov_len;
	}
	require(total > 0 && n_fds <= FRAME_CARRIED_MAX);
	r = refusal(from, fds, n_fds);
	if (r < 0)
		return r;
	n = pipe->capacity > pipe->queued ? pipe->capacity - pipe->queued : 0;
	if (!n || (!sim->calm && sim_chance(sim, 10))) {
		sim_event(from, SIM_FULL, NULL);
		return -EAGAIN;
	}
	if (n > total)
		n = total;
	if (!sim->calm && sim_chance(sim, 20))
		n = 1 + sim_size(sim, n - 1);
	if (n < total)
		sim_event(from, SIM_WRITES_PART, NULL);
	put_segments(from, iov, n, fds, n_fds);
	return (ssize_t)n;
}

/* Passes the descriptors of a segment to the reader. The kernel may drop the last ones. */
static void pass_files(struct sim_side *to, struct sim_segment *segment, int *ret_fds, struct rx_group *ret)
{
	struct sim *sim = to->sim;
	unsigned n = segment->n_files;

	sim_event(to, SIM_READS_FDS, NULL);
	if (!sim->calm && sim_chance(sim, 3)) {
		n = (unsigned)sim_choose(sim, n);
		ret->loss = sim_chance(sim, 50) ? -EMFILE : -EACCES;
		sim_event(to, n ? SIM_LOST : SIM_LOST_ALL, NULL);
	}
	if (sim_breaks(sim, SIM_BREAK_SILENT))
		n--;
	for (unsigned i = 0; i < segment->n_files; i++) {
		if (i < n)
			ret_fds[ret->n++] = sim_fd_new(to, segment->files[i]);
		sim->files[segment->files[i]].references--;
	}
	segment->n_files = 0;
}

/* Copies `size` bytes to the iovecs, and advances them. */
static void scatter(const struct iovec **iov, size_t *at, const unsigned char *from, size_t size)
{
	while (size) {
		size_t piece = (*iov)->iov_len - *at < size ? (*iov)->iov_len - *at : size;

		memcpy((unsigned char *)(*iov)->iov_base + *at, from, piece);
		from += piece;
		size -= piece;
		*at += piece;
		if (*at == (*iov)->iov_len) {
			(*iov)++;
			*at = 0;
		}
	}
}

/*
 * A read takes what is there, even from several segments, but nothing behind the first segment that
 * brought descriptors.
 */
ssize_t sim_pipe_read(struct sim_side *to, const struct iovec *iov, size_t n_iov, int ret_fds[FRAME_CARRIED_MAX],
		      struct rx_group *ret)
{
	struct sim *sim = to->sim;
	struct sim_pipe *pipe = &sim->pipes[1 - to->index];
	size_t room = 0, n = 0, at = 0, segments = 0;
	bool stop = false;

	*ret = (struct rx_group){.fds = ret_fds};
	for (size_t i = 0; i < n_iov; i++)
		room += iov[i].iov_len;
	if (!check(room > 0))
		return -EIO;
	if (!pipe->first)
		return -EAGAIN;
	/* Some of it may still be on its way. */
	if (!sim->calm && sim_chance(sim, 50))
		room = 1 + sim_size(sim, room - 1);
	for (; pipe->first && n < room && !stop; segments++) {
		struct sim_segment *segment = pipe->first;
		size_t some = segment->size - segment->at;

		if (segment->n_files && ret->n + segment->n_files <= FRAME_CARRIED_MAX) {
			pass_files(to, segment, ret_fds, ret);
			stop = !sim_breaks(sim, SIM_BREAK_MERGE);
		}
		if (some > room - n)
			some = room - n;
		scatter(&iov, &at, segment->bytes + segment->at, some);
		n += some;
		segment->at += some;
		pipe->queued -= some;
		if (segment->at == segment->size)
			sim_segment_cut(sim, pipe, &pipe->first);
		else
			sim_event(to, SIM_READS_PART, NULL);
	}
	if (segments > 1)
		sim_event(to, SIM_READS_MERGED, NULL);
	if (stop && pipe->first && n < room)
		sim_event(to, SIM_READS_STOPPED, NULL);
	return (ssize_t)n;
}
