/* source_lines.h: from an address to functions, files and lines, by the debug information (DWARF) of a file. */
#ifndef SLUICE_SOURCE_LINES_H
#define SLUICE_SOURCE_LINES_H

#include <elfutils/libdwfl.h>
#include <stddef.h>

enum { SOURCE_FRAMES_MAX = 64 }; /* of one address; what is inlined deeper is left out */

/* A function at an address, or one whose body was inlined around it. Texts live as long as the session. */
struct source_frame {
	const char *linkage_name; /* the symbol, mangled; NULL: none is known */
	const char *name;         /* as in the source, not qualified; NULL: not known */
	const char *file;         /* NULL: not known */
	unsigned line;            /* where it is, or calls the frame before; 0: not known */
};

/* What is learned once of a module. All zero at first. */
struct source_units {
	struct source_unit *units; /* sorted by address; NULL until they are needed */
	size_t count;
};

/* The frames at an address of libdwfl's, innermost first: those that were inlined and then the function itself. Returns
 * how many, 0 when the module has no debug information for it. */
size_t source_frames(struct source_units *units, Dwfl_Module *module, GElf_Addr address,
                     struct source_frame frames[SOURCE_FRAMES_MAX]);

void source_units_close(struct source_units *units);

#endif
