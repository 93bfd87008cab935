/* acting.h: sluice at work inside a test's own process, beside the process's malloc.
 *
 * A test program that links shim/ without its entries keeps glibc's malloc, which Criterion needs; sluice would find that
 * and step aside (shim/inert.c). A test that wants to call allocate() and release() itself says otherwise, before
 * sluice's own constructor asks:
 *
 *     static __attribute__((constructor(101))) void begin(void) { acting_begin("decay:-1"); }
 */
#ifndef ACTING_H
#define ACTING_H

/* From a constructor of priority 101: sluice acts, with these options, and writes no report. */
void acting_begin(const char *options);

#endif
