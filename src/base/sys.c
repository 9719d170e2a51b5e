/* SPDX-License-Identifier: MIT */
#include <base/sys.h>

int fd_move_above_standard(int fd)
{
	int moved = fd_duplicate_above_standard(fd), error = errno;

	close(fd);
	errno = error;
	return moved;
}

int fd_pair_above_standard(int fds[2])
{
	int error;

	for (int i = 0; i < 2; i++)
		fds[i] = fd_above_standard(fds[i]);
	if (fds[0] >= 0 && fds[1] >= 0)
		return 0;
	error = errno;
	close_fd(fds[0]);
	close_fd(fds[1]);
	errno = error;
	return -1;
}
