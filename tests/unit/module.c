/* Modules that may be gone: what is asked of one that was unloaded, or that another has replaced, is answered by no. */
#define _GNU_SOURCE
#include "shim/module.h"
#include "shim/confined.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static const char *const library = "libanl.so.1"; /* of glibc, and of nobody here */

struct found {
	struct module module;
	struct ledger_mapping map;
};

static struct found find(uintptr_t pc)
{
	struct found found = {.module = {.start = 0}};
	if (!module_find(pc, &found.module))
		cr_skip_test("this C library cannot be asked (glibc before 2.35)");
	found.map =
		(struct ledger_mapping){.start = found.module.start, .limit = found.module.limit, .bias = found.module.bias};
	return found;
}

static bool is_loaded(const struct found *found)
{
	return module_is_loaded(&found->map, &found->module.places);
}

static struct found open_library(void **handle)
{
	struct link_map *map;
	*handle = dlopen(library, RTLD_NOW);
	if (!*handle || dlinfo(*handle, RTLD_DI_LINKMAP, &map) != 0)
		cr_skip_test("%s cannot be loaded", library);
	return find(map->l_addr + 1);
}

Test(module, what_is_loaded_is_known)
{
	struct found libc = find((uintptr_t)dlsym(RTLD_DEFAULT, "gnu_get_libc_version")), mine = find((uintptr_t)&find);
	cr_assert(is_loaded(&libc));
	cr_assert(is_loaded(&mine));
	cr_assert_gt(libc.module.places.mark_bytes, 0);
	cr_assert_eq(memcmp(libc.module.places.mark, libc.module.build_id, libc.module.build_id_bytes), 0);
}

Test(module, another_one_at_its_place_is_told_apart)
{
	struct found libc = find((uintptr_t)dlsym(RTLD_DEFAULT, "gnu_get_libc_version")), other = libc;
	other.module.places.mark[3] ^= 1;
	cr_assert_not(is_loaded(&other));
	other = libc;
	other.map.limit += 4096;
	cr_assert_not(is_loaded(&other));
}

Test(module, after_a_filter_its_memory_is_not_asked)
{
	struct found libc = find((uintptr_t)dlsym(RTLD_DEFAULT, "gnu_get_libc_version")), other = libc;
	other.module.places.mark[3] ^= 1;
	confined_note();
	cr_assert(is_loaded(&other), "same extent");
	other.map.limit += 4096;
	cr_assert_not(is_loaded(&other));
}

struct wanted {
	struct found *in;
	const char *name;
	uint64_t start;
	int symbols;
};

static void note(void *context, uint64_t start, uint64_t bytes, uint32_t name)
{
	struct wanted *wanted = context;
	char text[256];
	size_t length = module_string(&wanted->in->module.places, name, text, sizeof(text));
	cr_assert_gt(bytes, 0);
	if (length == strlen(wanted->name) && strcmp(text, wanted->name) == 0)
		wanted->start = start;
	wanted->symbols++;
}

Test(module, symbols_are_read_with_their_names)
{
	uintptr_t there = (uintptr_t)dlsym(RTLD_DEFAULT, "gnu_get_libc_version");
	struct found libc = find(there);
	struct wanted wanted = {.in = &libc, .name = "gnu_get_libc_version"};
	module_symbols(&libc.map, &libc.module.places, note, &wanted);
	cr_assert_gt(wanted.symbols, 1000);
	cr_assert_eq(wanted.start + libc.module.bias, there);
}

Test(module, a_string_needs_room_and_an_end)
{
	struct module_places places = {.strings = (uintptr_t) "\0first\0last",
	                               .strings_bytes = 11}; /* no end behind "last" */
	char text[16];
	cr_assert_eq(module_string(&places, 1, text, 6), 5);
	cr_assert_str_eq(text, "first");
	cr_assert_eq(module_string(&places, 1, text, 5), 0, "no room for its NUL");
	cr_assert_eq(module_string(&places, 7, text, sizeof(text)), 0);
	cr_assert_eq(module_string(&places, 4000000000, text, sizeof(text)), 0);
}

static void count(void *context, uint64_t start, uint64_t bytes, uint32_t name)
{
	(void)start, (void)bytes, (void)name;
	++*(int *)context;
}

Test(module, an_unloaded_one_is_gone)
{
	void *handle;
	int symbols = 0;
	struct found gone = open_library(&handle);
	module_symbols(&gone.map, &gone.module.places, count, &symbols);
	cr_assert(is_loaded(&gone));
	cr_assert_gt(symbols, 0);
	cr_assert_eq(dlclose(handle), 0);
	if (dlopen(library, RTLD_NOW | RTLD_NOLOAD))
		cr_skip_test("%s stays loaded", library);
	char text[64];
	symbols = 0;
	cr_assert_not(is_loaded(&gone));
	module_symbols(&gone.map, &gone.module.places, count, &symbols);
	cr_assert_eq(symbols, 0);
	cr_assert_eq(module_string(&gone.module.places, 1, text, sizeof(text)), 0);
}

/* Its tables hold anything: the reader ends, inside the mapping. */
Test(module, garbage_ends)
{
	static uint32_t garbage[4096];
	uint64_t seed = 5;
	struct ledger_mapping map = {.start = (uintptr_t)garbage, .limit = (uintptr_t)garbage + sizeof(garbage)};
	struct module_places places = {.gnu_hash = map.start, .strings = map.start, .strings_bytes = sizeof(garbage)};
	for (int round = 0; round < 2000; round++) {
		int symbols = 0;
		for (size_t i = 0; i < 4096; i++)
			garbage[i] = (uint32_t)((seed = seed * 6364136223846793005u + 1442695040888963407u) >> 33);
		for (int i = 0; i < 4; i++) /* small enough to go on */
			garbage[i] >>= 20 + round % 12;
		places.symbols = map.start + (uintptr_t)(round % 1000) * 8;
		module_symbols(&map, &places, count, &symbols);
		cr_assert_leq((size_t)symbols * sizeof(ElfW(Sym)), sizeof(garbage));
	}
}

static atomic_bool done;

static void *open_and_close(void *unused)
{
	while (!done)
		dlclose(dlopen(library, RTLD_NOW));
	return unused;
}

/* Somebody loads and unloads it all the while. */
Test(module, one_that_comes_and_goes)
{
	void *handle;
	char text[64];
	pthread_t thread;
	struct found it = open_library(&handle);
	dlclose(handle);
	cr_assert_eq(pthread_create(&thread, NULL, open_and_close, NULL), 0);
	int symbols = 0, seen = 0;
	for (int i = 0; i < 5000; i++) {
		seen += is_loaded(&it);
		module_symbols(&it.map, &it.module.places, count, &symbols);
		module_string(&it.module.places, 1, text, sizeof(text));
	}
	done = true;
	pthread_join(thread, NULL);
	cr_log_info("there %d times of 5000, %d symbols", seen, symbols);
}
