/* report_memory.c: see report_memory.h. */
#include "analytics/report_memory.h"

#include "analytics/memory.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum { PIECE_BYTES = 1 << 20, ALIGNMENT = 8 /* of jansson's records: pointers, 64-bit numbers */ };

struct piece {
	struct piece *before;
	char bytes[];
};

struct report_memory {
	struct piece *last;
	char *at;
	size_t room; /* bytes from `at` on */
};

static struct report_memory *current;

/* A block of more than a piece gets one of its own. */
static void grow(struct report_memory *memory, size_t bytes)
{
	size_t room = bytes > PIECE_BYTES ? bytes : PIECE_BYTES;
	struct piece *piece = memory_resize(NULL, sizeof(*piece) + room);
	piece->before = memory->last;
	memory->last = piece;
	memory->at = piece->bytes;
	memory->room = room;
}

static void *take(size_t bytes)
{
	if (bytes > SIZE_MAX / 2)
		return NULL;
	bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	if (bytes > current->room)
		grow(current, bytes);
	void *block = current->at;
	current->at += bytes;
	current->room -= bytes;
	return block;
}

static void keep(void *block)
{
	(void)block;
}

struct report_memory *report_memory_begin(void)
{
	current = memory_room(1, sizeof(*current));
	json_set_alloc_funcs(take, keep);
	return current;
}

void report_memory_end(void)
{
	json_set_alloc_funcs(malloc, free);
	current = NULL;
}

void report_memory_release(struct report_memory *memory)
{
	while (memory && memory->last) {
		struct piece *piece = memory->last;
		memory->last = piece->before;
		free(piece);
	}
	free(memory);
}
