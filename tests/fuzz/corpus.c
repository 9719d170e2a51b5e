/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target without an engine, with each file of a folder once, so that any compiler can
 * be used. Each input is in memory of exactly its size, so that checkers detect reads beyond its
 * end.
 */
#include <dirent.h>
#include <fuzz/fuzz.h>
#include <sys/stat.h>

/* Returns false if the file cannot be read. */
static bool run_file(const char *folder, const char *name)
{
	char path[4096];
	struct stat status;
	size_t size, got;
	uint8_t *data;
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	file = fopen(path, "rb");
	if (!file || fstat(fileno(file), &status) < 0)
		return false;
	size = (size_t)status.st_size;
	data = malloc(size ? size : 1);
	got = data ? fread(data, 1, size, file) : 0;
	fclose(file);
	if (data && got == size)
		LLVMFuzzerTestOneInput(data, size);
	free(data);
	return data && got == size;
}

int main(int argc, char **argv)
{
	DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
	const struct dirent *entry;
	unsigned n = 0;

	if (!folder) {
		fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
		return 2;
	}
	while ((entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		if (!run_file(argv[1], entry->d_name)) {
			fprintf(stderr, "%s/%s: cannot be read\n", argv[1], entry->d_name);
			return 2;
		}
		n++;
	}
	closedir(folder);
	printf("%u inputs\n", n);
	return n > 0 ? 0 : 1;
}
