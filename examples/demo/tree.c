/* SPDX-License-Identifier: MIT */
/* A list of all regular files below a folder. */
#include "demo.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* These are global because nftw() passes no argument of the caller to its callback. */
static struct tree *walked;
static size_t capacity;

static bool readable(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static int add(const char *path, const struct stat *status, int type, struct FTW *place)
{
	(void)place;
	if (type == FTW_DNR || type == FTW_NS || (type == FTW_F && S_ISREG(status->st_mode) && !readable(path))) {
		walked->unreadable++;
		return 0;
	}
	if (type != FTW_F || !S_ISREG(status->st_mode))
		return 0;
	walked->bytes += (uint64_t)status->st_size;
	if (walked->n == capacity) {
		capacity = capacity ? 2 * capacity : 1024;
		walked->paths = realloc(walked->paths, capacity * sizeof *walked->paths);
		if (!walked->paths)
			must(-ENOMEM, path);
	}
	char *copy = strdup(path);
	if (!copy)
		must(-ENOMEM, path);
	walked->paths[walked->n++] = copy;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void tree_walk(struct tree *tree, const char *folder)
{
	*tree = (struct tree){0};
	walked = tree;
	capacity = 0;
	must_sys(nftw(folder, add, 32, FTW_PHYS), folder);
	if (tree->n)
		qsort(tree->paths, tree->n, sizeof *tree->paths, by_name);
	printf("Folder %s: %zu file%s with %" PRIu64 " bytes", folder, tree->n, tree->n == 1 ? "" : "s", tree->bytes);
	if (tree->unreadable)
		printf("; %zu that cannot be read are left out", tree->unreadable);
	puts("");
}

void tree_free(struct tree *tree)
{
	for (size_t i = 0; i < tree->n; i++)
		free(tree->paths[i]);
	free(tree->paths);
}
