/* eh_frame.h: where, at a place in the code, a function's caller's frame and registers are, as its file's .eh_frame says.
 *
 * For x86-64 (System V ABI, 3.7; DWARF 4, 6.4; LSB 5, "Exception Frames"). Takes no lock, no memory and makes no system call: tables
 * are found through _dl_find_object, which waits for nobody. What they say holds as long as the file is loaded, and the caller sees
 * to it that it is. Only two registers are followed, the stack and the frame pointer: compilers give a frame's place by these.
 */
#ifndef SLUICE_EH_FRAME_H
#define SLUICE_EH_FRAME_H

#include <stdbool.h>
#include <stdint.h>

enum { EH_BP = 6, EH_SP = 7 }; /* as the tables number them */

/* How to find a register of the caller. */
enum eh_how { EH_SAME, EH_AT_CFA, EH_EXPRESSION, EH_UNKNOWN };

struct eh_place {
	enum eh_how how;
	int64_t offset;       /* EH_AT_CFA: saved there */
	const uint8_t *block; /* EH_EXPRESSION: where it is saved */
};

struct eh_rules {
	int cfa_register; /* EH_BP or EH_SP; -1: by cfa_block; else it cannot be followed */
	int64_t cfa_offset;
	const uint8_t *cfa_block;
	struct eh_place bp, ra; /* the frame pointer, the return address (unknown: this is the outermost frame) */
	bool is_signal;         /* a handler returns here: the caller was interrupted, not calling */
};

/* The rules at `pc`, which is in the calling instruction, or is where an interrupted function goes on. false: no table has it,
 * or one that says what compilers do not write. */
bool eh_frame_rules(uintptr_t pc, struct eh_rules *rules);

struct eh_registers {
	uintptr_t pc, sp, bp;
};

/* Computes what a block says, on a stack that begins with *value, into *value. `load` reads a word from at or above `sp`. false: it
 * cannot be read, or the block has an operation that neither compilers nor glibc write. */
bool eh_frame_evaluate(const uint8_t *block, const struct eh_registers *in,
                       bool (*load)(uintptr_t sp, uintptr_t slot, uintptr_t *value), uintptr_t *value);

#endif
