/* inert.h: stepping aside.
 *
 * When sluice should not act (valgrind, another allocator that wins), its entries stay bound in the program and pass
 * every call on to the next definition, looked up once with dlsym(RTLD_NEXT).
 */
#ifndef SLUICE_INERT_H
#define SLUICE_INERT_H

#include <stddef.h>

/* Why sluice should not act in this process; NULL: it should. Called once by process_start. */
const char *inert_reason(void);

/* Looks up the next allocator. */
void inert_init(void);

void *inert_malloc(size_t size);
void inert_free(void *block);
void *inert_realloc(void *block, size_t size);
void *inert_memalign(size_t align, size_t size);
size_t inert_usable_size(const void *block);

/* Set while inert_reason probes; allocate_slow's early block then answers the probe. */
void inert_probe_seen(void);

#endif
