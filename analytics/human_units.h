/* human_units.h: numbers as people read them. Each returns its text by value: human_bytes(n).text */
#ifndef SLUICE_HUMAN_UNITS_H
#define SLUICE_HUMAN_UNITS_H

#include <stdint.h>

struct human {
	char text[32];
};

/* "0 B", "999 B", "1.00 KiB", "12.3 MiB", "456 GiB": three digits, powers of 1024. */
struct human human_bytes(uint64_t bytes);

/* "1,234,567": exact, since exact counts are what sluice is for. */
struct human human_count(uint64_t count);

/* part of whole: "12.3 %", "100 %"; "0 %" only for nothing and "<0.1 %" for next to nothing; "-" without a whole. */
struct human human_share(uint64_t part, uint64_t whole);

/* "850 ns", "12.3 us", "4.56 ms", "1.23 s", "2 min 03 s", "3 h 20 min". */
struct human human_duration(uint64_t ns);

/* "64G", "256K", "1000": an option's bytes with the suffix that loses nothing, as SLUICE_CONF reads it. */
struct human human_suffix(uint64_t bytes);

#endif
