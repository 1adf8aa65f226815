/* What every front of the C program answers: a greeting, work, and a count; see the Python one. */
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX 64
#define PAGE 4096

static _Thread_local uint32_t table[4096];
static atomic_ulong seen;
static char kept[16 << 20];

static uint32_t work(unsigned long steps)
{
	uint32_t x = 1;
	while (steps--) {
		x = x * 1664525u + 1013904223u;
		table[x >> 20] ^= x;
	}
	return x;
}

static int dirty(unsigned long size)
{
	for (unsigned long at = 0; at < size && at < sizeof kept; at += PAGE)
		kept[at] ^= 1;
	return kept[0];
}

/* Writes the body; answers its length. */
static int handle(const char *query, char body[BODY_MAX])
{
	unsigned long count = atomic_fetch_add(&seen, 1) + 1;
	if (strcmp(query, "count") == 0)
		return snprintf(body, BODY_MAX, "%lu\n", count);
	if (strncmp(query, "dirty=", 6) == 0)
		return snprintf(body, BODY_MAX, "%d\n", dirty(strtoul(query + 6, NULL, 10)));
	if (strncmp(query, "work=", 5) == 0)
		return snprintf(body, BODY_MAX, "%u\n", work(strtoul(query + 5, NULL, 10)));
	return snprintf(body, BODY_MAX, "Hello from a program\n");
}
