/* source_lines.c: functions, files and lines at an address; see source_lines.h.
 *
 * The line table gives the place of the innermost frame. Each body that was inlined says where it was called, which is
 * the place in the frame around it; so the places move outwards by one frame:
 *
 *   innermost DIE  inlined push_back     place: line table
 *                  inlined add           place: call_file, call_line of push_back
 *                  subprogram main       place: call_file, call_line of add
 *
 * The chain is followed by hand, from the unit down. dwarf_getscopes does not enter namespaces, where rustc puts functions,
 * and finds nothing when an inlined body was written in another unit, which is the rule with -flto.
 *
 * libdw finds the compilation unit of an address by .debug_aranges, which clang and rustc do not write. Then the ranges
 * of all units are read, once, into a sorted table. Ranges of two units do not overlap in a linked file; where they do
 * all the same, the one that begins last before the address is asked.
 */
#include "analytics/source_lines.h"

#include "analytics/memory.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { NESTING_MAX = 256 }; /* of entries in each other; compilers stay far below, a hostile file need not */

struct source_unit {
	GElf_Addr start, limit; /* libdwfl's */
	Dwarf_Die *die;
	Dwarf_Addr bias; /* from addresses in the debug information to libdwfl's */
};

/* --- the compilation unit ----------------------------------------------------------------------------------------- */

static int compare_units(const void *left, const void *right)
{
	const struct source_unit *a = left, *b = right;
	return (a->start > b->start) - (a->start < b->start);
}

static void units_read(struct source_units *units, Dwfl_Module *module)
{
	size_t room = 64;
	Dwarf_Addr bias;
	units->units = memory_room(room, sizeof(units->units[0]));
	for (Dwarf_Die *die = NULL; (die = dwfl_module_nextcu(module, die, &bias));) {
		Dwarf_Addr base, start, limit;
		for (ptrdiff_t at = 0; (at = dwarf_ranges(die, at, &base, &start, &limit)) > 0;) {
			if (units->count == room)
				units->units = memory_resize(units->units, (room *= 2) * sizeof(units->units[0]));
			units->units[units->count++] =
				(struct source_unit){.start = start + bias, .limit = limit + bias, .die = die, .bias = bias};
		}
	}
	qsort(units->units, units->count, sizeof(units->units[0]), compare_units);
}

static Dwarf_Die *unit_find(struct source_units *units, Dwfl_Module *module, GElf_Addr address, Dwarf_Addr *bias)
{
	Dwarf_Die *die = dwfl_module_addrdie(module, address, bias);
	if (die)
		return die;
	if (!units->units)
		units_read(units, module);
	size_t low = 0, high = units->count; /* all below `low` begin at or before the address */
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (units->units[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low || address >= units->units[low - 1].limit)
		return NULL;
	*bias = units->units[low - 1].bias;
	return units->units[low - 1].die;
}

void source_units_close(struct source_units *units)
{
	free(units->units);
	*units = (struct source_units){0};
}

/* --- what one says ------------------------------------------------------------------------------------------------ */

static const char *text_of(Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute attribute;
	return dwarf_formstring(dwarf_attr_integrate(die, name, &attribute));
}

static bool number_of(Dwarf_Die *die, unsigned name, Dwarf_Word *value)
{
	Dwarf_Attribute attribute;
	return dwarf_formudata(dwarf_attr(die, name, &attribute), value) == 0;
}

static void name_frame(struct source_frame *frame, Dwarf_Die *die)
{
	frame->linkage_name = text_of(die, DW_AT_linkage_name);
	if (!frame->linkage_name)
		frame->linkage_name = text_of(die, DW_AT_MIPS_linkage_name);
	frame->name = text_of(die, DW_AT_name);
}

/* The place of the address itself. */
static void place_of_address(struct source_frame *frame, Dwarf_Die *unit, Dwarf_Addr address)
{
	int line = 0;
	Dwarf_Line *found = dwarf_getsrc_die(unit, address);
	if (!found)
		return;
	frame->file = dwarf_linesrc(found, NULL, NULL);
	if (dwarf_lineno(found, &line) == 0 && line > 0)
		frame->line = (unsigned)line;
}

/* The place where an inlined body was called. */
static void place_of_call(struct source_frame *frame, Dwarf_Die *unit, Dwarf_Die *inlined)
{
	Dwarf_Word file, line;
	Dwarf_Files *files;
	size_t count;
	if (number_of(inlined, DW_AT_call_file, &file) && dwarf_getsrcfiles(unit, &files, &count) == 0 && file < count)
		frame->file = dwarf_filesrc(files, file, NULL, NULL);
	if (number_of(inlined, DW_AT_call_line, &line) && line <= UINT32_MAX)
		frame->line = (unsigned)line;
}

/* The subprogram around an address and the bodies inlined there, outermost first. */
struct chain {
	Dwarf_Addr address;
	Dwarf_Die dies[SOURCE_FRAMES_MAX];
	size_t count;
	unsigned depth;
};

/* Entries that hold functions and have no addresses themselves: rustc puts functions where they stand in the source. */
static bool is_scope_of_names(int tag)
{
	return tag == DW_TAG_namespace || tag == DW_TAG_module || tag == DW_TAG_structure_type ||
	       tag == DW_TAG_class_type || tag == DW_TAG_union_type || tag == DW_TAG_enumeration_type;
}

/* The next entry beside `die`, in its place. A hostile file's could lead back. */
static bool step_on(Dwarf_Die *die)
{
	Dwarf_Off before = dwarf_dieoffset(die);
	return dwarf_siblingof(die, die) == 0 && dwarf_dieoffset(die) > before;
}

/* Follows the address from `parent` down, as far as it is. Returns whether something below has it. */
static bool descend(struct chain *chain, Dwarf_Die *parent)
{
	Dwarf_Die die;
	bool found = false;
	if (chain->depth == NESTING_MAX || dwarf_child(parent, &die) != 0)
		return false;
	chain->depth++;
	do {
		int tag = dwarf_tag(&die);
		if (is_scope_of_names(tag)) {
			found = descend(chain, &die);
		} else if (dwarf_haspc(&die, chain->address) > 0) {
			if ((tag == DW_TAG_inlined_subroutine || tag == DW_TAG_subprogram) && chain->count < SOURCE_FRAMES_MAX)
				chain->dies[chain->count++] = die;
			descend(chain, &die);
			found = true;
		}
	} while (!found && step_on(&die));
	chain->depth--;
	return found;
}

size_t source_frames(struct source_units *units, Dwfl_Module *module, GElf_Addr address,
                     struct source_frame frames[SOURCE_FRAMES_MAX])
{
	Dwarf_Addr bias;
	Dwarf_Die *unit = unit_find(units, module, address, &bias);
	struct source_frame place = {0};
	if (!unit)
		return 0;
	struct chain chain = {.address = address - bias};
	descend(&chain, unit);
	place_of_address(&place, unit, address - bias);
	for (size_t i = 0; i < chain.count; i++) {
		Dwarf_Die *die = &chain.dies[chain.count - 1 - i];
		frames[i] = place;
		name_frame(&frames[i], die);
		place = (struct source_frame){0};
		place_of_call(&place, unit, die);
	}
	if (chain.count || !place.file)
		return chain.count;
	frames[0] = place; /* assembly has lines and no functions */
	return 1;
}
