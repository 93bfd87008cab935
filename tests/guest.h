/* guest.h: a library that comes and goes while the test stays: libanl of glibc, which nobody else here has.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdint.h>

/* Loads it and says where it is: *code is an address inside. NULL: there is none. dlclose unloads it. */
void *guest_open(uintptr_t *code);

#endif
