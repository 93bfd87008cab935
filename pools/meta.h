/* meta.h: memory for sluice's own tables.
 *
 * Power-of-two pieces from 64 bytes up, zero-filled, from chunks that are never given back; a returned piece is reused
 * for the same size. Far from the blocks, so that an overflow in the program cannot reach a table. Thread-safe.
 */
#ifndef SLUICE_META_H
#define SLUICE_META_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* At least `bytes`, zero-filled, aligned to 64; NULL when the kernel refuses. */
void *meta_take(size_t bytes);

/* The piece at *home, of that many bytes, taken when it is asked for first; for tables that grow by chunks which stay. NULL: as above. */
void *meta_chunk(void *_Atomic *home, size_t bytes);

/* Gives back what meta_take(bytes) gave. */
void meta_give(void *piece, size_t bytes);

/* The mapping of that number, from 0 on, as far as they are kept apart (the first 128). false: no more. */
bool meta_mapping(unsigned number, const void **start, size_t *bytes);

/* Bytes of all chunks. */
size_t meta_bytes(void);

void meta_fork_prepare(void);
void meta_fork_parent(void);
void meta_fork_child(void);

#endif
