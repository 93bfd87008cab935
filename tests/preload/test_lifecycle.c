/* test_lifecycle.c: a process allocates from before its first constructor to after its last destructor, in threads that
 * are born and die, in handlers, in children, on stacks of its own. Nothing may be lost, nothing may crash or hang.
 */
#include "tests/run_victim.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* As it comes, with everything in the fallback, and with memory given back and ownership lost all the time. */
static const char *const doors[] = {"", "range:0", "decay:0,budget:0", NULL};

#define MOMENT(name)                                                                                                   \
	Test(lifecycle, name)                                                                                              \
	{                                                                                                                  \
		cr_assert(victim_passes_both(#name, doors));                                                                   \
	}

MOMENT(early)
MOMENT(late)
MOMENT(key_destructors)
MOMENT(destructors)
MOMENT(signal_handler)
MOMENT(first_in_handler)
MOMENT(atfork)
MOMENT(fork_child)
MOMENT(vfork_child)
MOMENT(coroutine)
MOMENT(small_stack)
