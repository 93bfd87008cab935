/* guest.c: see guest.h. */
#define _GNU_SOURCE
#include "guest.h"

#include <dlfcn.h>
#include <link.h>
#include <stddef.h>

void *guest_open(uintptr_t *code)
{
	struct link_map *map;
	void *handle = dlopen("libanl.so.1", RTLD_NOW);
	if (!handle || dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0)
		return NULL;
	*code = map->l_addr + 1;
	return handle;
}
