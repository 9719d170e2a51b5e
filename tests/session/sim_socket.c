/* SPDX-License-Identifier: MIT */
/* The model socket: what the kernel contract (tests/kernel) lets a stream with descriptors do. */
#include <session/sim.h>

int sim_file_new(struct sim *sim, struct sim_message *message)
{
	if (sim->n_files == sim->capacity_files) {
		sim->capacity_files = 2 * sim->capacity_files + 64;
		sim->files = realloc(sim->files, sim->capacity_files * sizeof *sim->files);
		require(sim->files != NULL);
	}
	sim->files[sim->n_files] = (struct sim_file){.message = message, .refused = sim_chance(sim, 3)};
	return (int)sim->n_files++;
}

/* Numbers far from those of real descriptors. */
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
	side->sim->files[entry->file].references--;
}

void sim_pipe_init(struct sim_pipe *pipe, size_t capacity)
{
	*pipe = (struct sim_pipe){.capacity = capacity};
	pipe->last = &pipe->first;
}

static void free_first(struct sim *sim, struct sim_pipe *pipe)
{
	struct sim_segment *segment = pipe->first;

	for (unsigned i = 0; i < segment->n_files; i++)
		sim->files[segment->files[i]].references--;
	pipe->first = segment->next;
	if (!pipe->first)
		pipe->last = &pipe->first;
	free(segment->bytes);
	free(segment);
}

void sim_pipe_end(struct sim *sim, struct sim_pipe *pipe)
{
	while (pipe->first)
		free_first(sim, pipe);
}

static ssize_t refusal(struct sim_side *from, const int *fds, unsigned n_fds)
{
	struct sim *sim = from->sim;
	bool refused = false;

	for (unsigned i = 0; i < n_fds; i++)
		refused |= sim->files[sim_fd_file(from, fds[i])].refused;
	if (refused)
		return -EBADF;
	if (!sim->calm && n_fds && sim_chance(sim, 6))
		return -ETOOMANYREFS;
	if (!sim->calm && sim_chance(sim, 2))
		return -ENOBUFS;
	return 0;
}

/* Copies `size` bytes from where the iovecs are; they are moved on. */
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

/* A sendmsg may arrive as several segments, of which the first has all its descriptors. */
static void put_segments(struct sim_side *from, struct sim_pipe *pipe, const struct iovec *iov, size_t n, const int *fds,
			 unsigned n_fds)
{
	struct sim *sim = from->sim;
	size_t at = 0;

	while (n) {
		struct sim_segment *segment = calloc(1, sizeof *segment);
		size_t size = n;

		require(segment != NULL);
		if (n > 1 && sim_chance(sim, 30))
			size = 1 + rng_below(&sim->rng, n - 1);
		segment->bytes = malloc(size);
		require(segment->bytes != NULL);
		segment->size = size;
		gather(segment->bytes, size, &iov, &at);
		for (unsigned i = 0; i < n_fds; i++) {
			segment->files[i] = sim_fd_file(from, fds[i]);
			sim->files[segment->files[i]].references++;
		}
		segment->n_files = n_fds;
		n_fds = 0;
		*pipe->last = segment;
		pipe->last = &segment->next;
		pipe->queued += size;
		n -= size;
	}
}

ssize_t sim_pipe_write(struct sim_side *from, const struct iovec *iov, size_t n_iov, const int *fds, unsigned n_fds)
{
	struct sim *sim = from->sim;
	struct sim_pipe *pipe = &sim->pipes[from->index];
	size_t total = 0, n;
	ssize_t r;

	for (size_t i = 0; i < n_iov; i++) {
		require(iov[i].iov_len > 0);
		total += iov[i].iov_len;
	}
	require(total > 0 && n_fds <= FRAME_CARRIED_MAX);
	r = refusal(from, fds, n_fds);
	if (r < 0)
		return r;
	n = pipe->capacity - pipe->queued;
	if (!n || (!sim->calm && sim_chance(sim, 10)))
		return -EAGAIN;
	if (n > total)
		n = total;
	if (!sim->calm && sim_chance(sim, 20))
		n = 1 + sim_size(sim, n - 1);
	put_segments(from, pipe, iov, n, fds, n_fds);
	return (ssize_t)n;
}

/* The descriptors of a segment become the reader's, all but some of the last, if the kernel drops these. */
static void pass_files(struct sim_side *to, struct sim_segment *segment, int ret_fds[FRAME_CARRIED_MAX], struct rx_group *ret)
{
	struct sim *sim = to->sim;
	unsigned n = segment->n_files;

	if (!sim->calm && sim_chance(sim, 3)) {
		n = (unsigned)rng_below(&sim->rng, n);
		ret->loss = sim_chance(sim, 50) ? -EMFILE : -EACCES;
	}
	for (unsigned i = 0; i < segment->n_files; i++) {
		if (i < n)
			ret_fds[i] = sim_fd_new(to, segment->files[i]);
		sim->files[segment->files[i]].references--;
	}
	ret->n = n;
	segment->n_files = 0;
}

ssize_t sim_pipe_read(struct sim_side *to, const struct iovec *iov, size_t n_iov, int ret_fds[FRAME_CARRIED_MAX],
		      struct rx_group *ret)
{
	struct sim *sim = to->sim;
	struct sim_pipe *pipe = &sim->pipes[1 - to->index];
	size_t room = 0, n = 0, at = 0;
	bool passed = false;

	*ret = (struct rx_group){.fds = ret_fds};
	for (size_t i = 0; i < n_iov; i++)
		room += iov[i].iov_len;
	if (!check(room > 0))
		return -EIO;
	if (!pipe->first)
		return -EAGAIN;
	/* More may still be on its way. */
	if (!sim->calm && sim_chance(sim, 50))
		room = 1 + sim_size(sim, room - 1);
	while (pipe->first && n < room && !(passed && pipe->first->n_files)) {
		struct sim_segment *segment = pipe->first;
		size_t some = segment->size - segment->at;
		bool with_files = segment->n_files > 0;

		if (with_files) {
			pass_files(to, segment, ret_fds, ret);
			passed = true;
		}
		if (some > room - n)
			some = room - n;
		n += some;
		for (size_t left = some; left;) {
			size_t piece = iov->iov_len - at < left ? iov->iov_len - at : left;

			memcpy((unsigned char *)iov->iov_base + at, segment->bytes + segment->at, piece);
			segment->at += piece;
			left -= piece;
			at += piece;
			if (at == iov->iov_len) {
				iov++;
				at = 0;
			}
		}
		pipe->queued -= some;
		if (segment->at == segment->size)
			free_first(sim, pipe);
		/* What brought descriptors ends the read. */
		if (with_files)
			break;
	}
	return (ssize_t)n;
}
