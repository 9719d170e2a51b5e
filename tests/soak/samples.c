/* SPDX-License-Identifier: MIT */
/* What a process uses, and whether that grows. */
#include "soak.h"
#include <dirent.h>

const char *const measure_names[MEASURES] = {"KiB", "allocated", "descriptors", "threads"};

/*
 * How much growth is ignored. The lower quartile of the last third of the samples is compared with
 * that of the second third: it may be larger by a tenth plus this. A leak also raises the quiet
 * moments. The busy moments, in which many attachments are open, depend on the machine.
 */
static const uint64_t slack[MEASURES] = {2048, 1024, 16, 8};

/* The number that follows a word in /proc/PID/status. */
static uint64_t status_number(const char *status, const char *word)
{
	const char *at = strstr(status, word);

	return at ? strtoull(at + strlen(word), NULL, 10) : 0;
}

static uint64_t entries(const char *path)
{
	DIR *folder = opendir(path);
	const struct dirent *entry;
	uint64_t n = 0;

	while (folder && (entry = readdir(folder)))
		n += entry->d_name[0] != '.';
	if (folder)
		closedir(folder);
	return n;
}

bool samples_take(struct samples *samples, pid_t process, uint64_t allocated)
{
	char path[64], status[4096];
	uint64_t *values = samples->values[samples->n];
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/status", (int)process);
	file = fopen(path, "re");
	if (!file || samples->n == SAMPLES)
		return false;
	status[fread(status, 1, sizeof status - 1, file)] = '\0';
	fclose(file);
	snprintf(path, sizeof path, "/proc/%d/fd", (int)process);
	values[0] = status_number(status, "RssAnon:");
	values[1] = allocated / 1024;
	values[2] = entries(path);
	values[3] = status_number(status, "Threads:");
	samples->n++;
	return values[0] && values[2] && values[3];
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

struct third {
	uint64_t quartile, median, maximum;
};

static struct third third_of(const struct samples *samples, unsigned which, unsigned measure)
{
	uint64_t values[SAMPLES];
	size_t n = 0;

	for (size_t i = which * samples->n / 3; i < (which + 1) * samples->n / 3; i++)
		values[n++] = samples->values[i][measure];
	if (!n)
		return (struct third){0};
	qsort(values, n, sizeof *values, by_value);
	return (struct third){values[n / 4], values[n / 2], values[n - 1]};
}

int samples_growth(const struct samples *samples, bool with_memory)
{
	for (unsigned i = with_memory ? 0 : 2; i < MEASURES; i++) {
		uint64_t before = third_of(samples, 1, i).quartile, last = third_of(samples, 2, i).quartile;

		if (last > before + before / 10 + slack[i])
			return (int)i;
	}
	return -1;
}

void samples_tell(const struct samples *samples, const char *name)
{
	for (unsigned i = 0; i < MEASURES; i++) {
		printf("%-10s %-12s median, maximum of each third:", i ? "" : name, measure_names[i]);
		for (unsigned k = 0; k < 3; k++) {
			struct third third = third_of(samples, k, i);

			printf("%9llu %6llu", (unsigned long long)third.median, (unsigned long long)third.maximum);
		}
		printf("\n");
	}
}

bool samples_write(const struct samples *samples, size_t n, const char *const *names, unsigned seconds,
		   const char *path)
{
	FILE *file = fopen(path, "we");

	if (!file)
		return false;
	fprintf(file, "seconds");
	for (size_t k = 0; k < n; k++)
		for (unsigned m = 0; m < MEASURES; m++)
			fprintf(file, " \"%s, %s\"", names[k], measure_names[m]);
	for (size_t i = 0; i < samples->n; i++) {
		fprintf(file, "\n%g", (double)i * seconds / SAMPLES);
		for (size_t k = 0; k < n; k++)
			for (unsigned m = 0; m < MEASURES; m++)
				fprintf(file, " %llu", (unsigned long long)samples[k].values[i][m]);
	}
	fprintf(file, "\n");
	return fclose(file) == 0;
}
