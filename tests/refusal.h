/* refusal.h: the kernel says no. For a child's process (forked.h), which it would cripple otherwise; not with a sanitizer
 * (sanitized.h).
 */
#ifndef REFUSAL_H
#define REFUSAL_H

#include <stdbool.h>

/* From now on the kernel gives this process no memory to write to; what it has stays. false: it could not be told. */
bool memory_refuse(void);

/* It gives again. */
bool memory_allow(void);

/* Takes what is left of the memory for sluice's own tables (pools/meta.h), so that their next growth asks the kernel. */
void tables_use_up(void);

#endif
